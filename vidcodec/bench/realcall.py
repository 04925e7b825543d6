"""A whole call between two processes over a bad network: the program's own sender here, its own receiver there.

    this process: source -> Call (sender) -> link -> relay (Impairment) -> link -> Call (receiver) : the other process
                                                                            frames shown, by pipe <-----'

Both share one monotonic clock, so that delays need no estimate. The picture's error is that of the picture that the
receiver shows: it is bit for bit the one that the sender's coder is left with.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidcodec.bench.callfigures import Course, ShownFrame
from vidcodec.bench.farend import START_S, CodecSpec, NotingLog, Remote, free_port
from vidcodec.bench.networks import Network
from vidcodec.codec import Codec
from vidcodec.records import SentFrame
from vidcodec.records import ShownFrame as ShownRecord
from vidcodec.report import CodecFigures

if TYPE_CHECKING:
    from sender.call import Call

RESTART_S = 1.0
RECONNECT_S = 60.0
LONGEST_S = 30.0
"""How much longer than asked a call may take, with reconnecting and goodbye."""


@dataclass(frozen=True)
class CallPlan:
    """How a call is made.

    Attributes:
        clip: a video file, or `sample`.
        kbps: payload rate that it may take.
        seed: of the network's losses.
        keep: keep what was noted of each frame; a long call does not.
        repair: of `LinkOptions`.
    """

    clip: str
    kbps: float
    seed: int = 0
    keep: bool = True
    repair: str = "auto"


class _Noticed(logging.Handler):
    """Notes when the sender says that the session was lost."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.times_ms: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "trying again" in record.msg:
            self.times_ms.append(time.monotonic() * 1000)


def open_clip(clip: str) -> Any:
    """The clip as an endless source, played to and fro, in real time."""
    from sender.capture import open_source
    from sender.videofile import FileSource

    if clip == "sample":
        return open_source("sample", loop=True)
    return FileSource(Path(clip), Path(clip).stem, loop=True, to_and_fro=True)


def hold(
    spec: CodecSpec,
    codec: Codec,
    network: Network,
    plan: CallPlan,
    watch: Callable[["Call", Remote], object] = lambda call, remote: None,
) -> Course:
    """One call of `network.seconds`; `watch` is called four times a second.

    Raises:
        PeerError: the two did not connect, or not again.
        InputError: the clip cannot be read.
    """
    from sender.call import Call, CallOptions
    from sender.crop import LiveCropper
    from vidcodec.link import LinkOptions

    with ExitStack() as stack:
        source = stack.enter_context(open_clip(plan.clip))
        remote = Remote(spec, source.fps, secrets.token_urlsafe(16), free_port(), plan.keep)
        stack.callback(remote.stop)
        remote.start()
        fixed = codec.info.qualities == 1
        options = CallOptions(
            quality=0 if fixed else None,
            bitrate_kbps=None if fixed else plan.kbps,
            crop="center",
            baseline="none",
            duration_s=network.seconds,
            reconnect_s=RECONNECT_S,
        )
        log = NotingLog(CodecFigures(codec.info.model_id), keep=plan.keep)
        call = Call(codec, source, options, None, log=log)
        began_ms = time.monotonic() * 1000
        path = LinkOptions(
            impair=network.path, seed=plan.seed, impair_since_ms=began_ms, bye_timeout_s=6.0, repair=plan.repair
        )
        call.connect(str(remote.facts["url"]), path)
        if fixed:
            codec.follow(lambda: _carried_kbps(call, plan.kbps, source.fps))  # type: ignore[attr-defined]
        wire = _Wire()
        killer = _Killer(remote, network.kill_s)
        noticed = _Noticed()
        logger = logging.getLogger("sender.call")
        logger.addHandler(noticed)
        stack.callback(logger.removeHandler, noticed)
        give_up_s = time.monotonic() + network.seconds + LONGEST_S

        def tick(call: Call) -> None:
            call.update_totals()
            if plan.keep:
                wire.sample(call)
            watch(call, remote)
            killer.tick((time.monotonic() * 1000 - began_ms) / 1000)

        with LiveCropper("center") as cropper:
            try:
                call.run(cropper, lambda: time.monotonic() > give_up_s, tick)
                wire.sample(call)
            finally:  # at Ctrl-C, too: a thread that codes while Python ends aborts the process
                call.finish()
        killer.join()
        remote.stop()
        totals = log.totals
        events = dict(killer.events)
        if noticed.times_ms:
            events["noticed"] = noticed.times_ms[0]
        if remote.listening_ms and killer.events:
            events["listening"] = remote.listening_ms
        return Course(
            began_ms,
            totals.elapsed_ns / 1e9,
            totals.captured,
            totals.sent,
            _joined(log.sent, remote.shown),
            tuple(wire.samples),
            events,
            tuple(remote.facts.get("threads_left", ())),
        )


class _Wire:
    """Bytes on the wire over time, over all links of a call."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int]] = []
        self._link: object = None
        self._before = 0
        self._last = 0

    def sample(self, call: Any) -> None:
        link = call.link
        if link is not self._link:
            self._link, self._before, self._last = link, self._before + self._last, 0
        self._last = max(self._last, link.stats.get("impairmentOutboundBytes", 0))
        self.samples.append((time.monotonic() * 1000, self._before + self._last))


class _Killer:
    """Kills the receiver at a time and starts it again at once: it then takes as long as a program takes to start."""

    def __init__(self, remote: Remote, at_s: float | None) -> None:
        self.events: dict[str, float] = {}
        self._remote = remote
        self._at_s = at_s
        self._thread: threading.Thread | None = None

    def tick(self, elapsed_s: float) -> None:
        if self._at_s is not None and elapsed_s >= self._at_s and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="killer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        self._remote.kill()
        self.events["killed"] = time.monotonic() * 1000
        time.sleep(RESTART_S)
        self._remote.start()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join(START_S)


def _carried_kbps(call: Any, most_kbps: float, fps: float) -> float:
    """Payload rate for a codec that sets its own: what the path carries, at most what was asked for."""
    return float(min(most_kbps, call.link.budget_bytes(fps) * 8 / 1000 * fps))


def _joined(sent: list[SentFrame], shown: list[ShownRecord]) -> tuple[ShownFrame, ...]:
    """Records of both ends by frame number, in the order in which the frames were shown."""
    by_number = {frame.number: frame for frame in sent}
    joined = [
        ShownFrame(
            by_number[late.number].captured_ns / 1e6,
            late.shown_ns / 1e6,
            by_number[late.number].encoded_ns / 1e6,
            late.received_ns / 1e6,
            by_number[late.number].squared_error,
        )
        for late in shown
        if late.number in by_number
    ]
    return tuple(sorted(joined, key=lambda frame: frame.shown_ms))
