// Charts of the last minute (uPlot). Colours come from the style sheet, so that they follow the light or dark scheme.

import uPlot from "/vendor/uPlot.esm.js";
import { fixed, setText } from "/format.js";
import { Seen } from "/seen.js";

const SHOWN_S = 60;
const UNSEEN_EVERY = 8; // figures: a chart out of sight is drawn now and then, for who has the page read aloud or printed
const KEPT_ROWS = 600;
const HEIGHT = 190;

const kbps = (value) => fixed(value, 1);
const db = (value) => fixed(value, 2);
const ms = (value) => fixed(value, 1);

const STAGES = ["capture", "crop", "encode", "network", "decode", "display"];

// factor: what the figure is multiplied by before it is drawn. zero: the axis begins there. least: its smallest extent.
const CHARTS = [
  {
    title: "Rate", unit: "kbit/s", zero: true, least: 20,
    lines: [
      { path: "wire_kbps", label: "ours, wire", color: "--c-ours", format: kbps },
      { path: "payload_kbps", label: "ours, payload", color: "--c-ours-2", dash: [4, 3], format: kbps },
      { path: "baseline.kbps", label: "baseline, wire", color: "--c-baseline", dash: [8, 3], format: kbps },
    ],
  },
  {
    title: "PSNR", unit: "dB", least: 1,
    lines: [
      { path: "psnr_db", label: "ours", color: "--c-ours", format: db },
      { path: "baseline.psnr_db", label: "baseline", color: "--c-baseline", dash: [8, 3], format: db },
    ],
  },
  {
    title: "Latency by stage", unit: "ms", zero: true, least: 20,
    lines: [
      { path: "latency_ms.total.p50", label: "total p50", color: "--c-total", width: 2, format: ms },
      { path: "latency_ms.total.p95", label: "total p95", color: "--c-total", dash: [4, 3], format: ms },
      ...STAGES.map((stage) => ({ path: `latency_ms.${stage}.p50`, label: stage, color: `--c-${stage}`, format: ms })),
    ],
  },
  {
    title: "MSE of RGB in [0, 1]", unit: "10⁻⁴", zero: true, least: 1, factor: 1e4,
    lines: [
      { path: "mse", label: "ours", color: "--c-ours", format: db },
      { path: "baseline.mse", label: "baseline", color: "--c-baseline", dash: [8, 3], format: db },
    ],
  },
  {
    title: "Quality", unit: "level", zero: true, least: 4,
    lines: [{ path: "quality", label: "rate point", color: "--c-ours", format: (value) => fixed(value, 1) }],
  },
  {
    title: "Frames lost", unit: "%", zero: true, least: 5,
    lines: [{ path: "loss_percent", label: "never decoded", color: "--bad", format: (value) => fixed(value, 1) }],
  },
];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class Chart {
  constructor(parent, spec) {
    this.spec = spec;
    this.figure = document.createElement("figure");
    this.figure.className = "chart";
    const caption = document.createElement("figcaption");
    caption.textContent = `${spec.title}, ${spec.unit}`;
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    this.place = document.createElement("div");
    this.place.className = "plot";
    this.place.setAttribute("role", "img");
    this.figure.append(caption, this.legend, this.place);
    parent.append(this.figure);
    this.outputs = spec.lines.map((line, index) => this.entry(line, index));
    this.plot = new uPlot(this.options(), [[], ...spec.lines.map(() => [])], this.place);
  }

  entry(line, index) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const stroke = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const shape = { x1: 0, y1: 4, x2: 18, y2: 4, "stroke-width": 2.5, "stroke-dasharray": (line.dash ?? []).join(" ") };
    for (const [key, value] of Object.entries(shape)) stroke.setAttribute(key, value);
    stroke.style.stroke = `var(${line.color})`;
    mark.setAttribute("aria-hidden", "true");
    mark.append(stroke);
    const output = document.createElement("span");
    button.append(mark, line.label, output);
    button.addEventListener("click", () => {
      const show = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(show));
      this.plot.setSeries(index + 1, { show });
    });
    item.append(button);
    this.legend.append(item);
    return output;
  }

  options() {
    const { spec } = this;
    const axis = {
      stroke: () => color("--dim"),
      grid: { stroke: () => color("--grid"), width: 1 },
      ticks: { stroke: () => color("--grid"), width: 1, size: 4 },
      font: "12px system-ui, sans-serif",
      labelFont: "12px system-ui, sans-serif",
      labelSize: 16,
      gap: 4,
    };
    const range = (_, low, high) => {
      if (low === null || high === null) return [0, spec.least];
      if (spec.zero) return [0, Math.max(1.1 * high, spec.least)];
      const room = Math.max(0.12 * (high - low), (spec.least - (high - low)) / 2);
      return [low - room, high + room];
    };
    return {
      width: Math.max(120, this.place.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: false, range: (_, low, high) => [Math.max(low ?? 0, (high ?? 0) - SHOWN_S), Math.max(high ?? 0, 10)] }, y: { range } },
      axes: [
        { ...axis, label: "time in the call, s", size: 26 },
        { ...axis, label: spec.unit, size: 42 },
      ],
      series: [
        {},
        ...spec.lines.map((line) => ({
          label: line.label,
          stroke: () => color(line.color),
          width: line.width ?? 1.5,
          dash: line.dash,
          points: { show: false },
          spanGaps: false,
        })),
      ],
      hooks: { setCursor: [() => this.label()] },
    };
  }

  setData(times, columns) {
    const factor = this.spec.factor ?? 1;
    this.data = this.spec.lines.map(({ path }) => columns[path].map((value) => (value === null ? null : value * factor)));
    this.times = times;
    this.plot.setData([times, ...this.data]);
    this.label();
  }

  // Values in the legend: at the pointer, else the newest. The same text describes the chart to a screen reader.
  label() {
    if (!this.times) return;
    const index = this.plot?.cursor.idx ?? this.times.length - 1;
    const texts = this.spec.lines.map((line, n) => line.format(this.data[n][index]));
    texts.forEach((text, n) => setText(this.outputs[n], text));
    const said = this.spec.lines.map((line, n) => `${line.label} ${texts[n]}`).join(", ");
    this.place.setAttribute("aria-label", `${this.spec.title} in ${this.spec.unit}, now: ${said}`);
  }

  resize() {
    const width = Math.max(120, this.place.clientWidth);
    if (width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }
}

export class Charts {
  constructor(parent) {
    this.charts = CHARTS.map((spec) => new Chart(parent, spec));
    this.series = [];
    this.rows = [];
    this.late = new Set(); // charts to be drawn before the next screen
    this.added = 0;
    this.turns = [...this.charts]; // whose turn it is to be drawn, the longest waiting first
    this.seen = new Seen((figure) => this.redraw(this.charts.filter((chart) => chart.figure === figure)));
    this.charts.forEach((chart) => this.seen.watch(chart.figure));
    new ResizeObserver(() => this.charts.forEach((chart) => chart.resize())).observe(parent);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
      this.charts.forEach((chart) => chart.plot.redraw(false, true)));
  }

  reset(series, rows) {
    this.series = series;
    this.rows = rows;
    this.redraw(this.charts);
  }

  // Take new figures, four times a second, and draw one of the charts that can be seen: all at once would hold up the
  // pictures, and the call where it runs on the same processor.
  add(row) {
    this.rows.push(row);
    if (this.rows.length > KEPT_ROWS) this.rows.shift();
    this.added += 1;
    const any = this.added % UNSEEN_EVERY === 0;
    const chart = this.turns.find(({ figure }) => any || this.seen.has(figure));
    if (!chart) return;
    this.turns = [...this.turns.filter((other) => other !== chart), chart];
    this.redraw([chart]);
  }

  redraw(charts = this.charts) {
    if (!this.series.length) return;
    if (!this.late.size) requestAnimationFrame(() => this.draw());
    charts.forEach((chart) => this.late.add(chart));
  }

  draw() {
    const last = this.rows.at(-1)?.[0] ?? 0;
    const rows = this.rows.filter((row) => row[0] !== null && row[0] >= last - SHOWN_S && row[0] <= last);
    const columns = {};
    this.series.forEach((path, index) => { columns[path] = rows.map((row) => row[index]); });
    for (const chart of this.late) chart.setData(columns.time_s, columns);
    this.late.clear();
  }
}
