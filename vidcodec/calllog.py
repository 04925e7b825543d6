"""The log of a call: what both ends noted about each frame, joined by frame number and folded into figures.

    own records ----> CallLog ----> live figures (last two seconds)
    peer's records ->    |
                         +--------> Report

Both ends feed it the same records, so both ends' reports agree. A frame's records are dropped once both are there: an
hour of call takes some 3 MB. No clock, no socket and no picture in here.
"""

import threading
from array import array
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from vidcodec.metrics import psnr_db
from vidcodec.records import MAX_ROWS, TICK_NS, SentFrame, ShownFrame, ticks
from vidcodec.report import (
    STAGES,
    BaselineFigures,
    CodecFigures,
    Latency,
    Percentiles,
    QualityRange,
    Report,
)
from vidcodec.wire import rate_kbps

VALUES_PER_FRAME = 192 * 192 * 3
MS_SSIM_EVERY = 10
"""MS-SSIM costs as much as coding the frame: it is taken on every tenth."""

LIVE_S = 2.0
_TICKS_PER_MS = 1_000_000 / TICK_NS


@dataclass(frozen=True, slots=True)
class SenderTotals:
    """Counts that only the sender knows; the newest ones replace the older.

    Attributes:
        captured: new frames of the source while the call ran.
        sent: frames that the link took.
        payload_bytes: of those.
        wire_bytes: of those, with every header down to IPv4.
        elapsed_ns: from the start of the call to now, or to its end.
        baseline_codec: what runs beside ours.
        baseline_scale: by how much it scales the picture down.
        first_frame_ms: from the start of the sender's process to the first frame that the link took; 0 before it.
    """

    captured: int = 0
    sent: int = 0
    payload_bytes: int = 0
    wire_bytes: int = 0
    elapsed_ns: int = 0
    baseline_codec: str = "none"
    baseline_scale: int = 1
    first_frame_ms: int = 0


@dataclass(frozen=True, slots=True)
class Live:
    """Figures of the last two seconds; None where nothing was measured."""

    fps: float = 0.0
    payload_kbps: float = 0.0
    wire_kbps: float = 0.0
    psnr_db: float | None = None
    baseline_kbps: float | None = None
    baseline_psnr_db: float | None = None
    latency_p50_ms: float | None = None
    quality: float | None = None
    frames_captured: int = 0
    frames_sent: int = 0
    frames_shown: int = 0
    frames_lost: int = 0
    elapsed_s: float = 0.0


@dataclass
class _ErrorMean:
    """Running mean of squared errors of whole pictures, as MSE on values in [0, 1]."""

    total: int = 0
    frames: int = 0

    def add(self, squared_error: int | None) -> None:
        if squared_error is not None:
            self.total += squared_error
            self.frames += 1

    @property
    def mse(self) -> float | None:
        return self.total / (self.frames * VALUES_PER_FRAME * 255**2) if self.frames else None

    @property
    def psnr_db(self) -> float | None:
        return None if self.mse is None else psnr_db(self.mse)


@dataclass(frozen=True, slots=True)
class _Recent:
    """What the live figures need of a frame that was shown."""

    shown_ns: int
    total_ticks: int
    payload_bytes: int
    quality: int
    squared_error: int | None
    baseline_squared_error: int | None
    baseline_bytes: int | None


class CallLog:
    """Joins the records of both ends. Any thread may use it.

    Records may come in any order; the second copy of a number is ignored. Of frames that the other end never
    mentions, the newest `MAX_ROWS` are kept.
    """

    def __init__(self, codec: CodecFigures) -> None:
        self._lock = threading.Lock()
        self._codec = codec
        self._totals = SenderTotals()
        self._sent: OrderedDict[int, SentFrame] = OrderedDict()
        self._shown: OrderedDict[int, ShownFrame] = OrderedDict()
        self._newest_joined: deque[int] = deque(maxlen=MAX_ROWS)
        self._joined: set[int] = set()
        self._stages = [array("i") for _ in STAGES]
        self._error, self._baseline_error = _ErrorMean(), _ErrorMean()
        self._baseline_bytes = self._baseline_frames = 0
        self._ms_ssim_ppm = self._ms_ssim_frames = 0
        self._quality_sum = self._quality_frames = 0
        self._quality_range: tuple[int, int] | None = None
        self._shown_count = 0
        self._newest_shown = -1
        self._newest_shown_ns: int | None = None
        self._told_ns: int | None = None
        self._decoded_count = 0
        self._recent: deque[_Recent] = deque(maxlen=256)

    def add_sent(self, frames: Iterable[SentFrame]) -> None:
        """Take records of the sender."""
        with self._lock:
            for frame in frames:
                if frame.number in self._sent or frame.number in self._joined:
                    continue
                self._quality_sum += frame.quality
                self._quality_frames += 1
                low, high = self._quality_range or (frame.quality, frame.quality)
                self._quality_range = min(low, frame.quality), max(high, frame.quality)
                if frame.baseline_bytes is not None:
                    self._baseline_bytes += frame.baseline_bytes
                    self._baseline_frames += 1
                self._sent[frame.number] = frame
                self._join(frame.number)
            _trim(self._sent)

    def add_shown(self, frames: Iterable[ShownFrame]) -> None:
        """Take records of the receiver."""
        with self._lock:
            for frame in frames:
                if frame.number in self._shown or frame.number in self._joined:
                    continue
                self._shown_count += 1
                self._newest_shown = max(self._newest_shown, frame.number)
                self._newest_shown_ns = max(self._newest_shown_ns or frame.shown_ns, frame.shown_ns)
                if self._told_ns is None:
                    self._told_ns = frame.shown_ns
                self._shown[frame.number] = frame
                self._join(frame.number)
            _trim(self._shown)

    def set_totals(self, totals: SenderTotals) -> None:
        """Take the sender's newest counts."""
        with self._lock:
            self._totals = totals
            self._told_ns = self._newest_shown_ns

    def set_decoded(self, count: int) -> None:
        """Take the receiver's newest count of decoded frames. Of two receivers in one call the larger one counts."""
        with self._lock:
            self._decoded_count = max(self._decoded_count, count)

    @property
    def totals(self) -> SenderTotals:
        """The sender's newest counts."""
        with self._lock:
            return self._totals

    @property
    def shown_count(self) -> int:
        """Frames known to have been shown."""
        with self._lock:
            return self._shown_count

    def _join(self, number: int) -> None:
        """Fold a frame whose two records are there."""
        sent, shown = self._sent.get(number), self._shown.get(number)
        if sent is None or shown is None:
            return
        del self._sent[number], self._shown[number]
        if len(self._newest_joined) == MAX_ROWS:
            self._joined.discard(self._newest_joined[0])
        self._newest_joined.append(number)
        self._joined.add(number)
        offset = ticks(sent.offset_ns)
        moments = [ticks(value) for value in (sent.captured_ns, sent.taken_ns, sent.cropped_ns, sent.encoded_ns)]
        moments += [ticks(value) - offset for value in (shown.received_ns, shown.decoded_ns, shown.shown_ns)]
        steps = [later - earlier for earlier, later in pairwise(moments)]
        for stage, step in zip(self._stages, [*steps, moments[-1] - moments[0]], strict=True):
            stage.append(max(-(1 << 31), min(step, (1 << 31) - 1)))
        # What was taken from the shown pixels goes before what the sender expects them to be.
        error = sent.squared_error if shown.squared_error is None else shown.squared_error
        baseline = sent.baseline_squared_error if shown.baseline_squared_error is None else shown.baseline_squared_error
        ms_ssim = sent.ms_ssim_ppm if shown.ms_ssim_ppm is None else shown.ms_ssim_ppm
        self._error.add(error)
        self._baseline_error.add(baseline)
        if ms_ssim is not None:
            self._ms_ssim_ppm += ms_ssim
            self._ms_ssim_frames += 1
        self._recent.append(
            _Recent(
                shown.shown_ns,
                moments[-1] - moments[0],
                sent.payload_bytes,
                sent.quality,
                error,
                baseline,
                sent.baseline_bytes,
            )
        )

    def live(self) -> Live:
        """Figures of the last two seconds that both ends know."""
        with self._lock:
            totals, shown_count = self._totals, self._shown_count
            # Of the frames up to the newest one shown: either end hears late what the other one counts, so that the
            # difference of its count to ours says more about that than about losses.
            lost = self._lost(self._newest_shown + 1)
            newest_ns = self._recent[-1].shown_ns if self._recent else 0
            recent = [entry for entry in self._recent if newest_ns - entry.shown_ns <= LIVE_S * 1e9]
        elapsed_s = totals.elapsed_ns / 1e9
        counts = {
            "frames_captured": totals.captured,
            "frames_sent": totals.sent,
            "frames_shown": shown_count,
            "frames_lost": lost,
            "elapsed_s": elapsed_s,
        }
        if len(recent) < 2:
            return Live(**counts)  # type: ignore[arg-type]
        span_s = (newest_ns - min(entry.shown_ns for entry in recent)) / 1e9 * len(recent) / (len(recent) - 1)
        payload_bytes = sum(entry.payload_bytes for entry in recent)
        overhead = (totals.wire_bytes - totals.payload_bytes) / totals.sent if totals.sent else 0.0
        error, baseline_error = _ErrorMean(), _ErrorMean()
        for entry in recent:
            error.add(entry.squared_error)
            baseline_error.add(entry.baseline_squared_error)
        baseline_bytes = [entry.baseline_bytes for entry in recent if entry.baseline_bytes is not None]
        latency = Percentiles.of([entry.total_ticks / _TICKS_PER_MS for entry in recent])
        return Live(
            fps=len(recent) / span_s if span_s > 0 else 0.0,
            payload_kbps=rate_kbps(payload_bytes, span_s),
            wire_kbps=rate_kbps(round(payload_bytes + overhead * len(recent)), span_s),
            psnr_db=error.psnr_db,
            baseline_kbps=rate_kbps(sum(baseline_bytes), span_s) if baseline_bytes else None,
            baseline_psnr_db=baseline_error.psnr_db,
            latency_p50_ms=latency.p50,
            quality=sum(entry.quality for entry in recent) / len(recent),
            **counts,  # type: ignore[arg-type]
        )

    def recent_latency(self, frames: int = 60) -> Latency:
        """Delay of the newest frames by stage."""
        with self._lock:
            newest = [stage[-frames:] for stage in self._stages]
        values = ([value / _TICKS_PER_MS for value in stage] for stage in newest)
        return Latency(*(Percentiles.of(stage) for stage in values))

    def _lost(self, sent: int) -> int:
        """Of so many frames sent, those never decoded."""
        return max(0, sent - max(self._decoded_count, self._shown_count))

    def _outlived(self) -> SenderTotals:
        """The sender's newest counts, or, where more frames were shown than it lived to tell of, what those show."""
        totals, known = self._totals, max(self._decoded_count, self._shown_count)
        if known <= totals.sent:
            return totals
        since_ns = (self._newest_shown_ns or 0) - (self._told_ns or 0)
        elapsed_ns = totals.elapsed_ns + since_ns
        return replace(totals, captured=max(totals.captured, known), sent=known, elapsed_ns=elapsed_ns)

    def report(self) -> Report:
        """The report of the call so far."""
        with self._lock:
            totals = self._outlived()
            duration_s = totals.elapsed_ns / 1e9
            told_s = self._totals.elapsed_ns / 1e9
            latency = {
                name: Percentiles.of([value / _TICKS_PER_MS for value in stage])
                for name, stage in zip(STAGES, self._stages, strict=True)
            }
            low, high = self._quality_range or (None, None)
            baseline_kbps = None
            if self._baseline_frames and told_s > 0:
                # Frames that the baseline had no time for count as much as those it coded.
                share = self._baseline_frames / max(self._totals.sent, self._baseline_frames)
                baseline_kbps = round(rate_kbps(self._baseline_bytes, told_s) / share, 3)
            return Report(
                codec=self._codec,
                frames_captured=totals.captured,
                frames_sent=totals.sent,
                frames_shown=self._shown_count,
                frames_lost=self._lost(totals.sent),
                duration_s=round(duration_s, 3),
                first_frame_s=totals.first_frame_ms / 1000 if totals.first_frame_ms else None,
                fps=round(self._shown_count / duration_s, 3) if duration_s > 0 else 0.0,
                payload_kbps=round(rate_kbps(totals.payload_bytes, told_s), 3),
                wire_kbps=round(rate_kbps(totals.wire_bytes, told_s), 3),
                mse=self._error.mse,
                psnr_db=self._error.psnr_db,
                ms_ssim=self._ms_ssim_ppm / self._ms_ssim_frames / 1e6 if self._ms_ssim_frames else None,
                baseline=BaselineFigures(
                    totals.baseline_codec,
                    totals.baseline_scale,
                    baseline_kbps,
                    self._baseline_error.mse,
                    self._baseline_error.psnr_db,
                ),
                latency_ms=Latency(**latency),
                quality=QualityRange(
                    low, round(self._quality_sum / self._quality_frames, 3) if self._quality_frames else None, high
                ),
            )


def _trim(records: OrderedDict[int, SentFrame] | OrderedDict[int, ShownFrame]) -> None:
    while len(records) > MAX_ROWS:
        records.popitem(last=False)
