"""A recorded call as a source: its packets go out again as they stand, as long as the receiver can decode them.

    .vdc -- Replay --> Frame(picture, recorded) -- Capture --> FramePath --> link

Each packet is decoded here, too: the picture and the states are there to code a frame anew when a packet was lost on
the way and those behind it are of no use to the receiver. That goes on until a recorded packet needs no other.
"""

import argparse
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sender.capture import Frame, Pacer, Source
from vidcodec.codec import FRAME_SIZE, Codec, State, model_of
from vidcodec.container import StreamInfo, read_info, read_packets
from vidcodec.errors import DamagedPacket, InputError, MissingReference, UsageError, reason_of
from vidcodec.packet import NUMBERS, Packet, unwrap
from vidcodec.replay import Replay

log = logging.getLogger(__name__)

SLOTS = 16
"""Frames that may wait for the frame path: each is needed by the next, and to pass one on takes a millisecond."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A packet of a recorded call.

    Attributes:
        number: full count of the frame in the recording.
        packet: as it was recorded.
        reference: the state that it is decoded from; None when it stands alone.
        state: the state that it leaves.
    """

    number: int
    packet: Packet
    reference: State | None
    state: State


class SharedCodec(Codec):
    """A codec that two threads use: one call at a time."""

    def __init__(self, codec: Codec) -> None:
        self.info = codec.info
        self._codec = codec
        self._lock = threading.Lock()

    def blank_state(self) -> State:
        return self._codec.blank_state()

    def encode(self, frame: np.ndarray, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        with self._lock:
            return self._codec.encode(frame, state, quality, number)

    def decode(self, packet: Packet, state: State) -> tuple[np.ndarray, State]:
        with self._lock:
            return self._codec.decode(packet, state)


def is_recording(source: str | None) -> bool:
    """Whether an input is a recorded call."""
    return source is not None and source.lower().endswith(".vdc")


class RecordedSource(Source):
    """The frames of a .vdc file at the rate of the call; `use` gives it the codec before `frames` are asked for.

    A file that was cut short gives what is there. Frames that were lost when it was recorded are left out, and the
    picture before them stands for as long as it did then.

    Attributes:
        info: what the file says of its model.

    Raises:
        InputError: no such file.
        DamagedPacket: it is no .vdc, or no packet is in it.
    """

    def __init__(self, path: Path, loop: bool = False) -> None:
        self.name = str(path)
        self.live = True
        self.slots = SLOTS
        self.size = (FRAME_SIZE, FRAME_SIZE)
        self._path, self._loop = path, loop
        self._stop = threading.Event()
        self._codec: Codec | None = None
        try:
            with path.open("rb") as file:
                self.info: StreamInfo = read_info(file)
                first = next((packet for packet in read_packets(file) if packet is not None), None)
        except OSError as error:
            raise InputError(f"{path}: {reason_of(error)}; give a recorded .vdc") from error
        except DamagedPacket as error:
            raise DamagedPacket(f"{path}: {error}") from error
        if first is None:
            raise DamagedPacket(f"{path}: no packet is in it")
        self.fps = self.info.fps
        self.first = first.header.number

    def use(self, codec: Codec) -> None:
        """Decode with this codec.

        Raises:
            InputError: it has other weights than those that made the recording.
        """
        if codec.info.weights_sha256 != self.info.weights_sha256:
            raise InputError(
                f"{self.name}: made with other weights of model {self.info.model_id!r}; give --weights FILE"
            )
        self._codec = codec

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that decode; see `Source.frames`."""
        try:
            yield from self._paced()
        except OSError as error:
            raise InputError(f"{self.name}: {reason_of(error)}; give a recorded .vdc") from error

    def _paced(self) -> Iterator[Frame]:
        pacer = Pacer(self._stop)
        index, slot = 0, 0
        while not self._stop.is_set():
            before = index
            for record in self._records():
                if record is not None:
                    if not pacer.wait(slot / self.fps):
                        return
                    picture = record.state.picture
                    yield Frame(index, time.monotonic_ns(), slot / self.fps, picture, record)
                    index += 1
                slot += 1
            if not self._loop or index == before:  # nothing in it decodes: the next round would find no more
                return

    def close(self) -> None:
        """End `frames` soon, from any thread."""
        self._stop.set()

    def _records(self) -> Iterator[Recorded | None]:
        """The file once through; None for each frame that was lost, or that needs one that was."""
        if self._codec is None:
            raise UsageError(f"{self.name}: a recording needs a codec before it can be sent")
        replay = Replay(self._codec)
        number = self.first - 1
        missing = 0
        damaged = False
        with self._path.open("rb") as file:
            read_info(file)
            packets = read_packets(file)
            while True:
                try:
                    packet = next(packets)
                except StopIteration:
                    return
                except DamagedPacket as error:
                    log.warning("%s: %s; the recording is sent up to there", self.name, error)
                    return
                record = None
                if packet is not None:
                    number = _after(number, missing, packet.header.number)
                    missing = -1
                    try:
                        step = replay.step(packet)
                        record = Recorded(number, packet, step.reference, step.state)
                    except DamagedPacket as error:
                        # What was lost on the way is no news. What is damaged is, once; the rest follows from it.
                        news = not (damaged or isinstance(error, MissingReference))
                        level = logging.WARNING if news else logging.DEBUG
                        log.log(level, "%s: frame %d is left out: %s", self.name, number, error)
                        damaged = damaged or news
                missing += 1
                yield record


def _after(last: int, missing: int, number: int) -> int:
    """The full count of a frame, `missing` frames after `last`, whose packet says `number`."""
    count = unwrap(number, last + 1 + missing)
    return count if count > last else count + NUMBERS


def settle_options(options: argparse.Namespace, info: StreamInfo) -> None:
    """What a recording decides by itself.

    Raises:
        UsageError: something else was asked for.
    """
    model = model_of(info.model_id)
    if options.model != model and "model" in options.origins:
        raise UsageError(f"--model {options.model}: {options.input} is of model {model!r}; leave out --model")
    options.model = model
    if options.fps is not None:
        raise UsageError(f"--fps {options.fps:g}: a recording is sent at its own {info.fps:g} frames a second")
    if options.quality is None and options.bitrate is None:
        if options.baseline != "none" and "baseline" in options.origins:
            raise UsageError(
                f"--baseline {options.baseline}: packets are sent as they stand and have no original to compare with; "
                "give --bitrate or --quality to code them again"
            )
        options.baseline = "none"
