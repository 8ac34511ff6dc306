// In the page of a result, when the app shows it in a frame: hands its height and the keys of the review to the app.
(() => {
  "use strict";
  if (window.parent === window) return;
  // The app has a title of its own.
  for (const part of document.querySelectorAll("body > header, #clips-title, footer")) part.style.display = "none";
  // The first line of the page is that of the frame.
  for (const clip of document.querySelectorAll("section.clip")) Object.assign(clip.style, { border: "0", margin: "0" });
  const send = (message) => window.parent.postMessage({ otoscope: message }, "*");
  new ResizeObserver(() => send({ height: Math.ceil(document.documentElement.getBoundingClientRect().height) })).observe(
    document.body,
  );
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.key.length === 1 && !/^(input|textarea|select)$/i.test(event.target.tagName)) send({ key: event.key });
  });
})();
