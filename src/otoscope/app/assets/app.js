// Keys of the review, the height of the frames that show results, and names of controls that say what they show.
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
  // Gradio names these controls by other words than those on them, which voice control would look for.
  const rename = () => {
    for (const button of document.querySelectorAll("button.upload-container[aria-label]")) {
      if (button.innerText.trim()) button.removeAttribute("aria-label");
    }
    for (const button of document.querySelectorAll("button.playback[aria-label]")) {
      const shown = button.innerText.trim();
      const label = button.getAttribute("aria-label");
      if (!label.startsWith(shown)) button.setAttribute("aria-label", `${shown}: ${label.replace(/^[\d.]+x: /, "")}`);
    }
  };
  new MutationObserver(rename).observe(document, { childList: true, subtree: true, characterData: true });
  window.addEventListener("message", (event) => {
    const frames = [...document.querySelectorAll("iframe.otoscope-result")];
    const frame = frames.find((candidate) => candidate.contentWindow === event.source);
    const message = event.data?.otoscope;
    if (!frame || !message) return;
    if (Number.isFinite(message.height)) frame.style.height = `${Math.min(Math.max(message.height, 200), 6000) + 4}px`;
    if (typeof message.key === "string" && frame.closest("#review-clip")) press(message.key);
  });
})();
