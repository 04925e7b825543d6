"""What a call prints: live figures while it runs, a table when it has ended."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from vidcodec.calllog import Live
from vidcodec.report import STAGES, Percentiles, Report

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LINE_EVERY_S = 10.0


def _figure(value: float | None, form: str, unit: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:{form}}{' ' + unit if unit else ''}"


def _console(stream: TextIO, width: int | None = None) -> "Console":
    """A console that tells its caller when nobody reads any more; rich would end the program with status 1."""
    from rich.console import Console

    class Telling(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Telling(file=stream, width=width, highlight=False)


class LiveFigures:
    """Figures that stay in place on a terminal, and a line now and then elsewhere. Use as a context manager.

    Args:
        model: name of our codec.
        quiet: print nothing.
    """

    def __init__(self, model: str, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._model = model
        self._stream = stream or sys.stdout
        self._quiet = quiet
        self._table = None
        self._last_s = time.monotonic()
        if not quiet and self._stream.isatty():
            from rich.live import Live as RichLive

            self._table = RichLive(console=_console(self._stream), auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveFigures":
        if self._table is not None:
            self._table.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._table is not None:
            self._table.stop()

    def update(self, live: Live, baseline: str) -> None:
        """Show new figures; `baseline` names what runs beside ours, or is `none`."""
        if self._quiet or live.latency_p50_ms is None:
            return
        if self._table is not None:
            self._table.update(_live_table(live, self._model, baseline), refresh=True)
        elif time.monotonic() - self._last_s >= LINE_EVERY_S:
            self._last_s = time.monotonic()
            line = (
                f"{live.elapsed_s:6.1f} s  {live.fps:4.1f} fps  {live.wire_kbps:6.1f} kbit/s  "
                f"{_figure(live.psnr_db, '.2f', 'dB')}  latency {live.latency_p50_ms:.0f} ms  "
                f"{live.frames_shown} shown, {live.frames_lost} lost"
            )
            if baseline != "none":
                rate = _figure(live.baseline_kbps, ".1f", "kbit/s")
                line += f"  | {baseline} {rate} {_figure(live.baseline_psnr_db, '.2f', 'dB')}"
            print(line, file=self._stream, flush=True)


def _live_table(live: Live, model: str, baseline: str) -> "Table":
    from rich.table import Table

    table = Table(title=f"{live.elapsed_s:.0f} s", title_justify="left")
    for name in ("", "kbit/s", "PSNR dB", "fps", "p50 ms", "shown", "missing"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    table.add_row(
        f"ours ({model})",
        _figure(live.wire_kbps, ".1f"),
        _figure(live.psnr_db, ".2f"),
        _figure(live.fps, ".1f"),
        _figure(live.latency_p50_ms, ".0f"),
        f"{live.frames_shown} of {live.frames_captured}",
        str(live.frames_lost),
    )
    if baseline != "none":
        table.add_row(
            f"baseline ({baseline})", _figure(live.baseline_kbps, ".1f"), _figure(live.baseline_psnr_db, ".2f")
        )
    return table


def print_report(report: Report, stream: TextIO | None = None) -> None:
    """Print a report as two small tables and a line.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    from rich.table import Table

    out = stream or sys.stdout
    # Without a terminal rich assumes 80 columns; the tables need fewer than 100 and are read in logs.
    console = _console(out, None if out.isatty() else 100)
    base = report.baseline
    figures = Table(title="Picture and rate", title_justify="left")
    figures.add_column("")
    figures.add_column(f"ours ({report.codec.model_id})", justify="right")
    rows = [
        ("wire rate", _figure(report.wire_kbps, ".1f", "kbit/s"), _figure(base.kbps, ".1f", "kbit/s")),
        ("payload rate", _figure(report.payload_kbps, ".1f", "kbit/s"), ""),
        ("MSE (RGB in 0..1)", _figure(report.mse, ".3e"), _figure(base.mse, ".3e")),
        ("PSNR", _figure(report.psnr_db, ".2f", "dB"), _figure(base.psnr_db, ".2f", "dB")),
        ("MS-SSIM", _figure(report.ms_ssim, ".4f"), ""),
    ]
    has_baseline = base.codec != "none"
    if has_baseline:
        scale = f" 1/{base.scale}" if base.scale > 1 and not base.codec.startswith("bicubic") else ""
        figures.add_column(f"baseline ({base.codec}{scale})", justify="right")
    for row in rows:
        figures.add_row(*row[: 3 if has_baseline else 2])
    console.print(figures)
    delays = Table(title="Latency of shown frames, ms", title_justify="left")
    delays.add_column("")
    for stage in STAGES:
        delays.add_column(stage, justify="right")
    for share in ("p50", "p95", "p99"):
        values: list[Percentiles] = [getattr(report.latency_ms, stage) for stage in STAGES]
        delays.add_row(share, *(_figure(getattr(value, share), ".1f") for value in values))
    console.print(delays)
    quality = "" if report.quality.mean is None else f", quality {report.quality.mean:.1f}"
    console.print(
        f"{report.frames_captured} frames captured, {report.frames_sent} sent, {report.frames_shown} shown, "
        f"{report.frames_lost} lost in {report.duration_s:.1f} s: {report.fps:.1f} fps{quality}"
    )
    if report.first_frame_s is not None:
        console.print(f"first frame sent {report.first_frame_s:.2f} s after the sender's start")
