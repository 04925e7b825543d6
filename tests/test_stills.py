"""seed and gdn: real packets, the same symbols everywhere, nothing but DamagedPacket on garbage."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidcodec import DamagedPacket, Packet, UsageError, load_codec
from vidcodec.codec import Codec, Frame
from vidcodec.metrics import mse
from vidcodec.packet import Header

SAMPLE = Path(__file__).parent.parent / "sender" / "assets" / "sample.mp4"


@pytest.fixture(scope="module", params=["seed", "gdn"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return load_codec(request.param, device="cpu", threads=1)


@pytest.fixture(scope="module")
def face() -> Frame:
    ok, picture = cv2.VideoCapture(str(SAMPLE)).read()
    assert ok
    side = min(picture.shape[:2])
    return cv2.cvtColor(cv2.resize(picture[:side, :side], (192, 192), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


def test_decoder_shows_what_the_encoder_says_it_will(codec: Codec, face: Frame) -> None:
    for quality in range(codec.info.qualities):
        packet, sent = codec.encode(face, codec.blank_state(), quality)
        shown, state = codec.decode(Packet.from_bytes(packet.to_bytes()), codec.blank_state())
        assert np.array_equal(shown, sent.picture)
        assert (state.number, packet.header.distance, packet.header.quality) == (0, 0, quality)


def test_more_quality_is_more_bytes_and_less_error(codec: Codec, face: Frame) -> None:
    points = [codec.encode(face, codec.blank_state(), q) for q in range(codec.info.qualities)]
    sizes = [len(packet) for packet, _ in points]
    errors = [mse(face, state.picture) for _, state in points]
    assert sizes == sorted(sizes)
    assert errors[-1] < errors[0] and errors[-1] < 2e-3


def test_frames_are_numbered_and_stand_alone(codec: Codec, face: Frame) -> None:
    state, packets = codec.blank_state(), []
    for _ in range(3):
        packet, state = codec.encode(face, state, 1)
        packets.append(packet)
    assert [p.header.number for p in packets] == [0, 1, 2]
    assert len({p.body for p in packets}) == 1
    shown, after = codec.decode(packets[2], codec.blank_state())
    assert np.array_equal(shown, state.picture) and after.number == 2


def test_wrong_arguments_are_usage_errors(codec: Codec, face: Frame) -> None:
    with pytest.raises(UsageError, match="uint8 RGB"):
        codec.encode(face[:100], codec.blank_state(), 0)
    with pytest.raises(UsageError, match="quality 64"):
        codec.encode(face, codec.blank_state(), 64)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_packets_never_show_a_picture_by_accident(codec: Codec, face: Frame, data: st.DataObject) -> None:
    good = codec.encode(face, codec.blank_state(), 2)[0].to_bytes()
    kind = data.draw(st.sampled_from(["cut", "flip", "random"]))
    if kind == "cut":
        bad = good[: data.draw(st.integers(0, len(good) - 1))]
    elif kind == "flip":
        at = data.draw(st.integers(0, 8 * len(good) - 1))
        bad = bytes(b ^ (1 << at % 8 if i == at // 8 else 0) for i, b in enumerate(good))
    else:
        bad = data.draw(st.binary(max_size=400))
    picture = codec.decode(Packet.from_bytes(good), codec.blank_state())[0]
    try:
        shown, _ = codec.decode(Packet.from_bytes(bad), codec.blank_state())
    except DamagedPacket:
        shown = picture
    # The last bits of a range-coder stream may be free: then the same symbols, and so the same picture, come out.
    assert np.array_equal(shown, picture)


def test_packet_with_a_reference_is_no_packet_of_a_still_model(codec: Codec, face: Frame) -> None:
    packet, state = codec.encode(face, codec.blank_state(), 0)
    with pytest.raises(DamagedPacket, match="no packet of model"):
        codec.decode(Packet(Header(1, 1, 0, packet.header.checksum), packet.body), state)


def test_a_wrong_checksum_is_said_as_the_learned_codec_says_it(codec: Codec, face: Frame) -> None:
    packet, state = codec.encode(face, codec.blank_state(), 0)
    with pytest.raises(DamagedPacket, match=r"^packet 0 is damaged: its checksum does not match$"):
        codec.decode(Packet(Header(0, 0, 0, packet.header.checksum ^ 1), packet.body), state)


def test_another_process_with_other_threads_finds_the_same_symbols(codec: Codec, face: Frame, tmp_path: Path) -> None:
    packet, state = codec.encode(face, codec.blank_state(), 3)
    (tmp_path / "p").write_bytes(packet.to_bytes())
    code = (
        "import sys, numpy as np; from vidcodec import load_codec, Packet\n"
        f"codec = load_codec({codec.info.model_id!r}, device='cpu', precision='bf16', threads=2)\n"
        "packet = Packet.from_bytes(open(sys.argv[1], 'rb').read())\n"
        "np.save(sys.argv[2], codec.decode(packet, codec.blank_state())[0])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "p"), str(tmp_path / "p.npy")], check=True, timeout=60)
    # The checksum has been verified: the symbols are the same. Pixels may differ by what half precision rounds.
    assert mse(np.load(tmp_path / "p.npy"), state.picture) < 3e-5
