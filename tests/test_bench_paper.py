"""`bench paper`: sets of pictures, bits that are really spent, the surprise."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_baselines_video import moving_frames

from vidcodec.baselines.scaling import bicubic
from vidcodec.baselines.still import STILLS, decode_still, encode_still
from vidcodec.bench import main
from vidcodec.bench.paper import PIXELS, Coder, Row, at_most, measure_row, surprise
from vidcodec.bench.pictures import read_pictures, squares
from vidcodec.errors import DamagedPacket, InputError
from vidcodec.metrics import mse, psnr_db
from vidcodec.weights import weights_dir


def _folder(path: Path, count: int = 5) -> Path:
    path.mkdir(exist_ok=True)
    for number, frame in enumerate(moving_frames(count, 200)):
        cv2.imwrite(str(path / f"{number}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return path


@pytest.mark.parametrize("name", STILLS)
def test_still_formats_spend_more_bits_for_less_error(name: str) -> None:
    frame, settings = moving_frames(1)[0], STILLS[name]
    data = [encode_still(frame, settings, level) for level in settings.levels]
    sizes = [len(one) for one in data]
    errors = [mse(frame, decode_still(one)) for one in data]
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True)
    assert psnr_db(errors[-1]) > 33


def test_bytes_that_are_no_picture_are_a_damaged_packet() -> None:
    for data in (b"", b"no picture"):
        with pytest.raises(DamagedPacket):
            decode_still(data)


def _spending(count: int) -> Coder:
    return lambda picture: (picture, 8 * count)


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000"])
def test_matched_format_takes_at_most_the_allowed_bytes_and_nearly_all_of_them(name: str) -> None:
    frame = moving_frames(1)[0]
    for allowed in (3000, 8000):
        shown, bits = at_most(STILLS[name], _spending(allowed))(frame)
        assert bits is not None and 0.8 * 8 * allowed <= bits <= 8 * allowed
        assert mse(frame, shown) > 0


def test_format_that_cannot_go_so_low_counts_its_true_bits() -> None:
    frame = moving_frames(1)[0]
    _, bits = at_most(STILLS["jpeg"], _spending(50))(frame)
    assert bits == 8 * len(encode_still(frame, STILLS["jpeg"], 1))


def test_row_holds_means_over_each_set() -> None:
    pictures = np.stack(moving_frames(3))
    row = measure_row("x", lambda picture: (bicubic(picture, 4), 1000), {"unseen": pictures})
    assert row.mse["unseen"] == pytest.approx(np.mean([mse(p, bicubic(p, 4)) for p in pictures]), rel=1e-4)
    assert row.bits_per_pixel["unseen"] == pytest.approx(1000 / PIXELS, rel=1e-4)


def _rows(seed_other: float) -> list[Row]:
    return [
        Row("bicubic 2x", {"unseen": 2e-4, "other": 6e-4}, {}),
        Row("seed, before quantisation", {"unseen": 3e-4, "other": seed_other}, {}),
    ]


def test_surprise_is_judged_beside_what_bicubic_finds_hard() -> None:
    easy, hard = surprise(_rows(9e-4)), surprise(_rows(18e-4))
    assert easy is not None and easy["holds"] and easy["excess"] == pytest.approx(1.0)
    assert hard is not None and not hard["holds"] and hard["excess"] == pytest.approx(2.0)
    assert surprise(_rows(9e-4)[:1]) is None


def test_pictures_are_spread_over_all_sources(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a", 9)
    kept = read_pictures([folder], 3)
    every = read_pictures([folder], 100)
    assert kept.shape == (3, 192, 192, 3) and len(every) == 9
    assert np.array_equal(kept, every[[0, 4, 8]])


def test_long_picture_gives_both_its_ends() -> None:
    wide = np.zeros((200, 300, 3), np.uint8)
    wide[:, 200:] = 255
    left, right = squares(wide)
    assert left.mean() == 0 and 120 < right.mean() < 140
    assert len(squares(wide[:, :220])) == 1


def test_missing_and_empty_sources_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such"):
        read_pictures([tmp_path / "none"], 3)
    with pytest.raises(InputError, match="nothing readable"):
        read_pictures([tmp_path], 3)
    (tmp_path / "bad.png").write_text("text")
    with pytest.raises(InputError, match="cannot be read"):
        read_pictures([tmp_path], 3)


def test_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (weights_dir() / "seed.safetensors").exists():
        pytest.skip("no weights of seed in this checkout")
    folder = _folder(tmp_path / "pictures", 2)
    out = tmp_path / "out"
    assert main(["paper", "--portraits", str(folder), "--pictures", str(folder), "--out", str(out)]) == 0
    assert "| seed, before quantisation |" in capsys.readouterr().out
    result = json.loads((out / "paper.json").read_text())
    rows = {row["name"]: row for row in result["rows"]}
    sent = [row for name, row in rows.items() if name.startswith("seed, sent")]
    assert rows["seed, before quantisation"]["bits_per_pixel"]["unseen"] == 24.0
    assert 0 < sent[0]["bits_per_pixel"]["unseen"] < sent[-1]["bits_per_pixel"]["unseen"] < 24
    assert sent[-1]["mse"]["unseen"] < sent[0]["mse"]["unseen"]
    assert result["surprise"]["excess"] == pytest.approx(1.0)
