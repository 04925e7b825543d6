"""Memory of a long call at 5 % loss stays where it was: what both ends keep of frames is bounded."""

import gc
import os
import random
import tracemalloc
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import pytest
from delta_codec import DeltaCodec, pictures
from link_simulation import SimulatedCall

from receiver.decoding import FrameDecoder
from vidcodec.bench.soak import resident_mb
from vidcodec.calllog import CallLog
from vidcodec.codec import Codec, load_codec
from vidcodec.link.framing import FrameStatus
from vidcodec.link.options import Frame
from vidcodec.packet import NUMBERS, Packet
from vidcodec.records import MAX_ROWS, SentFrame, ShownFrame
from vidcodec.report import CodecFigures

ROOT = Path(__file__).resolve().parents[1]
OURS = [tracemalloc.Filter(True, str(ROOT / name / "*")) for name in ("vidcodec", "sender", "receiver")]


def allocated_kb() -> float:
    """What our own code has allocated and not freed, 10^3 bytes."""
    gc.collect()
    traces = tracemalloc.take_snapshot().filter_traces(OURS).traces
    return sum(trace.size for trace in traces) / 1e3


def entries(thing: object, seen: set[int]) -> int:
    """How many entries the containers of our own objects hold, from one of these down."""
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, Mapping):
        return len(thing) + sum(entries(value, seen) for value in thing.values())
    if isinstance(thing, (list, tuple, set, frozenset, deque)):
        return len(thing) + sum(entries(value, seen) for value in thing)
    if not type(thing).__module__.startswith(("vidcodec", "sender")):
        return 0
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    held = [getattr(thing, name, None) for name in slots] + list(getattr(thing, "__dict__", {}).values())
    return sum(entries(value, seen) for value in held)


def test_ends_of_a_call_keep_no_more_of_two_minutes_than_of_forty_seconds() -> None:
    call = SimulatedCall("delay=20,loss=5", 40.0)
    kept: list[int] = []
    ends = (call.flow, call.references, call.acks, call.control, call.cap, call.pace, call.chooser)
    for second in (40, 80, 120):
        call.at(1000.0 * second, lambda now: kept.append(sum(entries(end, set()) for end in ends)))
    call.run(121.0)
    assert len(kept) == 3 and kept[0] > 1000, "frames that are remembered"
    assert max(kept[1:]) < 1.1 * kept[0], kept


def test_log_of_a_call_keeps_records_only_until_both_ends_told_theirs() -> None:
    log = CallLog(CodecFigures("delta"))
    tracemalloc.start()
    try:
        kept = []
        for number in range(4 * MAX_ROWS):
            at = number * 33_000_000
            log.add_sent([SentFrame(number, at, at, at, at, 170, 20, 0)])
            if number % 20:  # the others were lost
                log.add_shown([ShownFrame(number, at + 10**7, at + 2 * 10**7, at + 3 * 10**7)])
            if number % MAX_ROWS == MAX_ROWS - 1:
                kept.append(allocated_kb())
    finally:
        tracemalloc.stop()
    # Per frame eight delays of 4 bytes, and of each lost frame its record, until there are MAX_ROWS of them.
    assert kept[3] - kept[1] < 2 * MAX_ROWS * (8 * 4 * 1.3 + 400 / 20) / 1e3, kept


def lossy_packets(codec: Codec, count: int, quality: int) -> list[tuple[int, Packet]]:
    """Packets of which the receiver gets 19 of 20; those after a loss refer to what it has."""
    generator = random.Random(1)
    state, kept = codec.blank_state(), []
    for number, picture in enumerate(pictures(count)):
        packet, after = codec.encode(picture, state, quality, number % NUMBERS)
        if not number or generator.random() >= 0.05:
            kept.append((number, packet))
            state = after
    return kept


def decode_again_and_again(codec: Codec, packets: list[tuple[int, Packet]], rounds: int) -> list[float]:
    """Resident memory in MB after each round of decoding the same packets."""
    decoder, resident = FrameDecoder(codec), []
    for turn in range(rounds):
        for number, packet in packets:
            verdicts = decoder.push(Frame(number + turn * NUMBERS, packet.to_bytes(), 0.0))
            assert [verdict.status for verdict in verdicts] == [FrameStatus.OK]
        gc.collect()
        memory = resident_mb(os.getpid())
        if memory is None:
            pytest.skip("resident memory is read from /proc")
        resident.append(memory)
    return resident


@pytest.mark.parametrize(("model", "count", "rounds"), [("delta", 60, 40), ("s", 24, 12)])
def test_decoder_holds_as_many_states_after_hundreds_of_frames_as_after_its_first(
    model: str, count: int, rounds: int
) -> None:
    codec: Codec = DeltaCodec() if model == "delta" else load_codec("s", "cpu", "fp32", 1)
    packets = lossy_packets(codec, count, 2 if model == "delta" else 25)
    resident = decode_again_and_again(codec, packets, rounds)
    assert resident[-1] - resident[rounds // 3] < 12.0, resident
