// What one message of the `frames` channel holds, and which acknowledgements go back when (docs/link.md). Mirrors
// vidcodec/link/framing.py and acks.py.

import { DamagedPacket, NUMBERS } from "./packet.js";

const MAX_PACKETS = 16;
const MAX_FRAGMENTS = 64;
const FRAGMENT_HEADER_BYTES = 4;
const FRAGMENT_BYTES = 1160 - FRAGMENT_HEADER_BYTES;
const MAX_PARTIAL = 4;
const MAX_AGE_MS = 1000;

export const STATUS = { RECEIVED: 0, OK: 1, DAMAGED: 2, MISSING_REFERENCE: 3 };

// Joins fragments that come late, twice or in any order, in bounded memory and time.
export class Reassembler {
  constructor() {
    this.partial = new Map();
    this.done = new Map(); // id to when it was completed; ids come again after 65,536 messages
  }

  // One message (Uint8Array) to the packets that it completes.
  packets(data, nowMs) {
    if (!data.length) throw new DamagedPacket("empty message");
    const kind = data[0] >> 6;
    const low = data[0] & 63;
    if (kind === 0) return splitPackets(data, low + 1);
    if (kind !== 1) throw new DamagedPacket("message of an unknown kind on the frames channel");
    const whole = this.add(data, low, nowMs);
    if (whole === null) return [];
    if (whole[0] >> 6) throw new DamagedPacket("fragments of something that is no frame");
    return splitPackets(whole, (whole[0] & 63) + 1);
  }

  add(data, index, nowMs) {
    const size = data.length - FRAGMENT_HEADER_BYTES;
    const count = data[1];
    const id = (data[2] << 8) | data[3];
    const last = index === count - 1;
    if (size < 1 || count < 2 || count > MAX_FRAGMENTS || index >= count || size > FRAGMENT_BYTES || (!last && size !== FRAGMENT_BYTES)) {
      throw new DamagedPacket("fragment that does not fit the format");
    }
    for (const [key, { startedMs }] of this.partial) if (nowMs - startedMs > MAX_AGE_MS) this.partial.delete(key);
    for (const [key, atMs] of this.done) if (nowMs - atMs > MAX_AGE_MS) this.done.delete(key);
    if (this.done.has(id)) return null;
    let entry = this.partial.get(id);
    if (!entry || entry.count !== count) {
      this.partial.delete(id);
      while (this.partial.size >= MAX_PARTIAL) this.partial.delete(this.partial.keys().next().value);
      entry = { count, startedMs: nowMs, parts: new Map() };
      this.partial.set(id, entry);
    }
    entry.parts.set(index, data.subarray(FRAGMENT_HEADER_BYTES));
    if (entry.parts.size < count) return null;
    this.partial.delete(id);
    this.done.set(id, nowMs);
    if (this.done.size > 4 * MAX_PARTIAL) this.done.delete(this.done.keys().next().value);
    const parts = Array.from({ length: count }, (_, i) => entry.parts.get(i));
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let position = 0;
    for (const part of parts) {
      whole.set(part, position);
      position += part.length;
    }
    return whole;
  }
}

function splitPackets(data, count) {
  if (count > MAX_PACKETS) throw new DamagedPacket("message announces too many packets");
  const packets = [];
  let position = 1;
  for (let left = count - 1; left > 0; left -= 1) {
    let length = 0;
    let shift = 0;
    for (;;) {
      if (shift > 14 || position >= data.length) throw new DamagedPacket("packet length in a message is cut short or too long");
      const byte = data[position++];
      length |= (byte & 127) << shift;
      shift += 7;
      if (!(byte & 128)) break;
    }
    if (length < 1 || length > data.length - position) throw new DamagedPacket("packet length in a message leads outside of it");
    packets.push(data.subarray(position, position + length));
    position += length;
  }
  if (position >= data.length) throw new DamagedPacket("message ends before its last packet");
  return [...packets, data.subarray(position)];
}

const REPEATS = 3;
const MAX_ENTRIES = 32;
const GOOD_NEWS_MS = 100;
const SLOW_MS = 60; // a verdict that took so long is news to a sender that waits for it
const SLOW_NEWS_MS = 15;
const IDLE_MS = 150;
const FIRST_FRAMES = 3;
const FIRST_IDLE_MS = 30;
const LATE_MS = 15;
const LATE_REPEATS = 4;
const LATE_EVERY_MS = 8;
const HOLE_MS = 250;
const HOLE_EVERY_MS = 20;
const MOST_HOLES = 16;
const LOSING_MS = 15000;
const TICKS_PER_MS = 10;

// Acknowledgements: each is said three times; arrivals and bad verdicts at once, good ones with the next arrival. On a
// path that loses, the last message is repeated when the next frame is late and while one is missing.
export class AckQueue {
  constructor() {
    this.entries = new Map();
    this.arrivals = 0;
    this.newest = -1;
    this.arrivedMs = null;
    this.apartMs = 33;
    this.lostMs = -Infinity;
    this.lateMs = Infinity;
    this.toldLate = 0;
    this.holes = new Map();
    this.holeMs = Infinity;
    this.dueMs = Infinity;
  }

  arrived(number, nowMs) {
    this.arrivals += 1;
    this.clock(number, nowMs);
    this.entries.set(number, { status: STATUS.RECEIVED, receivedMs: nowMs, left: REPEATS });
    while (this.entries.size > 4 * MAX_ENTRIES) this.entries.delete(this.entries.keys().next().value);
    this.dueMs = Math.min(this.dueMs, nowMs);
  }

  // How far frames are apart, and which were left out.
  clock(number, nowMs) {
    this.holes.delete(number);
    if (number <= this.newest) return;
    if (this.arrivedMs !== null) {
      const frames = Math.min(number - this.newest, 8);
      this.apartMs += (Math.min((nowMs - this.arrivedMs) / frames, 200) - this.apartMs) / 8;
      if (number > this.newest + 1) this.lostMs = nowMs;
      for (let hole = Math.max(this.newest + 1, number - MOST_HOLES); hole < number; hole += 1) this.holes.set(hole, nowMs);
      while (this.holes.size > MOST_HOLES) this.holes.delete(this.holes.keys().next().value);
    }
    this.newest = number;
    this.arrivedMs = nowMs;
    this.toldLate = 0;
    this.lateMs = Infinity;
  }

  again(number, nowMs) {
    const entry = this.entries.get(number);
    if (!entry) return;
    entry.left = Math.max(entry.left, 1);
    this.dueMs = Math.min(this.dueMs, nowMs);
  }

  judged(number, status, nowMs) {
    const entry = this.entries.get(number);
    if (!entry) return;
    Object.assign(entry, { status, left: REPEATS });
    const ridesMs = Math.max(GOOD_NEWS_MS, 1.5 * this.apartMs);
    const goodMs = nowMs - entry.receivedMs < SLOW_MS ? ridesMs : SLOW_NEWS_MS;
    this.dueMs = Math.min(this.dueMs, nowMs + (status === STATUS.OK ? goodMs : 0));
  }

  // The message to send now, or null.
  take(nowMs) {
    let taken = [...this.entries].filter(([, entry]) => entry.left > 0).slice(-MAX_ENTRIES);
    if (nowMs >= this.lateMs) this.toldLate += 1;
    if (nowMs >= Math.min(this.lateMs, this.holeMs) && !taken.length) taken = [...this.entries].slice(-1);
    for (const [, entry] of taken) entry.left = Math.max(0, entry.left - 1);
    const again = taken.some(([, entry]) => entry.left > 0);
    const idleMs = this.arrivals <= FIRST_FRAMES ? FIRST_IDLE_MS : IDLE_MS;
    this.lateMs = this.nextLateMs();
    this.holeMs = this.nextHoleMs(nowMs);
    this.dueMs = Math.min(again ? nowMs + idleMs : Infinity, this.lateMs, this.holeMs);
    if (!taken.length) return null;
    const view = new DataView(new ArrayBuffer(5 + 4 * taken.length));
    view.setUint8(0, (2 << 6) | taken.length);
    view.setUint32(1, Math.round(nowMs * TICKS_PER_MS) % 2 ** 32);
    taken.forEach(([number, { status, receivedMs }], i) => {
      const age = Math.min(Math.max(Math.round((nowMs - receivedMs) * TICKS_PER_MS), 0), 0xffff);
      view.setUint16(5 + 4 * i, (status << 10) | (number % NUMBERS));
      view.setUint16(7 + 4 * i, age);
    });
    return view.buffer;
  }

  nextLateMs() {
    if (this.arrivedMs === null || this.arrivedMs - this.lostMs > LOSING_MS || this.toldLate >= LATE_REPEATS) return Infinity;
    return this.arrivedMs + this.apartMs + LATE_MS + this.toldLate * LATE_EVERY_MS;
  }

  nextHoleMs(nowMs) {
    for (const [hole, sinceMs] of this.holes) {
      if (nowMs - sinceMs <= HOLE_MS) break;
      this.holes.delete(hole);
    }
    return this.holes.size ? nowMs + HOLE_EVERY_MS : Infinity;
  }
}
