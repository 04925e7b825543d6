"""After a frame was shown: compare it with its original, and record it."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from receiver.recording import LosslessRecorder, PacketRecorder, ViewRecorder, write_png
from receiver.showing import CallView, Figures
from vidcodec.calllog import MS_SSIM_EVERY
from vidcodec.codec import CodecInfo
from vidcodec.metrics import ms_ssim
from vidcodec.records import ShownFrame
from vidcodec.sidechannel import SidePictures, SideReceiver
from vidcodec.web.callpage import CallPage

Picture = NDArray[np.uint8]

WAIT_S = 0.5
"""How long the pictures to compare with are waited for; they come a few milliseconds after the frame."""


def squared_error(a: Picture, b: Picture) -> int:
    """Exact sum of squared differences of two uint8 pictures of one shape."""
    return round(cv2.norm(a, b, cv2.NORM_L2SQR))


class Measurer:
    """Measures and records the frames of one call.

    Args:
        side: where originals come from, in loopback.
        codec: what decodes the packets, for the head of a .vdc.
        fps: nominal frame rate of the call.
        record: files to record into, at most one of each kind.
        snapshot: PNG file for the last complete picture of the call, or None.
        page: shows what was measured, or None.

    Attributes:
        recording: frames go into the film; a viewer may pause that, and the film then lacks those frames.

    Raises:
        InputError: the recording cannot be written.
    """

    def __init__(
        self,
        side: SideReceiver | None,
        codec: CodecInfo,
        fps: float,
        record: Sequence[str],
        snapshot: str | None,
        *,
        page: CallPage | None = None,
    ) -> None:
        self._side = side
        self._page = page
        self._snapshot = snapshot
        self._view = CallView(side is not None)
        self.recording = True
        self._measured = 0
        self._last: tuple[Picture, SidePictures] | None = None
        files = {Path(file).suffix.lower(): file for file in record}
        self._lossless = LosslessRecorder(files[".mkv"], fps) if ".mkv" in files else None
        self._movie = ViewRecorder(files[".mp4"], fps) if ".mp4" in files else None
        self._packets = PacketRecorder(files[".vdc"], codec, fps) if ".vdc" in files else None

    @property
    def has_film(self) -> bool:
        """Whether a film is recorded, which can be paused; packets refer to each other, so their file has no gaps."""
        return self._lossless is not None or self._movie is not None

    def record(self, on: bool) -> None:
        """Go on with the film, or pause it. Any thread."""
        self.recording = on

    def packet(self, number: int, packet: bytes) -> None:
        """A packet was decoded."""
        if self._packets is not None:
            self._packets.add(number, packet)

    def measure(self, record: ShownFrame, picture: Picture, figures: Figures) -> ShownFrame:
        """Measure and record one shown frame.

        Returns:
            The record, with errors where the original was at hand.

        Raises:
            InputError: the recording cannot be written any further.
        """
        side = SidePictures() if self._side is None else self._side.take(record.number, WAIT_S)
        if self._page is not None:
            self._page.measured(record.number, side.original, picture, side.baseline, side.label)
        if side.original is not None:
            record = replace(record, squared_error=squared_error(side.original, picture))
            if self._measured % MS_SSIM_EVERY == 0:
                record = replace(record, ms_ssim_ppm=max(0, round(ms_ssim(side.original, picture) * 1e6)))
            if side.baseline is not None:
                record = replace(record, baseline_squared_error=squared_error(side.original, side.baseline))
            self._measured += 1
        if self._lossless is not None and self.recording:
            beside = [side.original, picture, side.baseline] if self._side is not None else [picture]
            self._lossless.add(beside)
        if self._movie is not None and self.recording:
            self._movie.add(self._view.draw(picture, side, figures), record.shown_ns)
        if self._snapshot and (self._side is None or side.original is not None):
            self._last = picture, side
        return record

    def close(self, figures: Figures) -> None:
        """Finish the recordings and write the snapshot.

        Raises:
            InputError: one of them cannot be written.
        """
        with ExitStack() as closing:  # each of them, whatever becomes of the others
            if self._snapshot and self._last is not None:
                picture, side = self._last
                closing.callback(write_png, self._snapshot, self._view.draw(picture, side, figures))
            for recorder in (self._packets, self._movie, self._lossless):
                if recorder is not None:
                    closing.callback(recorder.close)
