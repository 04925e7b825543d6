// Everything that takes time, away from the page: entropy decoding and networks.

import { FrameDecoder } from "./decoding.js";
import { loadNetworks } from "./networks.js";
import { SymbolReader } from "./symbols.js";

const EXPIRE_MS = 50;
const clock = () => performance.timeOrigin + performance.now();

let decoder = null;

async function fetchBytes(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url.pathname} cannot be loaded (${answer.status})`);
  return answer.arrayBuffer();
}

async function load({ model, runtime, wanted }) {
  const file = (name) => fetchBytes(new URL(name, model));
  const description = JSON.parse(new TextDecoder().decode(await file("symbols.json")));
  const reader = new SymbolReader(description, await file("symbols.bin"));
  const networks = await loadNetworks(description, async (name) => new Uint8Array(await file(name)), runtime, wanted);
  const codec = {
    read: (packet) => reader.read(packet),
    decode: (symbols, state) => networks.decode(symbols, state),
    blank: () => networks.blank(),
  };
  const hooks = {
    report: (number, status) => postMessage({ type: "report", number, status }),
    refresh: (have, reason) => postMessage({ type: "refresh", have, reason }),
    dropped: (count) => postMessage({ type: "dropped", count }),
    show: ({ pixels, ...rest }) => {
      const copy = pixels.slice().buffer; // the state goes on holding them
      postMessage({ type: "picture", pixels: copy, ...rest }, [copy]);
    },
  };
  decoder = new FrameDecoder(codec, hooks, clock);
  setInterval(() => decoder.expire(), EXPIRE_MS);
  const { bitstream, model_id: modelId, weights_sha256: sha256, frame_size: size } = description;
  postMessage({ type: "ready", where: networks.where, facts: { bitstream, modelId, sha256, size } });
}

onmessage = ({ data }) => {
  if (data.type === "load") load(data).catch((error) => postMessage({ type: "failed", reason: error.message }));
  else if (data.type === "reset") decoder.reset();
  else if (data.type === "told") decoder.told(data.number, data.sent);
  else if (data.type === "packet") decoder.push({ number: data.number, bytes: new Uint8Array(data.bytes), receivedMs: data.receivedMs });
};

// A fault of the decoder must not leave a page that stands still and says nothing.
addEventListener("unhandledrejection", (event) => {
  postMessage({ type: "failed", reason: event.reason?.message ?? String(event.reason) });
});
