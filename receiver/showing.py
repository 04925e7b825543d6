"""What stands on the screen in a call: which panels, with which text, from which pictures."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from receiver.overlay import Canvas, Panel
from vidcodec.calllog import Live
from vidcodec.sidechannel import SidePictures

Picture = NDArray[np.uint8]

NAMES = {"vp8": "VP8", "vp9": "VP9", "h264": "H.264", "h265": "H.265", "av1": "AV1"}


@dataclass(frozen=True, slots=True)
class Figures:
    """What changes a few times a second beside the pictures."""

    live: Live = field(default_factory=Live)
    model: str = ""
    baseline: str = "none"


def baseline_name(label: str) -> str:
    """`VP8 at 1/2 size` for `vp8 1/2`, `bicubic, 1/4 size` for `bicubic4x`."""
    if label.startswith("bicubic"):
        return f"bicubic, 1/{label.removeprefix('bicubic').removesuffix('x')} size, not coded"
    codec, _, scale = label.partition(" ")
    return NAMES.get(codec, codec) + (f" at {scale} size" if scale else "")


def waiting_picture(loopback: bool) -> Picture:
    """What stands in the window before the call; opening one takes a second or two that no frame should wait for."""
    titles = ("Original", "Ours", "Baseline") if loopback else ("Ours",)
    panels = [Panel(title, accent=title == "Ours") for title in titles]
    return Canvas().draw(panels, [None] * len(panels), [("waiting for the sender", "")])


class CallView:
    """Composes the canvas of a call; loopback calls have an original and perhaps a baseline beside ours.

    Pictures that have not come yet are replaced by the newest ones of their kind.
    """

    def __init__(self, loopback: bool) -> None:
        self._loopback = loopback
        self._canvas = Canvas()
        self._original: Picture | None = None
        self._baseline: Picture | None = None

    def draw(self, picture: Picture, side: SidePictures, figures: Figures) -> Picture:
        """The canvas `[H, W, 3]` uint8 RGB of one frame."""
        live = figures.live
        ours = Panel("Ours", figures.model, _lines(live.wire_kbps, live.psnr_db, live.latency_p50_ms is not None), True)
        panels, pictures = [ours], [picture]
        if self._loopback:
            self._original = side.original if side.original is not None else self._original
            self._baseline = side.baseline if side.baseline is not None else self._baseline
            panels.insert(0, Panel("Original", "192 x 192 RGB", ("before coding",)))
            pictures.insert(0, self._original)  # type: ignore[arg-type]
            if figures.baseline != "none":
                measured = live.baseline_kbps is not None
                lines = _lines(live.baseline_kbps, live.baseline_psnr_db, measured)
                panels.append(Panel("Baseline", baseline_name(side.label or figures.baseline), lines))
                pictures.append(self._baseline)  # type: ignore[arg-type]
        return self._canvas.draw(panels, pictures, _footer(live))


def _lines(kbps: float | None, psnr: float | None, measured: bool) -> tuple[str, ...]:
    if not measured or kbps is None:
        return ("measuring ...",)
    if psnr is None:
        return (f"{kbps:.1f} kbit/s on the wire",)
    return (f"{kbps:.1f} kbit/s on the wire", f"PSNR {psnr:.2f} dB    MSE {10 ** (-psnr / 10):.2e}")


def _footer(live: Live) -> list[tuple[str, str]]:
    if live.latency_p50_ms is None:
        return [("waiting for figures", "")]
    return [
        ("latency", f"{live.latency_p50_ms:.0f} ms"),
        ("frame rate", f"{live.fps:.1f} fps"),
        ("quality", "-" if live.quality is None else f"{live.quality:.0f}"),
        ("lost", str(live.frames_lost)),
        ("shown", f"{live.frames_shown} of {live.frames_captured}"),
        ("time", f"{live.elapsed_s:.0f} s"),
    ]
