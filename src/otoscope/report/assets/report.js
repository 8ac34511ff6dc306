// Tables that are sorted and filtered, timelines, explanations of scores, and printing.
(() => {
  "use strict";
  const { pixels, paint, colour, ticks, timeTicks, clamp, seconds, clock, hertz } = document[Symbol.for("otoscope.player")].tools;

  // ---- Tables ----
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const cellValue = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();

  function sort(head, column) {
    const body = head.closest("table").tBodies[0];
    const isAscending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
    const isNumber = head.dataset.kind === "number";
    const rows = [...body.rows].map((row) => [row, cellValue(row, column)]);
    rows.sort(([, a], [, b]) => {
      if (!isNumber) return isAscending ? collator.compare(a, b) : collator.compare(b, a);
      const [x, y] = [parseFloat(a), parseFloat(b)];
      // Cells without a number stay last in both orders.
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return isAscending ? x - y : y - x;
    });
    body.append(...rows.map(([row]) => row));
  }

  for (const button of document.querySelectorAll("table.sortable .sort")) {
    const head = button.closest("th");
    button.addEventListener("click", () => sort(head, head.cellIndex));
  }

  for (const form of document.querySelectorAll("form.filter")) {
    const table = document.getElementById(form.dataset.filter);
    const apply = () => {
      const [text, level, least] = [form.text.value.trim().toLowerCase(), form.level.value, Number(form.confidence.value) || 0];
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const { name, label, level: verdict, confidence, section } = row.dataset;
        const isShown = (!text || `${name}\n${label}`.toLowerCase().includes(text)) &&
          (!level || (verdict || "none") === level) && Number(confidence) >= least;
        row.hidden = !isShown;
        shown += isShown;
        const part = section && document.getElementById(section);
        if (part) part.hidden = !isShown;
      }
      form.querySelector("output").textContent = `${shown} of ${table.tBodies[0].rows.length} shown`;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  // ---- Meanings of scores: Escape hides them ----
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.body.classList.add("dismissed");
  });
  for (const name of ["focusin", "pointerover"]) {
    document.addEventListener(name, (event) => {
      if (event.target.closest?.(".term, th")) document.body.classList.remove("dismissed");
    });
  }

  // ---- Timelines of long recordings ----
  const EVIDENCE = [0, 230, 255];
  const LEAST_SPAN_S = 1;

  class Timeline {
    constructor(root) {
      this.root = root;
      this.start = Number(root.dataset.start);
      this.duration = Number(root.dataset.duration);
      this.topHz = Number(root.dataset.topHz);
      this.view = [this.start, this.start + this.duration];
      this.selected = null;
      this.labels = [...root.querySelectorAll(".timeline-labels li")].map((item) => item.textContent);
      const table = document.getElementById(root.dataset.timeline);
      this.rows = table ? [...table.tBodies[0].rows] : [];
      this.events = this.rows.map(({ dataset }, index) => ({
        number: Number(dataset.number), label: dataset.label, begin: Number(dataset.begin), end: Number(dataset.end),
        low: dataset.low === "" ? 0 : Number(dataset.low), high: dataset.high === "" ? this.topHz : Number(dataset.high),
        hasBox: dataset.high !== "", level: dataset.level, confidence: Number(dataset.confidence), row: this.rows[index],
      }));
      this.lanes = root.querySelector(".timeline-lanes");
      this.sound = root.querySelector(".timeline-view");
      this.lanes.style.height = `${root.querySelector(".timeline-labels").offsetHeight}px`;
      this.prepare();
    }

    async prepare() {
      const [levels, share, lanes] = await Promise.all([".timeline-levels", ".timeline-share", ".timeline-lanes img"]
        .map((name) => pixels(this.root.querySelector(name))));
      const table = Array.from({ length: 256 }, (_, i) => [...colour(i / 255), 255]);
      this.pictures = { levels: this.offscreen(levels, table), lanes: this.offscreen(lanes, table),
        share: this.offscreen(share, Array.from({ length: 256 }, (_, i) => [...EVIDENCE, 0.75 * i])) };
      this.canvases = [this.lanes, this.sound].map((parent) => {
        const canvas = parent.appendChild(document.createElement("canvas"));
        canvas.setAttribute("aria-hidden", "true");
        return canvas;
      });
      this.root.classList.add("timeline-ready");
      this.root.querySelector(".timeline-controls").hidden = false;
      this.listen();
      this.hertz();
      new ResizeObserver(() => this.draw()).observe(this.sound);
      this.draw();
    }

    offscreen(picture, table) {
      const canvas = document.createElement("canvas");
      paint(canvas, picture, table);
      return canvas;
    }

    hertz() {
      const list = this.root.querySelector(".timeline-hertz");
      for (const value of ticks(0, this.topHz, 4)) {
        const item = list.appendChild(document.createElement("li"));
        item.textContent = hertz(value);
        item.style.bottom = `${(100 * value) / this.topHz}%`;
      }
    }

    listen() {
      const actions = {
        in: () => this.zoom(0.5), out: () => this.zoom(2), all: () => this.show(this.start, this.start + this.duration),
        next: () => this.step(1), previous: () => this.step(-1),
      };
      for (const button of this.root.querySelectorAll("[data-do]")) button.addEventListener("click", actions[button.dataset.do]);
      const keys = { "+": "in", "=": "in", "-": "out", 0: "all", n: "next", p: "previous" };
      this.root.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const span = this.view[1] - this.view[0];
        const isButton = event.target !== this.root;
        if (keys[event.key]) actions[keys[event.key]]();
        else if (event.key === "ArrowLeft" && !isButton) this.move(-span / 8);
        else if (event.key === "ArrowRight" && !isButton) this.move(span / 8);
        else return;
        event.preventDefault();
      });
      for (const part of [this.lanes, this.sound]) {
        part.addEventListener("wheel", (event) => {
          // A plain wheel scrolls the page.
          if (!event.ctrlKey && !event.shiftKey) return;
          event.preventDefault();
          this.zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, this.timeAt(event));
        }, { passive: false });
        part.addEventListener("pointerdown", (event) => {
          if (event.button !== 0) return;
          part.setPointerCapture(event.pointerId);
          this.drag = { x: event.clientX, view: [...this.view], moved: false };
        });
        part.addEventListener("pointermove", (event) => {
          if (!this.drag) return;
          const shift = event.clientX - this.drag.x;
          if (Math.abs(shift) > 4) this.drag.moved = true;
          const [begin, end] = this.drag.view;
          const offset = (shift / part.clientWidth) * (end - begin);
          if (this.drag.moved) this.show(begin - offset, end - offset);
        });
        part.addEventListener("pointerup", (event) => {
          if (this.drag && !this.drag.moved) this.click(this.timeAt(event), event, part);
          this.drag = null;
        });
        part.addEventListener("pointercancel", () => { this.drag = null; });
      }
      for (const event of this.events) {
        event.row.querySelector("[data-show-event]").addEventListener("click", () => this.select(event, true));
      }
    }

    timeAt(event) {
      const box = this.sound.getBoundingClientRect();
      return this.view[0] + clamp((event.clientX - box.left) / box.width, 0, 1) * (this.view[1] - this.view[0]);
    }

    click(time, { clientY }, part) {
      const box = part.getBoundingClientRect();
      const lane = part === this.lanes ? this.labels[Math.floor(((clientY - box.top) / box.height) * this.labels.length)] : null;
      const hits = this.events.filter((event) => event.begin <= time && time <= event.end && (!lane || event.label === lane));
      // Of several events the shortest: it could not be reached otherwise.
      hits.sort((a, b) => a.end - a.begin - (b.end - b.begin));
      if (hits.length) this.select(hits[0], false);
    }

    step(direction) {
      const shown = this.events.filter(({ row }) => !row.hidden);
      const index = shown.indexOf(this.selected);
      const next = index < 0 ? (direction > 0 ? 0 : shown.length - 1) : clamp(index + direction, 0, shown.length - 1);
      if (shown.length) this.select(shown[next], true);
    }

    select(event, isShown) {
      this.selected = event;
      for (const row of this.rows) row.classList.toggle("selected", row === event.row);
      const line = this.root.querySelector(".timeline-event");
      line.textContent = `Event ${event.number}: ${event.label}, ${seconds(event.begin)} to ${seconds(event.end)}, ` +
        `p = ${event.confidence.toFixed(2)}${event.level ? `, ${event.level}` : ""}. `;
      const link = event.row.querySelector("a");
      if (link) {
        const copy = document.createElement("a");
        copy.href = link.getAttribute("href");
        copy.textContent = "Listen";
        line.append(copy);
      }
      if (isShown) {
        const span = Math.min(this.view[1] - this.view[0], Math.max(6 * (event.end - event.begin), 10));
        const middle = (event.begin + event.end) / 2;
        this.show(middle - span / 2, middle + span / 2);
      } else this.draw();
    }

    zoom(factor, around = (this.view[0] + this.view[1]) / 2) {
      const [begin, end] = this.view;
      this.show(around - factor * (around - begin), around + factor * (end - around));
    }

    move(shift) {
      this.show(this.view[0] + shift, this.view[1] + shift);
    }

    show(begin, end) {
      const span = clamp(end - begin, Math.min(LEAST_SPAN_S, this.duration), this.duration);
      const first = clamp((begin + end - span) / 2, this.start, this.start + this.duration - span);
      this.view = [first, first + span];
      this.draw();
    }

    draw() {
      const [begin, end] = this.view;
      for (const canvas of this.canvases) {
        [canvas.width, canvas.height] = [canvas.clientWidth, canvas.clientHeight].map((size) => Math.max(Math.round(size * devicePixelRatio), 1));
      }
      const [lanes, sound] = this.canvases.map((canvas) => canvas.getContext("2d"));
      this.slice(lanes, this.pictures.lanes, false);
      this.slice(sound, this.pictures.levels, true);
      this.slice(sound, this.pictures.share, true);
      for (const event of this.events) this.frame(event, lanes, sound);
      const list = this.root.querySelector(".timeline-seconds");
      list.replaceChildren(...timeTicks(begin, end, sound.canvas.clientWidth < 500 ? 4 : 9).map((value) => {
        const item = document.createElement("li");
        const place = (value - begin) / (end - begin);
        item.textContent = clock(value);
        item.style.left = `${100 * place}%`;
        if (place < 0.03) item.className = "first";
        if (place > 0.97) item.className = "last";
        return item;
      }));
      this.root.querySelector(".timeline-range").textContent = `${clock(begin)} to ${clock(end)}`;
    }

    slice(context, picture, isSmooth) {
      const { canvas } = context;
      const perSecond = picture.width / this.duration;
      context.imageSmoothingEnabled = isSmooth;
      context.drawImage(picture, (this.view[0] - this.start) * perSecond, 0, (this.view[1] - this.view[0]) * perSecond, picture.height,
        0, 0, canvas.width, canvas.height);
    }

    frame(event, lanes, sound) {
      const [begin, end] = this.view;
      if (event.end < begin || event.begin > end) return;
      const isSelected = event === this.selected;
      const box = (context, top, height) => {
        const { width } = context.canvas;
        const x = ((event.begin - begin) / (end - begin)) * width;
        const right = ((event.end - begin) / (end - begin)) * width;
        // Black beside white is seen on any colour. Thin frames do not hide what many short events hold.
        const scale = isSelected || right - x > 16 ? 1 : 0.4;
        for (const [style, line] of [["#000", isSelected ? 6 : 3.5 * scale], ["#fff", isSelected ? 3 : 1.5 * scale]]) {
          [context.strokeStyle, context.lineWidth] = [style, line];
          context.strokeRect(x, top + 1.5, Math.max(right - x, 2), Math.max(height - 3, 2));
        }
      };
      const lane = this.labels.indexOf(event.label);
      const laneHeight = lanes.canvas.height / this.labels.length;
      if (lane >= 0) box(lanes, lane * laneHeight, laneHeight);
      const { height } = sound.canvas;
      // An event that was not explained has no box of frequencies: its frame would hide the spectrogram.
      if (!event.hasBox && !isSelected) return;
      box(sound, height * (1 - event.high / this.topHz), (height * (event.high - event.low)) / this.topHz);
    }
  }

  for (const root of document.querySelectorAll("[data-timeline]")) root.timeline = new Timeline(root);

  // ---- Printing: everything that is folded is printed ----
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      part.dataset.wasClosed = "";
    }
  });
  addEventListener("afterprint", () => {
    for (const part of document.querySelectorAll("details[data-was-closed]")) part.open = false;
  });
})();
