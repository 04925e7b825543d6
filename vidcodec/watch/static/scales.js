// Which table codes which symbol: the integer network of vidcodec/networks/integer.py.
//
// Weights are in units of 1/64, magnitudes of 1/8, the level of 1/64; sums are brought to one unit. All numbers are whole
// and far below 2^53, so that double precision gives every sum exactly, in any order.

const RESULT_SHIFT = 2 ** 15;
const SAME = [0, 2, 4, 6, 8]; // taps of a 3x3 window that lead to cells of the same colour of the checkerboard
const OTHER = [1, 3, 5, 7];

export class Scales {
  constructor(facts, arrays) {
    this.facts = facts;
    this.logMagnitude = arrays.log_magnitude;
    const size = facts.cells;
    this.cells = (size * size) / 2; // of one colour
    // Cells in coding order, the even ones first; and where each is within its colour.
    const all = Array.from({ length: size * size }, (_, cell) => cell);
    const odd = (cell) => (Math.floor(cell / size) + (cell % size)) % 2;
    this.order = Int32Array.from([...all.filter((cell) => !odd(cell)), ...all.filter(odd)]);
    const slots = new Int32Array(size * size);
    this.order.forEach((cell, place) => { slots[cell] = place % this.cells; });
    // For each cell of a colour and each tap, the cell (within its own colour) that sees it there; `cells` for none.
    this.targets = [0, 1].map((colour) => Array.from({ length: 9 }, (_, tap) => Int32Array.from(
      this.order.subarray(colour * this.cells, (colour + 1) * this.cells), (cell) => {
        const row = Math.floor(cell / size) + 1 - Math.floor(tap / 3);
        const column = (cell % size) + 1 - (tap % 3);
        const inside = row >= 0 && row < size && column >= 0 && column < size;
        return inside ? slots[row * size + column] : this.cells;
      })));
    this.upsampling = upsampling(size, facts.z_cells);
    this.steps = Array.from({ length: 2 * facts.groups.length }, (_, number) => step(facts, arrays, number));
    this.hidden = this.steps[0].hereBias.length;
  }

  magnitude(value) {
    return this.logMagnitude[Math.min(Math.abs(value), this.facts.magnitude_cap)];
  }

  // What all steps see: z interpolated, motion, intra, level; [cells in coding order, inputs].
  side(z, vectors, intra, level) {
    const planes = this.facts.groups.length;
    const inputs = planes + 4;
    const wide = this.facts.cells;
    const narrow = wide / this.facts.z_cells;
    const count = 2 * this.cells;
    const side = new Float64Array(count * inputs);
    const motion = this.motion(vectors);
    for (let slot = 0; slot < count; slot += 1) {
      const cell = this.order[slot];
      const at = slot * inputs;
      for (let plane = 0; plane < planes; plane += 1) {
        let sum = 0; // in 64ths
        for (const [row, weight] of this.upsampling[Math.floor(cell / wide)]) {
          for (const [column, share] of this.upsampling[cell % wide]) {
            sum += weight * share * z[(plane * narrow + row) * narrow + column];
          }
        }
        side[at + plane] = Math.floor(sum / 8);
      }
      side[at + planes] = motion[cell];
      side[at + planes + 1] = motion[count + cell];
      side[at + planes + 2] = intra ? 8 : 0;
      side[at + planes + 3] = level;
    }
    return side;
  }

  // Log magnitude of each vector and of its largest change to a neighbour, [2, h, w]; vectors [h, w, 2].
  motion(vectors) {
    const size = this.facts.cells;
    const found = new Float64Array(2 * size * size);
    if (vectors.every((value) => value === 0)) return found;
    for (let row = 0; row < size; row += 1) {
      for (let column = 0; column < size; column += 1) {
        const at = row * size + column;
        const [x, y] = [vectors[2 * at], vectors[2 * at + 1]];
        let change = 0;
        for (const [dr, dc] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
          const beside = clamp(row + dr, size) * size + clamp(column + dc, size);
          change = Math.max(change, Math.abs(vectors[2 * beside] - x) + Math.abs(vectors[2 * beside + 1] - y));
        }
        found[at] = this.magnitude(Math.abs(x) + Math.abs(y));
        found[size * size + at] = this.magnitude(change);
      }
    }
    return found;
  }

  start(side) {
    return new Pass(this, side);
  }
}

// Weights of one step, brought to common units; see vidcodec/networks/scales.py for what they mean.
function step(facts, arrays, number) {
  const group = Math.floor(number / 2);
  const [first, seen] = [group ? facts.groups[group - 1] : 0, facts.groups[group]];
  const scaled = (name, times, plus = 0) => Float64Array.from(arrays[`scales.${number}.${name}`], (w) => w * times + plus);
  const hereBias = scaled("here_bias", 64);
  const inputs = arrays[`scales.${number}.here`].length / hereBias.length;
  const here = scaled("here", 1).map((weight, i) => (i % inputs === inputs - 1 ? weight : 8 * weight)); // the level is last
  const bias = scaled("out_bias", 4096, RESULT_SHIFT / 2); // half a table's width, to round
  // Laid out [channel, tap, hidden], as they are added up.
  const [plain, hidden] = [arrays[`scales.${number}.near`], hereBias.length];
  const near = Float64Array.from(plain, (_, i) => 8 * plain[(i % hidden) * seen * 9 + Math.floor(i / hidden)]);
  return { first, seen, near, here, hereBias, out: scaled("out", 1), bias };
}

// For each of `size` cells the side cells it lies between, with their weights in eighths: [[side cell, weight], ...].
function upsampling(size, times) {
  const last = size / times - 1;
  return Array.from({ length: size }, (_, fine) => {
    const eighths = Math.max(0, 2 * fine + 1 - times);
    const low = Math.floor(eighths / 8);
    return [[low, 8 - (eighths % 8)], [Math.min(low + 1, last), eighths % 8]];
  });
}

// One walk over the steps of a frame: tables of a step, then its symbols, and so on.
class Pass {
  constructor(scales, side) {
    this.scales = scales;
    const { cells, hidden } = scales;
    const inputs = side.length / (2 * cells);
    // Hidden sums of each step, [cells + 1, hidden]; the last row takes what falls beyond the rim.
    this.sums = scales.steps.map(({ here, hereBias }, number) => {
      const sums = new Float64Array((cells + 1) * hidden);
      const from = (number % 2) * cells;
      for (let cell = 0; cell < cells; cell += 1) {
        for (let k = 0; k < hidden; k += 1) {
          let sum = hereBias[k];
          for (let input = 0; input < inputs; input += 1) sum += here[k * inputs + input] * side[(from + cell) * inputs + input];
          sums[cell * hidden + k] = sum;
        }
      }
      return sums;
    });
  }

  // Tables of step `number`, [its channels, cells].
  indexes(number) {
    const { cells, hidden, steps, facts } = this.scales;
    const { first, seen, out, bias } = steps[number];
    const sums = this.sums[number];
    const rows = new Int32Array((seen - first) * cells);
    const most = facts.y_tables - 1;
    const active = new Float64Array(hidden);
    for (let cell = 0; cell < cells; cell += 1) {
      for (let k = 0; k < hidden; k += 1) active[k] = Math.max(sums[cell * hidden + k], 0);
      for (let channel = 0; channel < seen - first; channel += 1) {
        let sum = bias[channel];
        for (let k = 0; k < hidden; k += 1) sum += out[channel * hidden + k] * active[k];
        rows[channel * cells + cell] = Math.min(Math.max(Math.floor(sum / RESULT_SHIFT), 0), most);
      }
    }
    return rows;
  }

  // Tell the later steps what was read in step `number`: symbols [its channels, cells].
  add(number, symbols) {
    const { scales } = this;
    const { cells, hidden, steps } = scales;
    const { first, seen } = steps[number];
    for (let channel = first; channel < seen; channel += 1) {
      for (let cell = 0; cell < cells; cell += 1) {
        const symbol = symbols[(channel - first) * cells + cell];
        if (symbol === 0) continue;
        const magnitude = scales.magnitude(symbol);
        for (let later = number + 1; later < steps.length; later += 1) {
          const { near } = steps[later];
          for (const tap of (later - number) % 2 ? OTHER : SAME) {
            const into = scales.targets[number % 2][tap][cell] * hidden;
            const from = (channel * 9 + tap) * hidden;
            for (let k = 0; k < hidden; k += 1) this.sums[later][into + k] += magnitude * near[from + k];
          }
        }
      }
    }
  }
}

function clamp(value, size) {
  return Math.min(Math.max(value, 0), size - 1);
}
