"""Beside the frame path: the baseline, the error of what the receiver shows, and originals for a loopback receiver.

One thread behind a bounded queue. When it cannot keep up, frames go unmeasured; the frame path never waits.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sender.frames import Coded
from vidcodec.baselines.live import Baseline, BaselineFrame
from vidcodec.calllog import MS_SSIM_EVERY
from vidcodec.metrics import ms_ssim
from vidcodec.records import SentFrame
from vidcodec.sidechannel import SideSender
from vidcodec.web.callpage import CallPage

Picture = NDArray[np.uint8]

QUEUED = 45
RATE_MEMORY_S = 2.0


class RateMeter:
    """Mean wire rate of the last seconds, so that the baseline can be given the same."""

    def __init__(self, fps: float, expected_kbps: float | None) -> None:
        self._fps = fps
        self._weight = min(1.0, 1.0 / (RATE_MEMORY_S * fps))  # a slow source remembers its last frame
        self._frame_bytes = None if expected_kbps is None else expected_kbps * 1000 / 8 / fps

    def add(self, wire_bytes: int) -> float:
        """Count a frame; returns the rate in kbit/s."""
        if self._frame_bytes is None:
            self._frame_bytes = float(wire_bytes)
        self._frame_bytes += (wire_bytes - self._frame_bytes) * self._weight
        return self._frame_bytes * 8 / 1000 * self._fps


class Measurer:
    """Measures what was sent.

    Args:
        baseline: what runs beside ours.
        meter: our rate, for the baseline to follow.
        wire_bytes: what a packet of so many bytes costs on the wire.
        side: where originals and the baseline's pictures go in loopback; the receiver then measures. Else None, and
            the errors are measured here.
        on_record: takes each finished record.
        page: shows original, ours as the receiver will show it, and baseline; or None.
    """

    def __init__(
        self,
        baseline: Baseline,
        meter: RateMeter,
        wire_bytes: Callable[[int], int],
        side: SideSender | None,
        on_record: Callable[[SentFrame], object],
        *,
        page: CallPage | None = None,
    ) -> None:
        self.baseline = baseline
        self.error: BaseException | None = None
        self.unmeasured = 0
        self._meter = meter
        self._wire_bytes = wire_bytes
        self._side = side
        self._page = page
        self._on_record = on_record
        self._queue: queue.Queue[Coded | None] = queue.Queue(QUEUED)
        self._measured = 0
        self._next_baseline: Baseline | None = None
        self._thread = threading.Thread(target=self._run, name="measure", daemon=True)
        self._thread.start()

    def put(self, coded: Coded) -> None:
        """Take a frame; never waits."""
        try:
            self._queue.put_nowait(coded)
        except queue.Full:
            self.unmeasured += 1
            self._on_record(coded.record)

    def use(self, baseline: Baseline) -> None:
        """Run another baseline from the next frame on. Any thread; of several at once the newest wins."""
        self._next_baseline = baseline

    def finish(self, timeout_s: float) -> None:
        """Measure what is queued, then end."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self.baseline.close()

    def _run(self) -> None:
        while (coded := self._queue.get()) is not None:
            if self.error is not None:
                self._on_record(coded.record)
                continue
            try:
                self._on_record(self._measure(coded))
            except Exception as error:  # reported by the main thread; the call goes on without figures
                self.error = error
                self._on_record(coded.record)

    def _measure(self, coded: Coded) -> SentFrame:
        record = coded.record
        wanted = self._next_baseline
        if wanted is not None and wanted is not self.baseline:
            self.baseline.close()
            self.baseline = wanted
        if self._side is not None:
            self._side.send_original(record.number, coded.original)
        rate_kbps = self._meter.add(self._wire_bytes(record.payload_bytes))
        beside = self.baseline.push(coded.original, rate_kbps)
        if beside.picture is not None:
            record = replace(record, baseline_bytes=beside.wire_bytes)
        if self._side is not None:
            self._side.send_baseline(record.number, beside.picture, beside.wire_bytes, self.baseline.name)
            return record
        if self._page is not None:
            self._page.measured(record.number, coded.original, coded.shown, beside.picture, self.baseline.name)
        return self._with_errors(record, coded, beside)

    def _with_errors(self, record: SentFrame, coded: Coded, beside: BaselineFrame) -> SentFrame:
        record = replace(record, squared_error=_squared_error(coded.original, coded.shown))
        if beside.picture is not None:
            record = replace(record, baseline_squared_error=_squared_error(coded.original, beside.picture))
        if self._measured % MS_SSIM_EVERY == 0:
            record = replace(record, ms_ssim_ppm=max(0, round(ms_ssim(coded.original, coded.shown) * 1e6)))
        self._measured += 1
        return record


def _squared_error(a: Picture, b: Picture) -> int:
    return round(cv2.norm(a, b, cv2.NORM_L2SQR))
