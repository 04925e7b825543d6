"""The usual way, for comparison: VP8 in aiortc's own video track, two processes, one frame's way in milliseconds.

The sender paints the number of the first frames into their top rows as black and white blocks. The receiver reads it
from the first decoded picture, counts on by the RTP time stamps, and looks at the clock, which both processes share on
one machine. So the time is from the frame given to the track to the decoded picture in the receiver's hands: coding,
packetising, network, jitter buffer, decoding. Later frames are as they are: blocks that change would cost bits.
"""

import asyncio
import multiprocessing
import time
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.bench.processes import end_with_parent
from vidcodec.colour import rgb_to_yuv420, yuv420_to_rgb
from vidcodec.errors import PeerError
from vidcodec.link.impair import Impairment

Frame = NDArray[np.uint8]

BLOCK = 16
BITS = 12
CONNECT_S = 20.0
MARKED = 60
"""Frames with their number in them."""
RTP_HZ = 90_000
FLOOR_BPS = 30_000
"""aiortc never goes below 250 kbit/s by itself."""


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


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """How a track is sent.

    Attributes:
        fps: of the frames.
        impair: the bad network between the ends, None for none.
        seed: of that network.
        most_kbps: highest rate of VP8's payload, and the one that it begins with; None leaves aiortc's own limits.
    """

    fps: float
    impair: Impairment | None = None
    seed: int = 0
    most_kbps: float | None = None


@dataclass(frozen=True, slots=True)
class TrackFrame:
    """A frame that arrived.

    Attributes:
        number: as it was sent.
        shown_ms: the picture was there, on `time.monotonic`.
        squared_error: over the values below the marks, None where nothing was to compare with.
    """

    number: int
    shown_ms: float
    squared_error: int | None = None


@dataclass
class TrackRun:
    """What became of a track.

    Attributes:
        sent_ms: when each frame was given to the track.
        frames: those that arrived.
        wire: (time in ms, bytes so far) of the sending side, headers down to IPv4; with `impair` only.
    """

    sent_ms: list[float] = field(default_factory=list)
    frames: list[TrackFrame] = field(default_factory=list)
    wire: list[tuple[float, int]] = field(default_factory=list)


def run_track(frames: NDArray[np.uint8], fps: float) -> list[tuple[int, float]]:
    """Send frames `[N, 192, 192, 3]` through a VP8 track to another process.

    Returns:
        (frame number, milliseconds from sending to decoded picture) of every frame that arrived.

    Raises:
        PeerError: the two did not connect, or the other process died.
    """
    run = send_track(frames, len(frames), TrackPlan(fps), compare=False)
    return [(frame.number, frame.shown_ms - run.sent_ms[frame.number]) for frame in run.frames]


def send_track(clip: NDArray[np.uint8], count: int, plan: TrackPlan, compare: bool = True) -> TrackRun:
    """Send `count` frames of a clip `[N, 192, 192, 3]`, played to and fro, to another process.

    Raises:
        PeerError: the two did not connect, or the other process died.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    originals = clip if compare else None
    process = context.Process(target=_receive, args=(theirs, originals, plan.fps), daemon=True, name="track-receiver")
    process.start()
    theirs.close()
    run = TrackRun()
    try:
        asyncio.run(asyncio.wait_for(_send(clip, count, plan, ours, run), CONNECT_S + 2 * count / plan.fps + 10))
        if not ours.poll(10):
            raise PeerError("aiortc's video track: the receiving process gave no answer")
        run.frames = [frame for frame in ours.recv() if 0 <= frame.number < len(run.sent_ms)]
    except (TimeoutError, EOFError, OSError) as error:
        raise PeerError(f"aiortc's video track: the receiving process is gone ({type(error).__name__})") from error
    finally:
        ours.close()
        process.join(5)
    return run


def to_and_fro(number: int, length: int) -> int:
    """Which frame of a clip is the `number`th when it is played forwards and backwards for ever."""
    place = number % max(1, 2 * length - 2)
    return place if place < length else 2 * length - 2 - place


def _track(clip: NDArray[np.uint8], plan: TrackPlan, run: TrackRun) -> Any:
    """A track that gives one frame each 1/fps s and notes when."""
    import cv2  # noqa: F401  (before av)

    import av  # isort: skip
    from aiortc import MediaStreamTrack

    class Source(MediaStreamTrack):
        kind = "video"
        begin: float | None = None

        async def recv(self) -> Any:
            number = len(run.sent_ms)
            if self.begin is None:
                self.begin = time.monotonic()
            await asyncio.sleep(max(0.0, self.begin + number / plan.fps - time.monotonic()))
            frame = clip[to_and_fro(number, len(clip))]
            planes = rgb_to_yuv420(mark(frame, number) if number < MARKED else frame)
            picture = av.VideoFrame.from_ndarray(planes, "yuv420p")
            picture.pts, picture.time_base = round(number * RTP_HZ / plan.fps), Fraction(1, RTP_HZ)
            run.sent_ms.append(time.monotonic() * 1000)
            return picture

    return Source()


async def _send(clip: NDArray[np.uint8], count: int, plan: TrackPlan, pipe: Connection, run: TrackRun) -> None:
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
    from aiortc.codecs import vpx

    from vidcodec.link.ice import reachable_address
    from vidcodec.link.relay import Relay

    limits = vpx.MIN_BITRATE, vpx.DEFAULT_BITRATE, vpx.MAX_BITRATE
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    relay = None
    if plan.impair is not None:
        relay = Relay(plan.impair, plan.seed, time.monotonic() * 1000)
        await relay.open(reachable_address())
    try:
        if plan.most_kbps is not None:
            most = max(FLOOR_BPS, round(plan.most_kbps * 1000))
            vpx.MIN_BITRATE, vpx.DEFAULT_BITRATE, vpx.MAX_BITRATE = FLOOR_BPS, most, most
        peer.addTrack(_track(clip, plan, run))
        await peer.setLocalDescription(await peer.createOffer())
        offer = peer.localDescription.sdp
        pipe.send(offer if relay is None else relay.outgoing(offer))
        answer = await asyncio.to_thread(pipe.recv)
        answer = answer if relay is None else relay.incoming(answer)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        end = time.monotonic() + CONNECT_S
        while not run.sent_ms:
            if time.monotonic() > end:
                raise PeerError(f"aiortc's video track: no connection after {CONNECT_S:g} s")
            await asyncio.sleep(0.05)
        end = time.monotonic() + count / plan.fps
        while time.monotonic() < end:
            if relay is not None:
                run.wire.append((time.monotonic() * 1000, relay.outbound.bytes))
            await asyncio.sleep(min(0.25, max(0.0, end - time.monotonic())))
        pipe.send("end")
    finally:
        vpx.MIN_BITRATE, vpx.DEFAULT_BITRATE, vpx.MAX_BITRATE = limits
        await peer.close()
        if relay is not None:
            relay.close()


def _receive(pipe: Connection, originals: NDArray[np.uint8] | None, fps: float) -> None:
    """The other process."""
    end_with_parent()
    asyncio.run(_answer(pipe, originals, fps))


async def _answer(pipe: Connection, originals: NDArray[np.uint8] | None, fps: float) -> None:
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
    from aiortc.mediastreams import MediaStreamError

    arrived: list[TrackFrame] = []
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    reading: list[asyncio.Task[None]] = []

    async def read(track: Any) -> None:
        ahead: int | None = None  # of the time stamps, which the receiver counts from its first frame
        while True:
            try:
                picture = await track.recv()
            except MediaStreamError:
                return
            at_ms = time.monotonic() * 1000
            frame = yuv420_to_rgb(picture.to_ndarray(format="yuv420p"))
            counted = round(picture.pts * fps / RTP_HZ)
            if ahead is None:
                ahead = read_mark(frame) - counted
            number, error = counted + ahead, None
            if originals is not None:
                wanted = originals[to_and_fro(number, len(originals))][BLOCK:].astype(np.int32)
                error = int(((frame[BLOCK:].astype(np.int32) - wanted) ** 2).sum())
            arrived.append(TrackFrame(number, at_ms, error))

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
