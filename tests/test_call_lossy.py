"""A predictive codec over a link that loses packets: what is shown is right, or it is not shown, and it goes on."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from call_in_process import make_call
from delta_codec import DeltaCodec, pictures
from videos import write_video

from sender.capture import open_source
from vidcodec.codec import Frame, State
from vidcodec.container import read_info, read_packets
from vidcodec.packet import Packet
from vidcodec.replay import Replay


class NotingCodec(DeltaCodec):
    """Remembers which picture each packet was made of, and what became of the pictures that came out of packets."""

    def __init__(self) -> None:
        self.made: dict[bytes, Frame] = {}
        self.outcomes: Counter[str] = Counter()
        self.intra = 0

    def encode(self, frame: Frame, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        packet, after = super().encode(frame, state, quality, number)
        self.made[packet.to_bytes()] = frame
        self.intra += packet.header.distance == 0
        return packet, after

    def decode(self, packet: Packet, state: State) -> tuple[Frame, State]:
        picture, after = super().decode(packet, state)
        self.outcomes["right" if np.array_equal(picture, self.made[packet.to_bytes()]) else "wrong"] += 1
        return picture, after


def read_film(path: Path) -> list[np.ndarray]:
    with open_source(str(path), paced=False) as film:
        return [frame.picture for frame in film.frames()]


@pytest.mark.parametrize(("network", "least"), [("delay=20", 0.9), ("delay=20,loss=10", 0.8)])
def test_pictures_are_right_or_not_shown_and_the_call_recovers(network: str, least: float, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", pictures(150), fps=30)
    codec = NotingCodec()
    films = tmp_path / "r.vdc", tmp_path / "r.mkv"
    outcome = make_call(codec, open_source(str(video)), films, network=network)
    report = outcome.sent
    assert outcome.error is None
    assert report == outcome.received
    assert codec.outcomes["wrong"] == 0
    assert codec.outcomes["right"] >= report.frames_shown >= least * report.frames_sent
    assert report.frames_sent > 50
    assert report.latency_ms.network.p50 is not None
    assert 19 < report.latency_ms.network.p50 < 200
    with (tmp_path / "r.vdc").open("rb") as file:
        read_info(file)
        kept = [packet for packet in read_packets(file) if packet is not None]
    replay = Replay(codec)
    decoded = [replay.decode(packet) for packet in kept]
    for packet, picture in zip(kept, decoded, strict=True):
        assert np.array_equal(picture, codec.made[packet.to_bytes()])
    # The packets hold the very frames that were shown, in their order; a frame that came too late was not shown.
    left = iter(decoded)
    shown = read_film(tmp_path / "r.mkv")
    assert all(any(np.array_equal(picture, frame) for frame in left) for picture in shown)
    assert len(shown) == report.frames_shown
    assert report.frames_shown <= len(kept) <= report.frames_sent
    if "loss" in network:
        assert codec.intra < 0.5 * report.frames_sent, "most losses are mended without a frame that stands alone"
    else:
        assert codec.intra == 1
