"""A usual video codec over our own channel: what the link does for it, and what states as values do beyond that.

Such a codec has one state, hidden in it. After a loss it can only start again with an intra frame: a packet of an
unbroken chain says distance 1, the first of a new one distance 0. It is opened again, with an intra frame, when the
rate that the path carries has moved by more than 15 % for a second: SVT-AV1 through libavcodec takes no new rate.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from vidcodec.baselines.settings import find_peer
from vidcodec.baselines.video import NotZeroDelay, VideoDecoder, VideoEncoder
from vidcodec.codec import FRAME_SIZE, Codec, CodecInfo, Frame, State, next_header
from vidcodec.errors import DamagedPacket, MissingReference
from vidcodec.packet import Header, Packet

NAMES = ("svtav1", "x264-veryfast", "vp8", "vp9")
DRIFT = 0.15
DRIFT_S = 1.0
REOPEN_S = 2.0
LEAST_KBPS = 4.0


@dataclass
class _Chain:
    """An encoder's or decoder's run since its last intra frame, and the frame it stands at."""

    decoder: VideoDecoder
    number: int = -1
    encoder: VideoEncoder | None = None


class ChannelPeer(Codec):
    """One of `NAMES` as a `Codec` with one quality; `follow` tells it the payload rate to hold.

    Raises:
        UsageError: the codec is not in this build of PyAV.
    """

    def __init__(self, name: str, fps: float) -> None:
        self.info = CodecInfo(name, hashlib.sha256(name.encode()).hexdigest(), "cpu", "int8", 1)
        self.opened = 0
        self._settings = find_peer(name)
        self._fps = fps
        self._rate: Callable[[], float] = lambda: 40.0
        self._opened_kbps = 0.0
        self._frames_off = 0
        self._frames_open = 0

    def follow(self, rate_kbps: Callable[[], float]) -> None:
        """Hold what this says, kbit/s of payload."""
        self._rate = rate_kbps

    def encode(self, frame: Frame, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        header = next_header(frame, state, quality, self.info, number)
        chain = state.memory
        wanted = max(LEAST_KBPS, self._rate())
        unbroken = chain is not None and chain.encoder is not None and chain.number == state.number
        if not unbroken or header.distance != 1 or self._drifted(wanted):
            header = Header(header.number, 0, quality)
            chain = _Chain(VideoDecoder(self._settings), encoder=self._open(wanted))
        assert chain.encoder is not None  # made above, or checked
        data = chain.encoder.encode(frame)
        chain.number = header.number
        self._frames_open += 1
        return Packet(header, data), State(header.number, chain.decoder.decode(data), chain)

    def decode(self, packet: Packet, state: State) -> tuple[Frame, State]:
        header, chain = packet.header, state.memory
        if header.distance == 0:
            chain = _Chain(VideoDecoder(self._settings))
        elif chain is None or chain.number != header.reference:
            raise MissingReference(f"frame {header.number} refers to frame {header.reference}, which is not the newest")
        try:
            picture = chain.decoder.decode(packet.body)
        except (NotZeroDelay, ValueError, OSError) as error:
            raise DamagedPacket(f"packet {header.number}: {error}") from error
        if picture.shape != (FRAME_SIZE, FRAME_SIZE, 3):
            raise DamagedPacket(f"packet {header.number}: a picture of {picture.shape}")
        chain.number = header.number
        return picture, State(header.number, picture, chain)

    def _drifted(self, wanted_kbps: float) -> bool:
        off = abs(wanted_kbps - self._opened_kbps) > DRIFT * self._opened_kbps
        self._frames_off = self._frames_off + 1 if off else 0
        return self._frames_off >= DRIFT_S * self._fps and self._frames_open >= REOPEN_S * self._fps

    def _open(self, kbps: float) -> VideoEncoder:
        self._opened_kbps, self._frames_off, self._frames_open = kbps, 0, 0
        self.opened += 1
        options = self._settings.with_bitrate(round(kbps * 1000))
        return VideoEncoder(self._settings, options, FRAME_SIZE, FRAME_SIZE, self._fps)
