"""The learned codec `s`: networks for the picture, integers for the bits.

    encode: motion search -> warp -> analysis -> symbols -> range coder          (bits: vidcodec.networks.symbols)
            \\-> synthesis, exactly as the receiver does it -> picture, state'
    decode: range coder -> symbols -> warp -> synthesis -> picture, state'

Nothing that a network computes in floating point takes part in choosing a table, so a packet made on any device in any
precision is read everywhere. Pictures may differ in the last digits between devices.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidcodec.batch import StreamBatch
from vidcodec.codec import FRAME_SIZE, Codec, CodecInfo, Frame, State, next_header, reference_state
from vidcodec.devices import choose_device, limit_threads
from vidcodec.entropy import Symbols, Tables
from vidcodec.errors import DamagedPacket, InputError, UsageError
from vidcodec.metrics import mse
from vidcodec.networks import half
from vidcodec.networks.config import CELL, LEVELS, SPARING, ModelConfig
from vidcodec.networks.graphs import first_line
from vidcodec.networks.integer import MAGNITUDE_CAP, IntegerScales, Ints, Rows, checkerboard, side_levels
from vidcodec.networks.model import Reference, VideoModel
from vidcodec.networks.packed import multiplies_half, works
from vidcodec.networks.refine import ROUNDS
from vidcodec.networks.rows import RowModel
from vidcodec.networks.search import luma, motion_price, search
from vidcodec.networks.symbols import DecodePort, EncodePort, FrameSymbols, walk, with_side
from vidcodec.networks.tables import read_tables
from vidcodec.packet import Header, Packet, checksum
from vidcodec.weights import Weights, load_weights

_LOG = logging.getLogger(__name__)

CELLS = FRAME_SIZE // CELL


class Moved(NamedTuple):
    """The reference of a frame, and the same moved by its vectors, as the model wants it."""

    held: Reference
    context: Any


class LearnedCodec(Codec):
    """Contract of `vidcodec.codec` on a trained `VideoModel`."""

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        sizes: ModelConfig,
        *,
        model_id: str,
        sha256: str,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        """Raises InputError when the arrays are not those of a model of these sizes."""
        self.device, self.precision, self.sizes, self.arrays = device, precision, sizes, arrays
        try:
            self.tables: dict[str, Tables] = read_tables(arrays)
            self.scales = IntegerScales(arrays, sizes.groups)
            model = self.plain_model()
        except (KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"weights of {model_id} do not fit this version: {reason}; reinstall") from error
        self.model: VideoModel | RowModel = model
        if device.type == "cpu" and works(precision):
            # What a sender chooses may hang on its CPU, so the trunk that only it runs takes the quickest arithmetic.
            self.model = RowModel(model, precision, torch.bfloat16 if multiplies_half() else precision)
        else:
            self.model = half.in_precision(model, precision).to(device)
            self.model.freeze(device)
        # Cost in bits of every symbol of every table, for the encoder's choices only.
        y = self.tables["y"].frequencies.astype(np.float64)
        self._cost = np.log2(y.sum(1, keepdims=True)) - np.log2(np.maximum(y, 1e-3))
        name = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[precision]
        self.info = CodecInfo(model_id, sha256, device.type, name, LEVELS, -SPARING)
        self.motion_rounds = ROUNDS  # of refining vectors, at the sender only
        self.graphs: StreamBatch | None = None
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # ten bits are too few for what is to stay in single precision
            try:
                self.graphs = StreamBatch(self, 1)
            except Exception as error:  # no memory for the buffers, say: without them the codec works too
                _LOG.warning("no CUDA graphs: %s; the networks run operator by operator", first_line(error))

    def plain_model(self) -> VideoModel:
        """The networks as they are written, in fp32 on the CPU: not laid out for a device. Raises ValueError or
        RuntimeError when the arrays do not fit."""
        model = VideoModel(self.sizes)
        weights = {
            name.removeprefix("net."): torch.from_numpy(np.array(a, np.float32))
            for name, a in self.arrays.items()
            if name.startswith("net.")
        }
        missing = {n for n in model.state_dict() if not n.startswith("scales.")} - set(weights)
        if missing:
            raise ValueError(f"{len(missing)} tensors are missing, such as {sorted(missing)[0]}")
        model.load_state_dict(weights, strict=False)
        model.eval().requires_grad_(False).freeze(torch.device("cpu"))
        return model

    @classmethod
    def load(
        cls,
        model: str = "s",
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        weights: Path | None = None,
    ) -> LearnedCodec:
        """Read the weights of a model and put it where it is to run.

        Raises:
            UsageError: the device or precision is not to be had here.
            InputError: the weights cannot be read or do not fit.
        """
        return cls.of(load_weights(model, weights), device, precision, threads)

    @classmethod
    def of(
        cls, loaded: Weights, device: str = "auto", precision: str = "auto", threads: int | None = None
    ) -> LearnedCodec:
        """`load` of weights that are read already."""
        where, dtype = choose_device(device, precision)
        limit_threads(threads)
        try:
            # Weights that do not say were made before there was a choice.
            sizes = ModelConfig.from_dict({"sharp_motion": False, "least_change": 0.0, **loaded.settings["sizes"]})
            model_id = str(loaded.card["model_id"])
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"weights {loaded.path}: {error} missing or wrong; not of this version") from error

        def on(place: torch.device, kind: torch.dtype) -> LearnedCodec:
            return cls(loaded.arrays, sizes, model_id=model_id, sha256=loaded.sha256, device=place, precision=kind)

        if where.type == "cpu":
            return on(where, dtype)
        try:
            return on(where, dtype)
        except (RuntimeError, AssertionError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if device == "cuda":
                raise UsageError(f"--device cuda: {first_line(error)}; use --device cpu") from error
            _LOG.warning("the GPU cannot be used: %s; the CPU does the work", first_line(error))
        return on(*choose_device("cpu", "auto" if precision == "fp16" else precision))

    def in_precision(self, precision: torch.dtype) -> LearnedCodec:
        """The same codec in another precision, on the same device; also one that is too slow there for a call."""
        return LearnedCodec(
            self.arrays,
            self.sizes,
            model_id=self.info.model_id,
            sha256=self.info.weights_sha256,
            device=self.device,
            precision=precision,
        )

    def encode(self, frame: Frame, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        header = next_header(frame, state, quality, self.info, number)
        packet, after, _ = self.encode_symbols(frame, state, header, self.dearness(quality))
        return packet, after

    def dearness(self, quality: int) -> float:
        """By how much dearer than at its level a bit is, where a quality is below 0."""
        return self.sizes.weight(0) / self.sizes.weight(min(quality, 0))

    def encode_symbols(
        self, frame: Frame, state: State, header: Header, dearness: float = 1.0
    ) -> tuple[Packet, State, FrameSymbols]:
        """`encode` with a header given, returning the frame's symbols too.

        Symbols are chosen one by one, each for what it seems to be worth. Where nothing moved the whole frame is judged
        again by its pixels: if its bits buy too little error, none are sent and the last picture stands.
        """
        if self.graphs is not None:
            return self.graphs.encode_symbols([(frame, state, header)], [dearness])[0]
        intra, level = self.level_of(header)
        vectors = np.zeros((CELLS, CELLS, 2), np.int64) if intra else self.find_motion(frame, state, level)
        with torch.inference_mode():
            moved = self._moved(state, vectors)
            pixels = torch.from_numpy(frame).to(self.device)
            y = self.model.analyse_frame(pixels, moved.context, self._quality(level)).float()
            chosen, means = self.choose(torch.nan_to_num(y), moved.context, vectors, intra, level, dearness=dearness)
        packet, after, symbols = self._coded(chosen, moved, header, level, means)
        if not self.worth_sending(frame, state, after, packet, symbols):
            silent = with_side(vectors, np.zeros_like(chosen.y), self.sizes.groups)
            return self._coded(silent, moved, header, level)
        return packet, after, symbols

    def worth_sending(self, frame: Frame, before: State, after: State, packet: Packet, symbols: FrameSymbols) -> bool:
        """Whether a packet's bits buy enough error, from the state before it to the one after it; asked only of frames
        in which nothing moved."""
        if not packet.header.distance or symbols.vectors.any() or not symbols.y.any():
            return True
        weight = self.sizes.weight(self.level_of(packet.header)[1]) * FRAME_SIZE**2
        return weight * (mse(frame, before.picture) - mse(frame, after.picture)) >= 8 * len(packet.body)

    def find_motion(self, frame: Frame, state: State, level: int) -> Ints:
        """Vectors [h, w, 2] from the last picture to this one."""
        return search(luma(frame), luma(state.picture), motion_price(self.sizes.weight(level)), self.motion_rounds)

    def _coded(
        self, chosen: FrameSymbols, moved: Moved, header: Header, level: int, means: Tensor | None = None
    ) -> tuple[Packet, State, FrameSymbols]:
        """The packet of symbols, the state after it, and the symbols as the tables could hold them."""
        packet, symbols = self.write(chosen, header, level)
        if not np.array_equal(symbols.y, chosen.y):
            means = None
        return packet, self._after(symbols, moved, packet.header, level, means), symbols

    def write(self, chosen: FrameSymbols, header: Header, level: int) -> tuple[Packet, FrameSymbols]:
        port = EncodePort(self.tables)
        symbols = walk(port, self.scales, CELLS, header.distance == 0, level, known=chosen)
        check = checksum(header.prefix(), b"".join(port.coded))
        sealed = Header(header.number, header.distance, header.quality, check)
        return Packet(sealed, port.encoder.finish()), symbols

    def choose(
        self, y: Tensor, context: Any, vectors: Ints, intra: bool, level: int, *, dearness: float = 1.0
    ) -> tuple[FrameSymbols, Tensor | None]:
        """Symbols for y [1, C, h, w] in quantiser steps: of what its means leave, the nearest whole numbers, or those
        below where the bits saved are worth the error. Also the means that belong to them, for a model with means.

        Runs at the sender only: the receiver needs no knowledge of how a symbol was chosen.
        """
        quality = self._quality(level)
        known: Any = self.model.forecast(context, quality)
        means = self.model.predicted(y, context, quality, known)
        rest = _numpy(y if means is None else y - means)
        rows = self.likely_rows(rest, vectors, intra, level)
        symbols = self.decide(rest, rows, dearness)
        if means is not None:
            # What the odd cells are predicted from is known only now.
            first_half = torch.from_numpy(symbols)[None].to(self.device) + means
            means = self.model.predicted(first_half, context, quality, known)
            assert means is not None
            symbols = np.where(checkerboard(CELLS, CELLS), symbols, self.decide(_numpy(y - means), rows, dearness))
        return with_side(vectors, symbols, self.sizes.groups), means

    def likely_rows(self, rest: NDArray[np.floating], vectors: Ints, intra: bool, level: int) -> Rows:
        """Tables [C, h, w] that the symbols of `rest` [C, h, w] will likely have."""
        # Only magnitudes count, and none above the cap.
        guess = np.floor(np.minimum(np.abs(rest), MAGNITUDE_CAP) + 0.35).astype(np.int16)
        z = side_levels(guess, self.sizes.groups)
        return self.scales.all_indexes(guess, self.scales.side(z, vectors, intra, level))

    def decide(self, y: NDArray[np.floating], rows: Rows, dearness: float = 1.0) -> Symbols:
        """The symbol for each of y [C, h, w] by what it costs in the table of `rows`; `dearness`: of a bit."""
        table, symbols = self.tables["y"], np.zeros(y.shape, np.int16)
        some = np.abs(y) > 0.5  # most are not: their symbol is zero
        rest, rows = y[some], rows[some]
        magnitude = np.abs(rest)
        near = np.minimum(np.rint(magnitude).astype(np.int64), table.highs[rows])
        below = np.maximum(near - 1, 0)
        saved = self._cost[rows, near - table.low] - self._cost[rows, below - table.low]
        worth = (magnitude - below) ** 2 - (magnitude - near) ** 2 > dearness * self.sizes.bit_price * saved
        symbols[some] = np.sign(rest) * np.where(worth, near, below)
        return symbols

    def decode(self, packet: Packet, state: State) -> tuple[Frame, State]:
        reference = reference_state(self, packet.header, state)
        symbols = self.decode_symbols(packet)
        if self.graphs is not None:
            (after,) = self.graphs.after([(symbols, packet.header, reference)])
            return after.picture, after
        _, level = self.level_of(packet.header)
        with torch.inference_mode():
            moved = self._moved(reference, symbols.vectors)
        after = self._after(symbols, moved, packet.header, level)
        return after.picture, after

    def decode_symbols(self, packet: Packet) -> FrameSymbols:
        """The whole numbers that a packet says; needs no reference. Raises DamagedPacket."""
        return self.read(packet)[0]

    def part_bits(self, packet: Packet) -> dict[str, float]:
        bits = self.read(packet)[1].bits()
        side = bits["parts"] + bits["totals"] + bits["z"]
        return {"header": 8.0 * len(packet.header), "motion": bits["motion"], "z": side, "y": bits["y"]}

    def read(self, packet: Packet) -> tuple[FrameSymbols, DecodePort]:
        intra, level = self.level_of(packet.header)
        port = DecodePort(self.tables, packet.body)
        symbols = walk(port, self.scales, CELLS, intra, level, known=None)
        if checksum(packet.header.prefix(), b"".join(port.coded)) != packet.header.checksum:
            raise DamagedPacket(f"packet {packet.header.number} is damaged: its checksum does not match")
        return symbols, port

    def level_of(self, header: Header) -> tuple[bool, int]:
        """Whether a frame is an intra frame, and the level it is coded at."""
        intra = header.distance == 0
        return intra, int(self.sizes.level(header.quality, header.number, intra))

    def _quality(self, level: int) -> Tensor:
        return torch.full((1,), float(level), device=self.device)

    def _moved(self, state: State, vectors: Ints) -> Moved:
        """What a state holds, moved by vectors. A blank state holds nothing of its own."""
        held = state.memory
        if held is None:
            held = self.model.blank(1, FRAME_SIZE, FRAME_SIZE, self.device)
        if not vectors.any():
            return Moved(held, self.model.still(held))
        return Moved(held, self.model.warped(held, torch.from_numpy(vectors)[None].to(self.device)))

    def _after(
        self, symbols: FrameSymbols, moved: Moved, header: Header, level: int, means: Tensor | None = None
    ) -> State:
        """The state that a frame's symbols lead to: the one path that sender and receiver share.

        means: those of these symbols, where they are at hand already.
        """
        held, context = moved
        news = symbols.y.any(0) | symbols.vectors.any(-1) | (header.distance == 0)
        if news.any():  # else nothing is new: the same picture and memory, at no cost
            quality = self._quality(level)
            y = torch.from_numpy(symbols.y)[None].to(self.device).float()
            where = torch.from_numpy(news)[None, None].to(self.device).float()
            with torch.inference_mode():
                y_hat = self.model.latent(y, context, quality) if means is None else y + means
                held = self.model.synthesise(y_hat, where, context, quality)
        # In 0..1, so nothing is left to clip.
        planes = (held.picture[0] * 255).add_(0.5).to(torch.uint8).cpu().numpy()
        return State(header.number, cv2.merge(list(planes)), held)


def _numpy(y: Tensor) -> NDArray[np.float32]:
    """[1, C, h, w] on any device to [C, h, w]."""
    values: NDArray[np.float32] = y[0].cpu().numpy()
    return values
