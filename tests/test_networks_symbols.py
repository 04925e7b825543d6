"""The walk over a frame's whole numbers: what goes in comes out, the bytes are fixed, motion is cheap when simple."""

import hashlib

import numpy as np
import pytest
import torch

from tests.tiny import TINY, tiny_arrays
from vidcodec.networks.integer import IntegerScales, bit_length, log_magnitude, side_levels
from vidcodec.networks.scales import ScaleModel
from vidcodec.networks.scales import log_magnitude as trained_log_magnitude
from vidcodec.networks.symbols import DecodePort, EncodePort, FrameSymbols, walk, with_side
from vidcodec.networks.tables import read_tables

GROUPS = TINY.groups


@pytest.fixture(scope="module")
def scales() -> IntegerScales:
    return IntegerScales(tiny_arrays(), GROUPS)


@pytest.fixture(scope="module")
def tables() -> dict:
    return read_tables(tiny_arrays())


def some_frame(seed: int, density: float, motion: int) -> FrameSymbols:
    rng = np.random.default_rng(seed)
    y = rng.integers(-9, 10, (TINY.latent, 12, 12)) * (rng.random((TINY.latent, 12, 12)) < density)
    vectors = rng.integers(-motion, motion + 1, (12, 12, 2)) if motion else np.zeros((12, 12, 2), np.int64)
    return with_side(vectors, y, GROUPS)


def write(scales, tables, frame: FrameSymbols, intra: bool = False, level: int = 30) -> tuple[bytes, FrameSymbols]:
    port = EncodePort(tables)
    sent = walk(port, scales, 12, intra, level, known=frame)
    return port.encoder.finish(), sent


@pytest.mark.parametrize(("density", "motion"), [(0.0, 0), (0.0, 3), (0.05, 0), (0.3, 20), (1.0, 63)])
def test_what_is_written_is_read(scales, tables, density, motion) -> None:
    for seed in range(4):
        body, sent = write(scales, tables, some_frame(seed, density, motion), seed % 2 == 0, 9 * seed)
        read = walk(DecodePort(tables, body), scales, 12, seed % 2 == 0, 9 * seed, known=None)
        assert np.array_equal(read.y, sent.y) and np.array_equal(read.vectors, sent.vectors)
        assert np.array_equal(read.z, sent.z)
        assert write(scales, tables, read, seed % 2 == 0, 9 * seed)[0] == body, "what was read is written alike"


def test_frame_without_news_costs_at_most_one_byte(scales, tables) -> None:
    body, _ = write(scales, tables, some_frame(0, 0.0, 0))
    assert len(body) <= 1


def test_common_motion_is_cheaper_than_random_motion(scales, tables) -> None:
    zero = np.zeros((TINY.latent, 12, 12), np.int64)
    rng = np.random.default_rng(2)
    same = with_side(np.tile([6, -3], (12, 12, 1)), zero, GROUPS)
    wild = with_side(rng.integers(-6, 7, (12, 12, 2)), zero, GROUPS)
    assert 3 * len(write(scales, tables, same)[0]) < len(write(scales, tables, wild)[0])


def test_bytes_of_the_format_are_frozen(scales, tables) -> None:
    bodies = b"".join(write(scales, tables, some_frame(s, 0.1, 4), s == 0, 7 * s)[0] for s in range(5))
    assert hashlib.sha256(bodies).hexdigest() == "0a0bae3f140771f7039b24403404e27901f47d03e2e030613b3ffd2b434622fa"


def test_integer_network_is_the_trained_one() -> None:
    torch.manual_seed(4)
    model = ScaleModel(TINY)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.round((p + 0.1 * torch.randn_like(p)) * 64) / 64)
    names = {"near.weight": "near", "here.weight": "here", "here.bias": "here_bias"}
    names |= {"out.weight": "out", "out.bias": "out_bias"}
    state = model.state_dict()
    arrays = {
        f"scales.{n}.{ours}": np.rint(state[f"steps.{n}.{theirs}"].numpy() * 64).astype(np.int16)
        for n in range(2 * len(GROUPS))
        for theirs, ours in names.items()
    }
    exact = IntegerScales(arrays, GROUPS)
    for seed, intra in ((1, True), (2, False)):
        frame = some_frame(seed, 0.3, 5)
        side = exact.side(frame.z, frame.vectors, intra, 17)
        found = exact.all_indexes(frame.y, side)
        with torch.no_grad():
            scale = model(
                torch.from_numpy(frame.y)[None].float(),
                torch.from_numpy(frame.vectors)[None],
                torch.tensor([intra]),
                torch.tensor([17.0]),
            )[0].numpy()
        trained = np.clip(np.floor(8 * scale.astype(np.float64) + 0.5), 0, 63)
        assert np.mean(found != trained) < 1e-3 and np.abs(found - trained).max() <= 1
        assert len(np.unique(found)) > 5


def test_sums_in_single_precision_are_those_in_double(scales, monkeypatch) -> None:
    assert scales.sums == np.float32, "small weights: no sum reaches 2^24"
    with monkeypatch.context() as patched:
        patched.setattr("vidcodec.networks.integer._most", lambda part: 1 << 24)
        double = IntegerScales(tiny_arrays(), GROUPS)
    assert double.sums == np.float64
    for seed, density in ((1, 0.02), (2, 1.0)):
        frame = some_frame(seed, density, 63)
        y = frame.y * (120 if seed == 2 else 1)
        single, wide = (each.side(frame.z, frame.vectors, True, 63) for each in (scales, double))
        assert single.dtype == np.float32 and wide.dtype == np.float64
        assert np.array_equal(scales.all_indexes(y, single), double.all_indexes(y, wide))
    large = {n: np.full_like(a, 32767) if n.endswith("near") else a for n, a in tiny_arrays().items()}
    assert IntegerScales(large, GROUPS).sums == np.float64


def test_logarithms_agree_in_training_and_coding() -> None:
    values = np.arange(0, 300)
    trained = trained_log_magnitude(torch.from_numpy(values).float()).numpy() * 8
    assert np.array_equal(log_magnitude(values), trained.astype(np.int64))


def test_side_levels_are_bit_lengths_of_sums() -> None:
    assert bit_length(np.array([0, 1, 2, 3, 4, 255, 256])).tolist() == [0, 1, 2, 2, 3, 8, 9]
    y = np.zeros((TINY.latent, 12, 12), np.int64)
    y[0, 0, 0], y[1, 3, 3], y[20, 11, 11] = -3, 2, 40
    z = side_levels(y, GROUPS)
    assert z[0, 0, 0] == 3 and z[1, 2, 2] == 6 and z.sum() == 9
