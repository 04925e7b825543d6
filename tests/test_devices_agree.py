"""What one device makes another reads: a CPU's packets on a GPU in half precision, and the other way round.

The same code runs everywhere on another precision of the CPU, so that it is known to work where a GPU comes along.
"""

from functools import cache
from itertools import islice

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sender.capture import open_source
from sender.crop import fit_whole
from vidcodec.bench.clips import Clip
from vidcodec.bench.steadyruns import AFTER_REPAIR, precision
from vidcodec.learned import LearnedCodec
from vidcodec.packet import Packet

HERE = ("cpu", "fp32")
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
OTHERS = [
    pytest.param(("cpu", "bf16"), id="cpu bf16"),
    pytest.param(("cuda", "fp16"), id="cuda fp16", marks=[pytest.mark.cuda, NO_GPU]),
    pytest.param(("cuda", "bf16"), id="cuda bf16", marks=[pytest.mark.cuda, NO_GPU]),
    pytest.param(("cuda", "fp32"), id="cuda fp32", marks=[pytest.mark.cuda, NO_GPU]),
]
FRAMES = 30


@cache
def codec(kind: tuple[str, str]) -> LearnedCodec:
    return LearnedCodec.load("s", *kind)


@cache
def clip() -> Clip:
    with open_source("sample", paced=False) as source:
        frames: NDArray[np.uint8] = np.stack([fit_whole(f.picture) for f in islice(source.frames(), 0, 2 * FRAMES, 2)])
    return Clip("sample", 15.0, frames, "")


@pytest.mark.parametrize("quality", [0, 16, 32, 48, 63])
@pytest.mark.parametrize("other", OTHERS)
def test_symbols_written_on_one_device_are_read_on_the_other(other: tuple[str, str], quality: int) -> None:
    for writer, reader in ((codec(HERE), codec(other)), (codec(other), codec(HERE))):
        sent, shown = writer.blank_state(), reader.blank_state()
        for frame in clip().frames[:6]:
            packet, sent = writer.encode(frame, sent, quality)
            received = Packet.from_bytes(packet.to_bytes())
            ours, theirs = writer.decode_symbols(packet), reader.decode_symbols(received)
            assert np.array_equal(ours.y, theirs.y) and np.array_equal(ours.vectors, theirs.vectors)
            _, shown = reader.decode(received, shown)
            assert shown.number == sent.number
        assert ours.y.shape == (writer.sizes.latent, 12, 12)


@pytest.mark.parametrize("other", OTHERS)
def test_pictures_stay_together_and_a_blank_state_repairs_what_does_not(other: tuple[str, str]) -> None:
    for sender, receiver in ((codec(HERE), codec(other)), (codec(other), codec(HERE))):
        row = precision(sender, receiver, clip(), 16, FRAMES)
        assert row.symbols_equal == FRAMES + AFTER_REPAIR and row.repaired
        assert abs(row.mean_db) <= 0.1 and abs(row.end_db) <= 0.3


@pytest.mark.parametrize("other", OTHERS)
def test_receiver_shows_what_the_sender_reconstructed_on_the_same_device(other: tuple[str, str]) -> None:
    one = codec(other)
    sent, shown = one.blank_state(), one.blank_state()
    for frame in clip().frames[:4]:
        packet, sent = one.encode(frame, sent, 24)
        picture, shown = one.decode(Packet.from_bytes(packet.to_bytes()), shown)
        assert np.array_equal(picture, sent.picture)
