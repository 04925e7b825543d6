// A packet's body to whole numbers: the walk of vidcodec/networks/symbols.py. Nothing here is a floating-point decision.

import { DamagedPacket, checksum } from "./packet.js";
import { RangeDecoder, Tables } from "./rangecoder.js";
import { Scales } from "./scales.js";

const TYPES = { int16: Int16Array, uint16: Uint16Array, int32: Int32Array };
const HIGHEST_LEVEL = 63;

// Reads the symbols of packets of one model. description: symbols.json, parsed; blob: ArrayBuffer of symbols.bin.
export class SymbolReader {
  constructor(description, blob) {
    const arrays = {};
    for (const [name, [type, shape, offset]] of Object.entries(description.arrays)) {
      arrays[name] = new TYPES[type](blob, offset, shape.reduce((a, b) => a * b, 1));
    }
    this.facts = description;
    this.sideCells = (description.cells / description.z_cells) ** 2;
    this.tables = {};
    for (const [name, low] of Object.entries(description.lows)) {
      const [, [rows, columns]] = description.arrays[`tables.${name}`];
      this.tables[name] = new Tables(arrays[`tables.${name}`], rows, columns, low);
    }
    this.passes = motionPasses(description.cells);
    this.scales = new Scales(description, arrays);
    const cells = description.cells ** 2;
    const groups = description.groups.length;
    this.most = 1 + 2 + 2 * cells + groups + groups * this.sideCells + description.latent * cells;
  }

  // Whether a frame is an intra frame, and the level that it is coded at.
  level({ number, distance, quality }) {
    const { pattern, intra_boost: boost } = this.facts;
    const intra = distance === 0;
    const wanted = quality + (intra ? boost : pattern[number % pattern.length]);
    return { intra, level: Math.trunc(Math.min(HIGHEST_LEVEL, Math.max(0, wanted))) };
  }

  // A packet (see parsePacket) to {vectors [h, w, 2], z [groups, h/4, w/4], y [C, h, w], intra, level, news}: `news` says
  // whether the frame differs at all from the one it refers to. Throws DamagedPacket.
  read(packet) {
    const { facts } = this;
    const { intra, level } = this.level(packet);
    const band = Math.min(Math.floor((level * facts.level_classes) / 64), facts.level_classes - 1);
    const condition = band + (intra ? facts.level_classes : 0);
    const port = new Port(this.tables, packet.body, this.most);
    const cells = facts.cells ** 2;
    const [has] = port.code("parts", [condition]);
    const vectors = has & 1 ? this.readMotion(port) : new Int32Array(2 * cells);
    const y = new Float32Array(facts.latent * cells);
    const z = has & 2 ? this.readSymbols(port, vectors, intra, level, condition, y) : new Int32Array(facts.groups.length * this.sideCells);
    const coded = port.coded.subarray(0, port.count);
    if (checksum(packet, coded) !== packet.checksum) throw new DamagedPacket("checksum does not match");
    const news = intra || vectors.some((value) => value !== 0) || y.some((value) => value !== 0);
    return { vectors, z, y, intra, level, news };
  }

  // Fills y; returns z.
  readSymbols(port, vectors, intra, level, condition, y) {
    const { facts, scales } = this;
    const groups = facts.groups.length;
    const totals = port.code("totals", Array.from({ length: groups }, (_, g) => g * 2 * facts.level_classes + condition));
    const size = this.sideCells;
    const rows = Int32Array.from({ length: groups * size }, (_, i) => {
      const group = Math.floor(i / size);
      return group * facts.totals + totals[group];
    });
    const z = port.code("z", rows);
    const run = scales.start(scales.side(z, vectors, intra, level));
    const { cells, order } = scales;
    scales.steps.forEach(({ first, seen }, number) => {
      const symbols = port.code("y", run.indexes(number));
      run.add(number, symbols);
      const colour = (number % 2) * cells;
      for (let channel = first; channel < seen; channel += 1) {
        for (let cell = 0; cell < cells; cell += 1) {
          y[channel * 2 * cells + order[colour + cell]] = symbols[(channel - first) * cells + cell];
        }
      }
    });
    return z;
  }

  // Vectors from coarse to fine: a common one, then each from the middle of its neighbours.
  readMotion(port) {
    const { cells, motion_limit: limit, spreads } = this.facts;
    const field = new Int32Array(2 * cells * cells);
    const shared = port.code("motion", [0, 0]);
    this.passes.forEach(({ where, near }, index) => {
      const number = index + 1;
      const count = where.length;
      const predicted = [new Int32Array(count), new Int32Array(count)];
      const row = new Int32Array(count);
      for (let i = 0; i < count; i += 1) {
        let spread = 0;
        for (const axis of [0, 1]) {
          const around = [0, 1, 2, 3].map((k) => (number > 1 ? field[2 * near[i][k] + axis] : shared[axis]));
          around.sort((a, b) => a - b);
          predicted[axis][i] = (around[1] + around[2] + 1) >> 1;
          spread += around[3] - around[0];
        }
        row[i] = (number * spreads + Math.min(bitLength(spread), spreads - 1)) * 4;
      }
      const first = port.code("motion", row);
      const second = port.code("motion", row.map((value, i) => value + 1 + Math.min(Math.abs(first[i]), 2)));
      for (let i = 0; i < count; i += 1) {
        field[2 * where[i]] = predicted[0][i] + first[i];
        field[2 * where[i] + 1] = predicted[1][i] + second[i];
      }
    });
    if (field.some((value) => Math.abs(value) > limit)) throw new DamagedPacket("a motion vector is out of range");
    return field;
  }
}

// Reads symbols from a body and keeps them all, for the checksum.
class Port {
  constructor(tables, body, most) {
    this.tables = tables;
    this.decoder = new RangeDecoder(body);
    this.coded = new Int16Array(most);
    this.count = 0;
  }

  code(name, rows) {
    const symbols = this.decoder.take(this.tables[name], rows, new Int32Array(rows.length));
    this.coded.set(symbols, this.count);
    this.count += symbols.length;
    return symbols;
  }
}

// Cells of each pass over the vectors, and their four neighbours of earlier passes.
function motionPasses(size) {
  const flat = ([row, column]) => row * size + column;
  const grid = (start, step) => {
    const found = [];
    for (let row = start; row < size; row += step) {
      for (let column = start; column < size; column += step) found.push([row, column]);
    }
    return found;
  };
  const coarse = grid(0, 4).map(flat);
  const passes = [{ where: coarse, near: coarse.map((cell) => [cell, cell, cell, cell]) }];
  for (const stride of [4, 2]) {
    const half = stride / 2;
    const last = Math.floor((size - 1) / stride) * stride; // of the cells known before
    const known = (row, column) => flat([Math.min(row, last), Math.min(column, last)]);
    const centres = grid(half, stride);
    passes.push({
      where: centres.map(flat),
      near: centres.map(([row, column]) => [[-half, -half], [-half, half], [half, -half], [half, half]].map(
        ([down, right]) => known(row + down, column + right))),
    });
    const edges = grid(0, half).filter(([row, column]) => (row / half + column / half) % 2 === 1);
    passes.push({
      where: edges.map(flat),
      near: edges.map(([row, column]) => {
        const four = [[row - half, column], [row + half, column], [row, column - half], [row, column + half]];
        const inside = four.filter(([r, c]) => r >= 0 && r < size && c >= 0 && c < size).map(flat);
        return Array.from({ length: 4 }, (_, k) => inside[k % inside.length]);
      }),
    });
  }
  return passes;
}

function bitLength(value) {
  return 32 - Math.clz32(value);
}
