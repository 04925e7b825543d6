"""Recordings: exact where they say so, at the pace of the call where that matters, and good after a kill."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from call_commands import ROOT, Command, children
from delta_codec import DeltaCodec, pictures

# PyAV after OpenCV, as everywhere.
# isort: split
import av

from receiver.measuring import Measurer
from receiver.recording import LosslessRecorder, PacketRecorder, ViewRecorder, unused, write_png
from receiver.showing import Figures
from vidcodec.codec import load_codec
from vidcodec.container import read_info, read_packets
from vidcodec.errors import DamagedPacket, InputError
from vidcodec.packet import Packet
from vidcodec.records import ShownFrame
from vidcodec.replay import Replay

FRAMES = pictures(12)


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_lossless_recording_gives_the_very_pixels_back(tmp_path: Path) -> None:
    recorder = LosslessRecorder(str(tmp_path / "r.mkv"), 30)
    for index, frame in enumerate(FRAMES):
        recorder.add([frame, FRAMES[0], None if index < 3 else FRAMES[1]])
    recorder.close()
    found = read(tmp_path / "r.mkv")
    assert len(found) == len(FRAMES)
    for index, (frame, row) in enumerate(zip(FRAMES, found, strict=True)):
        assert np.array_equal(row[:, :192], frame)
        assert np.array_equal(row[:, 192:384], FRAMES[0])
        assert np.array_equal(row[:, 384:], FRAMES[1] if index >= 3 else np.zeros_like(frame))


def test_film_keeps_the_pace_of_the_call(tmp_path: Path) -> None:
    recorder = ViewRecorder(str(tmp_path / "r.mp4"), 30)
    shown_ms = [0, 33, 66, 100, 400, 433, 466]  # a stall of 0.3 s
    for frame, at_ms in zip(FRAMES, shown_ms, strict=False):
        recorder.add(frame, at_ms * 1_000_000)
    recorder.close()
    found = read(tmp_path / "r.mp4")
    assert abs(len(found) - 15) <= 1
    errors = [min(range(7), key=lambda n: np.abs(FRAMES[n].astype(int) - picture).mean()) for picture in found]
    assert errors == sorted(errors)
    assert errors.count(3) in (8, 9, 10)


def test_film_makes_up_for_nothing_that_a_long_pause_left_out(tmp_path: Path) -> None:
    recorder = ViewRecorder(str(tmp_path / "r.mp4"), 10)
    for place, frame in enumerate(FRAMES[:9]):
        pause_ms = 60_000 if place >= 3 else 0
        recorder.add(frame, (100 * place + pause_ms) * 1_000_000)
    recorder.close()
    # Three pictures before the pause, the last of them for ten seconds, and six behind it, a frame each.
    assert abs(len(read(tmp_path / "r.mp4")) - (2 + 100 + 6)) <= 1


def test_full_disk_is_said_in_one_line_and_leaves_the_other_files_and_the_snapshot(tmp_path: Path) -> None:
    codec, rng = DeltaCodec(), np.random.default_rng(0)
    files = [str(tmp_path / f"r{ending}") for ending in (".mkv", ".mp4", ".vdc")]
    measurer = Measurer(None, codec.info, 30.0, files, str(tmp_path / "s.png"))
    state = codec.blank_state()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        measurer.measure(ShownFrame(0, 0, 0, 0), FRAMES[0], Figures())
        with pytest.raises(InputError, match="File too large"):
            for number in range(100):
                noise = rng.integers(0, 256, FRAMES[0].shape, np.uint8)
                packet, state = codec.encode(FRAMES[number % 12], state, 0, number)
                measurer.packet(number, packet.to_bytes())
                measurer.measure(ShownFrame(number, 0, 0, number * 33_000_000), noise, Figures())
        with pytest.raises(InputError):
            measurer.close(Figures())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert cv2.imread(str(tmp_path / "s.png")) is not None
    assert measurer._packets is not None and measurer._packets._file.closed
    assert len(packets(tmp_path / "r.vdc")) > 0


def test_packets_that_a_full_disk_does_not_hold_are_said_when_the_file_is_closed_as_well(tmp_path: Path) -> None:
    codec = DeltaCodec()
    recorder = PacketRecorder(str(tmp_path / "r.vdc"), codec.info, 30.0)
    packet = codec.encode(FRAMES[0], codec.blank_state(), 0)[0].to_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        for attempt in (lambda: recorder.add(0, packet), recorder.close):
            with pytest.raises(InputError, match="File too large"):
                attempt()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_packets_are_kept_in_order_with_marks_for_the_lost(tmp_path: Path) -> None:
    codec = DeltaCodec()
    state, packets = codec.blank_state(), []
    for frame in FRAMES:
        packet, state = codec.encode(frame, state, 0)
        packets.append(packet)
    recorder = PacketRecorder(str(tmp_path / "r.vdc"), codec.info, 25.0)
    for number in (5, 6, 9, 7, 11):
        recorder.add(number, packets[number].to_bytes())
    recorder.close()
    with (tmp_path / "r.vdc").open("rb") as file:
        assert read_info(file).model_id == "delta"
        kept = list(read_packets(file))
    assert [packet and packet.header.number for packet in kept] == [5, 6, None, None, 9, None, 11]


def test_a_jump_of_the_frame_count_does_not_fill_the_disk(tmp_path: Path) -> None:
    codec = DeltaCodec()
    packet = codec.encode(FRAMES[0], codec.blank_state(), 0)[0].to_bytes()
    recorder = PacketRecorder(str(tmp_path / "r.vdc"), codec.info, 25.0)
    recorder.add(0, packet)
    recorder.add(10**9, packet)
    recorder.close()
    assert (tmp_path / "r.vdc").stat().st_size < 3 * len(packet) + 2000


@pytest.mark.parametrize("ending", [".mkv", ".mp4", ".vdc"])
def test_recording_is_good_after_a_kill(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"r{ending}"
    program = """
        import sys, time
        sys.path[:0] = ["tests"]
        from delta_codec import DeltaCodec, pictures
        from receiver.recording import LosslessRecorder, PacketRecorder, ViewRecorder
        path, codec = sys.argv[1], DeltaCodec()
        frames = pictures(200)
        packets = [codec.encode(frame, codec.blank_state(), 0, n)[0].to_bytes() for n, frame in enumerate(frames)]
        if path.endswith(".vdc"):
            recorder = PacketRecorder(path, codec.info, 30)
            add = lambda n: recorder.add(n, packets[n])
        elif path.endswith(".mkv"):
            recorder = LosslessRecorder(path, 30)
            add = lambda n: recorder.add([frames[n]])
        else:
            recorder = ViewRecorder(path, 30)
            add = lambda n: recorder.add(frames[n], n * 33_333_333)
        for n in range(200):
            add(n)
        print("written", flush=True)
        time.sleep(60)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "written\n"
    child.kill()
    child.wait()
    if ending == ".vdc":
        with path.open("rb") as file:
            read_info(file)
            assert len(list(read_packets(file))) == 200
    else:
        assert len(read(path)) > 30


def test_places_that_cannot_be_written_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        PacketRecorder(str(tmp_path / "no" / "r.vdc"), DeltaCodec.info, 30)
    with pytest.raises(InputError):
        LosslessRecorder(str(tmp_path / "no" / "r.mkv"), 30)
    with pytest.raises(InputError, match="--snapshot"):
        write_png(tmp_path / "no" / "s.png", FRAMES[0])


def test_what_was_recorded_before_is_not_written_over(tmp_path: Path) -> None:
    film = tmp_path / "call.one.mkv"
    assert unused(str(film)) == str(film)
    film.touch()
    assert unused(str(film)) == str(film)  # nothing in it to lose
    film.write_bytes(b"kept")
    assert unused(str(film)) == str(tmp_path / "call.one-2.mkv")
    (tmp_path / "call.one-2.mkv").write_bytes(b"kept")
    assert unused(str(film)) == str(tmp_path / "call.one-3.mkv")


def test_snapshot_has_the_very_pixels(tmp_path: Path) -> None:
    write_png(tmp_path / "s.png", FRAMES[3])
    assert np.array_equal(cv2.imread(str(tmp_path / "s.png"))[:, :, ::-1], FRAMES[3])
    assert [path.name for path in tmp_path.iterdir()] == ["s.png"]


def test_recorder_that_got_nothing_leaves_no_film(tmp_path: Path) -> None:
    began_s = time.monotonic()
    ViewRecorder(str(tmp_path / "r.mp4"), 30).close()
    LosslessRecorder(str(tmp_path / "r.mkv"), 30).close()
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - began_s < 5


def test_recordings_of_a_call_whose_receiver_is_killed_open_and_agree(tmp_path: Path) -> None:
    films = {ending: tmp_path / f"r{ending}" for ending in (".mkv", ".mp4", ".vdc")}
    words = ["--loopback", "--input", "sample", "--loop", "--model", "seed", "--fps", "10", "--display", "none"]
    for film in films.values():
        words += ["--record", str(film)]
    with Command("sender", *words, "--impair", "loss=5", "--quality", "0") as sender:
        sender.wait_for("connected")
        until_s = time.monotonic() + 90
        # A busy receiver shows few frames, and H.264's encoder keeps back some forty of them.
        while len(packets(films[".vdc"])) < 45 or len(read_so_far(films[".mp4"])) <= 5:
            assert time.monotonic() < until_s
            time.sleep(0.5)
        (receiver,) = children(sender.pid)
        os.kill(receiver, signal.SIGKILL)
        assert sender.wait() == 4, "the sender says that its receiver is gone"
    kept = packets(films[".vdc"])
    assert len(kept) >= 45
    assert len(read(films[".mp4"])) > 5, "all but its last second"
    replay = Replay(load_codec("seed", threads=1))
    decoded = iter([replay.decode(packet) for packet in kept if packet is not None])
    shown = [row[:, 192:384] for row in read(films[".mkv"])]
    assert len(shown) > 10
    assert all(any(np.array_equal(picture, frame) for frame in decoded) for picture in shown), "the very frames"


def read_so_far(path: Path) -> list[np.ndarray]:
    """What of a film can be played while it is being written."""
    with contextlib.suppress(av.error.FFmpegError):
        return read(path)
    return []


def packets(path: Path) -> list[Packet | None]:
    """What of a recording is there so far; its last packet may be cut."""
    found: list[Packet | None] = []
    if path.exists():
        with path.open("rb") as file, contextlib.suppress(DamagedPacket):
            read_info(file)
            for packet in read_packets(file):
                found.append(packet)
    return found
