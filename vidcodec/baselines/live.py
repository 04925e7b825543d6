"""The picture beside ours in a call: downscaled video by a real codec at the wire rate that our stream uses.

libvpx, x264 and SVT-AV1 through libavcodec take no new bitrate on the fly, so the encoder is opened again, with an
intra frame, when the target has been more than 15 % off for a second. When a rate controller overshoots (an intra
frame, a floor at its coarsest quantiser) by a second's worth of bits, frames are not sent and the last picture stays,
which is what libwebrtc's frame dropper does; so the mean rate never exceeds the target for long.
"""

from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from vidcodec.baselines.scaling import SCALES, bicubic, scale_down, scale_up
from vidcodec.baselines.settings import VideoSettings, find_peer
from vidcodec.baselines.video import VideoDecoder, VideoEncoder, strip_sei
from vidcodec.errors import UsageError
from vidcodec.wire import wire_bytes

Frame = NDArray[np.uint8]

CODECS = {"vp8": "vp8", "h264": "x264-veryfast", "av1": "svtav1", "h265": "x265-medium", "vp9": "vp9"}
PLAIN = {"bicubic2x": 2, "bicubic4x": 4, "bicubic8x": 8}
CHOICES = ("vp8", "h264", "av1", "h265", "vp9", *PLAIN, "none")

DRIFT = 0.15
DRIFT_S = 1.0
REOPEN_S = 2.0
DEBT_S = 1.0
FLOOR_BPS = 2000
CEILING_BPS = 100_000_000
"""SVT-AV1 takes no larger number, and no frame of ours can use it up."""

# Payload rates below which half size, and quarter size, had the smaller error on most of the development clips of
# `bench rd` (192x192 at 25 and 30 fps).
_SMALLER_BELOW_KBPS = {
    "vp8": (24.0, 6.0),
    "x264-veryfast": (17.0, 8.0),
    "x265-medium": (9.0, 4.0),
    "vp9": (24.0, 6.0),
    "svtav1": (6.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class BaselineFrame:
    """What the other side of the baseline's call would show for one frame.

    Attributes:
        picture: `[H, W, 3]` uint8 RGB of the input's size; None for the codec `none`.
        payload_bytes: coded size (0 when the frame was not sent; raw size for plain bicubic).
        wire_bytes: with RTP, SRTP, UDP and IPv4 headers.
        sent: False when the frame was dropped to hold the rate.
    """

    picture: Frame | None
    payload_bytes: int
    wire_bytes: int
    sent: bool = True


def best_scale(payload_kbps: float, settings: VideoSettings, side: int) -> int:
    """The scale (1, 2 or 4) with the least error at a payload rate, by measurement on faces."""
    half_kbps, quarter_kbps = _SMALLER_BELOW_KBPS[settings.name]
    wanted = 4 if payload_kbps < quarter_kbps else 2 if payload_kbps < half_kbps else 1
    while wanted > 1 and side // wanted < settings.smallest:
        wanted //= 2
    return wanted


class Baseline:
    """A baseline that follows a rate. One call of `push` for each frame, a few milliseconds each.

    Args:
        codec: one of `CHOICES`.
        scale: 1, 2, 4, 8, or None for the best one at the rate.
        fps: nominal frame rate.

    Attributes:
        name: what is shown beside the picture: codec and scale now in use.

    Raises:
        UsageError: an unknown codec or scale.
    """

    def __init__(self, codec: str = "vp8", scale: int | None = None, fps: float = 30.0) -> None:
        if codec not in CHOICES:
            raise UsageError(f"baseline {codec!r} is unknown: choose from {', '.join(CHOICES)}")
        if scale is not None and scale not in SCALES:
            raise UsageError(f"baseline scale {scale} is unknown: choose from 1, 2, 4, 8")
        self.codec = codec
        self.fps = fps
        self.scale = PLAIN.get(codec, scale or 1)
        self.reopened = 0
        self.dropped = 0
        self._fixed_scale = scale
        self._settings = find_peer(CODECS[codec]) if codec in CODECS else None
        self._encoder: VideoEncoder | None = None
        self._decoder: VideoDecoder | None = None
        self._picture: Frame | None = None
        self._opened_kbps = 0.0
        self._frames_off = 0
        self._frames_open = 0
        self._debt_bytes = 0.0

    @property
    def name(self) -> str:
        """`vp8 1/2`, `bicubic4x`, `none`."""
        return f"{self.codec} 1/{self.scale}" if self._settings is not None and self.scale > 1 else self.codec

    def push(self, frame: Frame, target_kbps: float) -> BaselineFrame:
        """Code one frame `[H, W, 3]` uint8 RGB at the present target.

        Args:
            frame: the original.
            target_kbps: wire rate to follow, kbit/s, headers included.

        Raises:
            NotZeroDelay: the codec kept a frame back.
        """
        if self.codec == "none":
            return BaselineFrame(None, 0, 0, sent=False)
        if self._settings is None:
            payload_bytes = frame.size // self.scale**2
            return BaselineFrame(bicubic(frame, self.scale), payload_bytes, payload_bytes)
        self._follow(frame, self._settings, target_kbps)
        budget_bytes = target_kbps * 1000 / 8 / self.fps
        if self._debt_bytes > DEBT_S * self.fps * budget_bytes and self._picture is not None:
            self._debt_bytes -= budget_bytes
            self.dropped += 1
            return BaselineFrame(self._picture, 0, 0, sent=False)
        assert self._encoder is not None and self._decoder is not None  # set by _follow
        packet = self._encoder.encode(scale_down(frame, self.scale))
        if self._settings.decoder == "h264":
            packet = strip_sei(packet)  # x264's version string would come again with every new encoder
        self._picture = scale_up(self._decoder.decode(packet), frame.shape[1], frame.shape[0])
        sent_bytes = wire_bytes(len(packet), self._settings.transport)
        self._debt_bytes = max(self._debt_bytes + sent_bytes - budget_bytes, -DEBT_S * self.fps * budget_bytes)
        return BaselineFrame(self._picture, len(packet), sent_bytes)

    def _follow(self, frame: Frame, settings: VideoSettings, target_kbps: float) -> None:
        """Open the encoder, or open it again when the target has moved away for long enough."""
        self._frames_open += 1
        off = self._encoder is None or abs(target_kbps - self._opened_kbps) > DRIFT * self._opened_kbps
        self._frames_off = self._frames_off + 1 if off else 0
        lasting = self._frames_off >= DRIFT_S * self.fps and self._frames_open >= REOPEN_S * self.fps
        if self._encoder is not None and not lasting:
            return
        if self._encoder is not None:
            self._encoder.close()
            self.reopened += 1
        headers_bps = wire_bytes(0, settings.transport) * 8 * self.fps
        payload_bps = min(max(FLOOR_BPS, round(target_kbps * 1000 - headers_bps)), CEILING_BPS)
        side = min(frame.shape[:2])
        self.scale = self._fixed_scale or best_scale(payload_bps / 1000, settings, side)
        options = settings.with_bitrate(payload_bps)
        width, height = frame.shape[1] // self.scale, frame.shape[0] // self.scale
        self._encoder = VideoEncoder(settings, options, width, height, self.fps)
        self._decoder = VideoDecoder(settings)
        self._opened_kbps = target_kbps
        self._frames_off = self._frames_open = 0

    def close(self) -> None:
        """Free the encoder."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = self._decoder = None

    def __enter__(self) -> "Baseline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
