"""Cache: decoded once, memory-mapped, weighted by person and source."""

import json
import os
import resource
import shutil
import signal
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import numbered, turn_mp4, write_video

from vidcodec.errors import InputError
from vidcodec.train.cache import item_weights, open_cache


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    takes = tmp_path / "takes"
    takes.mkdir()
    rng = np.random.default_rng(3)
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(takes / name), rng.integers(0, 255, (32, 48, 3), np.uint8))
    entries = [{"file": f"{n}.png", "person": p, "source": s} for n, p, s in ("aps", "bps", "cqt")]
    (tmp_path / "takes.json").write_text(json.dumps(entries))
    return takes


def test_pictures_come_back_exactly_and_from_the_cache(folder: Path, tmp_path: Path) -> None:
    first = open_cache(folder, tmp_path / "cache", ordered=False)
    stored = sorted((tmp_path / "cache").iterdir())
    again = open_cache([folder], tmp_path / "cache", ordered=False)
    assert [i.name for i in first] == ["a", "b", "c"]
    assert sorted((tmp_path / "cache").iterdir()) == stored
    for item, other in zip(first, again, strict=True):
        expected = cv2.imread(str(folder / f"{item.name}.png"))[..., ::-1]
        assert item.frames.shape == (1, 32, 48, 3) and isinstance(item.frames, np.memmap)
        assert np.array_equal(item.frames[0], expected) and np.array_equal(other.frames, item.frames)


def test_people_and_sources_are_weighted_not_files(folder: Path, tmp_path: Path) -> None:
    items = open_cache(folder, tmp_path / "cache")
    assert [i.person for i in items] == ["p", "p", "q"]
    assert item_weights(items) == pytest.approx([0.25, 0.25, 0.5])


def test_changed_file_is_decoded_again(folder: Path, tmp_path: Path) -> None:
    open_cache(folder / "a.png", tmp_path / "cache")
    cv2.imwrite(str(folder / "a.png"), np.full((40, 40, 3), 200, np.uint8))
    (item,) = open_cache(folder / "a.png", tmp_path / "cache")
    assert item.frames.shape == (1, 40, 40, 3) and (item.frames == 200).all()


def test_copy_with_another_date_is_not_decoded_and_kept_again(folder: Path, tmp_path: Path) -> None:
    open_cache(folder, tmp_path / "cache")
    stored = sorted((tmp_path / "cache").iterdir())
    copied = shutil.copytree(folder, tmp_path / "elsewhere")
    os.utime(copied / "a.png", (1, 1))
    assert [i.name for i in open_cache(copied, tmp_path / "cache")] == ["a", "b", "c"]
    assert sorted((tmp_path / "cache").iterdir()) == stored


def test_cache_that_cannot_be_written_raises_input_error_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # as on a full disk: a picture here takes 4608 bytes
    try:
        with pytest.raises(InputError, match=r"cache .*a\.png takes"):
            open_cache(folder, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert not list((tmp_path / "cache").iterdir())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cache .*file"):
        open_cache(folder, tmp_path / "file")


@pytest.mark.parametrize("ending", [".npy", ".json"])
def test_damaged_entry_of_the_cache_is_made_again(ending: str, folder: Path, tmp_path: Path) -> None:
    first = [item.frames.copy() for item in open_cache(folder, tmp_path / "cache")]
    for path in (tmp_path / "cache").glob(f"*{ending}"):
        path.write_bytes(path.read_bytes()[:-7])
    again = [item.frames for item in open_cache(folder, tmp_path / "cache")]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_faces_are_learned_as_a_call_sees_them_upright_and_of_square_pixels(tmp_path: Path) -> None:
    turned = turn_mp4(write_video(tmp_path / "a.mp4", numbered(3), codec="libx264", pix_fmt="yuv420p"), 90)
    wide = write_video(tmp_path / "b.mkv", numbered(3), codec="libx264", pix_fmt="yuv420p", aspect=Fraction(2))
    assert [open_cache(path, tmp_path / "cache")[0].frames.shape[1:3] for path in (turned, wide)] == [
        (64, 48),
        (48, 128),
    ]


def test_folder_named_like_a_video_is_passed_over(folder: Path, tmp_path: Path) -> None:
    before = len(open_cache(folder, tmp_path / "cache"))
    (folder / "raw.mp4").mkdir()
    assert len(open_cache(folder, tmp_path / "cache")) == before


@pytest.mark.parametrize("source", ["absent", "absent/*.png", "empty"])
def test_source_without_files_raises_input_error(source: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no video or picture"):
        open_cache(tmp_path / source, tmp_path / "cache")


def test_broken_file_raises_input_error(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"not a video" * 9)
    with pytest.raises(InputError, match=r"x\.mp4: cannot be decoded \(Invalid data found when processing input\);"):
        open_cache(tmp_path / "x.mp4", tmp_path / "cache")
