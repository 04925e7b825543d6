"""Video codecs of libavcodec in process, at zero delay: one frame in, one packet out, or an error.

RGB goes to YUV and back by `vidcodec.colour` (BT.601 limited), never by swscale, so that every peer loses the same
little to conversion. Packets are what the encoder emits, nothing taken away: Annex B start codes, temporal delimiters,
and x264's 600-byte version string in its first packet, which `strip_sei` takes off where it would distort a live rate.
"""

import os
from collections.abc import Iterable
from fractions import Fraction
from types import TracebackType
from typing import Any

import cv2  # noqa: F401  (imported before av, or OpenCV windows hang)
import numpy as np
from numpy.typing import NDArray

from vidcodec import colour
from vidcodec.baselines.scheduling import same_scheduling
from vidcodec.baselines.settings import Options, VideoSettings
from vidcodec.errors import UsageError, VidcodecError, reason_of

Frame = NDArray[np.uint8]

_SEI = 6


class NotZeroDelay(VidcodecError):
    """A coder that does not give exactly one packet (or picture) back for each one that goes in."""


def _import_av() -> Any:
    os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 prints its settings to stderr at every start otherwise
    # PyAV is silent unless told otherwise. Setting a level would have FFmpeg's threads call Python to log, and one that
    # does while its decoder is being closed waits for ever.
    import av

    return av


class VideoEncoder:
    """Frames in, packets out.

    Args:
        settings: the peer.
        options: of `settings.with_quality` or `settings.with_bitrate`.
        width, height: of the frames, even.
        fps: nominal frame rate, for rate control.

    Raises:
        UsageError: the codec is not in this build of PyAV, or refuses the options or the size.
    """

    def __init__(self, settings: VideoSettings, options: Options, width: int, height: int, fps: float = 30.0) -> None:
        if min(width, height) < settings.smallest:
            raise UsageError(
                f"{settings.name} codes no picture of {width}x{height}: at least {settings.smallest} pixels a side"
            )
        self._av = _import_av()
        self.settings = settings
        rate = Fraction(fps).limit_denominator(1001)
        try:
            context = self._av.CodecContext.create(settings.encoder, "w")
            context.width, context.height = width, height
            context.pix_fmt = settings.pixel_format
            context.framerate, context.time_base = rate, 1 / rate
            context.thread_count = 1
            context.options = dict(options)
            with same_scheduling():
                context.open()
        except (self._av.FFmpegError, ValueError) as error:
            why = reason_of(error)
            raise UsageError(f"{settings.name} cannot start ({settings.encoder}): {why}") from error
        self._context = context
        self._number = 0

    def encode(self, frame: Frame) -> bytes:
        """One RGB frame `[H, W, 3]` to its packet.

        Raises:
            NotZeroDelay: no packet came back, or more than one.
        """
        convert = colour.rgb_to_yuv444 if self.settings.pixel_format == "yuv444p" else colour.rgb_to_yuv420
        planes = convert(frame)
        picture = self._av.VideoFrame.from_ndarray(planes, format=self.settings.pixel_format)
        picture.pts, picture.time_base = self._number, self._context.time_base
        packets = self._context.encode(picture)
        if len(packets) != 1:
            raise NotZeroDelay(
                f"{self.settings.name} is not zero delay: frame {self._number} gave {len(packets)} packets instead of 1"
            )
        self._number += 1
        return bytes(packets[0])

    def close(self) -> None:
        """Flush and free the encoder; late packets are an error of the settings, seen in `encode` already."""
        try:
            self._context.encode(None)
        except self._av.FFmpegError:
            return  # already drained

    def __enter__(self) -> "VideoEncoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VideoDecoder:
    """Packets in, RGB frames out."""

    def __init__(self, settings: VideoSettings) -> None:
        self._av = _import_av()
        self.settings = settings
        self._context = self._av.CodecContext.create(settings.decoder, "r")
        self._context.thread_count = 1
        self._context.options = dict(settings.decoder_options)
        self._number = 0

    def decode(self, packet: bytes) -> Frame:
        """One packet to its RGB frame `[H, W, 3]`.

        Raises:
            NotZeroDelay: no picture came back, or more than one.
        """
        pictures = self._context.decode(self._av.Packet(packet))
        if len(pictures) != 1:
            raise NotZeroDelay(
                f"{self.settings.decoder} gave {len(pictures)} pictures instead of 1 for packet {self._number}"
            )
        self._number += 1
        return _to_rgb(pictures[0])


def _to_rgb(picture: Any) -> Frame:
    if picture.format.name == "yuv444p":
        return colour.yuv444_to_rgb(picture.to_ndarray())
    return colour.yuv420_to_rgb(picture.to_ndarray(format="yuv420p"))


def strip_sei(packet: bytes) -> bytes:
    """An H.264 Annex B packet without its SEI units (ITU-T H.264, 7.3.1)."""
    return b"".join(unit for unit in _annex_b(packet) if _unit_type(unit) != _SEI)


def _annex_b(packet: bytes) -> Iterable[bytes]:
    """NAL units with their start codes."""
    starts = []
    at = packet.find(b"\0\0\1")
    while at >= 0:
        starts.append(at - 1 if at > 0 and packet[at - 1] == 0 else at)
        at = packet.find(b"\0\0\1", at + 3)
    if not starts:
        return [packet]
    return [packet[a:b] for a, b in zip(starts, [*starts[1:], len(packet)], strict=True)]


def _unit_type(unit: bytes) -> int:
    at = unit.find(b"\0\0\1")
    return unit[at + 3] & 31 if at >= 0 and at + 3 < len(unit) else -1
