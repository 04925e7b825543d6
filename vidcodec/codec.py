"""The codec's contract: a functional coder whose state is a value.

    encode(frame, state, quality) -> (packet, state')
    decode(packet, state)         -> (frame, state')

State is never hidden in an object. A sender may keep the last states, predict from any one that the receiver is known
to hold, try a second quality for the same frame or drop a frame, and nothing has to be undone. A blank state is the
intra case: there is no separate model for it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import MissingReference, UsageError
from vidcodec.packet import MAX_DISTANCE, NUMBERS, Header, Packet

FRAME_SIZE = 192
BITSTREAM_VERSION = 1
MODELS = ("s", "s-p", "seed", "gdn")
LEARNED_MODELS = ("s", "s-p")
"""Of one format and one size; `s` is trained for squared error, `s-p` for looks at low rates."""

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CodecInfo:
    """What a codec is. Peers must agree on `model_id` and `weights_sha256`; device and precision are free.

    lowest: the lowest quality that `encode` takes. Below 0 a frame is of quality 0 to its receiver, with fewer bits.
    """

    model_id: str
    weights_sha256: str
    device: str
    precision: str
    qualities: int
    lowest: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What a coder carries from one frame to the next.

    Attributes:
        number: number (modulo 1024) of the frame that left this state; None in a blank state.
        picture: `[192, 192, 3]` uint8 RGB, what a receiver in this state shows (grey when blank).
        memory: what the model itself carries; opaque to everybody else, never changed in place.
    """

    number: int | None
    picture: Frame
    memory: Any = None


class Codec(ABC):
    """A codec for 192x192 RGB frames. Immutable after construction: any thread may use any state with it, one call
    at a time."""

    info: CodecInfo

    def blank_state(self) -> State:
        """The state before any frame: the next frame is coded without a reference."""
        return State(None, np.full((FRAME_SIZE, FRAME_SIZE, 3), 128, np.uint8))

    @abstractmethod
    def encode(self, frame: Frame, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        """Code one frame.

        Args:
            frame: `[192, 192, 3]` uint8 RGB.
            state: a blank state, or one left by `encode`/`decode` at most 63 frames ago.
            quality: `info.lowest`..`info.qualities` - 1, more is better.
            number: frame number modulo 1024; by default the one after `state`'s.

        Returns:
            The packet, and the state whose `picture` is what the receiver of that packet will show.

        Raises:
            UsageError: wrong shape, type, quality, or a reference too far back.
        """

    @abstractmethod
    def decode(self, packet: Packet, state: State) -> tuple[Frame, State]:
        """Decode one packet.

        Raises:
            MissingReference: the packet was predicted from another frame than `state`'s.
            DamagedPacket: the bytes are no frame of this codec. `state` stays usable.
        """

    def part_bits(self, packet: Packet) -> dict[str, float]:
        """What the parts of a packet cost in bits, by name: `header`, and what the model has of its own (`motion`, `z`,
        `y`). Needs no reference. Those are ideal costs; with them the sum is within a byte of the packet.

        Raises:
            DamagedPacket: the bytes are no frame of this codec.
        """
        return {"header": 8.0 * len(packet.header), "body": 8.0 * len(packet.body)}


def next_header(frame: Frame, state: State, quality: int, info: CodecInfo, number: int | None) -> Header:
    """Check the arguments of `Codec.encode` and number the frame. The checksum is still zero."""
    if frame.shape != (FRAME_SIZE, FRAME_SIZE, 3) or frame.dtype != np.uint8:
        raise UsageError(f"frame is {frame.dtype} {frame.shape}: give uint8 RGB of {FRAME_SIZE}x{FRAME_SIZE}x3")
    if not info.lowest <= quality < info.qualities:
        raise UsageError(f"quality {quality} is out of range: this model has {info.lowest} to {info.qualities - 1}")
    if number is None:
        number = 0 if state.number is None else (state.number + 1) % NUMBERS
    distance = 0 if state.number is None else (number - state.number) % NUMBERS
    if state.number is not None and not 1 <= distance <= MAX_DISTANCE:
        raise UsageError(f"frame {number} cannot refer to frame {state.number}: at most {MAX_DISTANCE} frames back")
    return Header(number, distance, max(0, quality))


def reference_state(codec: Codec, header: Header, state: State) -> State:
    """The state a packet decodes from: a blank one for an intra frame, else `state` if it is the packet's reference.

    Raises:
        MissingReference: it is not.
    """
    if header.reference is None:
        return codec.blank_state()
    if header.reference != state.number:
        held = "nothing" if state.number is None else f"frame {state.number}"
        raise MissingReference(f"frame {header.number} refers to frame {header.reference}, but {held} is held")
    return state


def model_of(model_id: str) -> str:
    """The name that loads a model by its id, which may say more: `s-3000` are weights of `s`, `s-p-3000` of `s-p`."""
    names = [name for name in MODELS if f"{model_id}-".startswith(f"{name}-")]
    return max(names, key=len, default=model_id)


def load_codec(
    model: str = "seed",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    weights: Path | None = None,
) -> Codec:
    """Load a model by name.

    Args:
        model: one of `MODELS`.
        device: `auto` (CUDA where there is a GPU), `cpu` or `cuda`.
        precision: `auto` (half on CUDA, single on a CPU), `fp32`, `fp16` or `bf16`.
        threads: CPU threads for the network; by default torch's own choice.
        weights: a safetensors file instead of the bundled one.

    Raises:
        UsageError: no such model, or the device or precision is not to be had here.
        InputError: the weights cannot be read.
    """
    # Networks are imported here and not above, so that commands start fast and tools that only read bitstreams
    # need no torch.
    if model in ("seed", "gdn"):
        from vidcodec.stills import StillCodec

        return StillCodec.load(model, device, precision, threads, weights)
    if model in LEARNED_MODELS:
        from vidcodec.learned import LearnedCodec

        return LearnedCodec.load(model, device, precision, threads, weights)
    raise UsageError(f"no model {model!r}: choose one of {', '.join(MODELS)}")
