"""A predictive codec over a link that loses packets: what is shown is right, or it is not shown, and it goes on."""

import queue
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from delta_codec import DeltaCodec, pictures
from videos import write_video

from receiver.call import Call as Receiving
from receiver.measuring import Measurer
from sender.call import Call as Sending
from sender.call import CallOptions
from sender.capture import open_source
from sender.crop import LiveCropper
from vidcodec.codec import BITSTREAM_VERSION, Frame, State
from vidcodec.container import read_info, read_packets
from vidcodec.link import Hello, LinkOptions, ReceiverHandlers, ReceiverServer, parse_impairment
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


@pytest.mark.parametrize(("network", "least"), [("delay=20", 0.9), ("delay=20,loss=10", 0.5)])
def test_pictures_are_right_or_not_shown_and_the_call_recovers(network: str, least: float, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", pictures(150), fps=30)
    codec = NotingCodec()
    calls: queue.Queue[Receiving] = queue.Queue()
    by_link: dict[object, Receiving] = {}

    def opened(link: object, hello: Hello) -> None:
        by_link[link] = Receiving(codec, link, hello, None)  # type: ignore[arg-type]
        calls.put(by_link[link])

    handlers = ReceiverHandlers(
        on_open=opened,
        on_frame=lambda link, frame: by_link[link].on_frame(frame),
        on_stats=lambda link, stats: by_link[link].on_stats(stats),
        on_bye=lambda link, stats: by_link[link].on_bye(stats),
        on_closed=lambda link, closed: by_link[link].on_closed(closed),
    )
    hello = Hello(BITSTREAM_VERSION, codec.info.model_id, codec.info.weights_sha256)
    options = LinkOptions(impair=parse_impairment(network), seed=7, adaptive=False, rate_kbps=5000.0)
    with ReceiverServer("127.0.0.1:0", hello, handlers) as server, open_source(str(video)) as source:
        sending = Sending(codec, source, CallOptions(quality=0, bitrate_kbps=None, crop="none", baseline="none"), None)
        sending.connect(server.url, options)
        receiving = calls.get(timeout=10)

        def receive() -> None:
            receiving.start(None, Measurer(None, codec.info, 30.0, str(tmp_path / "r.vdc"), None))
            while not receiving.ending and receiving.closed is None:
                receiving.show_next(0.05)
            receiving.finish()

        receiver = threading.Thread(target=receive)
        receiver.start()
        began_s = time.monotonic()
        with LiveCropper("none") as cropper:
            sending.run(cropper, lambda: time.monotonic() - began_s > 30, lambda call: None)
            sending.finish()
        receiver.join(20)
    assert not receiver.is_alive()
    assert receiving.error is None
    report = sending.log.report()
    assert report == receiving.log.report()
    assert codec.outcomes["wrong"] == 0
    assert codec.outcomes["right"] >= report.frames_shown >= least * report.frames_sent
    assert report.frames_sent > 50
    assert report.latency_ms.network.p50 is not None
    assert 19 < report.latency_ms.network.p50 < 200
    with (tmp_path / "r.vdc").open("rb") as file:
        read_info(file)
        kept = [packet for packet in read_packets(file) if packet is not None]
    replay = Replay(codec)
    for packet in kept:
        assert np.array_equal(replay.decode(packet), codec.made[packet.to_bytes()])
    assert report.frames_shown <= len(kept) <= report.frames_sent
    if "loss" in network:
        assert report.frames_lost > 0
        assert codec.intra < 0.5 * report.frames_sent, "most losses are mended from a frame that the receiver holds"
    else:
        assert codec.intra == 1
