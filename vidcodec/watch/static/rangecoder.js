// The range decoder of constriction (32-bit words, 64-bit state, 24-bit probabilities), word for word the same symbols.
//
// Only two numbers matter: the width of the interval that is left, and how far inside it the stream points. Both have 64
// bits, which no JavaScript number holds, so each is kept as upper 40 and lower 24 bits. All arithmetic is on whole
// numbers below 2^53: exact.

import { DamagedPacket } from "./packet.js";

const LOW = 2 ** 24;
const TOTAL = 2 ** 24;
const SMALLEST = 2 ** 8; // upper part of the narrowest interval that needs no new word

// Rows of integer frequencies; the symbol of the first column is `low`. A row uses a run of its columns.
export class Tables {
  constructor(frequencies, rows, columns, low) {
    this.frequencies = frequencies;
    this.rows = rows;
    this.columns = columns;
    this.low = low;
    this.models = new Array(rows);
  }

  // {low, left}: left[i] is where symbol low + i begins in 24-bit fixed point; null instead of it for a sure symbol.
  model(row) {
    let model = this.models[row];
    if (model === undefined) {
      if (!(row >= 0 && row < this.rows)) throw new RangeError(`there is no table ${row}`);
      model = this.build(this.frequencies.subarray(row * this.columns, (row + 1) * this.columns));
      this.models[row] = model;
    }
    return model;
  }

  build(row) {
    const first = row.findIndex((frequency) => frequency > 0);
    let last = row.length - 1;
    while (row[last] === 0) last -= 1;
    if (last === first) return { low: this.low + first, left: null };
    const count = last - first + 1;
    let sum = 0;
    for (let i = first; i <= last; i += 1) sum += row[i];
    // constriction's own conversion (`perfect=False`): each symbol gets one part, and its share of the rest.
    const scale = (TOTAL - count) / sum;
    const left = new Float64Array(count + 1);
    let before = 0;
    for (let i = 0; i < count; i += 1) {
      left[i] = Math.floor(before * scale) + i;
      before += row[first + i];
    }
    left[count] = TOTAL;
    return { low: this.low + first, left };
  }
}

export class RangeDecoder {
  // bytes: words with the most significant byte first; zeros follow their end.
  constructor(bytes) {
    this.bytes = bytes;
    this.position = 0;
    this.rangeHigh = 2 ** 40 - 1;
    this.rangeLow = LOW - 1;
    const [first, second] = [this.word(), this.word()];
    this.pointHigh = first * 256 + (second >>> 24);
    this.pointLow = second & (LOW - 1);
    this.order = new Int32Array(0);
  }

  word() {
    const { bytes, position } = this;
    this.position += 4;
    return (((bytes[position] ?? 0) << 24) | ((bytes[position + 1] ?? 0) << 16) | ((bytes[position + 2] ?? 0) << 8)
      | (bytes[position + 3] ?? 0)) >>> 0;
  }

  // The number of the next symbol of a model, counted from its first.
  next(left) {
    const scale = this.rangeHigh; // the width of 1 / 2^24 of the interval
    if (this.pointHigh >= scale) throw new DamagedPacket("packet body is not a valid entropy-coded stream");
    // An estimate, right but for rounding; what is left over says which way to go.
    const estimate = (this.pointHigh * LOW + this.pointLow) / scale;
    let low = 0;
    let high = left.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (left[middle] <= estimate) low = middle;
      else high = middle;
    }
    let [start, startLow] = product(scale, left[low]);
    while (before(this.pointHigh, this.pointLow, start, startLow)) {
      low -= 1;
      [start, startLow] = product(scale, left[low]);
    }
    for (;;) {
      const [end, endLow] = product(scale, left[low + 1]);
      if (before(this.pointHigh, this.pointLow, end, endLow)) break;
      low += 1;
      [start, startLow] = [end, endLow];
    }
    this.pointHigh -= start;
    this.pointLow -= startLow;
    if (this.pointLow < 0) {
      this.pointLow += LOW;
      this.pointHigh -= 1;
    }
    [this.rangeHigh, this.rangeLow] = product(scale, left[low + 1] - left[low]);
    if (this.rangeHigh < SMALLEST) {
      const word = this.word();
      this.pointHigh = this.pointHigh * 2 ** 32 + this.pointLow * 256 + (word >>> 24);
      this.pointLow = word & (LOW - 1);
      this.rangeHigh = this.rangeHigh * 2 ** 32 + this.rangeLow * 256;
      this.rangeLow = 0;
    }
    return low;
  }

  // As many symbols as there are rows, each with its table, into `symbols`; coded table by table, lowest first.
  take(tables, rows, symbols) {
    const count = rows.length;
    const places = new Int32Array(tables.rows + 1);
    for (let i = 0; i < count; i += 1) {
      const { low, left } = tables.model(rows[i]);
      symbols[i] = low;
      if (left !== null) places[rows[i] + 1] += 1;
    }
    for (let row = 0; row < tables.rows; row += 1) places[row + 1] += places[row];
    const coded = places[tables.rows];
    if (this.order.length < coded) this.order = new Int32Array(coded);
    const { order } = this;
    for (let i = 0; i < count; i += 1) {
      if (tables.models[rows[i]].left !== null) order[places[rows[i]]++] = i;
    }
    for (let i = 0; i < coded; i += 1) {
      const place = order[i];
      symbols[place] += this.next(tables.models[rows[place]].left);
    }
    return symbols;
  }
}

// a < 2^40 times b <= 2^24 as [upper, lower 24 bits].
function product(a, b) {
  const upper = a * Math.floor(b / 4096);
  const lower = a * (b % 4096);
  const upperHigh = Math.floor(upper / 4096);
  const lowerHigh = Math.floor(lower / LOW);
  const low = (upper - upperHigh * 4096) * 4096 + (lower - lowerHigh * LOW);
  return low >= LOW ? [upperHigh + lowerHigh + 1, low - LOW] : [upperHigh + lowerHigh, low];
}

function before(high, low, otherHigh, otherLow) {
  return high < otherHigh || (high === otherHigh && low < otherLow);
}
