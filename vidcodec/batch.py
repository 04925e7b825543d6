"""Several independent streams with one codec: the networks run once for all of them, whole numbers stream by stream.

    batch = StreamBatch(codec, 4)
    coded = batch.encode([(frame, state, quality), ...])        # up to four jobs: [(packet, state'), ...]
    shown = batch.decode([(packet, state), ...])                # [(frame, state') or the error of that packet, ...]

On a GPU a frame of one stream leaves most of it idle. Tables and symbols are the CPU's work here too, so packets are
those of the codec: any other reads them. States are the codec's own and can go to and fro. Pictures may differ from
those of the codec by rounding, and so, once in many thousand, a symbol that an encoder chooses by them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vidcodec.codec import FRAME_SIZE, Frame, State, next_header, reference_state
from vidcodec.errors import UsageError, VidcodecError
from vidcodec.networks.config import CELL
from vidcodec.networks.graphs import Capture, DeviceSteps, cuda_capture
from vidcodec.networks.half import in_precision
from vidcodec.networks.integer import checkerboard
from vidcodec.networks.model import Reference, VideoModel
from vidcodec.networks.symbols import FrameSymbols, with_side
from vidcodec.packet import Header, Packet

if TYPE_CHECKING:
    from vidcodec.learned import LearnedCodec

_EVEN = checkerboard(FRAME_SIZE // CELL, FRAME_SIZE // CELL)


class StreamBatch:
    """Encode and decode for up to `streams` streams at a time. Any thread may call it; one call at a time is served.

    Args:
        codec: whose weights, tables, precision and device are used.
        capture: how steps are recorded; by default as CUDA graphs on a GPU, and not at all elsewhere.

    Raises RuntimeError when the device has no memory for so many streams, or cannot run the networks.
    """

    def __init__(self, codec: LearnedCodec, streams: int, capture: Capture | None = None) -> None:
        self._codec, self._lock = codec, threading.Lock()
        model = codec.model
        if not isinstance(model, VideoModel):
            model = in_precision(codec.plain_model(), codec.precision)
        self._rows = model is not codec.model  # whether the codec keeps its memory in rows
        self.steps = DeviceSteps(model, streams, codec.device, FRAME_SIZE)
        self.steps.try_once()
        if capture is None and codec.device.type == "cuda":
            capture = cuda_capture(codec.device)
        if capture is not None:
            self.steps.record(capture)

    def encode(self, jobs: Sequence[tuple[Frame, State, int]]) -> list[tuple[Packet, State]]:
        """`Codec.encode` of each (frame, state, quality). Raises UsageError as that does, before anything is coded."""
        info = self._codec.info
        headed = [(frame, state, next_header(frame, state, quality, info, None)) for frame, state, quality in jobs]
        dearness = [self._codec.dearness(quality) for *_, quality in jobs]
        return [(packet, after) for packet, after, _ in self.encode_symbols(headed, dearness)]

    def encode_symbols(
        self, jobs: Sequence[tuple[Frame, State, Header]], dearness: Sequence[float] | None = None
    ) -> list[tuple[Packet, State, FrameSymbols]]:
        """`LearnedCodec.encode_symbols` of each (frame, state, header)."""
        self._check(jobs)
        dear = dearness or [1.0] * len(jobs)
        codec, zero = self._codec, np.zeros((len(_EVEN), len(_EVEN), 2), np.int64)
        intra, levels = [header.distance == 0 for *_, header in jobs], [codec.level_of(h)[1] for *_, h in jobs]
        vectors = [
            zero if first else codec.find_motion(frame, state, level)
            for (frame, state, _), first, level in zip(jobs, intra, levels, strict=True)
        ]
        frames, references = [frame for frame, *_ in jobs], [self.reference(state) for _, state, _ in jobs]
        with self._lock:
            rest = self.steps.analyse(frames, references, vectors, levels)
            rows = [codec.likely_rows(*each) for each in zip(rest, vectors, intra, levels, strict=True)]
            y = [codec.decide(*each) for each in zip(rest, rows, dear, strict=True)]
            if self.steps.means:
                rest = self.steps.again(y)  # what the odd cells are predicted from is known only now
                y = [
                    np.where(_EVEN, each, codec.decide(*more)) for each, *more in zip(y, rest, rows, dear, strict=True)
                ]
        groups = codec.sizes.groups
        coded = [
            codec.write(with_side(field, symbols, groups), header, level)
            for field, symbols, (*_, header), level in zip(vectors, y, jobs, levels, strict=True)
        ]
        after = self.after(
            [(symbols, packet.header, state) for (packet, symbols), (_, state, _) in zip(coded, jobs, strict=True)],
            references,
        )
        results = []
        for (packet, symbols), (frame, before, header), level, left in zip(coded, jobs, levels, after, strict=True):
            if codec.worth_sending(frame, before, left, packet, symbols):
                results.append((packet, left, symbols))
            else:
                nothing = codec.write(with_side(zero, np.zeros_like(symbols.y), groups), header, level)
                results.append((nothing[0], State(header.number, before.picture, before.memory), nothing[1]))
        return results

    def decode(self, jobs: Sequence[tuple[Packet, State]]) -> list[tuple[Frame, State] | VidcodecError]:
        """`Codec.decode` of each (packet, state); where that raises, its error takes the place of a picture."""
        self._check(jobs)
        results: list[VidcodecError | None] = []
        read: list[tuple[FrameSymbols, Header, State]] = []
        for packet, state in jobs:
            try:
                reference = reference_state(self._codec, packet.header, state)
                read.append((self._codec.decode_symbols(packet), packet.header, reference))
                results.append(None)
            except VidcodecError as error:
                results.append(error)
        left = iter([(state.picture, state) for state in self.after(read)] if read else [])
        return [next(left) if result is None else result for result in results]

    def after(
        self, jobs: Sequence[tuple[FrameSymbols, Header, State]], references: Sequence[Reference | None] | None = None
    ) -> list[State]:
        """The states that symbols lead to, each from the state that its packet refers to."""
        if references is None:
            references = [self.reference(state) for *_, state in jobs]
        intra = [header.distance == 0 for _, header, _ in jobs]
        news = [bool(s.y.any() or s.vectors.any()) or first for (s, *_), first in zip(jobs, intra, strict=True)]
        if not any(news):  # the same pictures and memories, at no cost
            return [State(header.number, state.picture, state.memory) for _, header, state in jobs]
        symbols, levels = [s for s, *_ in jobs], [self._codec.level_of(header)[1] for _, header, _ in jobs]
        with self._lock:
            made = self.steps.synthesise(
                [s.y for s in symbols], references, [s.vectors for s in symbols], levels, intra
            )
        return [
            State(header.number, picture, self._memory(reference))
            if new
            else State(header.number, state.picture, state.memory)
            for (_, header, state), new, (picture, reference) in zip(jobs, news, made, strict=True)
        ]

    def _check(self, jobs: Sequence[object]) -> None:
        if not 0 < len(jobs) <= self.steps.streams:
            raise UsageError(f"{len(jobs)} jobs for a batch of {self.steps.streams} streams")

    def reference(self, state: State) -> Reference | None:
        """What a state holds, in planes."""
        held = state.memory
        if held is None or not self._rows:
            return held
        side = int(len(held.memory) ** 0.5)
        return Reference(held.picture, held.memory.T.reshape(1, -1, side, side))

    def _memory(self, reference: Reference) -> Reference:
        """The same as the codec keeps it."""
        if not self._rows:
            return reference
        return Reference(reference.picture, reference.memory[0].flatten(1).T.contiguous())
