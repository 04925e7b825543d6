"""Rate-distortion plots: one figure a clip, one of means."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidcodec.bench.measure import Point
from vidcodec.bench.summary import by_codec_and_clip
from vidcodec.errors import MissingExtra

_OURS = ("s", "s-p", "seed", "gdn")
_COLOURS = {
    "s": "#d62728",
    "s-p": "#ff7f0e",
    "seed": "#ff9896",
    "gdn": "#e377c2",
    "x264-veryfast": "#1f77b4",
    "x264-medium": "#6baed6",
    "x265-medium": "#2ca02c",
    "vp8": "#9467bd",
    "vp9": "#8c564b",
    "svtav1": "#111111",
    "jpeg": "#bcbd22",
    "jpeg2000": "#dbdb8d",
    "webp": "#17becf",
    "avif": "#7f7f7f",
}
_METRICS = (("psnr_db", "PSNR, dB (RGB)"), ("ms_ssim", "MS-SSIM"), ("lpips", "LPIPS (less is better)"))


def load_pyplot() -> Any:
    """Matplotlib without a display.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtra("plots need matplotlib", "bench") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _style(codec: str) -> dict[str, Any]:
    peer, _, scale = codec.partition("@")
    line = {"": "-", "2": "--", "4": ":"}.get(scale, "-.")
    width = 2.4 if codec in _OURS else 1.2
    return {
        "color": _COLOURS.get(peer, "#999999"),
        "linestyle": line,
        "linewidth": width,
        "marker": ".",
        "label": codec,
    }


def plot_clip(points: Sequence[Point], title: str, path: Path) -> None:
    """Rate against every metric measured, for one clip."""
    pyplot = load_pyplot()
    metrics = [m for m in _METRICS if any(getattr(point, m[0]) is not None for point in points)]
    figure, axes = pyplot.subplots(1, len(metrics), figsize=(6.5 * len(metrics), 5.2), squeeze=False)
    table = by_codec_and_clip(points)
    for axis, (name, label) in zip(axes[0], metrics, strict=True):
        for codec, clips in table.items():
            rows = [point for rows in clips.values() for point in rows]
            if len(rows) > 1 and all(getattr(point, name) is not None for point in rows):
                rows.sort(key=lambda point: point.kbps)
                axis.plot([p.kbps for p in rows], [getattr(p, name) for p in rows], **_style(codec))
            elif len(rows) == 1 and getattr(rows[0], name) is not None:
                axis.axhline(getattr(rows[0], name), color="#cccccc", linewidth=0.8)
                axis.text(8.2, getattr(rows[0], name), codec, fontsize=7, color="#888888", va="bottom")
        _finish(axis, label)
    _add_legend(axes[0][-1])
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def plot_means(points: Sequence[Point], title: str, path: Path, codecs: Sequence[str] | None = None) -> None:
    """Every metric over rate: means of the clips' own curves, where every clip reaches (or the mean would jump).

    Args:
        points: of every codec and clip.
        title: of the figure.
        path: PNG to write.
        codecs: which curves to draw; all by default.
    """
    pyplot = load_pyplot()
    metrics = [m for m in _METRICS if all(getattr(point, m[0]) is not None for point in points)]
    figure, axes = pyplot.subplots(1, len(metrics), figsize=(7.5 * len(metrics), 5.4), squeeze=False)
    grid = np.geomspace(8, 200, 60)
    for axis, (name, label) in zip(axes[0], metrics, strict=True):
        for codec, clips in by_codec_and_clip(points).items():
            if min(len(rows) for rows in clips.values()) < 2:
                level = float(np.mean([getattr(rows[0], name) for rows in clips.values()]))
                axis.axhline(level, color="#cccccc", linewidth=0.8)
                axis.text(8.2, level, f"{codec} (uncoded)", fontsize=7, color="#888888", va="bottom")
            elif codecs is None or codec in codecs:
                curves = np.stack([_values_at(grid, rows, name) for rows in clips.values()])
                mean = curves.mean(axis=0)  # not a number where a clip does not reach
                if np.isfinite(mean).any():
                    axis.plot(grid, mean, **{**_style(codec), "marker": ""})
        _finish(axis, f"{label}, mean of clips")
    _add_legend(axes[0][0])
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _add_legend(axis: Any) -> None:
    if axis.get_legend_handles_labels()[0]:  # matplotlib warns of a legend of nothing
        axis.legend(fontsize=7, ncol=2)


def _values_at(rates_kbps: NDArray[np.float64], rows: Sequence[Point], name: str) -> NDArray[np.float64]:
    """A metric of one clip at each rate, linear over log rate; not a number outside its curve."""
    ordered = sorted(rows, key=lambda point: point.kbps)
    known = np.log([point.kbps for point in ordered])
    values = [getattr(point, name) for point in ordered]
    return np.interp(np.log(rates_kbps), known, values, left=np.nan, right=np.nan)


def _finish(axis: Any, label: str) -> None:
    axis.set_xscale("log")
    axis.set_xlim(8, 200)
    ticks = [10, 20, 30, 40, 60, 100, 150]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("kbit/s, packets with their headers")
    axis.set_ylabel(label)
    axis.grid(alpha=0.25)
