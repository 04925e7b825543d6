// Canvases with the exact pixels of the call, enlarged by a whole number of screen pixels where that nearly fills the
// room. A frame is drawn just before the screen is, and only then acknowledged: a page that nobody sees gets no frames.
// A panel that is scrolled out of sight takes its frames, and is painted when it comes back or is needed.

import { DASH, fixed, mse, setText } from "/format.js";
import { Seen } from "/seen.js";

const HEADER_BYTES = 12;
const FULL_ENOUGH = 0.8;
const OPAQUE = 0xff000000;
const LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
const NAMES = { original: "Original", ours: "Ours", baseline: "Baseline" };

export function parseFrame(buffer) {
  const view = new DataView(buffer);
  const width = view.getUint16(4, true);
  const height = view.getUint16(6, true);
  const present = view.getUint8(8);
  return { number: view.getUint32(0, true), width, height, present, buffer };
}

// RGB from byte `from` of a buffer into the RGBA of an image that is opaque already.
export function expand(buffer, from, rgba) {
  const pixels = rgba.length / 4;
  if (LITTLE_ENDIAN && from % 4 === 0 && pixels % 4 === 0) {
    // Four pixels are three words: a third of the time that single bytes take.
    const words = new Uint32Array(buffer, from, (3 * pixels) / 4);
    const out = new Uint32Array(rgba.buffer, rgba.byteOffset, pixels);
    for (let to = 0, at = 0; to < pixels; to += 4, at += 3) {
      const first = words[at];
      const second = words[at + 1];
      const third = words[at + 2];
      out[to] = first | OPAQUE;
      out[to + 1] = (first >>> 24) | (second << 8) | OPAQUE;
      out[to + 2] = (second >>> 16) | (third << 16) | OPAQUE;
      out[to + 3] = (third >>> 8) | OPAQUE;
    }
    return;
  }
  const bytes = new Uint8Array(buffer, from, 3 * pixels);
  for (let to = 0, at = 0; to < rgba.length; to += 4) {
    rgba[to] = bytes[at++];
    rgba[to + 1] = bytes[at++];
    rgba[to + 2] = bytes[at++];
  }
}

export class Pictures {
  constructor(section, onDrawn) {
    this.section = section;
    this.onDrawn = onDrawn;
    this.panels = [];
    this.waiting = null;
    this.undrawn = 0;
    this.number = null;
    this.crisp = true;
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(section);
    this.seen = new Seen((figure) => this.panels.filter((panel) => panel.figure === figure).forEach((panel) => this.paint(panel)));
    this.draw = this.draw.bind(this);
  }

  setPanels(names) {
    if (names.join() === this.panels.map((panel) => panel.name).join()) return;
    this.waiting = null; // of another call, where each place in it may have been another panel
    for (const { figure } of this.panels) this.seen.forget(figure);
    this.section.replaceChildren();
    this.section.style.setProperty("--panels", names.length);
    this.section.classList.toggle("single", names.length === 1);
    this.panels = names.map((name) => {
      const figure = document.createElement("figure");
      figure.className = "picture empty";
      figure.dataset.panel = name;
      const head = document.createElement("div");
      head.className = "name";
      const title = document.createElement("b");
      title.textContent = NAMES[name];
      const note = document.createElement("span");
      note.className = "note";
      head.append(title, note);
      const stage = document.createElement("div");
      stage.className = "stage";
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 192;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${NAMES[name]} picture`);
      stage.append(canvas);
      const caption = document.createElement("figcaption");
      figure.append(head, stage, caption);
      this.section.append(figure);
      const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
      this.seen.watch(figure);
      return { name, figure, stage, canvas, context, note, caption, image: null, due: null };
    });
    this.fit();
  }

  // Take a frame; of several between two screens the newest is drawn.
  push(buffer) {
    this.waiting = buffer;
    this.undrawn += 1;
    if (this.undrawn === 1) requestAnimationFrame(this.draw);
  }

  draw() {
    if (this.waiting) this.show();
    for (; this.undrawn > 0; this.undrawn -= 1) this.onDrawn();
  }

  show() {
    const frame = parseFrame(this.waiting);
    let from = HEADER_BYTES;
    this.panels.forEach((panel, index) => {
      if (!(frame.present & (1 << index))) return;
      panel.due = { frame, from };
      from += 3 * frame.width * frame.height;
      if (!panel.image || this.seen.has(panel.figure)) this.paint(panel);
    });
    this.number = frame.number;
    this.section.dataset.number = frame.number;
  }

  // Paint what a panel was given last, if that has not been done.
  paint(panel) {
    if (!panel.due) return;
    const { frame: { width, height, buffer }, from } = panel.due;
    panel.due = null;
    if (!panel.image || panel.image.width !== width || panel.image.height !== height) {
      panel.canvas.width = width;
      panel.canvas.height = height;
      panel.canvas.style.aspectRatio = `${width} / ${height}`;
      panel.image = panel.context.createImageData(width, height);
      panel.image.data.fill(255);
      panel.figure.classList.remove("empty");
      this.fit();
    }
    expand(buffer, from, panel.image.data);
    panel.context.putImageData(panel.image, 0, 0);
  }

  setScaling(name) {
    this.crisp = name === "crisp";
    this.fit();
  }

  // A whole number of screen pixels for each pixel if that fills most of the width, else the whole width.
  fit() {
    const ratio = window.devicePixelRatio || 1;
    for (const panel of this.panels) {
      const room = panel.stage.clientWidth;
      const times = Math.floor((room * ratio) / panel.canvas.width);
      const whole = (times * panel.canvas.width) / ratio;
      const exact = times >= 1 && whole >= FULL_ENOUGH * room;
      panel.canvas.style.width = exact ? `${whole}px` : "100%";
      panel.canvas.classList.toggle("crisp", this.crisp && (exact || times >= 1));
      panel.figure.style.setProperty("--shown", exact ? `${whole}px` : "100%");
    }
  }

  setFigures(figures) {
    const baseline = figures.baseline ?? {};
    const codec = figures.codec ?? {};
    const texts = {
      original: { note: `${this.panels[0]?.canvas.width ?? 192}×${this.panels[0]?.canvas.height ?? 192}`, parts: [] },
      ours: {
        note: codec.model_id ? `model ${codec.model_id}` : "",
        parts: [fixed(figures.wire_kbps, 1, "kbit/s"), fixed(figures.psnr_db, 1, "dB"), `MSE ${mse(figures.mse)}`],
      },
      baseline: {
        note: baseline.name ?? baseline.codec ?? "",
        parts: [fixed(baseline.kbps, 1, "kbit/s"), fixed(baseline.psnr_db, 1, "dB"), `MSE ${mse(baseline.mse)}`],
      },
    };
    if (typeof figures.fps === "number") texts.original.parts.push(`${figures.fps.toFixed(1)}\u00a0frames/s`);
    for (const panel of this.panels) {
      const { note, parts } = texts[panel.name];
      setText(panel.note, note);
      const known = parts.filter((part) => !part.endsWith(DASH));
      while (panel.caption.childElementCount > known.length) panel.caption.lastElementChild.remove();
      while (panel.caption.childElementCount < known.length) panel.caption.append(document.createElement("span"));
      known.forEach((part, index) => setText(panel.caption.children[index], part));
    }
  }

  // The panels side by side as they came, one PNG pixel for each pixel.
  async snapshot() {
    this.panels.forEach((panel) => this.paint(panel));
    const shown = this.panels.filter((panel) => panel.image);
    if (!shown.length) return null;
    const whole = document.createElement("canvas");
    whole.width = shown.reduce((sum, panel) => sum + panel.canvas.width, 0);
    whole.height = Math.max(...shown.map((panel) => panel.canvas.height));
    const context = whole.getContext("2d");
    let left = 0;
    for (const panel of shown) {
      context.putImageData(panel.image, left, 0);
      left += panel.canvas.width;
    }
    const blob = await new Promise((resolve) => whole.toBlob(resolve, "image/png"));
    return { blob, name: `vidcodec-${String(this.number).padStart(6, "0")}.png` };
  }
}
