// Outputs of a notebook: a frame as high as its content, in the colours of the notebook. The frame keeps names, styles and
// keys to itself, so that several outputs on a page do not disturb one another.
(() => {
  "use strict";
  // Null if the frame is alone, or if the page around it is of another origin.
  const frame = (() => {
    try {
      return window.frameElement;
    } catch {
      return null;
    }
  })();

  // ---- Colours: dark if the notebook is dark, whatever program shows it ----
  function parsed(colour) {
    const [red, green, blue, opacity = 1] = colour.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return { lightness: (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255, opacity };
  }

  function isDark() {
    for (let parent = frame; parent; parent = parent.parentElement) {
      const { lightness, opacity } = parsed(getComputedStyle(parent).backgroundColor);
      if (opacity > 0.5) return lightness < 0.5;
    }
    // Nothing behind the frame has a colour: light text stands on something dark.
    return parsed(getComputedStyle(frame).color).lightness > 0.5;
  }

  function colours() {
    document.documentElement.dataset.scheme = isDark() ? "dark" : "light";
  }

  // ---- Height ----
  function height() {
    // Part of a pixel would make a scroll bar.
    if (frame) frame.style.height = `${Math.ceil(document.body.getBoundingClientRect().height) + 1}px`;
  }

  if (frame) {
    colours();
    const outside = frame.ownerDocument;
    const observer = new MutationObserver(colours);
    for (const element of [outside.documentElement, outside.body]) {
      if (element) observer.observe(element, { attributes: true });
    }
    new ResizeObserver(height).observe(document.body);
    height();
  }

  // ---- Links within the frame: its address is that of the notebook, so that they would open the notebook in it ----
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    const target = document.getElementById(link.getAttribute("href").slice(1));
    target?.scrollIntoView({ block: "start" });
    target?.focus({ preventScroll: true });
  });
})();
