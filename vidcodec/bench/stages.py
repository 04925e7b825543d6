"""Where a frame of a learned codec spends its time, stage by stage, and how near that is to the core's own peak.

All times are CPU milliseconds, medians over the frames. The peak is that of the very products the two networks need:
each layer called alone, again and again on warm memory, its fastest call counted.
"""

import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vidcodec.bench.tables import number, table
from vidcodec.errors import VidcodecError
from vidcodec.learned import LearnedCodec
from vidcodec.networks.packed import PackedDepthwise, PackedLinear
from vidcodec.networks.rows import RowModel

# Stage, and the method of a codec or of its model that does it.
ENCODE = {
    "motion search": "find_motion",
    "moving the reference": "_moved",
    "analysis": "analyse_frame",
    "choice of symbols": "choose",
    "entropy coding": "write",
    "own reconstruction": "_after",
}
DECODE = {"entropy decoding": "read", "moving the reference": "_moved", "synthesis": "_after"}
NETWORKS = ("analysis", "choice of symbols", "synthesis")
SUM = ("analysis", "choice of symbols", "entropy coding", "entropy decoding", "synthesis")
CAMERA = (720, 1280)
WARM_UP = 20


@dataclass(frozen=True)
class Peak:
    """What the products of analysis and synthesis take where nothing else is done: GMAC a frame, and milliseconds."""

    gmac: float
    cpu_ms: float


@dataclass(frozen=True)
class Breakdown:
    """Stages of encode and decode, what is around them, and the peak; CPU milliseconds a frame."""

    encode_ms: dict[str, float]
    decode_ms: dict[str, float]
    around_ms: dict[str, float]
    peak: Peak | None

    @property
    def sum_ms(self) -> float:
        """Analysis and synthesis with their entropy coding."""
        both = {**self.encode_ms, **self.decode_ms}
        return sum(both[name] for name in SUM)

    @property
    def networks_ms(self) -> float:
        """The same without the entropy coding."""
        both = {**self.encode_ms, **self.decode_ms}
        return sum(both[name] for name in NETWORKS)


def break_down(codec: LearnedCodec, frames: NDArray[np.uint8], quality: int) -> Breakdown:
    """Code frames [n, 192, 192, 3] with every stage timed; more than `WARM_UP` of them."""
    state, shown = codec.blank_state(), codec.blank_state()
    packets, times = [], []
    with _timed(codec, ENCODE) as spent:
        for frame in frames:
            packet, state = codec.encode(frame, state, quality)
            packets.append(packet)
            times.append(dict(spent))
            spent.clear()
    encode = _medians(ENCODE, times)
    times.clear()
    with _timed(codec, DECODE) as spent:
        for packet in packets:
            _, shown = codec.decode(packet, shown)
            times.append(dict(spent))
            spent.clear()
    peak = _peak(codec, frames[-1], quality) if isinstance(codec.model, RowModel) else None
    return Breakdown(encode, _medians(DECODE, times), around(frames[-1]), peak)


def _medians(stages: dict[str, str], times: Sequence[dict[str, float]]) -> dict[str, float]:
    """A stage that a frame did without took no time."""
    return {name: float(np.median([spent.get(name, 0.0) for spent in times[WARM_UP:]])) for name in stages}


@contextmanager
def _timed(codec: LearnedCodec, stages: dict[str, str]) -> Iterator[dict[str, float]]:
    """CPU milliseconds by stage are added to what is given."""
    spent: dict[str, float] = defaultdict(float)
    owners = {name: codec if hasattr(codec, method) else codec.model for name, method in stages.items()}
    for name, method in stages.items():
        setattr(owners[name], method, _watched(getattr(owners[name], method), name, spent))
    try:
        yield spent
    finally:
        for name, method in stages.items():
            delattr(owners[name], method)


def _watched(body: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def watched(*arguments: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return body(*arguments, **named)
        finally:
            spent[name] += (time.process_time() - start) * 1000

    return watched


def _peak(codec: LearnedCodec, frame: NDArray[np.uint8], quality: int) -> Peak:
    """Of all layers that analysis, the choice of symbols and one synthesis call for a frame."""
    calls: list[tuple[torch.nn.Module, torch.Size]] = []
    model = codec.model
    assert isinstance(model, RowModel)
    state = codec.blank_state()
    header = codec.encode(frame, state, quality)[0].header
    packet, _, symbols = codec.encode_symbols(frame, state, header)
    hooks = [
        layer.register_forward_pre_hook(lambda module, inputs: calls.append((module, inputs[0].shape)))
        for layer in model.layers()
        if isinstance(layer, PackedLinear | PackedDepthwise)
    ]
    with torch.inference_mode():
        level = codec.sizes.level(quality, header.number, True)
        context = model.still(model.blank(1, frame.shape[0], frame.shape[1], codec.device))
        y = model.analyse_frame(torch.from_numpy(frame), context, torch.tensor([level]))
        codec.choose(y.float(), context, symbols.vectors, True, int(level))
    codec.decode(packet, state)
    for hook in hooks:
        hook.remove()
    measured = [_alone(layer, shape) for layer, shape in calls]
    return Peak(sum(gmac for gmac, _ in measured), sum(ms for _, ms in measured))


def _alone(layer: torch.nn.Module, shape: torch.Size) -> tuple[float, float]:
    """GMAC and fastest milliseconds of one layer."""
    assert isinstance(layer, PackedLinear | PackedDepthwise)
    x = torch.randn(shape, dtype=layer.weight.dtype)
    with torch.inference_mode():
        y = layer(x)
        best = min(_seconds(lambda: layer(x)) for _ in range(30))
    each = layer.weight[0].numel()  # products for each number of the result
    return y.numel() * each / 1e9, best * 1000


def _seconds(body: Callable[[], object]) -> float:
    start = time.process_time()
    body()
    return time.process_time() - start


def around(shown: NDArray[np.uint8]) -> dict[str, float]:
    """What a sender does before the codec, and a receiver after it."""
    from receiver.showing import CallView, Figures
    from sender.crop import Cropper
    from vidcodec.sidechannel import SidePictures
    from vidcodec.web.pixels import make_frame

    camera = np.random.default_rng(0).integers(0, 256, (*CAMERA, 3), dtype=np.uint8)
    cropper, view = Cropper("center", lambda *_: None), CallView(loopback=False)
    bodies: dict[str, Callable[[], object]] = {
        "crop, resize and colour, from 720 rows": lambda: cropper.crop(cv2.cvtColor(camera, cv2.COLOR_BGR2RGB), 0),
        "display hand-over, page": lambda: make_frame(0, [shown], 1).message,
        "display hand-over, window": lambda: cv2.cvtColor(
            view.draw(shown, SidePictures(), Figures()), cv2.COLOR_RGB2BGR
        ),
    }
    return {name: float(np.median([_seconds(body) * 1000 for _ in range(40)])) for name, body in bodies.items()}


def call_share(seconds: float = 10.0) -> tuple[float, float]:
    """CPU seconds of a loopback call's two ends for every second of it, over two cores: 1 when both are busy always.
    Also the frames a second that it showed: fewer than the source has, where other work is running.

    Of two calls, one longer by `seconds`, so that starting is not counted. Raises VidcodecError when a call fails, and
    on a system that does not say what children used.
    """
    try:
        import resource
    except ImportError as error:
        raise VidcodecError("a call's use of the cores cannot be measured on this system") from error
    used, shown = [], []
    for length in (5.0, 5.0 + seconds):
        command = [sys.executable, "-m", "sender", "--loopback", "--input", "sample", "--loop", "--display", "none"]
        command += ["--baseline", "none", "--duration", str(length)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60 + 4 * length)
        except (subprocess.SubprocessError, OSError) as error:
            raise VidcodecError(f"a loopback call failed: {error}") from error
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        count = re.search(r"(\d+) shown, \d+ lost in", done.stdout + done.stderr)
        shown.append(int(count[1]) if count else 0)
    return (used[1] - used[0]) / seconds / 2, (shown[1] - shown[0]) / seconds


def markdown(found: Breakdown) -> str:
    """The stages as a page."""
    rows = [[name, number(ms, 2), "-"] for name, ms in found.encode_ms.items()]
    rows += [[name, "-", number(ms, 2)] for name, ms in found.decode_ms.items()]
    lines = [
        f"* analysis and synthesis with their entropy coding: {found.sum_ms:.1f} ms a frame in sum",
        *(f"* {name}: {ms:.2f} ms" for name, ms in found.around_ms.items()),
    ]
    if found.peak is not None:
        best = found.peak
        lines.append(
            f"* products of both networks alone: {best.gmac:.3f} GMAC in {best.cpu_ms:.1f} ms at best, "
            f"{best.gmac / best.cpu_ms * 1000:.0f} GMAC/s; the networks took {found.networks_ms:.1f} ms, so "
            f"{100 * best.cpu_ms / found.networks_ms:.0f} % of that peak"
        )
    return table(["stage", "encode, CPU ms", "decode, CPU ms"], rows) + "\n" + "\n".join(lines) + "\n"
