"""The usual way, for comparison: VP8 in aiortc's own video track, two processes, one frame's way in milliseconds.

The sender paints each frame's number into its top rows as black and white blocks; the receiver reads it from the
decoded picture and looks at the clock, which both processes share on one machine. So the time is from the frame given
to the track to the decoded picture in the receiver's hands: coding, packetising, network, jitter buffer, decoding.
"""

import asyncio
import multiprocessing
import time
from fractions import Fraction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import PeerError

Frame = NDArray[np.uint8]

BLOCK = 16
BITS = 12
CONNECT_S = 20.0


def mark(frame: Frame, number: int) -> Frame:
    """The frame with its number (12 bits) in blocks of 16x16 along the top."""
    marked = frame.copy()
    for bit in range(BITS):
        marked[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 16
    return marked


def read_mark(frame: Frame) -> int:
    """The number that `mark` painted; survives any coding that keeps blocks light or dark."""
    top = frame[:BLOCK].reshape(BLOCK, -1, BLOCK, 3)[:, :BITS].mean(axis=(0, 2, 3))
    return sum(1 << bit for bit in range(BITS) if top[bit] > 128)


def run_track(frames: NDArray[np.uint8], fps: float) -> list[tuple[int, float]]:
    """Send frames `[N, 192, 192, 3]` through a VP8 track to another process.

    Returns:
        (frame number, milliseconds from sending to decoded picture) of every frame that arrived.

    Raises:
        PeerError: the two did not connect, or the other process died.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_receive, args=(theirs,), daemon=True, name="track-receiver")
    process.start()
    theirs.close()
    try:
        started = asyncio.run(asyncio.wait_for(_send(frames, fps, ours), CONNECT_S + 2 * len(frames) / fps + 10))
        if not ours.poll(10):
            raise PeerError("aiortc's video track: the receiving process gave no answer")
        arrived: list[tuple[int, float]] = ours.recv()
    except (EOFError, OSError, asyncio.TimeoutError) as error:
        raise PeerError(f"aiortc's video track: the receiving process is gone ({type(error).__name__})") from error
    finally:
        ours.close()
        process.join(5)
    return [(number, (at - started[number]) * 1000) for number, at in arrived if number in started]


def _track(frames: NDArray[np.uint8], fps: float, started: dict[int, float]) -> Any:
    """A track that gives one frame each 1/fps s and notes when."""
    import cv2  # noqa: F401  (before av)

    import av  # isort: skip
    from aiortc import MediaStreamTrack

    class Source(MediaStreamTrack):
        kind = "video"
        number = 0
        begin: float | None = None

        async def recv(self) -> Any:
            if self.begin is None:
                self.begin = time.monotonic()
            await asyncio.sleep(max(0.0, self.begin + self.number / fps - time.monotonic()))
            picture = av.VideoFrame.from_ndarray(mark(frames[self.number % len(frames)], self.number % 4096), "rgb24")
            picture.pts, picture.time_base = round(self.number * 90000 / fps), Fraction(1, 90000)
            started[self.number % 4096] = time.monotonic()
            self.number += 1
            return picture

    return Source()


async def _send(frames: NDArray[np.uint8], fps: float, pipe: Connection) -> dict[int, float]:
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

    started: dict[int, float] = {}
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        peer.addTrack(_track(frames, fps, started))
        await peer.setLocalDescription(await peer.createOffer())
        pipe.send(peer.localDescription.sdp)
        answer = await asyncio.to_thread(pipe.recv)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        end = time.monotonic() + CONNECT_S
        while not started:
            if time.monotonic() > end:
                raise PeerError(f"aiortc's video track: no connection after {CONNECT_S:g} s")
            await asyncio.sleep(0.05)
        await asyncio.sleep(len(frames) / fps)
        pipe.send("end")
    finally:
        await peer.close()
    return started


def _receive(pipe: Connection) -> None:
    """The other process."""
    asyncio.run(_answer(pipe))


async def _answer(pipe: Connection) -> None:
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
    from aiortc.mediastreams import MediaStreamError

    arrived: list[tuple[int, float]] = []
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    reading: list[asyncio.Task[None]] = []

    async def read(track: Any) -> None:
        while True:
            try:
                picture = await track.recv()
            except MediaStreamError:
                return
            arrived.append((read_mark(picture.to_ndarray(format="rgb24")), time.monotonic()))

    peer.on("track", lambda track: reading.append(asyncio.ensure_future(read(track))))
    try:
        await peer.setRemoteDescription(RTCSessionDescription(await asyncio.to_thread(pipe.recv), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        pipe.send(peer.localDescription.sdp)
        await asyncio.to_thread(pipe.recv)  # "end"
    except EOFError:
        return
    finally:
        for task in reading:
            task.cancel()
        await peer.close()
    pipe.send(arrived)
