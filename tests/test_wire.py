"""The wire overhead of each transport."""

import pytest

from vidcodec.errors import UsageError
from vidcodec.wire import DATA_CHANNEL, TRANSPORTS, datagrams, rate_kbps, wire_bytes


def test_data_channel_adds_85_bytes_to_a_datagram() -> None:
    assert DATA_CHANNEL.header_bytes == 85
    assert wire_bytes(600) == 685
    assert wire_bytes(0) == 85


def test_sctp_pads_user_data_to_four_bytes() -> None:
    assert wire_bytes(601) == 604 + 85
    assert wire_bytes(604) == 604 + 85


def test_message_above_1160_bytes_is_split() -> None:
    assert datagrams(1160) == 1
    assert datagrams(1161) == 2
    assert wire_bytes(1161) == 1160 + 4 + 2 * 85
    assert datagrams(3000) == 3


@pytest.mark.parametrize(("name", "descriptor"), [("rtp-vp8", 4), ("rtp-vp9", 3), ("rtp-h264", 0), ("rtp-av1", 1)])
def test_rtp_adds_ip_udp_rtp_srtp_and_descriptor(name: str, descriptor: int) -> None:
    assert wire_bytes(100, name) == 100 + 20 + 8 + 12 + 10 + descriptor


def test_rtp_packet_before_its_tag_is_at_most_1200_bytes() -> None:
    for name, transport in TRANSPORTS.items():
        if not name.startswith("rtp"):
            continue
        for payload in (1, 1180, 1190, 1250, 2400, 5000):
            count = datagrams(payload, transport)
            largest = min(payload, transport.split_bytes) + transport.header_bytes - 20 - 8 - 10
            largest += transport.split_header_bytes if count > 1 else 0
            assert largest <= 1200
            assert count * transport.split_bytes >= payload


def test_split_h264_pays_for_fu_a_headers() -> None:
    assert wire_bytes(1190, "rtp-h264") == 1190 + 2 * (50 + 2)


def test_no_transport_adds_nothing() -> None:
    assert wire_bytes(12345, "none") == 12345


def test_thirty_messages_a_second_cost_20_kbps_before_the_first_payload_bit() -> None:
    assert rate_kbps(30 * wire_bytes(0), 1.0) == pytest.approx(20.4, abs=0.05)
    assert rate_kbps(1000, 0.0) == 0.0


def test_unknown_transport_and_negative_size_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="unknown"):
        wire_bytes(1, "pigeon")
    with pytest.raises(UsageError, match="0 or more"):
        wire_bytes(-1)
