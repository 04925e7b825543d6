"""Recordings of what was shown. Each file is good up to its last seconds after a kill.

    .mkv   lossless (FFV1, RGB): one picture for each frame shown, panels side by side at 192x192, nothing drawn on them
    .mp4   for people (H.264): panels scaled up with figures around them, at the pace of the call
    .vdc   the packets as received, lost frames marked: decodes again with `python -m vidcodec decode`

A loopback call has three panels (original, ours, baseline), so that every error in its report can be computed again
from the .mkv; another call has ours alone.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.codec import FRAME_SIZE, CodecInfo
from vidcodec.container import StreamInfo, StreamWriter
from vidcodec.errors import DamagedPacket, InputError, reason_of
from vidcodec.packet import Packet
from vidcodec.videowriter import VideoWriter

Picture = NDArray[np.uint8]

MAX_GAP = 300
"""More lost frames in a row than this are marked as this many."""

MAX_PAUSE_S = 10.0
"""A picture is repeated for at most this long, whatever the clock says."""


def unused(path: str) -> str:
    """The path, or where something stands there already the next one that is free: `call-2.mkv` for `call.mkv`.

    A film cannot be made again: neither the last call's nor what came before a lost link is written over.
    """
    wanted = Path(path)
    free, count = wanted, 1
    while free.exists() and free.stat().st_size:
        count += 1
        free = wanted.with_name(f"{wanted.stem}-{count}{wanted.suffix}")
    return str(free)


class LosslessRecorder:
    """One picture for each shown frame, the panels side by side; a panel without a picture is black."""

    def __init__(self, path: str, fps: float) -> None:
        self._writer = VideoWriter(path, fps)

    def add(self, pictures: Sequence[Picture | None]) -> None:
        """Append the panels of one frame, each `[192, 192, 3]` uint8 RGB; always as many as the first time."""
        black = np.zeros((FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        self._writer.write(np.hstack([black if picture is None else picture for picture in pictures]))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class ViewRecorder:
    """The call as people see it, at a steady frame rate: a frame that stood longer is repeated."""

    def __init__(self, path: str, fps: float) -> None:
        self._writer = VideoWriter(path, fps)
        self._fps = fps
        self._start_ns: int | None = None
        self._held: Picture | None = None

    def add(self, canvas: Picture, shown_ns: int) -> None:
        """Take a canvas `[H, W, 3]` uint8 RGB that was shown at `shown_ns`; the one before it is written."""
        if self._start_ns is None:
            self._start_ns = shown_ns
        elif self._held is not None:
            count = round((shown_ns - self._start_ns) / 1e9 * self._fps) - self._writer.frames
            most = round(MAX_PAUSE_S * self._fps)
            if count > most:  # the rest of a pause is left out for good: later pictures must not make up for it
                self._start_ns += round((count - most) / self._fps * 1e9)
            for _ in range(max(1, min(count, most))):
                self._writer.write(self._held)
        self._held = canvas

    def close(self) -> None:
        """Finish the file."""
        try:
            if self._held is not None:
                self._writer.write(self._held)
        finally:
            self._writer.close()


class PacketRecorder:
    """The packets in order of their numbers; what is missing is marked as lost.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: str, codec: CodecInfo, fps: float) -> None:
        self._path = path
        self._next: int | None = None
        try:
            self._file = Path(path).open("wb")  # noqa: SIM115 (closed in close)
            self._writer = StreamWriter(self._file, StreamInfo(codec.model_id, codec.weights_sha256, fps))
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"--record {path}: {reason_of(error)}; give a file in a folder that can be written"
            ) from error

    def add(self, number: int, packet: bytes) -> None:
        """Append the packet of frame `number`. One that comes after a later one was written is left out."""
        if self._next is None:
            self._next = number
        if number < self._next:
            return
        try:
            for _ in range(min(number - self._next, MAX_GAP)):
                self._writer.write(None)
            self._writer.write(Packet.from_bytes(packet))
            self._file.flush()
        except DamagedPacket:
            self._writer.write(None)
        except OSError as error:
            raise InputError(f"--record {self._path}: {reason_of(error)}") from error
        self._next = number + 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            InputError: what could not be written before cannot be written now.
        """
        try:
            self._file.close()
        except OSError as error:
            raise InputError(f"--record {self._path}: {reason_of(error)}") from error


def write_png(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write a picture `[H, W, 3]` uint8 RGB so that a reader never sees half of it.

    Raises:
        InputError: it cannot be written.
    """
    target = Path(path)
    data = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))[1]
    partial = target.with_name(target.name + ".partial")
    try:
        partial.write_bytes(data.tobytes())
        partial.replace(target)
    except OSError as error:
        raise InputError(
            f"--snapshot {path}: {reason_of(error)}; give a file in a folder that can be written"
        ) from error
