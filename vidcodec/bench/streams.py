"""`bench speed` for several streams and on a GPU: steps from host memory to host memory, launches, frames a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vidcodec.batch import StreamBatch
from vidcodec.bench.coders import ModelSpec
from vidcodec.bench.tables import number, table
from vidcodec.learned import LearnedCodec
from vidcodec.networks.graphs import cuda_capture
from vidcodec.packet import Header

NO_CUDA = "no CUDA device here: analysis and synthesis on a GPU, launches and an empty graph are not measured"
WARM_UP = 5
EMPTY = 200


@dataclass(frozen=True)
class Throughput:
    """Frames a second of all streams together, by the clock; motion search and entropy coding included."""

    streams: int
    encode_fps: float
    decode_fps: float
    bytes_per_frame: float


def throughput(codec: LearnedCodec, streams: int, frames: NDArray[np.uint8], quality: int) -> Throughput:
    """Code frames [n, 192, 192, 3], more than `WARM_UP`, as `streams` streams that are at different places of them."""
    batch = StreamBatch(codec, streams)
    sent, shown = [codec.blank_state()] * streams, [codec.blank_state()] * streams
    spent_s, size, counted = [0.0, 0.0], 0, 0
    for at in range(len(frames)):
        jobs = [(frames[(at + 7 * n) % len(frames)], state, quality) for n, state in enumerate(sent)]
        start = time.perf_counter()
        coded = batch.encode(jobs)
        middle = time.perf_counter()
        decoded = batch.decode([(packet, state) for (packet, _), state in zip(coded, shown, strict=True)])
        end = time.perf_counter()
        sent = [state for _, state in coded]
        shown = [made[1] for made in decoded if isinstance(made, tuple)]
        if at >= WARM_UP:
            spent_s[0] += middle - start
            spent_s[1] += end - middle
            size += sum(len(packet) for packet, _ in coded)
            counted += streams
    return Throughput(streams, counted / spent_s[0], counted / spent_s[1], size / counted)


def throughput_page(spec: ModelSpec, streams: int, frames: NDArray[np.uint8], threads: int) -> str:
    """The page of `bench speed --streams N`: a batch of N beside one of one. In a process of its own."""
    codec = spec.load()
    torch.set_num_threads(threads)
    if not isinstance(codec, LearnedCodec):
        return f"{spec.name}: has no batches\n"
    quality = spec.levels[len(spec.levels) // 2]
    found = [throughput(codec, count, frames, int(quality)) for count in dict.fromkeys((1, streams))]
    rows = [[str(f.streams), *(number(x, 1) for x in (f.encode_fps, f.decode_fps, f.bytes_per_frame))] for f in found]
    head = ["streams in a batch", "encoded frames a second", "decoded frames a second", "bytes a frame"]
    where = f"{spec.name} on {codec.info.device} in {codec.info.precision}, {threads} thread(s), all streams together"
    return f"{where}\n\n{table(head, rows)}\n"


@dataclass(frozen=True)
class Step:
    """A step of one stream: median milliseconds from host memory to host memory, replayed where it was recorded, and
    what the host asks of the device in it when it is not."""

    name: str
    median_ms: float
    launches: int | None


def time_steps(codec: LearnedCodec, frames: NDArray[np.uint8], quality: int) -> list[Step]:
    """Steps of the codec's own batch, or of a new one, on frames [n, 192, 192, 3]; more than `WARM_UP` of them."""
    batch = codec.graphs or StreamBatch(codec, 1)
    steps, level = batch.steps, codec.level_of(Header(1, 1, quality))[1]
    ((_, state, symbols),) = batch.encode_symbols([(frames[0], codec.blank_state(), Header(0, 0, quality))])
    held = [batch.reference(state)]
    vectors = [np.ones_like(symbols.vectors)]
    calls: dict[str, Callable[[NDArray[np.uint8]], object]] = {
        "analyse": lambda frame: steps.analyse([frame], held, vectors, [level]),
        "again": lambda _: steps.again([symbols.y]),
        "synthesise": lambda _: steps.synthesise([symbols.y], held, vectors, [level], [False]),
    }
    times: dict[str, list[float]] = {name: [] for name in steps.bodies}
    for frame in frames:
        for name, spent in times.items():
            start = time.perf_counter()
            calls[name](frame)
            spent.append((time.perf_counter() - start) * 1000)
    return [Step(name, float(np.median(ms[WARM_UP:])), launches(steps.bodies[name])) for name, ms in times.items()]


def launches(body: Callable[[], object]) -> int | None:
    """Kernels and copies that the host asks for in a body; None where there is no GPU."""
    if not torch.cuda.is_available():
        return None
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler, torch.no_grad():
        body()
        torch.cuda.synchronize()
    asked = ("LaunchKernel", "MemcpyAsync", "MemsetAsync")  # names of the runtime's and of the driver's calls
    return sum(event.count for event in profiler.key_averages() if any(name in event.key for name in asked))


def empty_graph_ms() -> float:
    """Median milliseconds from asking for a graph of one tiny kernel until it is done: what no frame can go below."""
    x = torch.zeros(1, device="cuda")
    replay = cuda_capture(x.device)(lambda: x.add_(1))
    times = []
    for _ in range(EMPTY):
        start = time.perf_counter()
        replay()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1000)
    return float(np.median(times))


def steps_page(spec: ModelSpec, frames: NDArray[np.uint8]) -> str | None:
    """The page of a learned codec's steps on a GPU; None for a codec that has none. In a process of its own."""
    if not torch.cuda.is_available():
        return f"* {NO_CUDA}\n"
    codec = spec.load()
    if not isinstance(codec, LearnedCodec) or codec.device.type != "cuda":
        return None
    return markdown(codec, time_steps(codec, frames, int(spec.levels[len(spec.levels) // 2])), empty_graph_ms())


def markdown(codec: LearnedCodec, found: list[Step], empty_ms: float | None) -> str:
    """Steps as a page."""
    replayed = codec.graphs is not None and codec.graphs.steps.captured
    how = "each one captured graph" if replayed else "operator by operator"
    rows = [[s.name, number(s.median_ms, 3), "-" if s.launches is None else str(s.launches)] for s in found]
    empty = "" if empty_ms is None else f"* a graph of one tiny kernel: {empty_ms:.3f} ms\n"
    return (
        f"From host memory to host memory, {how}, in {codec.info.precision}; launches are those of the same step "
        f"without a graph, which has one.\n\n{table(['step', 'median ms', 'launches'], rows)}\n{empty}"
    )
