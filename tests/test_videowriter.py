"""Video writer: what comes back is what was written, and a file cut short still plays."""

import os
import resource
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

# isort: split
import av

from vidcodec.errors import InputError, UsageError
from vidcodec.videowriter import VideoWriter


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (192, 192, 3), np.uint8) for _ in range(count)]


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_mkv_gives_the_very_pixels_back(tmp_path: Path) -> None:
    written = pictures(5)
    with VideoWriter(tmp_path / "a.mkv", 29.97) as writer:
        for picture in written:
            writer.write(picture)
    assert np.array_equal(np.stack(read(tmp_path / "a.mkv")), np.stack(written))


def test_rate_too_low_for_any_video_still_gives_the_pixels_back(tmp_path: Path) -> None:
    written = pictures(2)
    with VideoWriter(tmp_path / "a.mkv", 1e-9) as writer:
        for picture in written:
            writer.write(picture)
    assert np.array_equal(np.stack(read(tmp_path / "a.mkv")), np.stack(written))


def test_png_numbers_its_files_and_keeps_the_pixels(tmp_path: Path) -> None:
    written = pictures(2)
    with VideoWriter(tmp_path / "face.png", 30) as writer:
        for picture in written:
            writer.write(picture)
    for index, picture in enumerate(written):
        back = cv2.cvtColor(cv2.imread(str(tmp_path / f"face_{index:05d}.png")), cv2.COLOR_BGR2RGB)
        assert np.array_equal(back, picture)
    assert writer.names == f"{tmp_path / 'face_00000.png'} .. face_00001.png"


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_file_that_was_never_closed_still_plays(tmp_path: Path, ending: str) -> None:
    writer = VideoWriter(tmp_path / f"cut.{ending}", 30)
    for picture in pictures(20) * 8:
        writer.write(picture)
    (tmp_path / f"killed.{ending}").write_bytes((tmp_path / f"cut.{ending}").read_bytes())
    assert len(read(tmp_path / f"killed.{ending}")) >= 30
    writer.close()
    assert len(read(tmp_path / f"cut.{ending}")) == 160


def test_writer_without_a_picture_leaves_no_file(tmp_path: Path) -> None:
    VideoWriter(tmp_path / "empty.mp4", 30).close()
    assert list(tmp_path.iterdir()) == []


def test_file_that_stands_there_is_written_over_by_the_first_picture_and_not_before(tmp_path: Path) -> None:
    for name in ("a.mkv", "a.mp4"):
        (tmp_path / name).write_bytes(b"an older film")
        VideoWriter(tmp_path / name, 30).close()
        assert (tmp_path / name).read_bytes() == b"an older film"
        with VideoWriter(tmp_path / name, 30) as writer:
            writer.write(pictures(1)[0])
        assert len(read(tmp_path / name)) == 1


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_full_disk_is_said_when_the_file_is_closed_as_well_and_the_file_is_closed(tmp_path: Path, ending: str) -> None:
    writer = VideoWriter(tmp_path / f"a.{ending}", 30)
    for picture in pictures(3):
        writer.write(picture)
    file, limits = writer._file, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / f"a.{ending}").stat().st_size, limits[1]))
    try:
        with pytest.raises(InputError, match="File too large"):
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.closed
    writer.close()  # once more does nothing


def test_png_that_cannot_be_written_is_said_with_its_name_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a_00000.png").mkdir()
    with pytest.raises(InputError, match=r"a_00000\.png: Is a directory"):
        VideoWriter(tmp_path / "a.png", 30).write(pictures(1)[0])


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="every name is text there")
def test_png_takes_a_name_that_is_no_text(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / os.fsdecode(b"\xff.png"), 30) as writer:
        writer.write(pictures(1)[0])
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff_00000.png"]


def test_unknown_ending_and_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"use \.mkv"):
        VideoWriter(tmp_path / "a.gif", 30)
    for name in ("a.mkv", "a.mp4", "a.png"):
        with pytest.raises(InputError, match=r"No such file|no such folder"):
            VideoWriter(tmp_path / "missing" / name, 30)
