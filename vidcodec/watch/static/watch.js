// The page: token, worker, session, one canvas, and what is known of the call in words.

import { toldSketch } from "./drift.js";
import { Refused, Session, clock } from "./session.js";
import { packShown, percentile } from "./shown.js";

const WINDOW_MS = 5000; // of the figures
const STATS_MS = 1000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 4000;
const KEPT = 2000; // frames, for who asks the page what became of them
const TOKEN = "vidcodec-watch-token";

const byId = (id) => document.getElementById(id);
const context = byId("picture").getContext("2d"); // see-through until there is a picture

let session = null;
let facts = null;
let waiting = null; // the newest decoded picture, not yet drawn
let shown = []; // drawn within the window
let unsent = [];
let kept = [];
let leftOut = 0;
let dropped = [];
let decoded = 0;
let senderFps = 0;
let openMs = 0;
let where = "";
let waitMs = FIRST_WAIT_MS;
let bytes = [];
let over = ""; // how the last call ended, until the next begins

const worker = new Worker("/watch/worker.js", { type: "module" });

function setState(state, text) {
  byId("status").dataset.state = state;
  if (byId("status").textContent !== text) byId("status").textContent = text;
}

function askForToken(reason = "") {
  sessionStorage.removeItem(TOKEN);
  byId("login").hidden = false;
  byId("token").focus();
  byId("login-error").textContent = reason;
  setState("lost", "token needed");
}

// The worker.

const fromWorker = {
  ready: (message) => {
    ({ facts, where } = message);
    connect();
  },
  failed: ({ reason }) => {
    byId("notice").textContent = `The decoder failed: ${reason}`;
    setState("lost", "cannot decode");
  },
  report: ({ number, status }) => session?.report(number, status),
  refresh: ({ have, reason }) => session?.say({ type: "refresh", have, reason: reason.slice(0, 200) }),
  dropped: ({ count }) => {
    leftOut += count;
    dropped.push({ atMs: clock(), count });
  },
  picture: (picture) => {
    decoded += 1;
    if (waiting === null) requestAnimationFrame(draw);
    waiting = picture;
  },
};
worker.onmessage = ({ data }) => fromWorker[data.type](data);
worker.onerror = ({ message }) => fromWorker.failed({ reason: message || "its files cannot be loaded" });

function draw() {
  const { number, pixels, receivedMs, decodedMs, symbolsMs, networkMs } = waiting;
  waiting = null;
  const size = facts.size;
  const canvas = byId("picture");
  if (canvas.width !== size) canvas.width = canvas.height = size;
  context.putImageData(new ImageData(new Uint8ClampedArray(pixels), size, size), 0, 0);
  canvas.dataset.number = number;
  const shownMs = clock();
  shown.push({ number, receivedMs, decodedMs, shownMs, symbolsMs, networkMs });
  unsent.push(shown.at(-1));
  kept.push(shown.at(-1));
  if (kept.length > KEPT) kept.shift();
}

// The session.

function connect() {
  const token = sessionStorage.getItem(TOKEN);
  if (!token) return askForToken();
  byId("login").hidden = true;
  if (!over) setState("connecting", "connecting");
  worker.postMessage({ type: "reset" });
  session = new Session(facts, {
    onOpen: (hello) => {
      senderFps = hello.fps;
      openMs = clock();
      [shown, bytes] = [[], []];
      if (hello.first === 0) [decoded, unsent] = [0, []]; // another call, which knows nothing of those frames
      waitMs = FIRST_WAIT_MS;
      over = "";
      setState("live", "live");
    },
    onPacket: (number, packet, receivedMs) => {
      bytes.push({ atMs: receivedMs, count: packet.length });
      const copy = packet.slice().buffer;
      worker.postMessage({ type: "packet", number, bytes: copy, receivedMs }, [copy]);
    },
    onStats: (payload) => {
      if (payload.steering?.settings) setState("live", payload.steering.settings.pause ? "paused by the sender" : "live");
      const told = toldSketch(payload);
      if (told) worker.postMessage({ type: "told", ...told });
    },
    onEnd: (reason, said) => {
      session = null;
      over = said ? reason : "";
      setState(over ? "over" : "lost", over || `${reason}: trying again`);
      again();
    },
  });
  const begun = session;
  begun.connect(token).catch((error) => {
    begun.handlers.onEnd = () => {};
    begun.end(error.message);
    session = null;
    if (error instanceof Refused) return askForToken(error.message);
    if (!over) setState("lost", error instanceof TypeError ? "the sender cannot be reached: trying again" : error.message);
    return again();
  });
}

function again() {
  setTimeout(connect, waitMs);
  waitMs = Math.min(LONGEST_WAIT_MS, 2 * waitMs);
}

addEventListener("pagehide", () => session?.end("the page was left"));

// Figures.

function figures() {
  const nowMs = clock();
  const recent = ({ atMs, shownMs }) => nowMs - (atMs ?? shownMs) < WINDOW_MS;
  [shown, dropped, bytes] = [shown.filter(recent), dropped.filter(recent), bytes.filter(recent)];
  const sum = (list) => list.reduce((total, { count }) => total + count, 0);
  const seconds = WINDOW_MS / 1000;
  const openSeconds = Math.max(1, Math.min(WINDOW_MS, nowMs - openMs) / 1000); // of a second or less no rate can be told
  const gone = sum(dropped);
  const delays = shown.map((frame) => frame.shownMs - frame.receivedMs);
  const times = shown.map((frame) => frame.symbolsMs + frame.networkMs);
  const ms = (values, share) => (values.length ? `${percentile(values, share).toFixed(1)}\u00a0ms` : "–");
  const measured = (text) => (shown.length ? text : "–");
  const rows = {
    fps: session?.open ? `${(shown.length / openSeconds).toFixed(1)} of ${senderFps.toFixed(0)} frames/s` : "–",
    rate: session?.open ? `${((sum(bytes) * 8) / 1000 / openSeconds).toFixed(1)} kbit/s` : "–",
    decode: measured(`${ms(times, 0.5)}, p95\u00a0${ms(times, 0.95)}`),
    parts: measured(`${ms(shown.map((f) => f.symbolsMs), 0.5)} + ${ms(shown.map((f) => f.networkMs), 0.5)}`),
    delay: measured(`${ms(delays, 0.5)}, p95\u00a0${ms(delays, 0.95)}`),
    dropped: String(gone),
    where: where || "–",
  };
  for (const [name, text] of Object.entries(rows)) byId(name).textContent = text;
  byId("slow").hidden = gone === 0 || !session?.open;
  byId("slow").textContent = `Too slow here for every frame: ${gone} left out in the last ${seconds} s, so that the delay does not grow.`;
}

setInterval(figures, 500);
window.framesOfCall = () => ({ where, leftOut, frames: kept }); // for `bench watch`
setInterval(async () => {
  if (!session?.open) return;
  const frames = unsent.splice(0);
  const payload = { decoded, frames: await packShown(frames) };
  session?.say({ type: "stats", payload });
}, STATS_MS);

// Start.

const tokenOf = (text) => {
  const match = /[#?&]token=([^&\s]+)/.exec(text);
  try {
    return match ? decodeURIComponent(match[1]) : text.trim();
  } catch {
    return match[1]; // cut in a wrong place: no token, which the sender says
  }
};

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, tokenOf(byId("token").value));
  if (facts) connect();
});

function takeToken() {
  if (!location.hash.includes("token=")) return false;
  sessionStorage.setItem(TOKEN, tokenOf(location.hash));
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}
takeToken();
// An address that is pasted over this page's own loads nothing anew.
addEventListener("hashchange", () => {
  if (takeToken() && !byId("login").hidden && facts) connect();
});
setState("connecting", "loading the decoder"); // before anything is waited for: what fails meanwhile is said instead
const files = await (await fetch("/watch/files.json")).json();
if (files.missing) {
  byId("notice").textContent = files.missing;
  setState("lost", "not installed");
} else {
  const wanted = new URLSearchParams(location.search).get("run") ?? "";
  const url = (path) => new URL(path, location.href).href;
  worker.postMessage({ type: "load", model: url(files.model), runtime: url(files.runtime), wanted });
}
