"""`bench speed`: GMAC, milliseconds, GMAC/s and memory of every codec, ours and peers, in one run.

Each codec runs alone in a process of its own, one after the other, so that memory is its own and no two disturb each
other. Multiply-accumulates are counted by torch as the operators run (one encode and one decode), so they are those of
the code that was timed.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.bench.clips import Clip, find_clips, read_clip
from vidcodec.bench.coders import MODELS, Decoder, Encoder, ModelSpec, Spec, find_spec
from vidcodec.bench.machine import limit_threads, machine, peak_mb
from vidcodec.bench.output import add_out, save, write_run
from vidcodec.bench.processes import end_with_parent
from vidcodec.bench.tables import number, table
from vidcodec.cli import add_shared, check_shared
from vidcodec.errors import InputError, UsageError
from vidcodec.settings import parse_words

Frame = NDArray[np.uint8]

FRAMES = 200
WARM_UP = 20
PROFILED = 20
STREAM_FRAMES = 40
MAX_STREAMS = 256
PEERS = ("x264-veryfast", "x264-medium", "x265-medium", "vp8", "vp9", "svtav1")


@dataclass(frozen=True)
class Stage:
    """One stage of one codec.

    Attributes:
        codec, stage: `encode` or `decode`, from frame to packet bytes and back, conversion included.
        median_ms, p95_ms: over `frames` frames after warm-up, by the clock.
        cpu_ms: median CPU time of the process, which other load on the machine changes less.
        gmac: thousand million multiply-accumulates of the network a frame; None for peers.
        gmac_per_s: of the whole stage, entropy coding and everything else included: over CPU time (so a core's) on a
            CPU, over the clock's on a GPU.
        network_share: part of the stage's time in torch's operators; the rest is entropy coding, search, conversion.
        peak_mb: most memory its process ever held, imports included (device memory on CUDA).
        threads, device, precision: where it ran.
    """

    codec: str
    stage: str
    median_ms: float
    p95_ms: float
    cpu_ms: float
    gmac: float | None
    gmac_per_s: float | None
    network_share: float | None
    peak_mb: float | None
    frames: int
    threads: int
    device: str
    precision: str


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="vidcodec bench speed", description=__doc__)
    parser.add_argument("--clips", nargs="+", metavar="DIR|FILE", help="video to code (default: a synthetic one)")
    parser.add_argument("--codecs", nargs="+", metavar="NAME", help="default: our models and the peers at full size")
    add_out(parser)
    parser.add_argument(
        "--backends", action="store_true", help="only compare the backends that can run the networks of `s`, and stop"
    )
    parser.add_argument(
        "--call", action="store_true", help="also what part of two cores a loopback call takes (half a minute)"
    )
    parser.add_argument(
        "--streams", type=int, metavar="N", help="only the frames a second of N streams of `s` in one batch, and stop"
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of --backends: another model of the kind of `s`")
    add_shared(parser, "frames", "threads", "device", "precision", device="cpu", threads=1)
    options = parse_words(parser, argv)
    check_shared(options)
    if options.backends:
        from vidcodec.bench.backends import compare_all

        page = _alone(compare_all, options.weights)
        print(page)
        save(options.out, {"backends.md": page})
        return 0
    if options.streams is not None:
        if not 1 <= options.streams <= MAX_STREAMS:
            raise UsageError(f"--streams {options.streams}: choose 1 to {MAX_STREAMS}")
        from vidcodec.bench.streams import throughput_page

        frames = _frames(options.clips, (options.frames or STREAM_FRAMES) + WARM_UP).frames
        spec = find_spec("s", options.device, options.precision)
        page = _alone(throughput_page, spec, options.streams, frames, options.threads or 1)
        print(page)
        save(options.out, {"streams.md": page})
        return 0
    from rich.console import Console

    console = Console(stderr=True)
    clip = _frames(options.clips, (options.frames or FRAMES) + WARM_UP)
    threads = options.threads or 1
    stages: list[Stage] = []
    notes: list[str] = []
    pages: list[str] = []
    for name in options.codecs or (*MODELS, *PEERS):
        try:
            spec = find_spec(name, options.device, options.precision)
            stages += _alone(_time_codec, spec, clip, threads)
            if isinstance(spec, ModelSpec) and spec.device == "cpu":
                page = _alone(_stages, spec, clip, threads)
                pages += [f"## {name}, stage by stage\n\n{page}"] if page else []
            if isinstance(spec, ModelSpec) and spec.model not in ("seed", "gdn"):  # those have no such steps
                page = _alone(_steps, spec, clip)
                pages += [f"## {name} on a GPU, step by step\n\n{page}"] if page else []
        except InputError as error:
            notes.append(f"{name}: not measured ({error})")
            console.print(notes[-1], highlight=False)
            continue
        console.print(f"{name}: done", highlight=False)
    call = None
    if options.call:
        from vidcodec.bench.stages import call_share

        share, fps = call_share()
        call = {"share_of_two_cores": _rounded(share), "fps": _rounded(fps)}
    result = {
        "machine": _alone(machine, threads, options.device),
        "frames": len(clip.frames) - WARM_UP,
        "notes": notes,
        "pages": pages,
        "call": call,
        "stages": [{k: _rounded(v) for k, v in asdict(stage).items()} for stage in stages],
    }
    write_run(options.out, "speed", result, markdown(result))
    return 0


def _frames(sources: list[str] | None, count: int) -> Clip:
    """`count` frames: of the first clip, forwards and backwards, or of a drifting synthetic texture."""
    if sources:
        clip = read_clip(find_clips(sources)[0])
        there_and_back = np.concatenate([clip.frames, clip.frames[::-1]])
        repeats = -(-count // len(there_and_back))
        return Clip(clip.name, clip.fps, np.tile(there_and_back, (repeats, 1, 1, 1))[:count], clip.sha256)
    y, x = np.mgrid[0:192, 0:192] / 192
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3, (192, 192, 3))
    frames = [
        128 + 60 * np.stack([np.sin(8 * x + i / 20 + c) * np.cos(6 * y - i / 31) for c in range(3)], 2) + noise
        for i in range(count)
    ]
    return Clip("synthetic", 30.0, np.clip(frames, 0, 255).astype(np.uint8), "synthetic")


def _alone(body: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a fresh process, so that memory and threads are its own."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent) as pool:
        return pool.submit(body, *arguments).result()


def _time_codec(spec: Spec, clip: Clip, threads: int) -> list[Stage]:
    """In a process of its own: encode and decode in turn, as a call does."""
    own = isinstance(spec, ModelSpec)
    limit_threads(threads, own)
    level = spec.levels[len(spec.levels) // 2]
    encoder, decoder = spec.open_encoder(level, clip.fps), spec.open_decoder()
    limit_threads(threads, own)  # loading a model sets torch to one thread
    times: dict[str, list[float]] = {"encode": [], "decode": []}
    cpu: dict[str, list[float]] = {"encode": [], "decode": []}
    try:
        for frame in clip.frames:
            start, cpu_start = time.perf_counter(), time.process_time()
            packet = encoder.encode(frame)
            middle, cpu_middle = time.perf_counter(), time.process_time()
            decoder.decode(packet)
            end, cpu_end = time.perf_counter(), time.process_time()
            times["encode"].append((middle - start) * 1000)
            times["decode"].append((end - middle) * 1000)
            cpu["encode"].append((cpu_middle - cpu_start) * 1000)
            cpu["decode"].append((cpu_end - cpu_middle) * 1000)
        gmac: dict[str, float | None] = {"encode": None, "decode": None}
        share: dict[str, float | None] = {"encode": None, "decode": None}
        if own:
            share = network_shares(encoder, decoder, clip.frames[:PROFILED])
            gmac["encode"] = count_gmac(lambda: encoder.encode(clip.frames[-1]))
            # A packet that follows the last decoded one, made outside the count.
            following = spec.open_encoder(level, clip.fps), spec.open_decoder()
            packets = [following[0].encode(frame) for frame in clip.frames[:2]]
            following[1].decode(packets[0])
            gmac["decode"] = count_gmac(lambda: following[1].decode(packets[1]))
    finally:
        encoder.close()
    device = spec.device if isinstance(spec, ModelSpec) else "cpu"
    precision = spec.precision if isinstance(spec, ModelSpec) else "integer"
    stages = []
    for stage, values in times.items():
        kept = values[WARM_UP:]
        median_ms = float(np.median(kept))
        cpu_ms = float(np.median(cpu[stage][WARM_UP:]))
        work = gmac[stage]
        stages.append(
            Stage(
                codec=spec.name,
                stage=stage,
                median_ms=median_ms,
                p95_ms=float(np.percentile(kept, 95)),
                cpu_ms=cpu_ms,
                gmac=work,
                gmac_per_s=work / (median_ms if device == "cuda" else cpu_ms) * 1000 if work else None,
                network_share=share[stage],
                peak_mb=peak_mb(device),
                frames=len(kept),
                threads=threads if own else 1,
                device=device,
                precision=precision,
            )
        )
    return stages


def _stages(spec: ModelSpec, clip: Clip, threads: int) -> str | None:
    """In a process of its own: the page of a learned codec's stages; None for a codec that has none."""
    from vidcodec.bench.stages import break_down, markdown
    from vidcodec.learned import LearnedCodec

    codec = spec.load()
    limit_threads(threads)
    if not isinstance(codec, LearnedCodec):
        return None
    return markdown(break_down(codec, clip.frames, spec.levels[len(spec.levels) // 2]))


def _steps(spec: ModelSpec, clip: Clip) -> str | None:
    """In a process of its own: the page of a learned codec's steps on a GPU, or that there is none."""
    from vidcodec.bench.streams import steps_page

    return steps_page(spec, clip.frames)


def network_shares(encoder: Encoder, decoder: Decoder, frames: NDArray[np.uint8]) -> dict[str, float | None]:
    """The part of the time of encoding, and of decoding, that torch's operators take, by torch's profiler."""
    packets: list[bytes] = []
    bodies: dict[str, Callable[[], None]] = {
        "encode": lambda: packets.extend([encoder.encode(frame) for frame in frames]),
        "decode": lambda: [decoder.decode(packet) for packet in packets].clear(),
    }
    return {stage: in_torch(body) for stage, body in bodies.items()}


def in_torch(body: Callable[[], None]) -> float:
    """Time inside torch's operators as a part of all time."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        body()
        whole_us = (time.perf_counter() - start) * 1e6
    return min(1.0, sum(event.self_cpu_time_total for event in profiler.key_averages()) / whole_us)


def count_gmac(body: Callable[[], object]) -> float:
    """Thousand million multiply-accumulates of the convolutions and matrix products that `body` runs in torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def product(x_shape: Sequence[int], *_: object, out_shape: Sequence[int], **__: object) -> int:
        return 2 * math.prod(out_shape) * x_shape[-1]

    def convolution(
        _: Sequence[int], weight_shape: Sequence[int], *__: object, out_shape: Sequence[int], **___: object
    ) -> int:
        return 2 * math.prod(out_shape) * math.prod(weight_shape[1:])

    # torch's counter knows its public operators; these are the packed ones of `vidcodec.networks.packed`.
    mkldnn = torch.ops.mkldnn
    mapping: dict[Any, Any] = {}
    if hasattr(mkldnn, "_linear_pointwise") and hasattr(mkldnn, "_convolution_pointwise"):
        mapping = {mkldnn._linear_pointwise: product, mkldnn._convolution_pointwise: convolution}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        body()
    return counter.get_total_flops() / 2e9


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def markdown(result: dict[str, Any]) -> str:
    """The run as a page."""
    on = result["machine"]
    header = [
        "codec",
        "stage",
        "median ms",
        "p95 ms",
        "CPU ms",
        "GMAC",
        "GMAC/s",
        "in torch",
        "peak MB",
        "threads",
        "device",
    ]
    rows = [
        [
            row["codec"],
            row["stage"],
            number(row["median_ms"], 2),
            number(row["p95_ms"], 2),
            number(row["cpu_ms"], 2),
            number(row["gmac"], 3),
            number(row["gmac_per_s"], 1),
            "-" if row["network_share"] is None else f"{100 * row['network_share']:.0f} %",
            number(row["peak_mb"], 0),
            str(row["threads"]),
            f"{row['device']} {row['precision']}",
        ]
        for row in result["stages"]
    ]
    where = f"{on['cpu']}, {on['cores']} cores" + (f", {on['gpu']}" if on["gpu"] else "")
    notes = "".join(f"\n* {note}" for note in result["notes"])
    if result["call"]:
        share, fps = 100 * result["call"]["share_of_two_cores"], result["call"]["fps"]
        notes += f"\n* a loopback call, both ends: {share:.0f} % of two cores, at {fps:.1f} frames a second"
    return (
        f"{where}; torch {on['torch']}, {on['threads']} thread(s); {result['frames']} frames after {WARM_UP} of "
        f"warm-up. This machine multiplies at most {on['peak_1x1_gmac_per_s']} GMAC/s in a 1x1 and "
        f"{on['peak_3x3_gmac_per_s']} in a 3x3 convolution; load when measured: {on['load']}.\n\n"
        f"{table(header, rows)}{notes}\n" + "".join(f"\n{page}" for page in result["pages"])
    )
