"""Several streams at once, and steps on fixed buffers: what one stream alone gives, whether replayed or not."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import RICH, TINY, moving_face, tiny_codec
from vidcodec.batch import StreamBatch
from vidcodec.codec import State
from vidcodec.errors import DamagedPacket, UsageError
from vidcodec.learned import LearnedCodec
from vidcodec.networks.config import ModelConfig
from vidcodec.networks.graphs import DeviceSteps
from vidcodec.networks.half import in_precision
from vidcodec.networks.model import VideoModel
from vidcodec.packet import HEADER_BYTES, Packet

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
STREAMS = 4


@pytest.fixture(scope="module", params=[TINY, RICH], ids=["plain", "means and fine layers"])
def sizes(request: pytest.FixtureRequest) -> ModelConfig:
    config: ModelConfig = request.param
    return config


@pytest.fixture(scope="module")
def codec(sizes: ModelConfig) -> LearnedCodec:
    return tiny_codec(sizes=sizes)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return [moving_face(4, seed) for seed in range(STREAMS)]


@pytest.fixture
def planes(sizes: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> LearnedCodec:
    """A codec that keeps planes, as on a GPU."""
    monkeypatch.setattr("vidcodec.learned.works", lambda precision: False)
    made = tiny_codec(sizes=sizes)
    assert isinstance(made.model, VideoModel)
    return made


def blank() -> State:
    return State(None, np.full((192, 192, 3), 128, np.uint8))


def through(batch: StreamBatch, clips: list[np.ndarray], quality: int = 40) -> Iterator[list[tuple[Packet, State]]]:
    states = [blank() for _ in clips]
    for frames in zip(*clips, strict=True):
        coded = batch.encode([(f, s, quality) for f, s in zip(frames, states, strict=True)])
        states = [state for _, state in coded]
        yield coded


def test_four_streams_at_once_say_what_each_alone_says(codec: LearnedCodec, clips: list[np.ndarray]) -> None:
    alone, before = StreamBatch(codec, 1), [blank()] * STREAMS
    for number, coded in enumerate(through(StreamBatch(codec, STREAMS), clips)):
        for stream, (packet, state) in enumerate(coded):
            ((single, left),) = alone.encode([(clips[stream][number], before[stream], 40)])
            ours, theirs = codec.decode_symbols(packet), codec.decode_symbols(single)
            assert np.array_equal(ours.vectors, theirs.vectors) and (ours.y.any() or number)
            # A product over four streams may be summed in another order, and then a value on the edge falls elsewhere.
            assert (ours.y != theirs.y).sum() <= 2
            if np.array_equal(ours.y, theirs.y):
                assert np.abs(state.picture.astype(int) - left.picture).max() <= 1
            before[stream] = state


def test_packets_and_states_go_to_and_fro_between_a_batch_and_the_codec(codec, clips) -> None:
    batch = StreamBatch(codec, STREAMS)
    shown, again = [codec.blank_state() for _ in clips], [codec.blank_state() for _ in clips]
    for coded in through(batch, clips):
        decoded = batch.decode([(Packet.from_bytes(p.to_bytes()), s) for (p, _), s in zip(coded, again, strict=True)])
        for stream, ((packet, sent), made) in enumerate(zip(coded, decoded, strict=True)):
            assert isinstance(made, tuple)
            assert np.array_equal(made[0], sent.picture), "a batch shows what a batch reconstructed"
            picture, _ = codec.decode(packet, shown[stream])
            assert np.abs(picture.astype(int) - sent.picture).max() <= 1
            shown[stream], again[stream] = made[1], made[1]  # the codec goes on from the batch's state


def test_fewer_jobs_than_streams_are_served_and_more_are_refused(codec, clips) -> None:
    batch = StreamBatch(codec, STREAMS)
    (first,) = batch.encode([(clips[0][0], blank(), 30)])
    two = batch.encode([(clips[0][0], blank(), 30), (clips[1][0], blank(), 30)])
    assert first[0].to_bytes() == two[0][0].to_bytes()
    for count in (0, STREAMS + 1):
        with pytest.raises(UsageError, match=f"{count} jobs for a batch of 4 streams"):
            batch.encode([(clips[0][0], blank(), 30)] * count)


def test_damaged_packet_of_one_stream_leaves_the_others_alone(codec, clips) -> None:
    batch = StreamBatch(codec, 2)
    (packet, sent), _ = batch.encode([(clips[0][0], blank(), 30), (clips[1][0], blank(), 30)])
    data = bytearray(packet.to_bytes())
    data[HEADER_BYTES + 3] ^= 64
    broken, good = batch.decode([(Packet.from_bytes(bytes(data)), blank()), (packet, blank())])
    assert isinstance(broken, DamagedPacket) and isinstance(good, tuple)
    assert np.array_equal(good[0], sent.picture)
    (alone,) = batch.decode([(Packet.from_bytes(bytes(data)), blank())])
    assert isinstance(alone, DamagedPacket)


def count_calls(calls: list[str]) -> Callable[..., Callable[[], None]]:
    def capture(body: Callable[[], None]) -> Callable[[], None]:
        def replay() -> None:
            calls.append(body.__name__.removeprefix("_"))
            body()

        return replay

    return capture


def test_codec_on_replayed_steps_gives_the_packets_of_the_plain_one(planes, clips) -> None:
    other, calls = planes.in_precision(torch.float32), []
    other.graphs = StreamBatch(other, 1, count_calls(calls))
    assert other.graphs.steps.captured
    calls.clear()
    states, shown = [planes.blank_state(), other.blank_state()], [planes.blank_state(), other.blank_state()]
    for frame in clips[0]:
        packets = []
        for number, each in enumerate((planes, other)):
            packet, states[number] = each.encode(frame, states[number], 40)
            picture, shown[number] = each.decode(packet, shown[number])
            assert np.array_equal(picture, states[number].picture)
            packets.append(packet.to_bytes())
        assert packets[0] == packets[1] and np.array_equal(states[0].picture, states[1].picture)
    assert set(calls) == set(other.graphs.steps.bodies)


def test_states_are_not_overwritten_by_later_frames(planes, clips) -> None:
    planes.graphs = StreamBatch(planes, 1, count_calls([]))
    _, first = planes.encode(clips[0][0], planes.blank_state(), 40)
    kept = [first.picture.copy(), first.memory.picture.clone(), first.memory.memory.clone()]
    packet, second = planes.encode(clips[0][1], first, 40)
    planes.encode(clips[1][2], second, 40)
    planes.encode(clips[2][0], planes.blank_state(), 60)
    assert np.array_equal(kept[0], first.picture) and torch.equal(kept[1], first.memory.picture)
    assert torch.equal(kept[2], first.memory.memory)
    again, state = planes.encode(clips[0][1], first, 40)
    assert again.to_bytes() == packet.to_bytes() and np.array_equal(state.picture, second.picture)
    assert np.array_equal(planes.decode(packet, first)[0], second.picture)


def broken(what: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """A capture that fails, or whose replay does nothing, or gives what it gave at first."""

    def capture(body: Callable[[], None]) -> Callable[[], None]:
        if what == "no memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the manual")
        steps = body.__self__  # type: ignore[attr-defined]
        body()
        kept = {name: tensor.clone() for name, tensor in steps._results(body.__name__.removeprefix("_")).items()}

        def replay() -> None:
            if what == "stale":
                for name, tensor in steps._results(body.__name__.removeprefix("_")).items():
                    tensor.copy_(kept[name])
            elif what == "not a number":
                steps._rest.fill_(torch.nan)

        return replay

    return capture


@pytest.mark.parametrize("what", ["no memory", "nothing", "stale", "not a number"])
def test_replay_that_does_something_else_is_refused_with_one_line(what, planes, clips, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        planes.graphs = StreamBatch(planes, 1, broken(what))
    (said,) = caplog.messages
    assert said.startswith("no CUDA graphs: ") and said.endswith("; the networks run operator by operator")
    assert "\n" not in said and ("out of memory" in said if what == "no memory" else "differs in its " in said)
    assert not planes.graphs.steps.captured
    packet, state = planes.encode(clips[0][0], planes.blank_state(), 40)
    assert np.array_equal(planes.decode(packet, planes.blank_state())[0], state.picture)
    plain = planes.in_precision(torch.float32)
    assert plain.graphs is None and plain.encode(clips[0][0], plain.blank_state(), 40)[0] == packet


class NothingIsLookedAt(TorchDispatchMode):
    """Lets only operators pass that a device can be told to do without waiting for it."""

    LOOKS = ("_local_scalar_dense", "nonzero", "item", "unique", "masked_select", "is_nonzero", "equal", "allclose")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        assert name.rstrip("_") not in self.LOOKS, f"{name} looks at a value"
        tensors = [t for t in (*args, *(kwargs or {}).values()) if isinstance(t, torch.Tensor)]
        assert all(t.is_meta or t.dim() == 0 for t in tensors), f"{name} takes a tensor of the host"
        masks = [t for t in args[1] if t is not None and t.dtype == torch.bool] if name.startswith("index") else []
        assert not masks, f"{name} takes as many values as a mask says"
        self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nothing_that_is_recorded_looks_at_a_value_or_leaves_the_device(sizes, dtype) -> None:
    # Tensors of "meta" have no values: whatever asks for one raises.
    meta = torch.device("meta")
    model = in_precision(tiny_codec(sizes=sizes).plain_model(), dtype).to(meta)
    model.freeze(meta)
    steps = DeviceSteps(model, 2, meta, 192)
    for body in steps.bodies.values():
        with torch.no_grad(), NothingIsLookedAt() as mode:
            body()
        assert {"copy_"} <= set(mode.seen) and len(mode.seen) > 20
    with pytest.raises((AssertionError, RuntimeError)), NothingIsLookedAt():
        bool(steps._picture.any())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_wide_layers_in_half_are_near_those_in_single(sizes, dtype) -> None:
    plain = tiny_codec(sizes=sizes).plain_model()
    model, context, level = (
        in_precision(plain, dtype),
        plain.blank(2, 192, 192, torch.device("cpu")),
        torch.full((2,), 30.0),
    )
    kinds = {p.dtype for p in model.parameters()}
    assert kinds == {torch.float32, dtype} and model.synthesis_linear.weight.dtype == torch.float32
    with torch.no_grad():
        x = torch.from_numpy(moving_face(2)).permute(0, 3, 1, 2).float() / 255
        y, wanted = (m.analyse(x, context, level) for m in (model, plain))
        assert y.dtype == torch.float32 and 0 < (y - wanted).abs().max() < 0.2
        news = torch.ones(2, 1, 12, 12)
        got, best = (m.synthesise(wanted.round(), news, context, level) for m in (model, plain))
    assert got.picture.dtype == got.memory.dtype == torch.float32
    assert 0 < (got.picture - best.picture).abs().max() < 0.02


@pytest.mark.cuda
@NO_GPU
@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_graph_replay_equals_eager(precision: str, clips: list[np.ndarray]) -> None:
    replayed = LearnedCodec.load("s", "cuda", precision)
    assert replayed.graphs is not None and replayed.graphs.steps.captured
    eager = LearnedCodec.load("s", "cuda", precision)
    eager.graphs = StreamBatch(eager, 1, capture=lambda body: body)
    states = [replayed.blank_state(), eager.blank_state()]
    for frame in clips[0]:
        (one, states[0]), (two, states[1]) = (
            c.encode(frame, s, 32) for c, s in zip((replayed, eager), states, strict=True)
        )
        assert one.to_bytes() == two.to_bytes()
        assert np.abs(states[0].picture.astype(int) - states[1].picture).max() <= 1


@pytest.mark.cuda
@NO_GPU
def test_batch_on_a_gpu_is_read_by_a_cpu(clips: list[np.ndarray]) -> None:
    device, host = LearnedCodec.load("s", "cuda", "fp16"), LearnedCodec.load("s", "cpu", "fp32")
    batch = StreamBatch(device, STREAMS)
    assert batch.steps.captured
    shown = [host.blank_state() for _ in clips]
    for coded in through(batch, clips):
        for stream, (packet, sent) in enumerate(coded):
            picture, shown[stream] = host.decode(Packet.from_bytes(packet.to_bytes()), shown[stream])
            assert np.abs(picture.astype(int) - sent.picture).mean() < 0.5
