"""Packet: four or five bytes of header, and any bytes are safe to parse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidcodec.errors import DamagedPacket
from vidcodec.packet import HEADER_BYTES, MAX_PACKET_BYTES, NUMBERS, Header, Packet, checksum, unwrap

headers = st.builds(
    Header,
    number=st.integers(0, 1023),
    distance=st.integers(0, 63),
    quality=st.integers(0, 63),
    checksum=st.integers(0, 0x7FFF),
)


def test_golden_bytes() -> None:
    far = Packet(Header(number=0b1010101011, distance=5, quality=33, checksum=0x3EEF), b"body")
    assert far.to_bytes().hex() == "aad0beef" + "05" + b"body".hex()
    near = Packet(Header(number=0b1010101011, distance=1, quality=33, checksum=0x3EEF), b"body")
    assert near.to_bytes().hex() == "aaf0beef" + b"body".hex()
    assert (len(far), len(near)) == (HEADER_BYTES + 5, HEADER_BYTES + 4)


@given(headers, st.binary(max_size=300))
def test_every_packet_comes_back(header: Header, body: bytes) -> None:
    packet = Packet(header, body)
    assert Packet.from_bytes(packet.to_bytes()) == packet
    assert len(packet) == len(packet.to_bytes())


@given(st.binary(max_size=64))
def test_any_bytes_are_a_packet_or_damaged(data: bytes) -> None:
    try:
        packet = Packet.from_bytes(data)
    except DamagedPacket:
        assert len(data) < HEADER_BYTES or (not data[1] & 32 and (len(data) == 4 or data[4] == 1 or data[4] > 63))
    else:
        assert packet.to_bytes() == data


def test_oversized_packet_is_damaged() -> None:
    with pytest.raises(DamagedPacket, match="65537 bytes"):
        Packet.from_bytes(bytes(MAX_PACKET_BYTES + 1))


@pytest.mark.parametrize("field", [{"number": 1024}, {"distance": 64}, {"quality": -1}, {"checksum": 1 << 15}])
def test_field_out_of_range_is_refused(field: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Header(**({"number": 0, "distance": 0, "quality": 0} | field))


def test_reference_wraps_around() -> None:
    assert Header(2, 5, 0).reference == 1021
    assert Header(2, 0, 0).reference is None


def test_checksum_covers_header_and_symbols() -> None:
    assert checksum(b"123", b"456789") == 0xCBF43926 & 0x7FFF  # the check value of CRC-32
    assert len({checksum(*parts) for parts in ((b"123", b"456789"), (b"124", b"456789"), (b"123", b"456788"))}) == 3


@given(st.integers(0, 100_000), st.integers(-511, 511))
def test_unwrap_finds_the_nearest_count(near: int, step: int) -> None:
    count = near + step
    if count >= 0:
        assert unwrap(count % NUMBERS, near) == count
