// The receiver's end of a session, in a browser: two data channels, hello, heartbeat, acknowledgements, goodbye
// (docs/link.md). It offers and the sender answers, as in WHEP.

import { AckQueue, Reassembler } from "./framing.js";
import { DamagedPacket, parsePacket, unwrap } from "./packet.js";

const GATHER_MS = 1000;
const OPEN_MS = 8000;
const DEAD_MS = 3000;
const LOOK_MS = 250;
const REMEMBERED = 256;
const PROTOCOL = 1;

export const clock = () => performance.timeOrigin + performance.now();

// Trying again with the same token cannot help.
export class Refused extends Error {}

export class Session {
  // facts: what the decoder was made for. handlers: onOpen(hello), onPacket(number, bytes, receivedMs), onStats(payload),
  // onEnd(reason, over): `over` when the sender said goodbye.
  constructor(facts, handlers) {
    this.facts = facts;
    this.handlers = handlers;
    this.payloadBytes = 0;
    this.packets = 0;
    this.lost = 0;
    this.open = false;
    this.ended = false;
    this.heardMs = clock();
    this.newest = 0;
    this.seen = new Set();
    this.acks = new AckQueue();
    this.ackTimer = null;
    this.joined = new Reassembler();
  }

  // Throws Refused, or Error where trying again may help.
  async connect(token) {
    this.token = token;
    const pc = new RTCPeerConnection();
    this.pc = pc;
    this.frames = pc.createDataChannel("frames", { negotiated: true, id: 0, ordered: false, maxRetransmits: 0 });
    this.control = pc.createDataChannel("control", { negotiated: true, id: 1 });
    this.frames.binaryType = "arraybuffer";
    this.frames.onmessage = ({ data }) => this.onFrames(data);
    this.control.onmessage = ({ data }) => this.onControl(data);
    pc.onconnectionstatechange = () => {
      if (["failed", "closed"].includes(pc.connectionState)) this.end("connection lost");
    };
    await pc.setLocalDescription();
    await gathered(pc);
    const answer = await fetch("/whep", {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/sdp" },
      body: pc.localDescription.sdp,
    });
    const text = await answer.text();
    if (answer.status === 401) throw new Refused("This token was refused.");
    if (answer.status === 429) throw new Refused("Too many wrong tokens from here: wait a minute.");
    if (answer.status !== 201) throw new Error(text.trim() || `the sender answered ${answer.status}`);
    this.resource = answer.headers.get("Location");
    await pc.setRemoteDescription({ type: "answer", sdp: text });
    this.heardMs = clock();
    const begunMs = clock();
    this.look = setInterval(() => {
      if (!this.open && clock() - begunMs > OPEN_MS) this.end("no connection to the sender: is UDP blocked?");
      else if (this.open && clock() - this.heardMs > DEAD_MS) this.end("the sender is silent");
    }, LOOK_MS);
  }

  // Ends the session here; the sender hears of it at once if it still can.
  end(reason, over = false) {
    if (this.ended) return;
    this.ended = true;
    clearInterval(this.look);
    clearTimeout(this.ackTimer);
    if (this.resource) {
      fetch(this.resource, { method: "DELETE", headers: { Authorization: `Bearer ${this.token}` }, keepalive: true }).catch(() => {});
    }
    setTimeout(() => this.pc.close(), over ? 1000 : 0); // a goodbye has to leave first
    this.handlers.onEnd(reason, over);
  }

  report(number, status) {
    this.acks.judged(number, status, clock());
    this.scheduleAcks();
  }

  say(message) {
    if (this.control.readyState === "open") this.control.send(JSON.stringify(message));
  }

  onFrames(data) {
    const nowMs = clock();
    this.heardMs = nowMs;
    if (!this.open || this.ended || !(data instanceof ArrayBuffer)) return;
    try {
      for (const bytes of this.joined.packets(new Uint8Array(data), nowMs)) this.onPacket(bytes, nowMs);
    } catch (error) {
      if (!(error instanceof DamagedPacket)) throw error;
    }
    this.scheduleAcks();
  }

  onPacket(bytes, nowMs) {
    const number = unwrap(parsePacket(bytes).number, this.newest);
    this.payloadBytes += bytes.length;
    if (this.seen.has(number)) {
      this.acks.again(number, nowMs);
      return;
    }
    this.seen.add(number);
    if (this.seen.size > REMEMBERED) this.seen.delete(this.seen.values().next().value);
    this.newest = Math.max(this.newest, number);
    this.packets += 1;
    this.acks.arrived(number, nowMs);
    this.handlers.onPacket(number, bytes, nowMs);
  }

  scheduleAcks() {
    clearTimeout(this.ackTimer);
    const nowMs = clock();
    if (this.ended || this.acks.dueMs === Infinity) return;
    if (this.acks.dueMs > nowMs) {
      this.ackTimer = setTimeout(() => this.scheduleAcks(), this.acks.dueMs - nowMs);
      return;
    }
    const message = this.acks.take(nowMs);
    if (message && this.frames.readyState === "open") this.frames.send(message);
    this.scheduleAcks();
  }

  onControl(text) {
    const nowMs = clock();
    this.heardMs = nowMs;
    if (this.ended) return;
    const message = JSON.parse(text);
    if (message.type === "hello") this.greet(message);
    else if (message.type === "ping") {
      this.say({ type: "pong", sent_ms: message.sent_ms, received_ms: nowMs, answered_ms: clock() });
    } else if (message.type === "stats") this.handlers.onStats(message.payload);
    else if (message.type === "bye") {
      this.say({ type: "bye", stats: {}, error: "" });
      this.end(message.error || "the call is over", true);
    }
  }

  greet(hello) {
    if (this.open) return;
    const { bitstream, modelId, sha256, size } = this.facts;
    const fits = hello.protocol === PROTOCOL && hello.bitstream === bitstream && hello.model_id === modelId
      && hello.weights_sha256 === sha256 && hello.width === size && hello.height === size;
    if (!fits) {
      const error = "the browser has the decoder of other weights: run `python -m vidcodec export-web` again";
      this.say({ type: "bye", stats: {}, error });
      this.end(error, true);
      return;
    }
    this.newest = hello.first;
    this.say({ ...hello, options: {} });
    this.open = true;
    this.handlers.onOpen(hello);
  }
}

// All candidates that come within a second, as the answer's side needs them in one description.
function gathered(pc) {
  return new Promise((resolve) => {
    const done = () => { if (pc.iceGatheringState === "complete") resolve(); };
    pc.addEventListener("icegatheringstatechange", done);
    setTimeout(resolve, GATHER_MS);
    done();
  });
}
