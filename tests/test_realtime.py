"""What a process does before a call."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from delta_codec import DeltaCodec

from vidcodec.codec import Frame, State, load_codec
from vidcodec.packet import Packet
from vidcodec.realtime import WARM_FRAMES, call_threads, moving_scene, warm_up


class NotingCodec(DeltaCodec):
    def __init__(self) -> None:
        self.coded: list[Packet] = []
        self.decoded: list[Packet] = []

    def encode(self, frame: Frame, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        packet, after = super().encode(frame, state, quality, number)
        self.coded.append(packet)
        return packet, after

    def decode(self, packet: Packet, state: State) -> tuple[Frame, State]:
        self.decoded.append(packet)
        return super().decode(packet, state)


def test_warm_up_codes_and_decodes_with_and_without_a_reference_at_several_qualities() -> None:
    codec = NotingCodec()
    warm_up(codec)
    assert [packet.header.distance for packet in codec.coded] == [0] + [1] * (WARM_FRAMES - 1)
    assert codec.decoded == codec.coded
    assert len({packet.header.quality for packet in codec.coded}) == WARM_FRAMES


def test_learned_codec_can_skip_nothing_of_the_warm_up_scene() -> None:
    codec = load_codec("s", device="cpu", threads=1)
    state = codec.blank_state()
    for place, picture in enumerate(moving_scene(192, WARM_FRAMES)):
        packet, state = codec.encode(picture, state, 16 * (place + 1))
        bits = codec.part_bits(packet)
        assert bits["y"] > 0 and (place == 0 or bits["motion"] > 0)


def test_scene_moves() -> None:
    first, second, third = moving_scene(192, 3)
    assert first.shape == (192, 192, 3) and first.dtype == np.uint8
    assert np.array_equal(first[:, 3:], second[:, :-3]) and np.array_equal(second[:, 3:], third[:, :-3])
    assert not np.array_equal(first, second)


def test_threads_asked_for_are_taken() -> None:
    assert call_threads(3) == 3 and 1 <= call_threads(None) <= 4


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted where Linux lists them")
@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_no_thread_of_numpy_spins_beside_a_call(end: str) -> None:
    product = "import numpy; a = numpy.ones((512, 512)); a @ a"
    code = f"import os, {end}.__main__; {product}; print(len(os.listdir('/proc/self/task')))"
    free = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    ran = subprocess.run([sys.executable, "-c", code], env=free, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["1"]


def test_process_that_ends_while_the_codec_runs_warm_ends_in_order() -> None:
    program = (
        "from vidcodec.codec import load_codec\n"
        "from vidcodec.realtime import prepare_beside\n"
        "prepare_beside(load_codec('seed', 'cpu', 'fp32', 1))\n"
        "raise SystemExit(4)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (4, "")
