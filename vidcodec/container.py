"""The .vdc file: packets in a row, append-only, so that a file cut short by a kill is still good. Bytes only.

    magic "VDC1"   u16 length of the JSON header   JSON header (UTF-8)   records ...
    record:  u24 length  packet                 a frame; length 0 marks a frame that was lost

See `docs/bitstream.md`. Everything that is the same for the whole stream stands once in the JSON header.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import BinaryIO

from vidcodec.codec import BITSTREAM_VERSION
from vidcodec.errors import DamagedPacket
from vidcodec.packet import HEADER_BYTES, MAX_PACKET_BYTES, Packet

MAGIC = b"VDC1"
MAX_FPS = 1000.0


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a .vdc file says once.

    Attributes:
        version: version of the bitstream.
        model_id: the model that reads it.
        weights_sha256: its weights, 64 hexadecimal digits.
        fps: frames a second, above 0 and at most 1000.
    """

    model_id: str
    weights_sha256: str
    fps: float
    version: int = BITSTREAM_VERSION


class StreamWriter:
    """Appends packets to a binary file."""

    def __init__(self, file: BinaryIO, info: StreamInfo) -> None:
        self._file = file
        head = json.dumps(asdict(info), separators=(",", ":"), sort_keys=True).encode()
        file.write(MAGIC + len(head).to_bytes(2, "big") + head)

    def write(self, packet: Packet | None) -> None:
        """Append a packet, or the mark of a lost frame."""
        data = b"" if packet is None else packet.to_bytes()
        self._file.write(len(data).to_bytes(3, "big") + data)


def _exactly(file: BinaryIO, count: int, what: str) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise DamagedPacket(f"file ends inside {what}")
    return data


def read_info(file: BinaryIO) -> StreamInfo:
    """Read the head of a .vdc file.

    Raises:
        DamagedPacket: it is no .vdc file, or one of a newer version.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise DamagedPacket("not a .vdc file: it does not start with VDC1")
    length = int.from_bytes(_exactly(file, 2, "the header"), "big")
    try:
        fields = json.loads(_exactly(file, length, "the header"))
        info = StreamInfo(
            model_id=fields["model_id"],
            weights_sha256=fields["weights_sha256"],
            fps=float(fields["fps"]),
            version=fields["version"],
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DamagedPacket("the header of the .vdc file is damaged") from error
    if info.version != BITSTREAM_VERSION:
        raise DamagedPacket(f"bitstream version {info.version!r}: this program reads version {BITSTREAM_VERSION}")
    strings = isinstance(info.model_id, str) and isinstance(info.weights_sha256, str)
    if not strings or not 0 < info.fps <= MAX_FPS:
        raise DamagedPacket("the header of the .vdc file is damaged")
    return info


def read_packets(file: BinaryIO) -> Iterator[Packet | None]:
    """Read the records after the head; None stands for a frame marked as lost.

    Raises:
        DamagedPacket: a record, which it names, is cut short or no packet. What came before has been yielded.
    """
    index = 0
    while head := file.read(3):
        if len(head) < 3:
            raise DamagedPacket(f"file ends inside record {index}")
        length = int.from_bytes(head, "big")
        if length == 0:
            yield None
        elif not HEADER_BYTES <= length <= MAX_PACKET_BYTES:
            raise DamagedPacket(f"record {index} claims {length} bytes")
        else:
            data = _exactly(file, length, f"record {index}")
            try:
                packet = Packet.from_bytes(data)
            except DamagedPacket as error:
                raise DamagedPacket(f"record {index}: {error}") from error
            yield packet
        index += 1
