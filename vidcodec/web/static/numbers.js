// The numbers as tables: the call and its baseline, delay by stage, and the link's counters by their W3C names.

import { at, count, fixed, mse, setText } from "/format.js";

const STAGES = ["capture", "crop", "encode", "network", "decode", "display", "total"];

const ROWS = [
  ["Wire rate, kbit/s", "wire_kbps", "baseline.kbps", (value) => fixed(value, 1)],
  ["Payload rate, kbit/s", "payload_kbps", null, (value) => fixed(value, 1)],
  ["PSNR, dB", "psnr_db", "baseline.psnr_db", (value) => fixed(value, 2)],
  ["MSE, RGB in [0, 1]", "mse", "baseline.mse", mse],
  ["MS-SSIM", "ms_ssim", null, (value) => fixed(value, 4)],
  ["Quality, level", "quality", null, (value) => fixed(value, 1)],
  ["Frames per second", "fps", null, (value) => fixed(value, 1)],
  ["Frames captured", "frames_captured", null, count],
  ["Frames sent", "frames_sent", null, count],
  ["Frames shown", "frames_shown", null, count],
  ["Frames lost", "frames_lost", null, count],
  ["Frames lost, %", "loss_percent", null, (value) => fixed(value, 1)],
  ["Duration, s", "time_s", null, (value) => fixed(value, 0)],
];

// W3C webrtc-stats gives bytes as counts and times in seconds.
function w3c(name, value) {
  if (typeof value !== "number") return value === null ? "–" : String(value);
  if (/Time$|Duration$|Delay$/.test(name)) return fixed(value, 3, "s");
  if (/[bB]ytes/.test(name)) return `${count(value)}\u00a0B`;
  return Number.isInteger(value) ? count(value) : fixed(value, 2);
}

class Table {
  constructor(parent, title, columns) {
    this.table = document.createElement("table");
    const caption = document.createElement("caption");
    caption.textContent = title;
    const head = document.createElement("tr");
    for (const column of columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = column;
      head.append(cell);
    }
    const thead = document.createElement("thead");
    thead.append(head);
    this.body = document.createElement("tbody");
    this.table.append(caption, thead, this.body);
    parent.append(this.table);
    this.rows = new Map();
    this.columns = columns.length - 1;
  }

  reveal(name) {
    this.rows.get(name)[0].parentElement.hidden = false;
  }

  set(name, texts) {
    let cells = this.rows.get(name);
    if (!cells) {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      // A long name may break between its words.
      head.append(...name.split(/(?=[A-Z])/).flatMap((part) => [part, document.createElement("wbr")]));
      cells = Array.from({ length: this.columns }, () => document.createElement("td"));
      row.append(head, ...cells);
      this.body.append(row);
      this.rows.set(name, cells);
    }
    texts.forEach((text, index) => setText(cells[index], text));
  }
}

export class Numbers {
  constructor(parent) {
    this.call = new Table(parent, "Call", ["Figure", "Ours", "Baseline"]);
    this.latency = new Table(parent, "Delay of shown frames, ms", ["Stage", "p50", "p95", "p99"]);
    this.link = new Table(parent, "Link (W3C webrtc-stats names)", ["Name", "Value"]);
    for (const [label] of ROWS) {
      this.call.set(label, []);
      this.call.rows.get(label)[0].parentElement.hidden = true;
    }
  }

  setFigures(figures) {
    for (const [label, ours, baseline, format] of ROWS) {
      const value = at(figures, ours) ?? null;
      this.call.set(label, [format(value), baseline ? format(at(figures, baseline)) : ""]);
      if (value !== null) this.call.reveal(label); // what this end never measures has no row
    }
    for (const stage of STAGES) {
      const values = ["p50", "p95", "p99"].map((key) => fixed(at(figures, `latency_ms.${stage}.${key}`), 1));
      this.latency.set(stage, values);
    }
    for (const [name, value] of Object.entries(figures.link ?? {})) {
      if (typeof value !== "object" || value === null) this.link.set(name, [w3c(name, value)]);
    }
  }
}
