"""Every codec behind one face: a spec that names it, an encoder that gives packets, a decoder that gives pictures.

A spec is a small value that travels to another process, where `open_encoder` or `open_decoder` makes the real thing.
Names: `x264-veryfast`, `vp8@2` (half size and bicubic up), `bicubic4x`, `jpeg`, `seed`.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.baselines.scaling import scale_down, scale_up
from vidcodec.baselines.settings import NAMED, PEERS, VideoSettings, find_peer
from vidcodec.baselines.still import STILLS, StillSettings, decode_still, encode_still
from vidcodec.baselines.video import VideoDecoder, VideoEncoder
from vidcodec.codec import Codec, State, load_codec
from vidcodec.errors import InputError, UsageError
from vidcodec.packet import Packet

Frame = NDArray[np.uint8]

MODELS = ("s", "seed", "gdn")
LOOKS_MODELS = ("s-p",)
"""Trained for looks and not for squared error: measured where they are asked for by name, never among the others."""
STILL_MODELS = ("seed", "gdn")
STILL_STRIDE = 15
"""Single-picture codecs are measured on every n-th frame: their frames have nothing to do with each other."""


class Encoder(ABC):
    """Frames in, packets out, in order."""

    @abstractmethod
    def encode(self, frame: Frame) -> bytes:
        """One frame `[192, 192, 3]` to one packet."""

    def picture(self) -> Frame | None:
        """What the encoder believes the decoder shows for the last frame; None if it does not say."""
        return None

    def close(self) -> None:
        """Free what is held."""
        return None


class Decoder(ABC):
    """Packets in, pictures out, in order."""

    @abstractmethod
    def decode(self, packet: bytes) -> Frame:
        """One packet to one picture `[192, 192, 3]`."""


@dataclass(frozen=True)
class Spec(ABC):
    """A codec by name.

    Attributes:
        name: as in tables and `--codecs`.
        levels: the rate points, from few bits to many; one for what has no rate.
        transport: what carries its packets in a call.
        stride: measured on every n-th frame.
    """

    name: str
    levels: tuple[int, ...]
    transport: str
    stride: int = 1

    @abstractmethod
    def open_encoder(self, level: int, fps: float) -> Encoder: ...

    @abstractmethod
    def open_decoder(self) -> Decoder: ...

    @abstractmethod
    def describe(self) -> str:
        """Every setting, on one line."""

    def key(self) -> dict[str, Any]:
        """What a cached result depends on besides clip and level."""
        return {key: value for key, value in asdict(self).items() if key not in ("levels", "name")}


@dataclass(frozen=True)
class VideoSpec(Spec):
    """A peer of `vidcodec.baselines.settings` at a scale."""

    peer: str = ""
    scale: int = 1

    @property
    def settings(self) -> VideoSettings:
        return find_peer(self.peer)

    def open_encoder(self, level: int, fps: float) -> Encoder:
        return _VideoEncoder(self.settings, self.scale, level, fps)

    def open_decoder(self) -> Decoder:
        return _VideoDecoder(self.settings)

    def describe(self) -> str:
        options = self.settings.options + self.settings.quality_options
        flags = " ".join(f"{key}={value}" for key, value in options)
        scaled = f"; at 1/{self.scale} size, area down, bicubic up" if self.scale > 1 else ""
        return f"{self.settings.encoder} {flags} threads=1, yuv420p BT.601 limited{scaled}"

    def key(self) -> dict[str, Any]:
        settings = {key: value for key, value in asdict(self.settings).items() if "levels" not in key}
        return {**super().key(), **settings}


class _VideoEncoder(Encoder):
    def __init__(self, settings: VideoSettings, scale: int, level: int, fps: float) -> None:
        self._scale = scale
        self._settings, self._level, self._fps = settings, level, fps
        self._encoder: VideoEncoder | None = None

    def encode(self, frame: Frame) -> bytes:
        small = scale_down(frame, self._scale)
        if self._encoder is None:
            options = self._settings.with_quality(self._level)
            self._encoder = VideoEncoder(self._settings, options, small.shape[1], small.shape[0], self._fps)
        return self._encoder.encode(small)

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()


class _VideoDecoder(Decoder):
    def __init__(self, settings: VideoSettings) -> None:
        self._decoder = VideoDecoder(settings)

    def decode(self, packet: bytes) -> Frame:
        return scale_up(self._decoder.decode(packet), 192, 192)


@dataclass(frozen=True)
class BicubicSpec(Spec):
    """Bicubic down and up without any coding: the 'packet' is the small picture's samples."""

    scale: int = 2

    def open_encoder(self, level: int, fps: float) -> Encoder:
        return _RawEncoder(self.scale)

    def open_decoder(self) -> Decoder:
        return _RawDecoder(192 // self.scale)

    def describe(self) -> str:
        return f"no coding: 1/{self.scale} size by area averages, bicubic up; rate is that of raw samples"


class _RawEncoder(Encoder):
    def __init__(self, scale: int) -> None:
        self._scale = scale

    def encode(self, frame: Frame) -> bytes:
        return scale_down(frame, self._scale).tobytes()


class _RawDecoder(Decoder):
    def __init__(self, side: int) -> None:
        self._side = side

    def decode(self, packet: bytes) -> Frame:
        return scale_up(np.frombuffer(packet, np.uint8).reshape(self._side, self._side, 3), 192, 192)


@dataclass(frozen=True)
class StillSpec(Spec):
    """A single-picture format."""

    settings: StillSettings | None = None

    def open_encoder(self, level: int, fps: float) -> Encoder:
        assert self.settings is not None
        return _StillEncoder(self.settings, level)

    def open_decoder(self) -> Decoder:
        return _StillDecoder()

    def describe(self) -> str:
        assert self.settings is not None
        return f"OpenCV {cv2.__version__} {self.settings.describe()}; every frame alone, every {self.stride}th frame"


class _StillEncoder(Encoder):
    def __init__(self, settings: StillSettings, level: int) -> None:
        self._settings, self._level = settings, level

    def encode(self, frame: Frame) -> bytes:
        return encode_still(frame, self._settings, self._level)


class _StillDecoder(Decoder):
    def decode(self, packet: bytes) -> Frame:
        return decode_still(packet)


@dataclass(frozen=True)
class ModelSpec(Spec):
    """One of our codecs."""

    model: str = "seed"
    weights: str | None = None
    weights_sha256: str = ""
    device: str = "cpu"
    precision: str = "auto"

    def load(self) -> Codec:
        """One copy of it in each process, on one thread."""
        return _load_model(self.model, self.weights, self.device, self.precision)

    def open_encoder(self, level: int, fps: float) -> Encoder:
        return _ModelEncoder(self.load(), level)

    def open_decoder(self) -> Decoder:
        return _ModelDecoder(self.load())

    def describe(self) -> str:
        alone = f"; every frame alone, every {self.stride}th frame" if self.stride > 1 else ""
        return (
            f"model {self.model}, weights {self.weights_sha256[:12]}, {self.device} {self.precision}, 1 thread{alone}"
        )

    def key(self) -> dict[str, Any]:
        return {**super().key(), "weights": None}


@cache
def _load_model(model: str, weights: str | None, device: str, precision: str) -> Codec:
    """One copy of a model in each process."""
    return load_codec(model, device, precision, threads=1, weights=Path(weights) if weights else None)


class _ModelEncoder(Encoder):
    def __init__(self, codec: Codec, quality: int) -> None:
        self._codec, self._quality = codec, quality
        self._state: State = codec.blank_state()

    def encode(self, frame: Frame) -> bytes:
        packet, self._state = self._codec.encode(frame, self._state, self._quality)
        return packet.to_bytes()

    def picture(self) -> Frame | None:
        return self._state.picture


class _ModelDecoder(Decoder):
    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._state = codec.blank_state()

    def decode(self, packet: bytes) -> Frame:
        picture, self._state = self._codec.decode(Packet.from_bytes(packet), self._state)
        return picture


def model_spec(
    model: str, weights: Path | None = None, device: str = "cpu", precision: str = "auto", points: int = 6
) -> ModelSpec:
    """A spec of one of our models, its qualities spread evenly: all of them when it has no more than eight.

    Raises:
        InputError: its weights are not there.
    """
    codec = _load_model(model, str(weights) if weights else None, device, precision)
    top = codec.info.qualities - 1
    count = top + 1 if top < 8 else points
    levels = tuple(sorted({round(i * top / (count - 1)) for i in range(count)}))
    return ModelSpec(
        model,
        levels,
        "datachannel",
        STILL_STRIDE if model in STILL_MODELS else 1,
        model=model,
        weights=str(weights) if weights else None,
        weights_sha256=codec.info.weights_sha256,
        device=codec.info.device,
        precision=codec.info.precision,
    )


def find_spec(name: str, device: str = "cpu", precision: str = "auto") -> Spec:
    """A codec by name.

    Raises:
        UsageError: no such codec.
        InputError: a model without weights.
    """
    peer, _, scale = name.partition("@")
    if peer in NAMED and (not scale or scale in ("2", "4", "8")):
        size, settings = int(scale or 1), find_peer(peer)
        return VideoSpec(name, settings.levels_at(size), settings.transport, peer=peer, scale=size)
    if name in ("bicubic2x", "bicubic4x", "bicubic8x"):
        return BicubicSpec(name, (0,), "none", scale=int(name[7]))
    if name in STILLS:
        return StillSpec(name, STILLS[name].levels, "none", STILL_STRIDE, settings=STILLS[name])
    if name in MODELS + LOOKS_MODELS:
        return model_spec(name, device=device, precision=precision)
    raise UsageError(f"codec {name!r} is unknown: choose from {', '.join([*all_names(), *LOOKS_MODELS])}")


def all_names() -> list[str]:
    """What is measured by default: ours, peers, stronger ones, peers at half and quarter size, bicubic, pictures."""
    scaled = [f"{peer}@{scale}" for scale in (2, 4) for peer in PEERS]
    return [*MODELS, *NAMED, *scaled, "bicubic2x", "bicubic4x", "bicubic8x", *STILLS]


def default_specs(device: str = "cpu", precision: str = "auto") -> tuple[list[Spec], list[str]]:
    """Everything that can run here, and a line for each model whose weights are missing."""
    specs: list[Spec] = []
    missing: list[str] = []
    for name in all_names():
        try:
            specs.append(find_spec(name, device, precision))
        except InputError as error:
            missing.append(f"{name}: not measured ({error})")
    return specs, missing
