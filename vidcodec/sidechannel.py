"""Originals and baseline pictures from the sender to the receiver of a loopback call, beside the link.

In a loopback call both processes are on one machine, and the receiver shows and measures three pictures side by side.
What it needs for that goes through a local socket and never touches the link that is measured. One message is a
header and raw pixels; there is nothing in it that is executed.

    | kind (8) | number (32) | wire bytes (32) | label length (8) | label | pixels [192, 192, 3] or nothing |
"""

import logging
import secrets
import struct
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection, Listener

import numpy as np
from numpy.typing import NDArray

from vidcodec.codec import FRAME_SIZE
from vidcodec.errors import PeerError, reason_of

log = logging.getLogger(__name__)

Frame = NDArray[np.uint8]

ENVIRONMENT = "VIDCODEC_SIDE"
"""Environment variable in which the sender tells the receiver that it starts where to connect, and the key."""

KEPT = 96
_HEAD = struct.Struct(">BIIB")
_SHAPE = (FRAME_SIZE, FRAME_SIZE, 3)
_PIXELS = FRAME_SIZE * FRAME_SIZE * 3
_MAX_BYTES = _HEAD.size + 255 + _PIXELS
_ORIGINAL, _BASELINE = 1, 2


@dataclass(frozen=True, slots=True)
class SidePictures:
    """What came for one frame.

    Attributes:
        original: the cropped picture that was coded, uint8 RGB `[192, 192, 3]`.
        baseline: the baseline's picture of it.
        baseline_bytes: what that cost on the wire.
        label: name of the baseline.
        complete: nothing more will come for this frame.
    """

    original: Frame | None = None
    baseline: Frame | None = None
    baseline_bytes: int = 0
    label: str = ""
    complete: bool = False


class SideSender:
    """The sender's end: waits in the background for the receiver to connect. Sending blocks while the pipe is full."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._listener = Listener(backlog=1, authkey=self._key)
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._accept, name="side-accept", daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What the receiver's environment must hold to connect."""
        return {ENVIRONMENT: f"{self._key.hex()}@{self._listener.address}"}

    def send_original(self, number: int, picture: Frame) -> None:
        """Send the original of a frame. Nothing happens when nobody is connected (any more)."""
        self._send(_ORIGINAL, number, 0, "", picture)

    def send_baseline(self, number: int, picture: Frame | None, wire_bytes: int, label: str) -> None:
        """Send the baseline's picture of a frame, or None for none; the frame is then complete."""
        self._send(_BASELINE, number, wire_bytes, label, picture)

    def close(self) -> None:
        """Close both sockets."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._listener.close()

    def _accept(self) -> None:
        try:
            self._connection = self._listener.accept()
        except Exception as error:  # whoever knocked did not know the key, or the listener was closed
            log.debug("side channel: %s", error)

    def _send(self, kind: int, number: int, wire_bytes: int, label: str, picture: Frame | None) -> None:
        connection = self._connection
        if connection is None:
            return
        name = label.encode()[:255]
        pixels = b"" if picture is None else picture.tobytes()
        try:
            connection.send_bytes(_HEAD.pack(kind, number, wire_bytes, len(name)) + name + pixels)
        except (OSError, TypeError) as error:  # gone, or closed by `close` in the middle of a write
            log.debug("side channel: %s", error)
            self._connection = None


class SideReceiver:
    """The receiver's end: a thread that keeps the pictures of the newest `KEPT` frames until they are taken.

    Raises:
        PeerError: the sender cannot be reached.
    """

    def __init__(self, address: str) -> None:
        key, _, path = address.partition("@")
        try:
            self._connection = Client(path, authkey=bytes.fromhex(key))
        except Exception as error:  # sockets, keys and paths fail in many ways, and mean the same here
            why = reason_of(error)
            raise PeerError(f"the sender's local channel does not answer ({why}); start both by --loopback") from error
        self._changed = threading.Condition()
        self._pictures: OrderedDict[int, SidePictures] = OrderedDict()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="side-read", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether the sender has gone, or `close` was called."""
        with self._changed:
            return self._closed

    def peek(self, number: int) -> SidePictures:
        """What is there for a frame now."""
        with self._changed:
            return self._pictures.get(number, SidePictures())

    def take(self, number: int, timeout_s: float) -> SidePictures:
        """Wait until a frame is complete, at most `timeout_s`, and take what is there for it."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while not self._closed and not self._pictures.get(number, SidePictures()).complete:
                if not self._changed.wait(max(0.0, until_s - time.monotonic())):
                    break
            return self._pictures.pop(number, SidePictures())

    def close(self) -> None:
        """Close the socket; the thread ends."""
        self._connection.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while True:
                self._message(self._connection.recv_bytes(_MAX_BYTES))
        except (EOFError, OSError, ValueError, TypeError) as error:
            # TypeError: closed by `close` in the middle of a read, which then finds no descriptor.
            log.debug("side channel ended: %s", error)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _message(self, data: bytes) -> None:
        if len(data) < _HEAD.size:
            raise ValueError("message shorter than its header")
        kind, number, wire_bytes, length = _HEAD.unpack_from(data)
        label = data[_HEAD.size : _HEAD.size + length].decode("utf-8", "replace")
        pixels = data[_HEAD.size + length :]
        if len(pixels) not in (0, _PIXELS) or kind not in (_ORIGINAL, _BASELINE):
            raise ValueError("message of an unknown kind or size")
        picture = np.frombuffer(pixels, np.uint8).reshape(_SHAPE) if pixels else None
        with self._changed:
            entry = self._pictures.get(number, SidePictures())
            if kind == _ORIGINAL:
                entry = replace(entry, original=picture)
            else:
                entry = replace(entry, baseline=picture, baseline_bytes=wire_bytes, label=label, complete=True)
            self._pictures[number] = entry
            while len(self._pictures) > KEPT:
                self._pictures.popitem(last=False)
            self._changed.notify_all()
