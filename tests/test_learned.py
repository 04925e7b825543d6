"""The learned codec: same bits everywhere, functional state, safe on any bytes."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import RICH, TINY, moving_face, tiny_arrays, tiny_codec
from vidcodec.codec import State
from vidcodec.errors import DamagedPacket, InputError, MissingReference, UsageError
from vidcodec.learned import LearnedCodec
from vidcodec.networks.model import VideoModel
from vidcodec.networks.packed import works
from vidcodec.networks.rows import RowModel
from vidcodec.packet import HEADER_BYTES, Header, Packet
from vidcodec.weights import save_weights


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a / 255.0 - b / 255.0) ** 2) + 1e-12))


@pytest.fixture(scope="module", params=[TINY, RICH], ids=["plain", "means and fine layers"])
def codec(request) -> LearnedCodec:
    return tiny_codec(sizes=request.param)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return moving_face(8)


def encode_all(codec: LearnedCodec, frames: np.ndarray, quality: int) -> tuple[list[bytes], list[State]]:
    state, packets, states = codec.blank_state(), [], []
    for frame in frames:
        packet, state = codec.encode(frame, state, quality)
        packets.append(packet.to_bytes())
        states.append(state)
    return packets, states


@pytest.mark.parametrize("quality", [0, 20, 40, 63])
def test_receiver_shows_the_very_frames_the_sender_reconstructed(codec, frames, quality) -> None:
    packets, states = encode_all(codec, frames, quality)
    state = codec.blank_state()
    for data, sent in zip(packets, states, strict=True):
        frame, state = codec.decode(Packet.from_bytes(data), state)
        assert np.array_equal(frame, sent.picture) and state.number == sent.number


@pytest.mark.skipif(not works(), reason="torch has no oneDNN operators here")
def test_without_onednn_the_same_symbols_are_read_and_pictures_stay_near(codec, frames, monkeypatch) -> None:
    monkeypatch.setattr("vidcodec.learned.works", lambda precision: False)
    other = tiny_codec(sizes=codec.sizes)
    assert isinstance(other.model, VideoModel) and isinstance(codec.model, RowModel)
    for sender, receiver in ((codec, other), (other, codec)):
        packets, states = encode_all(sender, frames[:4], 40)
        state = receiver.blank_state()
        for data, sent in zip(packets, states, strict=True):
            frame, state = receiver.decode(Packet.from_bytes(data), state)
            assert np.abs(frame.astype(int) - sent.picture).max() <= 1


def test_more_quality_gives_more_bits_and_less_error(codec, frames) -> None:
    sizes, errors = [], []
    for quality in (5, 30, 55):
        packets, states = encode_all(codec, frames[:6], quality)
        sizes.append(sum(map(len, packets)))
        # The last frame: the tiny model's untrained trunks spoil the first ones, and the loop corrects that.
        errors.append(-psnr_db(states[-1].picture, frames[5]))
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert errors[0] > errors[-1]


def test_symbols_do_not_depend_on_threads_or_precision(codec, frames) -> None:
    packets, _ = encode_all(codec, frames, 30)
    half = tiny_codec(torch.bfloat16, codec.sizes)
    expected = [codec.decode_symbols(Packet.from_bytes(p)) for p in packets]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        other = [half.decode_symbols(Packet.from_bytes(p)) for p in packets]
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(expected, other, strict=True):
        assert np.array_equal(a.y, b.y) and np.array_equal(a.z, b.z) and np.array_equal(a.vectors, b.vectors)
    assert any(s.y.any() for s in expected) and any(s.vectors.any() for s in expected)


def test_pictures_of_another_precision_stay_near(codec, frames) -> None:
    packets, states = encode_all(codec, frames, 30)
    half, state = tiny_codec(torch.bfloat16, codec.sizes), codec.blank_state()
    for data, sent, frame in zip(packets, states, frames, strict=True):
        shown, state = half.decode(Packet.from_bytes(data), state)
        assert abs(psnr_db(shown, frame) - psnr_db(sent.picture, frame)) < 0.3


def test_qualities_below_zero_cost_less_and_are_quality_zero_to_the_receiver(codec, frames) -> None:
    sizes = []
    for quality in (0, -8, codec.info.lowest):
        packets, states = encode_all(codec, frames, quality)
        shown = codec.blank_state()
        for data, sent in zip(packets, states, strict=True):
            packet = Packet.from_bytes(data)
            assert packet.header.quality == 0
            picture, shown = codec.decode(packet, shown)
            assert np.array_equal(picture, sent.picture)
        sizes.append(sum(map(len, packets)))
    assert sizes[0] > sizes[1] >= sizes[2]
    with pytest.raises(UsageError, match=f"{codec.info.lowest} to 63"):
        codec.encode(frames[0], codec.blank_state(), codec.info.lowest - 1)


def test_same_state_gives_same_packet_again(codec, frames) -> None:
    _, states = encode_all(codec, frames[:3], 25)
    first, _ = codec.encode(frames[4], states[1], 25)
    codec.encode(frames[5], states[2], 40)
    again, _ = codec.encode(frames[4], states[1], 25)
    assert first.to_bytes() == again.to_bytes()


def test_frames_one_by_one_equal_the_whole_clip(frames) -> None:
    whole, _ = encode_all(tiny_codec(), frames, 20)
    one_by_one, state = [], tiny_codec().blank_state()
    for frame in frames:
        packet, state = tiny_codec().encode(frame, state, 20)
        one_by_one.append(packet.to_bytes())
    assert one_by_one == whole


@pytest.fixture(scope="module")
def trained() -> LearnedCodec:
    return LearnedCodec.load("s", "cpu", "fp32")


def test_still_picture_costs_almost_nothing(trained, frames) -> None:
    state, sizes = trained.blank_state(), []
    for _ in range(12):
        packet, state = trained.encode(frames[0], state, 30)
        sizes.append(len(packet))
    assert np.median(sizes[1:]) <= 15


@pytest.mark.parametrize("quality", [0, 10])
def test_bits_of_a_frame_without_motion_are_worth_their_error(trained, frames, quality) -> None:
    codec = trained
    state, seen, silent = codec.blank_state(), frames[0], 0
    for _ in range(40):
        packet, after = codec.encode(seen, state, quality)
        symbols = codec.decode_symbols(packet)
        if packet.header.distance and not symbols.vectors.any():
            gain = np.mean((seen / 255.0 - state.picture / 255.0) ** 2 - (seen / 255.0 - after.picture / 255.0) ** 2)
            level = codec.sizes.level(quality, packet.header.number, False)
            assert not symbols.y.any() or codec.sizes.weight(level) * seen[..., 0].size * gain >= 8 * len(packet.body)
            assert symbols.y.any() or np.array_equal(after.picture, state.picture)
            silent += not symbols.y.any()
        state = after
    assert silent > 0


def test_older_reference_is_followed_and_a_wrong_one_refused(codec, frames) -> None:
    _, states = encode_all(codec, frames[:3], 25)
    packet, after = codec.encode(frames[3], states[0], 25, number=3)
    assert packet.header.distance == 3
    shown, _ = codec.decode(packet, states[0])
    assert np.array_equal(shown, after.picture)
    with pytest.raises(MissingReference):
        codec.decode(packet, states[2])
    assert codec.decode_symbols(packet).y.shape == (TINY.latent, 12, 12)


@pytest.mark.parametrize("kind", ["random", "truncated", "flipped", "empty", "long"])
def test_hostile_bytes_raise_damaged_packet_or_decode(codec, frames, kind) -> None:
    packets, states = encode_all(codec, frames[:2], 35)
    rng = np.random.default_rng(11)
    slowest_s, refused = 0.0, 0
    for _ in range(25):
        data = bytearray(packets[1])
        if kind == "random":
            data[HEADER_BYTES:] = rng.bytes(int(rng.integers(0, 300)))
        elif kind == "truncated":
            del data[int(rng.integers(HEADER_BYTES, len(data))) :]
        elif kind == "flipped":
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        elif kind == "empty":
            del data[HEADER_BYTES:]
        else:
            data += rng.bytes(20_000)
        began = time.process_time()
        try:
            frame, _ = codec.decode(Packet.from_bytes(bytes(data)), states[0])
            assert frame.shape == (192, 192, 3)
        except DamagedPacket:
            refused += 1
        slowest_s = max(slowest_s, time.process_time() - began)
    assert slowest_s < 1.0 and (refused > 0 or kind in ("truncated", "long"))
    shown, _ = codec.decode(Packet.from_bytes(packets[1]), states[0])
    assert np.array_equal(shown, states[1].picture)


def test_a_wrong_checksum_is_said_in_words_for_a_call_and_a_file(codec, frames) -> None:
    packet, _ = codec.encode(frames[0], codec.blank_state(), 20)
    header = packet.header
    wrong = Header(header.number, header.distance, header.quality, header.checksum ^ 1)
    with pytest.raises(DamagedPacket, match=r"^packet 0 is damaged: its checksum does not match$"):
        codec.decode(Packet(wrong, packet.body), codec.blank_state())


def test_wrong_arguments_raise_usage_error(codec, frames) -> None:
    with pytest.raises(UsageError):
        codec.encode(frames[0], codec.blank_state(), 64)
    with pytest.raises(UsageError):
        codec.encode(frames[0][:64], codec.blank_state(), 5)


def test_weights_file_round_trip_and_misfits(tmp_path: Path, codec, frames) -> None:
    path = tmp_path / "t.safetensors"
    arrays, card, settings = tiny_arrays(sizes=codec.sizes), {"model_id": "tiny"}, {"sizes": codec.sizes.to_dict()}
    save_weights(path, arrays, card, settings)
    loaded = LearnedCodec.load("s", "cpu", "fp32", None, path)
    assert loaded.info.model_id == "tiny" and len(loaded.info.weights_sha256) == 64
    packet, _ = codec.encode(frames[0], codec.blank_state(), 20)
    assert loaded.encode(frames[0], loaded.blank_state(), 20)[0].to_bytes() == packet.to_bytes()
    few = {n: a for n, a in arrays.items() if n != "net.analysis_linear.weight"}
    save_weights(path, few, card, settings)
    with pytest.raises(InputError, match="analysis_linear"):
        LearnedCodec.load("s", "cpu", "fp32", None, path)
    save_weights(path, arrays, card)
    with pytest.raises(InputError, match="sizes"):
        LearnedCodec.load("s", "cpu", "fp32", None, path)


def test_header_quality_and_number_fix_the_level(codec) -> None:
    levels = {codec.level_of(Header(n, 1, 30))[1] for n in range(8)}
    assert levels == {38, 24, 27}
    assert codec.level_of(Header(0, 0, 30)) == (True, 42)
