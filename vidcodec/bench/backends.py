"""`bench speed --backends`: the same two networks by every backend that is installed, interleaved in one process.

Analysis (picture and reference to y) and synthesis (y_hat and reference to the next one) of a model, in single
precision, at 192x192 and batch 1. CPU time of the process a call, median: other load on the machine changes it least.
Backends take turns call by call, so that what slows one slows all. An extra digit may differ, never a symbol: the
largest difference from torch's own result is printed.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vidcodec.bench.tables import number, table
from vidcodec.networks.config import CELL, PATCH, ModelConfig
from vidcodec.networks.model import Reference, VideoModel
from vidcodec.networks.packed import works
from vidcodec.networks.rows import RowModel
from vidcodec.weights import load_weights

SIDE = 192
CALLS = 60
LEVEL = 28.0


@dataclass(frozen=True)
class Timing:
    """Median CPU milliseconds of one network's call with one backend, and how far its result is from eager torch's."""

    backend: str
    network: str
    threads: int
    cpu_ms: float
    difference: float


class _Analysis(nn.Module):
    """picture, reference picture and memory to y."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, picture: Tensor, memory: Tensor) -> Tensor:
        return self.model.analyse(x, Reference(picture, memory), torch.full((1,), LEVEL))


class _Synthesis(nn.Module):
    """y_hat, news, reference picture and memory to the next picture and memory."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, y: Tensor, news: Tensor, picture: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        after = self.model.synthesise(y, news, Reference(picture, memory), torch.full((1,), LEVEL))
        return after.picture, after.memory


Call = Callable[[], list[np.ndarray]]


def compare(
    make: Callable[[], VideoModel], threads: int, calls: int = CALLS, only: Sequence[str] | None = None
) -> tuple[list[Timing], list[str]]:
    """Time every backend that is here. `make` gives a fresh model each time, on the CPU, for inference. `only` picks
    backends by name; the first named is what the others' results are compared with.

    Returns the timings and a line for each backend that is not here or cannot take a network.
    """
    torch.set_num_threads(threads)
    sizes = make().config
    torch.manual_seed(0)
    picture = torch.rand(1, 3, SIDE, SIDE)
    memory = torch.rand(1, sizes.memory, SIDE // PATCH, SIDE // PATCH) - 0.5
    y = torch.round(torch.randn(1, sizes.latent, SIDE // CELL, SIDE // CELL))
    news = torch.ones(1, 1, SIDE // CELL, SIDE // CELL)
    inputs = {
        "analysis": (torch.randint(256, (1, 3, SIDE, SIDE)) / 255, picture, memory),
        "synthesis": (y, news, picture, memory),
    }
    kinds: dict[str, type[_Analysis] | type[_Synthesis]] = {"analysis": _Analysis, "synthesis": _Synthesis}
    timings: list[Timing] = []
    notes: list[str] = []
    with torch.inference_mode():
        for network, kind in kinds.items():
            ready: dict[str, Call] = {}
            for name in only or BACKENDS:
                try:
                    ready[name] = BACKENDS[name](kind(make()).eval(), inputs[network], threads)
                    ready[name]()
                except Exception as error:  # backends raise whatever they like; each is reported and left out
                    ready.pop(name, None)
                    notes.append(f"{name}, {network}: not measured ({_reason(error)})")
            timings += _race(network, ready, threads, calls)
    return timings, notes


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:140]


def _race(network: str, ready: dict[str, Call], threads: int, calls: int) -> list[Timing]:
    """Call all backends in turn; the first is what the others are compared with."""
    spent: dict[str, list[float]] = {name: [] for name in ready}
    results = {name: call() for name, call in ready.items()}
    for _ in range(calls):
        for name, call in ready.items():
            start = time.process_time()
            call()
            spent[name].append((time.process_time() - start) * 1000)
    wanted = next(iter(results.values()))
    return [
        Timing(
            backend=name,
            network=network,
            threads=threads,
            cpu_ms=float(np.median(spent[name])),
            difference=max(float(np.abs(a - b).max()) for a, b in zip(results[name], wanted, strict=True)),
        )
        for name in ready
    ]


def _arrays(result: Any) -> list[np.ndarray]:
    tensors = result if isinstance(result, tuple) else (result,)
    return [np.asarray(t) for t in tensors]


def _eager(network: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Call:
    return lambda: _arrays(network(*inputs))


def _packed(network: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Call:
    if not works():
        raise RuntimeError("torch has no oneDNN operators here")
    assert isinstance(network.model, VideoModel)
    model, quality = RowModel(network.model), torch.full((1,), LEVEL)
    *given, picture, memory = inputs
    reference = Reference(picture, memory[0].flatten(1).T.contiguous())
    if isinstance(network, _Analysis):
        frame = (given[0][0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        return lambda: _arrays(model.analyse_frame(frame, model.still(reference), quality))

    def synthesis() -> list[np.ndarray]:
        after = model.synthesise(given[0], given[1], model.still(reference), quality)
        return _arrays((after.picture, after.memory.T.reshape(memory.shape)))

    return synthesis


def _compiled(network: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Call:
    compiled = torch.compile(network.requires_grad_(False), options={"freezing": True})
    return lambda: _arrays(compiled(*inputs))


def _traced(network: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    with torch.inference_mode(False), torch.no_grad():
        return torch.jit.trace(network.requires_grad_(False), tuple(t.clone() for t in inputs), check_trace=False)


def _openvino(network: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Call:
    openvino = import_module("openvino")
    model = openvino.convert_model(_traced(network, inputs), example_input=inputs)
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model.reshape({number: list(t.shape) for number, t in enumerate(inputs)})
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    arrays = [t.numpy() for t in inputs]
    return lambda: [np.array(a) for a in compiled(arrays).values()]


def _onnxruntime(network: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Call:
    onnxruntime = import_module("onnxruntime")
    file = io.BytesIO()
    with torch.inference_mode(False), torch.no_grad():
        copies = tuple(t.clone() for t in inputs)
        torch.onnx.export(network.requires_grad_(False), copies, cast(Any, file), dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {entry.name: t.numpy() for entry, t in zip(session.get_inputs(), inputs, strict=False)}
    return lambda: [np.asarray(a) for a in session.run(None, feed)]


BACKENDS: dict[str, Callable[[nn.Module, tuple[Tensor, ...], int], Call]] = {
    "torch": _eager,
    "torch, packed": _packed,
    "torch.compile": _compiled,
    "ONNX Runtime": _onnxruntime,
    "OpenVINO": _openvino,
}


def bundled_model(weights: Path | None = None) -> VideoModel:
    """The networks of `s`, or of another weights file of its kind, for inference on a CPU.

    Raises InputError when the weights cannot be read.
    """
    loaded = load_weights("s", weights)
    model = VideoModel(ModelConfig.from_dict(loaded.settings["sizes"]))
    own = {
        name.removeprefix("net."): torch.from_numpy(np.array(array, np.float32))
        for name, array in loaded.arrays.items()
        if name.startswith("net.")
    }
    model.load_state_dict(own, strict=False)
    return model.eval().requires_grad_(False)


def compare_all(weights: Path | None = None) -> str:
    """The page of `bench speed --backends`: one thread, then two."""
    parts = [compare(lambda: bundled_model(weights), threads) for threads in (1, 2)]
    notes = list(dict.fromkeys(note for _, lines in parts for note in lines))
    return markdown([timing for timings, _ in parts for timing in timings], notes)


def markdown(timings: list[Timing], notes: list[str]) -> str:
    """The comparison as a page."""
    header = ["backend", "network", "threads", "CPU ms", "of packed", "largest difference"]
    base = {(t.network, t.threads): t.cpu_ms for t in timings if t.backend == "torch, packed"}
    rows = []
    for t in timings:
        against = base.get((t.network, t.threads))
        share = "-" if against is None else number(t.cpu_ms / against, 2)
        rows.append([t.backend, t.network, str(t.threads), number(t.cpu_ms, 2), share, f"{t.difference:.1e}"])
    return table(header, rows) + "".join(f"\n* {note}" for note in notes) + "\n"
