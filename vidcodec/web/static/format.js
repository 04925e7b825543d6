// Numbers as people read them. A figure that is not known is a dash.

export const DASH = "–";

export function fixed(value, digits, unit = "") {
  if (typeof value !== "number" || !Number.isFinite(value)) return DASH;
  return `${value.toFixed(digits)}${unit ? `\u00a0${unit}` : ""}`;
}

export function count(value) {
  return typeof value === "number" ? value.toLocaleString("en") : DASH;
}

// MSE on RGB in [0, 1] is a small number: 0.00042 reads 4.20e-4.
export function mse(value) {
  return typeof value === "number" ? value.toExponential(2) : DASH;
}

// The value at a dotted path, such as "latency_ms.total.p50".
export function at(figures, path) {
  return path.split(".").reduce((value, key) => (value ?? {})[key], figures);
}

// Put a text into an element. The same text again would be laid out and painted anew for nothing.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
