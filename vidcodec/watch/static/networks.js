// The decoder's networks under ONNX Runtime Web, and the choice of where they run: WebAssembly, or WebGPU where that is
// there, gives the same picture and is quicker.

const MAX_THREADS = 2; // they wait for each other by spinning, which a busy machine pays for dearly
const TRIALS = 4;
const SAME = 3; // of 255, for a pixel
const GPU_MS = 20000; // a page does not wait longer for WebGPU to show what it can

// Runs the two graphs on {picture, memory, pixels}, the state that a frame leaves.
export class Networks {
  constructor(ort, facts, sessions, where) {
    Object.assign(this, { ort, facts, sessions, where });
    const { frame_size: size, patch, memory, cells, latent } = facts;
    this.shapes = {
      picture: [1, 3, size, size],
      memory: [1, memory, size / patch, size / patch],
      vectors: [1, cells, cells, 2],
      symbols: [1, latent, cells, cells],
    };
  }

  floats(data, name) {
    return new this.ort.Tensor("float32", data, this.shapes[name]);
  }

  // The state before any frame: mid grey and an empty memory.
  blank() {
    const count = (name) => this.shapes[name].reduce((a, b) => a * b, 1);
    return {
      picture: this.floats(new Float32Array(count("picture")).fill(0.5), "picture"),
      memory: this.floats(new Float32Array(count("memory")), "memory"),
      pixels: new Uint8Array(this.facts.frame_size ** 2 * 4).fill(128),
    };
  }

  // The state after a frame (see SymbolReader.read) that refers to `state`.
  async decode({ vectors, y, intra, level, news }, state) {
    if (!news) return state;
    const moving = vectors.some((value) => value !== 0);
    const held = { picture: state.picture, memory: state.memory, vectors: this.floats(Float32Array.from(vectors), "vectors") };
    if (moving) {
      const warped = await this.sessions.warp.run(held);
      Object.assign(held, { picture: warped.warped_picture, memory: warped.warped_memory });
    }
    const { Tensor } = this.ort;
    const found = await this.sessions.decode.run({
      ...held,
      symbols: this.floats(y, "symbols"),
      intra: new Tensor("float32", Float32Array.of(intra ? 1 : 0), [1]),
      level: new Tensor("int64", BigInt64Array.of(BigInt(level)), [1]),
    });
    return { picture: found.next_picture, memory: found.next_memory, pixels: found.pixels.data };
  }
}

// Load what is quickest here. fetchBytes(name) gives a file of the model; wanted: "wasm", "webgpu", or "" for either.
export async function loadNetworks(facts, fetchBytes, runtime, wanted = "") {
  const graphs = { warp: await fetchBytes("warp.onnx"), decode: await fetchBytes("decode.onnx") };
  const wasm = wanted === "webgpu" ? null : await create(facts, graphs, runtime, "wasm");
  if (wanted === "wasm" || (!wanted && !(await hasGpu()))) return wasm;
  try {
    if (wasm === null) return await create(facts, graphs, runtime, "webgpu");
    const here = await trial(wasm);
    const trying = create(facts, graphs, runtime, "webgpu").then(async (gpu) => ({ gpu, ...(await trial(gpu)) }));
    const { gpu, ...there } = await Promise.race([trying, late(GPU_MS)]);
    const same = here.pixels.every((value, i) => Math.abs(value - there.pixels[i]) <= SAME);
    return same && there.ms < here.ms ? gpu : wasm;
  } catch (error) {
    if (wasm === null) throw error;
    console.info(`WebGPU cannot be used: ${error.message}`);
    return wasm;
  }
}

async function hasGpu() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  // One without a graphics card behind it is slower than WebAssembly.
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter || adapter.isFallbackAdapter);
}

async function late(ms) {
  await new Promise((done) => { setTimeout(done, ms); });
  throw new Error(`it took more than ${ms / 1000} s`);
}

async function create(facts, graphs, runtime, where) {
  const ort = await import(new URL(where === "wasm" ? "ort.wasm.min.mjs" : "ort.webgpu.min.mjs", runtime).href);
  // Threads need memory that is shared, which a page that is not isolated (plain http, not localhost) cannot have.
  const spare = Math.max(1, Math.floor((navigator.hardwareConcurrency || 2) / 2));
  const threads = self.crossOriginIsolated ? Math.min(MAX_THREADS, spare) : 1;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = runtime;
  ort.env.logLevel = "error";
  const open = (bytes) => ort.InferenceSession.create(bytes, { executionProviders: [where], graphOptimizationLevel: "all" });
  const sessions = { warp: await open(graphs.warp), decode: await open(graphs.decode) };
  return new Networks(ort, facts, sessions, where === "wasm" ? `WebAssembly, ${threads}\u00a0thread${threads > 1 ? "s" : ""}` : "WebGPU");
}

// The quickest of a few frames with something in them, in ms, and the last one's pixels. Also warms up.
async function trial(networks) {
  const { cells, latent } = networks.facts;
  const vectors = Int32Array.from({ length: 2 * cells * cells }, (_, i) => (i % 5) - 2);
  const y = Float32Array.from({ length: latent * cells * cells }, (_, i) => (i % 41 ? 0 : (i % 3) - 1));
  let [ms, state] = [Infinity, networks.blank()];
  for (let i = 0; i < TRIALS; i += 1) {
    const begun = performance.now();
    state = await networks.decode({ vectors, y, intra: i === 0, level: 32, news: true }, state);
    ms = Math.min(ms, performance.now() - begun);
  }
  return { ms, pixels: state.pixels };
}
