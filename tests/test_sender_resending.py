"""A recorded call sent again: the very packets, or, once one was lost on the way, the same pictures."""

import threading
from pathlib import Path

import numpy as np
import pytest
from call_commands import only_error_line, read_report
from call_in_process import make_call
from delta_codec import DeltaCodec, pictures

from sender.__main__ import main
from sender.capture import Frame
from sender.resending import RecordedSource, SharedCodec
from vidcodec.__main__ import main as vidcodec_main
from vidcodec.codec import CodecInfo, State
from vidcodec.container import StreamInfo, StreamWriter, read_info, read_packets
from vidcodec.errors import DamagedPacket, InputError, UsageError
from vidcodec.packet import NUMBERS, Packet

CODEC = DeltaCodec()
ORIGINALS = pictures(60)


def coded(count: int = 60, first: int = 0, references: dict[int, int | None] | None = None) -> list[Packet]:
    """The originals as packets, each predicted from the one before, but for those in `references`."""
    states: list[State] = []
    packets = []
    for index in range(count):
        reference = (references or {}).get(index, index - 1 if index else None)
        state = CODEC.blank_state() if reference is None else states[reference]
        packet, after = CODEC.encode(ORIGINALS[index], state, 1, (first + index) % NUMBERS)
        packets.append(packet)
        states.append(after)
    return packets


def written(
    path: Path, packets: list[Packet | None], fps: float = 30.0, sha256: str = CODEC.info.weights_sha256
) -> Path:
    with path.open("wb") as file:
        writer = StreamWriter(file, StreamInfo(CODEC.info.model_id, sha256, fps))
        for packet in packets:
            writer.write(packet)
    return path


def packets_of(path: Path) -> list[Packet | None]:
    with path.open("rb") as file:
        read_info(file)
        return list(read_packets(file))


def frames_of(path: Path) -> list[Frame]:
    source = RecordedSource(path)
    source.use(CODEC)
    return list(source.frames())


def test_frames_come_at_their_time_with_packet_and_states(tmp_path: Path) -> None:
    packets = coded(12, first=1020, references={8: 4})
    lost = {5, 6, 7}
    path = written(tmp_path / "r.vdc", [None if n in lost else p for n, p in enumerate(packets)], fps=200)
    frames = frames_of(path)
    kept = [n for n in range(12) if n not in lost]
    assert [round(frame.media_s * 200) for frame in frames] == kept
    records = [frame.recorded for frame in frames]
    assert [record and record.number for record in records] == [1020 + n for n in kept], "numbers go on after 1023"
    for n, frame, record in zip(kept, frames, records, strict=True):
        assert record is not None
        assert np.array_equal(frame.picture, ORIGINALS[n]) and record.packet == packets[n]
    assert records[0].reference is None and records[5].reference is records[4].state  # type: ignore[union-attr]


def test_packets_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    packets: list[Packet | None] = list(coded(10))
    packets[4] = None  # and nobody mended it
    assert len(frames_of(written(tmp_path / "r.vdc", packets, fps=500))) == 4


def test_damage_is_said_once_and_what_was_lost_on_the_way_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packets: list[Packet | None] = list(coded(10))
    packets[4] = None
    frames_of(written(tmp_path / "lost.vdc", packets, fps=500))
    assert not caplog.records
    broken = coded(10)[4].to_bytes()
    packets[4] = Packet.from_bytes(broken[:-1] + bytes([broken[-1] ^ 1]))
    assert len(frames_of(written(tmp_path / "damaged.vdc", packets, fps=500))) == 4
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "frame 4 is left out" in caplog.text


def test_file_that_was_cut_short_gives_what_is_there(tmp_path: Path) -> None:
    path = written(tmp_path / "r.vdc", list(coded(10)), fps=500)
    path.write_bytes(path.read_bytes()[:-20])
    assert len(frames_of(path)) == 9


def test_file_that_vanishes_before_it_is_sent_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "r.vdc", list(coded(2)), fps=500)
    source = RecordedSource(path)
    source.use(CODEC)
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        list(source.frames())


def test_loop_over_a_recording_of_which_nothing_decodes_ends(tmp_path: Path) -> None:
    source = RecordedSource(written(tmp_path / "r.vdc", list(coded(3)[1:]), fps=500), loop=True)
    source.use(CODEC)
    frames: list[Frame] = []
    thread = threading.Thread(target=lambda: frames.extend(source.frames()))
    thread.start()
    thread.join(5.0)
    source.close()
    assert not thread.is_alive() and frames == []


def test_what_is_no_recording_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        RecordedSource(tmp_path / "missing.vdc")
    with pytest.raises(DamagedPacket, match=r"not a \.vdc file"):
        (tmp_path / "text.vdc").write_text("hello")
        RecordedSource(tmp_path / "text.vdc")
    with pytest.raises(DamagedPacket, match="no packet is in it"):
        RecordedSource(written(tmp_path / "empty.vdc", [None]))
    with pytest.raises(InputError, match="other weights"):
        RecordedSource(written(tmp_path / "other.vdc", list(coded(1)), sha256="e" * 64)).use(CODEC)
    with pytest.raises(UsageError, match="needs a codec"):
        list(RecordedSource(written(tmp_path / "r.vdc", list(coded(1)))).frames())


@pytest.mark.parametrize("first", [0, 700])
def test_packets_arrive_as_they_were_recorded(first: int, tmp_path: Path) -> None:
    packets = coded(60, first, references={31: 27})
    lost = {28, 29, 30}
    kept: list[Packet | None] = [None if n in lost else packet for n, packet in enumerate(packets)]
    source = RecordedSource(written(tmp_path / "r.vdc", kept))
    source.use(CODEC)
    outcome = make_call(CODEC, source, [tmp_path / "again.vdc"], quality=None)
    assert outcome.error is None
    assert (outcome.sent.frames_sent, outcome.sent.frames_shown, outcome.sent.frames_lost) == (57, 57, 0)
    assert packets_of(tmp_path / "again.vdc") == kept


class NotingCodec(DeltaCodec):
    """Counts what is coded again."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, frame: np.ndarray, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        self.encoded += 1
        return super().encode(frame, state, quality, number)


def test_after_a_loss_the_pictures_are_coded_anew_until_a_packet_stands_alone(tmp_path: Path) -> None:
    packets = coded(60, references={45: None})
    by_bytes = {packet.to_bytes(): n for n, packet in enumerate(packets)}
    codec = NotingCodec()
    source = RecordedSource(written(tmp_path / "r.vdc", list(packets)))
    source.use(codec)
    again = [tmp_path / "again.vdc"]
    outcome = make_call(codec, source, again, quality=None, network="delay=10,loss=25,burst=3", repair="none")
    assert outcome.error is None
    assert 0 < codec.encoded < 60
    arrived = [packet for packet in packets_of(tmp_path / "again.vdc") if packet is not None]
    same = [packet.header.number for packet in arrived if packet.to_bytes() in by_bytes]
    assert len(arrived) > len(same) > 0
    for frame in frames_of(tmp_path / "again.vdc"):
        assert frame.recorded is not None
        assert np.array_equal(frame.picture, ORIGINALS[frame.recorded.number]), "number and picture stay together"


def test_quality_that_is_asked_for_codes_every_frame_again(tmp_path: Path) -> None:
    codec = NotingCodec()
    source = RecordedSource(written(tmp_path / "r.vdc", list(coded(20))))
    source.use(SharedCodec(codec))
    outcome = make_call(SharedCodec(codec), source, [tmp_path / "again.vdc"], quality=2)
    assert codec.encoded == outcome.sent.frames_sent > 10
    assert outcome.sent.quality.min == outcome.sent.quality.max == 2


def test_command_sends_a_recording_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream, again, report = tmp_path / "x.vdc", tmp_path / "y.vdc", tmp_path / "r.json"
    assert vidcodec_main(["encode", "sample", str(stream), "--model", "seed", "--quality", "1", "--frames", "20"]) == 0
    words = ["--loopback", "--display", "none", "--input", str(stream)]
    assert main([*words, "--record", str(again), "--report", str(report)]) == 0
    sent, arrived, figures = packets_of(stream), packets_of(again), read_report(report)
    # A receiver that a busy machine leaves behind shows fewer frames; those that it shows are the recorded ones.
    assert 0 < figures["frames_shown"] == sum(packet is not None for packet in arrived)
    assert all(packet in (None, sent[n]) for n, packet in enumerate(arrived))
    assert (figures["frames_sent"], figures["mse"], figures["codec"]["model_id"]) == (20, 0.0, "seed")
    capsys.readouterr()
    for more, said in (
        (("--model", "s"), "--model s"),
        (("--fps", "10"), "--fps 10"),
        (("--baseline", "vp8"), "--baseline vp8"),
    ):
        assert main([*words, *more]) == 2
        assert said in only_error_line(capsys.readouterr().err.splitlines())


def test_shared_codec_is_used_by_one_thread_at_a_time() -> None:
    class Checked(DeltaCodec):
        info = CodecInfo("delta", "d" * 64, "cpu", "fp32", 4)
        inside = 0
        most = 0

        def decode(self, packet: Packet, state: State) -> tuple[np.ndarray, State]:
            Checked.inside += 1
            Checked.most = max(Checked.most, Checked.inside)
            result = super().decode(packet, state)
            Checked.inside -= 1
            return result

    codec = SharedCodec(Checked())
    packet = coded(1)[0]
    threads = [
        threading.Thread(target=lambda: [codec.decode(packet, codec.blank_state()) for _ in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Checked.most == 1
