"""The .vdc file: what is written is read, and a damaged file says where."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidcodec.container import StreamInfo, StreamWriter, read_info, read_packets
from vidcodec.errors import DamagedPacket
from vidcodec.packet import Header, Packet

INFO = StreamInfo("seed", "ab" * 32, 29.97)
PACKETS = [Packet(Header(0, 0, 3, 77), b"one"), None, Packet(Header(2, 1, 3, 78), b"")]


def written() -> bytes:
    file = io.BytesIO()
    writer = StreamWriter(file, INFO)
    for packet in PACKETS:
        writer.write(packet)
    return file.getvalue()


def test_golden_file() -> None:
    head = b'{"fps":29.97,"model_id":"seed","version":1,"weights_sha256":"' + b"ab" * 32 + b'"}'
    frames = bytes.fromhex("0000080001804d00") + b"one" + bytes.fromhex("00000000000400a1804e")
    assert written() == b"VDC1" + len(head).to_bytes(2, "big") + head + frames


def test_stream_comes_back_with_its_lost_frames() -> None:
    file = io.BytesIO(written())
    assert read_info(file) == INFO
    assert list(read_packets(file)) == PACKETS


def test_file_cut_anywhere_gives_what_came_before_and_one_error() -> None:
    data = written()
    start = len(data) - 21
    for end in range(len(data)):
        file = io.BytesIO(data[:end])
        got: list[Packet | None] = []
        try:
            read_info(file)
            got.extend(read_packets(file))
        except DamagedPacket:
            pass
        else:
            assert end in (start, start + 11, start + 14)
        assert got == PACKETS[: len(got)]


def head_of(fields: bytes) -> bytes:
    return b"VDC1" + len(fields).to_bytes(2, "big") + fields


@pytest.mark.parametrize(
    "head",
    [
        b"RIFF",
        b"VDC1\x00\x02[]",
        b"VDC1\x00\x02{}",
        b'VDC1\x00\x3b{"fps":30,"model_id":"s","version":9,"weights_sha256":"00"}',
        b'VDC1\x00\x3c{"fps":-1,"model_id":"s","version":1,"weights_sha256":"00"} ',
        b'VDC1\x00\x3b{"fps":30,"model_id":[1],"version":1,"weights_sha256":1}   ',
        head_of(b'{"fps":1%s,"model_id":"s","version":1,"weights_sha256":"00"}' % (b"0" * 400)),
    ],
)
def test_bad_head_is_damaged(head: bytes) -> None:
    with pytest.raises(DamagedPacket):
        read_info(io.BytesIO(head))


@given(st.binary(max_size=200))
def test_any_bytes_are_safe_to_read(data: bytes) -> None:
    for start in (b"", written()[:-22]):
        file = io.BytesIO(start + data)
        try:
            read_info(file)
            assert all(packet is None or packet.header.number < 1024 for packet in read_packets(file))
        except DamagedPacket as error:
            assert "\n" not in str(error)
