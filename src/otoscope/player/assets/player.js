// Players of explanations. One transport for all sounds of a player: they start together and only their gains change,
// so that switching keeps the instant. Nothing is loaded from anywhere: sounds and pictures are data URLs of the page.
(() => {
  "use strict";
  // Shared by all copies of this script on a page, for example in the outputs of a notebook.
  const shared = (document[Symbol.for("otoscope.player")] ??= { context: null, playing: null });
  // Other frames of the same origin, such as the outputs of a notebook: one player is heard at a time.
  if (!shared.frames && window.BroadcastChannel) {
    shared.frames = new BroadcastChannel("otoscope.player");
    shared.frames.onmessage = () => shared.playing?.pause();
  }
  const FADE_S = 0.008;
  const MOST_KEYS = 9;
  // Samples of the colour map magma, dark to light; between them, colours are interpolated.
  const MAGMA = ["000004", "0c0926", "221150", "400f74", "5f187f", "7b2382", "982d80", "b73779", "d3436e", "eb5760",
    "f8765c", "fd9a6a", "febb81", "fddc9e", "fcfdbf"].map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const VEIL = [140, 140, 140];

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const seconds = (value) => {
    const minutes = Math.floor(value / 60);
    const rest = (value - 60 * minutes).toFixed(2);
    return minutes ? `${minutes}:${rest.padStart(5, "0")}` : `${rest} s`;
  };
  const hertz = (value) => (value >= 1000 ? `${+(value / 1000).toPrecision(3)} kHz` : `${Math.round(value)} Hz`);

  function colour(share) {
    const place = share * (MAGMA.length - 1);
    const below = Math.min(Math.floor(place), MAGMA.length - 2);
    return MAGMA[below].map((value, i) => value + (place - below) * (MAGMA[below + 1][i] - value));
  }

  // Times are read in minutes from one minute on.
  const clock = (value) => {
    if (value < 60) return `${+value.toFixed(2)} s`;
    const [hours, minutes, rest] = [Math.floor(value / 3600), Math.floor(value / 60) % 60, +(value % 60).toFixed(2)];
    const padded = `${rest < 10 ? "0" : ""}${rest}`;
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${minutes}:${padded}`;
  };
  const STEPS_S = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
  const timeTicks = (low, high, count) =>
    multiples(low, high, STEPS_S.find((step) => step * count >= (high - low) * 0.999) ?? 86400);

  function multiples(low, high, step) {
    const values = [];
    for (let i = Math.ceil(low / step - 1e-6); i * step <= high + 1e-9; i += 1) values.push(+(i * step).toPrecision(12));
    return values;
  }

  // Round steps: 1, 2 or 5 times a power of ten, about `count` of them.
  function ticks(low, high, count) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    return multiples(low, high, [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough * 0.999));
  }

  async function pixels(image) {
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    const values = new Uint8Array(canvas.width * canvas.height);
    for (let i = 0; i < values.length; i += 1) values[i] = data[4 * i];
    return { values, width: canvas.width, height: canvas.height };
  }

  // Each value is looked up in a table of 256 colours, [red, green, blue, opacity].
  function paint(canvas, { values, width, height }, table) {
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    // Whole pixels are copied: the four bytes of a colour as one number, in whatever order this machine has them.
    const colours = new Uint32Array(Uint8ClampedArray.from(table.flat()).buffer);
    const target = new Uint32Array(image.data.buffer);
    for (let i = 0; i < values.length; i += 1) target[i] = colours[values[i]];
    context.putImageData(image, 0, 0);
  }

  // For further scripts of a page, such as that of a report.
  shared.tools ??= { clamp, seconds, clock, hertz, colour, ticks, timeTicks, pixels, paint };

  class Player {
    constructor(root) {
      this.root = root;
      this.duration = Number(root.dataset.duration);
      this.start = Number(root.dataset.start);
      this.topHz = Number(root.dataset.topHz);
      this.lowDb = Number(root.dataset.lowDb);
      this.highDb = Number(root.dataset.highDb);
      this.view = this.part("view");
      this.buttons = [...root.querySelectorAll(".otoscope-track")];
      this.sounds = [...root.querySelectorAll(".otoscope-sounds audio")];
      this.track = 0;
      this.offset = 0;
      this.running = null; // sources and gains while playing
      this.buffers = null;
      this.drawn = null;
      root.classList.add("otoscope-ready");
      this.build();
      this.listen();
      this.show();
    }

    part(name) {
      return this.root.querySelector(`.otoscope-${name}`);
    }

    build() {
      this.levels = this.view.appendChild(document.createElement("canvas"));
      this.levels.className = "otoscope-levels-canvas";
      this.veil = this.view.appendChild(document.createElement("canvas"));
      this.veil.className = "otoscope-veil";
      this.cursor = this.view.appendChild(document.createElement("div"));
      this.cursor.className = "otoscope-cursor";
      for (const canvas of [this.levels, this.veil]) canvas.setAttribute("aria-hidden", "true");
      const described = this.view.querySelector("img").alt;
      const attributes = {
        role: "slider", tabindex: "0", "aria-label": "Position", "aria-description": described,
        "aria-valuemin": "0", "aria-valuemax": this.duration.toFixed(2), "aria-orientation": "horizontal",
      };
      for (const [name, value] of Object.entries(attributes)) this.view.setAttribute(name, value);
      this.part("controls").hidden = false;
      this.part("readout").hidden = false;
      this.hint();
      this.scale(this.part("hertz"), ticks(0, this.topHz, 4), this.topHz, "bottom", 0, hertz);
      const end = this.start + this.duration;
      this.scale(this.part("seconds"), timeTicks(this.start, end, 5), this.duration, "left", this.start, clock);
    }

    scale(list, values, length, side, origin, text) {
      for (const value of values) {
        const item = list.appendChild(document.createElement("li"));
        item.textContent = text(value);
        item.style[side] = `${(100 * (value - origin)) / length}%`;
        // Labels at the very ends are moved inside.
        const place = (value - origin) / length;
        item.className = place < 0.02 ? "otoscope-first" : place > 0.98 ? "otoscope-last" : "";
      }
    }

    hint() {
      const last = Math.min(this.buttons.length, MOST_KEYS);
      this.part("readout").textContent =
        `Keys: space plays, 1 to ${last} switch, arrows seek, L equal loudness, R repeat` + (this.part("mask") ? ", M mask" : "");
    }

    listen() {
      this.part("play").addEventListener("click", () => this.toggle());
      this.buttons.forEach((button, index) => {
        button.addEventListener("click", (event) => {
          this.select(index);
          // After a click with the mouse, space should play and not press the button again.
          if (event.detail > 0) this.view.focus({ preventScroll: true });
        });
      });
      this.part("equal").addEventListener("change", () => this.level());
      this.part("volume").addEventListener("input", () => this.level());
      this.part("mask-button")?.addEventListener("click", () => this.toggleMask());
      this.part("opacity")?.addEventListener("input", () => this.showMask());
      this.root.addEventListener("keydown", (event) => this.key(event));
      this.view.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        this.view.setPointerCapture(event.pointerId);
        this.seek(this.timeAt(event));
      });
      this.view.addEventListener("pointermove", (event) => {
        if (this.view.hasPointerCapture(event.pointerId)) this.seek(this.timeAt(event));
        this.read(event);
      });
      this.view.addEventListener("pointerleave", () => this.hint());
    }

    key(event) {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      const { target } = event;
      const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const isRange = target.matches("input[type=range]");
      const isButton = target.matches("button, input[type=checkbox]");
      const step = event.shiftKey ? 0.05 : Math.max(0.25, this.duration / 40);
      if (/^[1-9]$/.test(name) && Number(name) <= this.buttons.length) this.select(Number(name) - 1);
      else if (name === " " && !isButton) this.toggle();
      else if (name === "l") this.check("equal");
      else if (name === "r") this.check("loop");
      else if (name === "m" && this.part("mask-button")) this.toggleMask();
      else if (name === "ArrowLeft" && !isRange) this.seek(this.currentTime - step);
      else if (name === "ArrowRight" && !isRange) this.seek(this.currentTime + step);
      else if (name === "Home" && !isRange) this.seek(0);
      else if (name === "End" && !isRange) this.seek(this.duration);
      else return;
      event.preventDefault();
    }

    check(name) {
      const box = this.part(name);
      box.checked = !box.checked;
      this.level();
    }

    timeAt(event) {
      const box = this.view.getBoundingClientRect();
      return (clamp((event.clientX - box.left) / box.width, 0, 1)) * this.duration;
    }

    // The position in seconds, of whichever sound is heard.
    get currentTime() {
      if (!this.running) return this.offset;
      return clamp(this.offset + shared.context.currentTime - this.running.begin, 0, this.duration);
    }

    get isPlaying() {
      return this.running !== null;
    }

    async draw() {
      this.drawn ??= (async () => {
        const levels = await pixels(this.part("levels"));
        const table = Array.from({ length: 256 }, (_, i) => [...colour(i / 255), 255]);
        paint(this.levels, levels, table);
        this.values = { levels };
        const image = this.part("mask");
        if (!image) return;
        this.values.mask = await pixels(image);
        paint(this.veil, this.values.mask, Array.from({ length: 256 }, (_, i) => [...VEIL, 255 - i]));
        this.showMask();
      })();
      return this.drawn;
    }

    read(event) {
      if (!this.values) return;
      const box = this.view.getBoundingClientRect();
      const x = clamp((event.clientX - box.left) / box.width, 0, 0.9999);
      const y = clamp((event.clientY - box.top) / box.height, 0, 0.9999);
      const at = ({ values, width, height }) => values[Math.floor(y * height) * width + Math.floor(x * width)] / 255;
      const db = this.lowDb + at(this.values.levels) * (this.highDb - this.lowDb);
      const parts = [seconds(this.start + x * this.duration), hertz((1 - y) * this.topHz), `${Math.round(db)} dB`];
      if (this.values.mask) parts.push(`${this.root.dataset.maskTitle} ${at(this.values.mask).toFixed(2)}`);
      this.part("readout").textContent = parts.join(" · ");
    }

    toggleMask() {
      const button = this.part("mask-button");
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      this.showMask();
    }

    showMask() {
      const isOn = this.part("mask-button").getAttribute("aria-pressed") === "true";
      this.veil.style.opacity = isOn ? this.part("opacity").value / 100 : 0;
    }

    select(index) {
      this.track = index;
      this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === index));
      this.level();
    }

    gainOf(index) {
      if (index !== this.track) return 0;
      const { gain, equalGain } = this.sounds[index].dataset;
      return gain * (this.part("equal").checked ? equalGain : 1) * (this.part("volume").value / 100);
    }

    level() {
      if (!this.running) return;
      const now = shared.context.currentTime;
      this.running.gains.forEach((node, index) => {
        // The ramp begins at the present value, so that fast switching does not click.
        node.gain.cancelScheduledValues(now);
        node.gain.setValueAtTime(node.gain.value, now);
        node.gain.linearRampToValueAtTime(this.gainOf(index), now + FADE_S);
      });
    }

    async decode() {
      this.buffers ??= Promise.all(this.sounds.map(async (sound) => {
        const text = atob(sound.getAttribute("src").split(",")[1]);
        const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
        return shared.context.decodeAudioData(bytes.buffer);
      }));
      return this.buffers;
    }

    toggle() {
      return this.isPlaying ? this.pause() : this.play();
    }

    async play() {
      if (shared.playing && shared.playing !== this) shared.playing.pause();
      shared.playing = this;
      shared.frames?.postMessage("playing");
      shared.context ??= new AudioContext();
      // Browsers let a context sound only from within a click or a key press, so this comes before anything is awaited.
      const resumed = shared.context.resume();
      try {
        this.decoded = await this.decode();
        await resumed;
        // In the meantime another player, or this one, may have been started.
        if (shared.playing === this && !this.running) this.begin(this.decoded);
      } catch (error) {
        this.root.classList.add("otoscope-failed");
        this.part("message").textContent =
          "This browser cannot decode the sounds (Vorbis in Ogg); a newer version of any browser can.";
      }
    }

    begin(buffers) {
      if (this.offset >= this.duration - 0.01) this.offset = 0;
      const { context } = shared;
      const begin = context.currentTime + 0.02;
      const gains = buffers.map((buffer, index) => {
        const node = context.createGain();
        node.gain.value = this.gainOf(index);
        node.connect(context.destination);
        return node;
      });
      const sources = buffers.map((buffer, index) => {
        const source = context.createBufferSource();
        source.buffer = buffer;
        source.connect(gains[index]);
        source.start(begin, Math.min(this.offset, buffer.duration));
        return source;
      });
      this.running = { begin, sources, gains };
      this.show();
      this.follow();
    }

    pause() {
      if (shared.playing === this) shared.playing = null;
      if (!this.running) return;
      this.offset = this.currentTime;
      this.stop();
      this.show();
    }

    stop() {
      cancelAnimationFrame(this.frame);
      for (const source of this.running.sources) source.stop();
      for (const node of this.running.gains) node.disconnect();
      this.running = null;
    }

    seek(time) {
      const wasPlaying = this.isPlaying;
      if (wasPlaying) this.stop();
      this.offset = clamp(time, 0, this.duration);
      if (wasPlaying) this.begin(this.decoded);
      this.show();
    }

    follow() {
      if (!this.running) return;
      if (this.currentTime >= this.duration) {
        if (this.part("loop").checked) {
          this.seek(0);
          return;
        }
        this.pause();
        return;
      }
      this.show();
      this.frame = requestAnimationFrame(() => this.follow());
    }

    show() {
      const time = this.currentTime;
      this.cursor.style.left = `${(100 * time) / this.duration}%`;
      this.part("clock").textContent = `${seconds(this.start + time)} / ${seconds(this.start + this.duration)}`;
      this.root.classList.toggle("otoscope-playing", this.isPlaying);
      this.part("play-text").textContent = this.isPlaying ? "Pause" : "Play";
      this.view.setAttribute("aria-valuenow", time.toFixed(2));
      this.view.setAttribute("aria-valuetext", seconds(this.start + time));
    }
  }

  const players = [...document.querySelectorAll("[data-otoscope-player]:not(.otoscope-ready)")].map((root) => {
    // For pages that hold the player; nothing is added to the global scope.
    root.otoscope = new Player(root);
    return root.otoscope;
  });
  // Those in view are drawn at once, the others when the browser has time, so that a long page opens fast.
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) entry.target.otoscope.draw();
  }, { rootMargin: "400px" });
  for (const player of players) observer.observe(player.root);
  const idle = window.requestIdleCallback ?? ((callback) => setTimeout(callback, 50));
  const drawRest = async ([first, ...rest]) => {
    if (!first) return;
    await first.draw();
    idle(() => drawRest(rest));
  };
  idle(() => drawRest(players));
})();
