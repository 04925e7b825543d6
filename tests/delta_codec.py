"""A codec for tests of calls: lossless, quick, and truly predictive, so that a wrong reference is never overlooked."""

import zlib

import numpy as np

from vidcodec.codec import FRAME_SIZE, Codec, CodecInfo, Frame, State, next_header, reference_state
from vidcodec.errors import DamagedPacket
from vidcodec.packet import Header, Packet, checksum

SHAPE = (FRAME_SIZE, FRAME_SIZE, 3)


class DeltaCodec(Codec):
    """Codes the difference to the reference's picture with zlib."""

    info = CodecInfo("delta", "d" * 64, "cpu", "fp32", 4)

    def encode(self, frame: Frame, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        header = next_header(frame, state, quality, self.info, number)
        symbols = (frame - state.picture).tobytes()
        header = Header(header.number, header.distance, quality, checksum(header.prefix(), symbols))
        return Packet(header, zlib.compress(symbols, 1)), State(header.number, frame)

    def decode(self, packet: Packet, state: State) -> tuple[Frame, State]:
        state = reference_state(self, packet.header, state)
        inflater = zlib.decompressobj()
        try:
            symbols = inflater.decompress(packet.body, FRAME_SIZE * FRAME_SIZE * 3 + 1)
        except zlib.error as error:
            raise DamagedPacket("body is not deflated") from error
        wrong = len(symbols) != FRAME_SIZE * FRAME_SIZE * 3
        if wrong or checksum(packet.header.prefix(), symbols) != packet.header.checksum:
            raise DamagedPacket(f"frame {packet.header.number}: checksum does not match")
        picture = state.picture + np.frombuffer(symbols, np.uint8).reshape(SHAPE)
        return picture, State(packet.header.number, picture)


def pictures(count: int, seed: int = 0) -> list[Frame]:
    """Pictures that differ from each other in a few blocks."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (12, 12, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    out = []
    for _ in range(count):
        picture = picture.copy()
        y, x = rng.integers(0, 160, 2)
        picture[y : y + 32, x : x + 32] = rng.integers(0, 256, 3, np.uint8)
        out.append(picture)
    return out
