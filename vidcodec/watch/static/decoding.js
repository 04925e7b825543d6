// From packets in any order to pictures: which one is decoded next, from which state, and what is left out when this
// machine is too slow. Like receiver/decoding.py, but for the last part.
//
// Frames are predicted from earlier ones, so none can be left out by itself. When the oldest packet has waited too long,
// everything that waits is given up but the newest that can be decoded from what is held, the sender is told, and it
// predicts its next frame from one that we have. So the queue stays short, and the delay with it.

import { DriftWatch } from "./drift.js";
import { STATUS } from "./framing.js";
import { DamagedPacket, parsePacket } from "./packet.js";

const STATES = 32;
const MAX_WAITING = 16;
const WAIT_MS = 250; // what overtook another, and what is sent again, comes within that
const LATE_MS = 120;
const MAX_QUEUED = 8;
const REFRESH_MS = 300;
const GIVEN_UP = 256; // remembered

// hooks: report(number, status), show({number, pixels, receivedMs, decodedMs, symbolsMs, networkMs}), refresh(have, reason),
// dropped(count). codec: read(packet) and decode(symbols, state), blank().
export class FrameDecoder {
  constructor(codec, hooks, clock) {
    this.codec = codec;
    this.hooks = hooks;
    this.clock = clock;
    this.busy = false;
    this.reset();
  }

  // Another session: nothing is held.
  reset() {
    this.session = {};
    this.states = new Map();
    this.queue = [];
    this.waiting = [];
    this.givenUp = new Set();
    this.drift = new DriftWatch();
    this.askedMs = -Infinity;
    this.goodMs = this.clock();
    this.newestShown = -1;
  }

  // {number (full count), bytes, receivedMs}
  push(frame) {
    try {
      const packet = parsePacket(frame.bytes);
      this.queue.push({ ...frame, packet, reference: packet.distance ? frame.number - packet.distance : null });
    } catch (error) {
      if (!(error instanceof DamagedPacket)) throw error;
      this.hooks.report(frame.number, STATUS.DAMAGED);
    }
    if (!this.busy) this.work();
  }

  // The sender's sketch of the picture of a frame.
  told(number, sent) {
    if (this.drift.told(number, sent)) this.beginAnew();
  }

  beginAnew() {
    this.hooks.refresh(null, "the pictures of both ends have drifted apart");
  }

  // What waits for its reference for too long is given up. Called now and then.
  expire() {
    const nowMs = this.clock();
    for (const frame of this.waiting.filter(({ receivedMs }) => nowMs - receivedMs > WAIT_MS)) {
      this.waiting.splice(this.waiting.indexOf(frame), 1);
      this.giveUp(frame, `frame ${frame.reference} never came`);
    }
  }

  async work() {
    this.busy = true;
    try {
      for (;;) {
        await arrivals();
        const frame = this.next();
        if (!frame) break;
        await this.handle(frame);
      }
    } finally {
      this.busy = false;
    }
  }

  next() {
    if (this.queue.length && (this.queue.length > MAX_QUEUED || this.clock() - this.queue[0].receivedMs > LATE_MS)) this.catchUp();
    return this.queue.shift();
  }

  decodable({ reference }) {
    return reference === null || this.states.has(reference);
  }

  catchUp() {
    const kept = this.queue.findLast((frame) => this.decodable(frame));
    const left = this.queue.filter((frame) => frame !== kept);
    this.queue = kept ? [kept] : [];
    for (const frame of left) this.giveUp(frame);
    if (!left.length) return;
    this.hooks.dropped(left.length);
    this.ask("too slow for every frame");
  }

  async handle(frame) {
    if (!this.decodable(frame)) {
      // Its reference is still under way, or was given up.
      if (this.givenUp.has(frame.reference)) this.giveUp(frame, "its reference was left out");
      else this.waiting = [...this.waiting, frame].slice(-MAX_WAITING);
      return;
    }
    await this.decode(frame);
    const ready = this.waiting.filter((other) => this.decodable(other));
    this.waiting = this.waiting.filter((other) => !ready.includes(other));
    this.queue.unshift(...ready.sort((a, b) => a.number - b.number));
  }

  async decode({ number, packet, reference, receivedMs }) {
    const { session } = this;
    const begunMs = this.clock();
    let symbols;
    try {
      symbols = this.codec.read(packet);
    } catch (error) {
      if (!(error instanceof DamagedPacket)) throw error;
      this.giveUp({ number, reference }, error.message, STATUS.DAMAGED);
      return;
    }
    const readMs = this.clock();
    const state = await this.codec.decode(symbols, reference === null ? this.codec.blank() : this.states.get(reference));
    if (session !== this.session) return; // another one has begun meanwhile
    this.states.set(number, state);
    while (this.states.size > STATES) this.states.delete(this.states.keys().next().value);
    const decodedMs = this.clock();
    this.goodMs = decodedMs;
    this.hooks.report(number, STATUS.OK);
    if (this.drift.decoded(number, state.pixels)) this.beginAnew();
    if (number <= this.newestShown) return; // what comes late would be a step back in time
    this.newestShown = number;
    const [symbolsMs, networkMs] = [readMs - begunMs, decodedMs - readMs];
    this.hooks.show({ number, pixels: state.pixels, receivedMs, decodedMs, symbolsMs, networkMs });
  }

  giveUp({ number }, reason = "", status = STATUS.MISSING_REFERENCE) {
    this.givenUp.add(number);
    if (this.givenUp.size > GIVEN_UP) this.givenUp.delete(this.givenUp.values().next().value);
    this.hooks.report(number, status);
    // The verdict alone makes the sender mend it. This is for when nothing came of that.
    if (reason && this.clock() - Math.max(this.goodMs, this.askedMs) > REFRESH_MS) this.ask(reason);
  }

  ask(reason) {
    this.askedMs = this.clock();
    const have = this.states.size ? Math.max(...this.states.keys()) : null;
    this.hooks.refresh(have, reason);
  }
}

const { port1, port2 } = new MessageChannel();

// Lets every packet in that came while the thread was held up by decoding: a message to ourselves comes after theirs.
function arrivals() {
  return new Promise((resolve) => {
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
}
