// Keys of the review, and the height of the frames that show results.
(() => {
  "use strict";
  const KEYS = { y: "right", n: "wrong", u: "unsure", z: "undo", ",": "previous", ".": "next" };
  const press = (key) => {
    const button = document.getElementById(`review-${KEYS[key.toLowerCase()]}`);
    // Only while the tab of the review is shown.
    if (button && button.offsetParent !== null && !button.disabled) button.click();
  };
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (/^(input|textarea|select)$/i.test(event.target.tagName) || event.target.isContentEditable) return;
    press(event.key);
  });
  window.addEventListener("message", (event) => {
    const frames = [...document.querySelectorAll("iframe.otoscope-result")];
    const frame = frames.find((candidate) => candidate.contentWindow === event.source);
    const message = event.data?.otoscope;
    if (!frame || !message) return;
    if (Number.isFinite(message.height)) frame.style.height = `${Math.min(Math.max(message.height, 200), 6000) + 4}px`;
    if (typeof message.key === "string" && frame.closest("#review-clip")) press(message.key);
  });
})();
