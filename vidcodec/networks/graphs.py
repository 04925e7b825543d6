"""The device's part of a frame, for several streams at once, on buffers that stay where they are: CUDA graphs.

    analyse     frames, vectors, references  ->  y less its means, to the host     (the CPU chooses symbols)
    again       symbols of the even cells    ->  the same for the odd ones         (models with means only)
    synthesise  symbols, vectors, references ->  pictures to the host, the next references

Tables and symbols are chosen by the CPU in whole numbers, which is what makes a packet readable everywhere. So an
encode is three graphs (two without means) with one wait each, and a decode is one. Sender and receiver reconstruct by
the very same graph.

Each step is a method without arguments that reads and writes fixed buffers, pinned ones on the host, and never waits
for the device. It is the same code whether it is called as it is (on a CPU, or where capture fails) or recorded once
and replayed. A recording is compared with the method itself before it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidcodec.networks.config import CELL, PATCH
from vidcodec.networks.model import Forecast, Reference, VideoModel, news_of

_LOG = logging.getLogger(__name__)

Body = Callable[[], object]
Capture = Callable[[Body], Body]
"""Makes a replay of a body: what does the same to the same buffers when it is called."""

# How far a replay may be from the method itself: quantiser steps, levels of 255, and parts of 1. The same kernels in
# the same order should not differ at all.
NEAR = {"rest": 0.02, "y": 0.02, "ground": 0.01, "even": 0.02, "shown": 1.0, "picture": 1 / 255, "memory": 0.01}
WARM_UP = 3
_UNKNOWN = object()


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a log."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def cuda_capture(device: torch.device) -> Capture:
    """Record CUDA graphs, all of one memory pool: their results lie outside of it and they never run side by side."""
    # Libraries keep a workspace for each stream, so what warms up must be the stream that is recorded.
    stream, pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def capture(body: Body) -> Body:
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                body()
        torch.cuda.current_stream(device).wait_stream(stream)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the device.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            body()
        replay: Body = graph.replay
        return replay

    return capture


class DeviceSteps:
    """The three steps of up to `streams` streams. One call at a time, from any thread.

    A reference that is given is copied in, and what is returned is a copy: states stay values. A reference that was
    given in the call before, the very object, is not copied again, which is sound since nobody changes one in place.

    Args:
        model: for inference, frozen, on `device`.
        size: pixels along each side of a frame.

    Raises RuntimeError when there is no memory, or the device cannot run the model.
    """

    def __init__(self, model: VideoModel, streams: int, device: torch.device, size: int) -> None:
        sizes, cells, blocks = model.config, size // CELL, size // PATCH
        self.model, self.streams, self.device, self.cells = model, streams, device, cells

        def fixed(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(streams, *shape, dtype=dtype, device=device)

        def host(like: Tensor) -> Tensor:
            pinned = device.type == "cuda"  # else the device's memory is the host's
            where = torch.device("cpu") if pinned else device
            return torch.zeros(like.shape, dtype=like.dtype, device=where, pin_memory=pinned)

        with torch.no_grad():
            self._frames = fixed(size, size, 3, dtype=torch.uint8)
            self._symbols = fixed(sizes.latent, cells, cells, dtype=torch.int16)
            # Vectors, the quality level, and 1 for an intra frame: one upload.
            self._numbers = fixed(2 * cells * cells + 2, dtype=torch.int16)
            self._picture, self._memory = fixed(3, size, size), fixed(sizes.memory, blocks, blocks)
            self._y, self._even = fixed(sizes.latent, cells, cells), fixed(sizes.latent, cells, cells)
            self._ground = fixed(cells, cells, sizes.mean_hidden)
            self._next_picture, self._next_memory = fixed(3, size, size), fixed(sizes.memory, blocks, blocks)
            self._frames_in, self._symbols_in = host(self._frames), host(self._symbols)
            self._numbers_in = host(self._numbers)
            self._rest, self._shown = host(self._y), host(self._frames)
        self._held: list[object] = [_UNKNOWN] * streams  # what was copied in last
        self.bodies: dict[str, Body] = {"analyse": self._analyse, "again": self._again, "synthesise": self._synthesise}
        if model.means is None:
            del self.bodies["again"]
        self.run: dict[str, Body] = dict(self.bodies)
        self.captured = False

    @property
    def means(self) -> bool:
        """Whether there is a second step, `again`."""
        return "again" in self.bodies

    def analyse(
        self,
        frames: Sequence[NDArray[np.uint8]],
        references: Sequence[Reference | None],
        vectors: Sequence[NDArray[np.integer]],
        levels: Sequence[int],
    ) -> NDArray[np.float32]:
        """What means leave of y, [n, C, h, w] in quantiser steps; of a model without, y itself.

        frames: uint8 [H, W, 3] each; references: None for a blank one; vectors: [h, w, 2] in half pixels.
        """
        self._hold(references)
        for number, frame in enumerate(frames):
            self._frames_in[number].numpy()[...] = frame
        self._tell(vectors, levels, [False] * len(frames))
        self._call("analyse")
        return self._rest.numpy()[: len(frames)].copy()

    def again(self, symbols: Sequence[NDArray[np.integer]]) -> NDArray[np.float32]:
        """What `analyse` gave, again, now that the even cells' symbols [C, h, w] of each stream are chosen.

        Means of the odd cells see those symbols, so the result is right for the odd cells; what it holds for the even
        ones is not to be used.
        """
        self._say(symbols)
        self._call("again")
        return self._rest.numpy()[: len(symbols)].copy()

    def synthesise(
        self,
        symbols: Sequence[NDArray[np.integer]],
        references: Sequence[Reference | None],
        vectors: Sequence[NDArray[np.integer]],
        levels: Sequence[int],
        intra: Sequence[bool],
    ) -> list[tuple[NDArray[np.uint8], Reference]]:
        """Pictures [H, W, 3] and the references that they leave."""
        self._hold(references)
        self._say(symbols)
        self._tell(vectors, levels, intra)
        self._call("synthesise", wait=False)
        with torch.no_grad():
            after = [
                Reference(self._next_picture[n : n + 1].clone(), self._next_memory[n : n + 1].clone())
                for n in range(len(symbols))
            ]
        self.wait()
        return [(self._shown[number].numpy().copy(), reference) for number, reference in enumerate(after)]

    def wait(self) -> None:
        """Until the device has done what was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    def _hold(self, references: Sequence[Reference | None]) -> None:
        with torch.no_grad():
            for number, reference in enumerate(references):
                if reference is self._held[number]:
                    continue
                if reference is None:
                    self._picture[number].fill_(0.5)
                    self._memory[number].zero_()
                else:
                    self._picture[number].copy_(reference.picture[0])
                    self._memory[number].copy_(reference.memory[0])
                self._held[number] = reference

    def _say(self, symbols: Sequence[NDArray[np.integer]]) -> None:
        for number, each in enumerate(symbols):
            self._symbols_in[number].numpy()[...] = each

    def _tell(self, vectors: Sequence[NDArray[np.integer]], levels: Sequence[int], intra: Sequence[bool]) -> None:
        numbers = self._numbers_in.numpy()
        for number, (field, level, first) in enumerate(zip(vectors, levels, intra, strict=True)):
            numbers[number, :-2] = field.reshape(-1)
            numbers[number, -2:] = level, first

    def _call(self, name: str, wait: bool = True) -> None:
        with torch.no_grad():
            self.run[name]()
        if wait:
            self.wait()

    # The bodies: on a device nothing here may look at a value.

    def _context(self) -> tuple[Reference, Tensor, Tensor]:
        """The references moved by the vectors, levels [n], and vectors [n, h, w, 2]."""
        vectors = self._numbers[:, :-2].reshape(self.streams, self.cells, self.cells, 2)
        moved = self.model.warped(Reference(self._picture, self._memory), vectors)
        return moved, self._numbers[:, -2].float(), vectors

    def _analyse(self) -> None:
        self._frames.copy_(self._frames_in, non_blocking=True)
        self._numbers.copy_(self._numbers_in, non_blocking=True)
        context, level, _ = self._context()
        x = self._frames.permute(0, 3, 1, 2).float() / 255
        y = torch.nan_to_num(self.model.analyse(x, context, level).float())
        known = self.model.forecast(context, level)
        rest = y
        if known is not None:
            means = self.model.predicted(y, context, level, known)
            assert means is not None
            rest = y - means
            self._y.copy_(y)
            self._ground.copy_(known.ground)
            self._even.copy_(known.even)
        self._rest.copy_(rest, non_blocking=True)

    def _again(self) -> None:
        self._symbols.copy_(self._symbols_in, non_blocking=True)
        known, reference = Forecast(self._ground, self._even), Reference(self._picture, self._memory)
        level = self._numbers[:, -2].float()
        means = self.model.predicted(self._symbols.float() + self._even, reference, level, known)
        assert means is not None
        self._rest.copy_(self._y - means, non_blocking=True)

    def _synthesise(self) -> None:
        self._symbols.copy_(self._symbols_in, non_blocking=True)
        self._numbers.copy_(self._numbers_in, non_blocking=True)
        context, level, vectors = self._context()
        symbols = self._symbols.float()
        y_hat = self.model.latent(symbols, context, level)
        news = news_of(symbols, vectors, self._numbers[:, -1] != 0)
        after = self.model.synthesise(y_hat, news, context, level)
        self._next_picture.copy_(after.picture)
        self._next_memory.copy_(after.memory)
        # In 0..1, so nothing is left to clip.
        shown = (after.picture * 255).add_(0.5).to(torch.uint8)
        self._shown.copy_(shown.permute(0, 2, 3, 1).contiguous(), non_blocking=True)

    # Recording, and the proof of what was recorded.

    def record(self, capture: Capture) -> bool:
        """Replay recordings from now on; whether they are used. Where one cannot be made, or does something else than
        its method, nothing is replayed and the log has one line."""
        try:
            self.run = {name: self._proved(name, capture) for name in self.bodies}
            self.captured = True
        except Exception as error:  # whatever a driver or a version of torch comes up with, there is another way
            self.run = dict(self.bodies)
            _LOG.warning("no CUDA graphs: %s; the networks run operator by operator", first_line(error))
        return self.captured

    def try_once(self) -> None:
        """Run every step on made-up inputs. Raises RuntimeError when the device cannot."""
        self._make_up(0)
        for body in self.bodies.values():
            with torch.no_grad():
                body()
        self.wait()

    def _proved(self, name: str, capture: Capture) -> Body:
        self._make_up(0)
        with torch.no_grad():
            replay = capture(self.bodies[name])
        for seed in (1, 2):  # two inputs: it must not have kept the first
            results = []
            for body in (self.bodies[name], replay):
                self._make_up(seed)
                self._forget(name)
                with torch.no_grad():
                    body()
                self.wait()
                results.append({what: tensor.float().clone() for what, tensor in self._results(name).items()})
            for what, wanted in results[0].items():
                apart = float((results[1][what] - wanted).abs().max())
                if not apart <= NEAR[what]:  # nor if it is not a number
                    raise RuntimeError(f"a replay of {name} differs in its {what} by {apart:.3g}")
        return replay

    def _results(self, name: str) -> dict[str, Tensor]:
        if name == "synthesise":
            return {"shown": self._shown, "picture": self._next_picture, "memory": self._next_memory}
        results = {"rest": self._rest}
        if name == "analyse" and self.means:
            results |= {"y": self._y, "ground": self._ground, "even": self._even}
        return results

    def _forget(self, name: str) -> None:
        for tensor in self._results(name).values():
            tensor.fill_(77)

    def _make_up(self, seed: int) -> None:
        """Inputs of every step, others for another seed, in the ranges that they have."""
        rng = np.random.default_rng(seed)
        self._frames_in.numpy()[...] = rng.integers(0, 256, self._frames.shape)
        self._symbols_in.numpy()[...] = rng.integers(-2, 3, self._symbols.shape) * (
            rng.random(self._symbols.shape) < 0.1
        )
        self._numbers_in.numpy()[...] = rng.integers(-4, 5, self._numbers.shape)
        self._numbers_in.numpy()[:, -2:] = 20 + 10 * seed, seed % 2
        with torch.no_grad():
            self._picture.copy_(torch.from_numpy(rng.random(self._picture.shape, np.float32)))
            self._memory.copy_(torch.from_numpy(rng.random(self._memory.shape, np.float32) - 0.5))
            self._analyse()  # what `again` reads
        self._held = [_UNKNOWN] * self.streams
        self.wait()
