// Does the sender still see our picture? The JavaScript of vidcodec/drift.py, which says why and how.

const EVERY = 64;
const APART = 2.0;
const BLOCK = 32;
const KEPT = 8;

function sign(index) {
  let x = Math.imul(index, 2654435761);
  x ^= x >>> 15;
  x = Math.imul(x, 2246822519);
  x ^= x >>> 13;
  return 1 - 2 * (x & 1);
}

// pixels: RGBA of a square picture. Its sketch: sums with signs of its blocks, modulo 2^16.
export function sketch(pixels) {
  const side = Math.sqrt(pixels.length / 4);
  const sums = new Int32Array((side / BLOCK) ** 2);
  for (let pixel = 0; pixel < side * side; pixel++) {
    const block = Math.floor(pixel / side / BLOCK) * (side / BLOCK) + Math.floor((pixel % side) / BLOCK);
    for (let k = 0; k < 3; k++) sums[block] += sign(3 * pixel + k) * pixels[4 * pixel + k];
  }
  return Uint16Array.from(sums);
}

// About the mean squared difference of the pictures' values.
export function difference(one, other) {
  const squares = one.reduce((total, value, i) => total + ((value - other[i]) << 16 >> 16) ** 2, 0);
  return squares / one.length / (BLOCK * BLOCK * 3);
}

// Brings together what was told of a frame and what was made of it, whichever comes first. Both methods answer whether
// the pictures are apart, once both are known.
export class DriftWatch {
  constructor() {
    this.ofSender = new Map();
    this.ours = new Map();
  }

  told(number, sent) {
    return this.met(this.ofSender, this.ours, number, sent);
  }

  decoded(number, pixels) {
    return number % EVERY === 0 && this.met(this.ours, this.ofSender, number, sketch(pixels));
  }

  met(own, others, number, found) {
    const other = others.get(number);
    if (other?.length === found.length) {
      others.delete(number);
      return difference(found, other) > APART;
    }
    own.set(number, found);
    while (own.size > KEPT) own.delete(own.keys().next().value);
    return false;
  }
}

// The frame and the sketch in a sender's statistics, null where there is none that makes sense.
export function toldSketch({ picture }) {
  if (!Number.isInteger(picture?.number) || typeof picture.sketch !== "string") return null;
  try {
    const bytes = Uint8Array.from(atob(picture.sketch), (char) => char.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return { number: picture.number, sent: Uint16Array.from({ length: bytes.length >> 1 }, (_, i) => view.getUint16(2 * i)) };
  } catch {
    return null;
  }
}
