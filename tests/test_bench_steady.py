"""`bench steady`: a few frames of the bundled clip through every part, and the arithmetic of each figure."""

import json
from pathlib import Path

import numpy as np
import pytest
from delta_codec import DeltaCodec, pictures

from sender.capture import SAMPLE
from vidcodec.bench import main
from vidcodec.bench import steadyruns as runs
from vidcodec.bench.clips import Clip
from vidcodec.bench.measure import Point
from vidcodec.bench.steady import markdown, targets
from vidcodec.bench.steadylow import low_rates, read_rd
from vidcodec.bench.steadyruns import to_and_fro, window_deviations
from vidcodec.codec import State
from vidcodec.errors import InputError, UsageError
from vidcodec.packet import Packet


def clip(count: int, fps: float = 10.0) -> Clip:
    return Clip("c", fps, np.stack(pictures(count)), "0" * 64)


class Fading(DeltaCodec):
    """Loses a level of every pixel it shows with each 20th frame, and counts what it was asked for."""

    def encode(self, frame: np.ndarray, state: State, quality: int, number: int | None = None) -> tuple[Packet, State]:
        packet, after = super().encode(frame, state, quality, number)
        assert after.number is not None
        shown = np.clip(frame.astype(np.int16) + after.number // 20, 0, 255).astype(np.uint8)
        return packet, State(after.number, shown, after.memory)


def test_clips_are_played_to_and_fro_without_a_cut() -> None:
    assert to_and_fro(4, 9) == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert to_and_fro(1, 3) == [0, 0, 0] and to_and_fro(2, 4) == [0, 1, 0, 1]


def test_codec_that_fades_is_found_out_and_one_that_does_not_is_not() -> None:
    good = runs.endless(DeltaCodec(), clip(4), 100, 1)
    assert (good.change_db, good.same_pictures_db, good.frames) == (0, 0, 100)
    bad = runs.endless(Fading(), clip(4), 100, 1)
    assert bad.change_db < -10 and bad.same_pictures_db is not None and bad.same_pictures_db < -10
    assert bad.change_db == bad.late_db - bad.early_db
    assert runs.endless(DeltaCodec(), clip(60), 100, 1).same_pictures_db is None, "no picture came back"
    with pytest.raises(UsageError, match="at least 40"):
        runs.endless(DeltaCodec(), clip(4), 39, 1)


def test_same_pictures_are_compared_at_the_same_place_going_the_same_way() -> None:
    values = np.array([float(at) for at in to_and_fro(6, 100)])  # PSNR hangs on the place alone
    assert runs._same_pictures(values, 6, 5, 10) == 0
    assert runs._same_pictures(values + np.arange(100) // 50, 6, 5, 10) == 1


def test_windows_of_a_second_and_their_deviation() -> None:
    sizes = [125] * 10 + [250] * 10  # at 10 frames a second: 10 kbit/s, then 20
    found = window_deviations(sizes, 10.0, 10.0)
    assert len(found) == 11
    assert found[0] == pytest.approx(0) and found[5] == pytest.approx(0.5) and found[-1] == pytest.approx(1.0)


def test_rate_counts_every_second_after_the_first_ones() -> None:
    row = runs.rate(DeltaCodec(), clip(4), 5000.0, 4.0, 2.0)
    assert row.psnr_db == 100 and 0 <= row.within <= 1 and row.after_s == 2
    # The codec is lossless, so its packets are the same whatever it is told.
    packets, state = [], DeltaCodec().blank_state()
    for frame in runs.played(clip(4), 40):
        packet, state = DeltaCodec().encode(frame, state, 0)
        packets.append(len(packet))
    assert row.kbps == pytest.approx(sum(packets) * 8 / 1000 / 4)
    assert row.settled_kbps == pytest.approx(sum(packets[20:]) * 8 / 1000 / 2)
    worst = max((sum(packets[at : at + 10]) * 8 / 1000 / 5000 - 1 for at in range(20, 31)), key=abs)
    assert row.worst == pytest.approx(worst)
    with pytest.raises(UsageError, match="--seconds 2"):
        runs.rate(DeltaCodec(), clip(4), 40.0, 2.0, 1.5)


def point(codec: str, name: str, kbps: float, psnr_db: float) -> Point:
    mse = 10 ** (-psnr_db / 10)
    return Point(name, codec, 0, 10, 1000, kbps, kbps, mse, psnr_db, psnr_db, 1.0, None, 1.0, 1.0, None)


def curve(codec: str, name: str, psnrs: dict[float, float]) -> list[Point]:
    return [point(codec, name, kbps, psnr) for kbps, psnr in psnrs.items()]


def test_low_rates_are_compared_where_both_curves_go_and_marks_with_their_bounds() -> None:
    points = [
        *curve("s", "good", {5: 30, 10: 33, 20: 36, 40: 39}),
        *curve("x264-veryfast", "good", {7: 29, 14: 32, 28: 35, 56: 38}),
        *curve("s", "high", {25: 36, 40: 37, 60: 38}),  # never below 20 kbit/s, and better than the mark from the start
        *curve("x264-veryfast", "high", {10: 30, 30: 34, 60: 37}),
        *curve("s", "never", {5: 20, 10: 21, 20: 22}),
        *curve("x264-veryfast", "never", {5: 21, 10: 22, 20: 23}),
    ]
    good, high, never = low_rates(points, "s")
    assert (good.from_kbps, good.better, good.better_share, good.earlier) == (7, True, 1.0, True)
    assert good.gain_db == pytest.approx(2.5, abs=0.2)
    assert good.mark_kbps == pytest.approx(16.2, abs=0.5) and not good.mark_bound
    assert (high.from_kbps, high.better, high.mark_kbps, high.mark_bound) == (None, False, 25, True)
    assert high.earlier and high.peer_mark_kbps is not None and 30 < high.peer_mark_kbps < 60
    assert (never.better, never.mark_kbps, never.earlier) == (False, None, False)
    assert never.gain_db == pytest.approx(-1)
    with pytest.raises(InputError, match="gdn was not measured"):
        low_rates(points, "gdn")


def test_file_that_is_no_result_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("no json", "{}", '{"columns": ["clip"], "points": [[1, 2]]}'):
        (tmp_path / "rd.json").write_text(text)
        with pytest.raises(InputError, match="no result of 'bench rd'"):
            read_rd(tmp_path / "rd.json")
    assert main(["steady", "--only", "low", "--rd", str(tmp_path / "none.json"), "--out", str(tmp_path)]) == 3
    assert "run 'bench rd' first" in capsys.readouterr().err


def test_targets_are_met_or_not() -> None:
    sound = {"symbols_equal": 308, "frames": 300, "repaired": True}
    parts = {
        "endless": [{"change_db": -0.1}, {"change_db": -0.4}],
        "still": [{"gain_db": 2.0, "idle_most_bytes": 15}],
        "rate": [{"target_kbps": 20.0, "worst": -0.2, "settled_kbps": 20.1}],
        "precision": [
            {"encoder": "fp16", "decoder": "fp32", "mean_db": 0.0, "end_db": 0.0, **sound},
            {"encoder": "fp32", "decoder": "bf16", "mean_db": 0.0, "end_db": -0.4, **sound},
        ],
        "drift": [{"worst_db": 0.4}, {"worst_db": 1.2}],
        "low": [{"better": True, "earlier": False}] * 5,
    }
    met = {(row["part"], row["what"]): row["met"] for row in targets(parts)}
    assert list(met.values()) == [
        False,
        True,
        True,
        False,
        True,
        True,
        True,
        True,
        False,
        True,
        True,
        False,
        True,
        False,
    ]
    assert targets({}) == []


def test_whole_command_on_the_bundled_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["steady", "--clips", str(SAMPLE), "--out", str(tmp_path), "--rd", str(tmp_path / "rd.json")]
    short = ["--frames", "40", "--seconds", "2", "--after-s", "1", "--rates", "30"]
    assert main([*words, *short, "--only", "endless", "rate", "precision", "drift"]) == 0
    result = json.loads((tmp_path / "steady.json").read_text())
    assert list(result["parts"]) == ["endless", "rate", "precision", "drift"] and len(result["weights_sha256"]) == 64
    endless, rate = result["parts"]["endless"][0], result["parts"]["rate"][0]
    assert endless["frames"] == 40 and abs(endless["change_db"]) < 6 and endless["kbps"] > 1
    assert rate["target_kbps"] == 30 and 5 < rate["kbps"] < 90 and rate["psnr_db"] > 25
    for row in result["parts"]["precision"]:
        assert row["symbols_equal"] == 40 + runs.AFTER_REPAIR and row["repaired"]
        assert abs(row["mean_db"]) < 0.5 and row["worst_db"] < 2
    assert {row["encoder"] for row in result["parts"]["precision"]} == {"fp32", "bf16"}
    (row,) = result["parts"]["drift"]
    assert (row["encoder"], row["decoder"], row["frames"], row["fresh"]) == ("bf16", "fp32", 40, 0)
    text = capsys.readouterr().out.strip()
    assert text == (tmp_path / "steady.md").read_text().strip() == markdown(result).strip()
    assert main([*words, "--frames", "4", "--only", "precision", "--against", "fp16"]) == 0
    result = json.loads((tmp_path / "steady.json").read_text())
    rows = result["parts"]["precision"]
    runs_of = [(row["encoder"], row["decoder"], row["frames"]) for row in rows]
    assert runs_of[:2] == [("bf16", "fp32", 40), ("fp32", "bf16", 40)], "what an earlier run found is kept"
    assert runs_of[2:] == [("fp16", "fp32", 4), ("fp32", "fp16", 4)]
    assert max(abs(row["mean_db"]) for row in rows[2:]) < 0.01

    points = [*curve("s", "a", {5: 30, 20: 36}), *curve("x264-veryfast", "a", {5: 28, 20: 34})]
    rows = [list(one.to_json().values()) for one in points]
    (tmp_path / "rd.json").write_text(json.dumps({"columns": Point.columns(), "points": rows}))
    assert main([*words, "--only", "low"]) == 0
    both = json.loads((tmp_path / "steady.json").read_text())
    assert list(both["parts"]) == ["endless", "rate", "precision", "drift", "low"], "other parts are kept"
    assert both["parts"]["low"][0]["gain_db"] == pytest.approx(2.0)
    del both["parts"]["endless"][0]["late_db"]
    (tmp_path / "steady.json").write_text(json.dumps(both))
    assert main([*words, "--only", "low"]) == 0
    kept = list(json.loads((tmp_path / "steady.json").read_text())["parts"])
    assert kept == ["rate", "precision", "drift", "low"], "rows of another version: not kept"
    result["weights_sha256"], result["model"] = "0" * 64, "seed"
    (tmp_path / "steady.json").write_text(json.dumps(result))
    assert main([*words, "--only", "low"]) == 0
    assert list(json.loads((tmp_path / "steady.json").read_text())["parts"]) == ["low"], "another model's: not kept"


def test_still_scene_gets_sharper_and_a_frame_without_news_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    from vidcodec.bench.clips import read_clip
    from vidcodec.codec import load_codec

    monkeypatch.setattr(runs, "STILL_FRAMES", 31)
    monkeypatch.setattr(runs, "STILL_MARKS", (5, 30))
    monkeypatch.setattr(runs, "IDLE_SETTLE", 24)
    monkeypatch.setattr(runs, "IDLE_FRAMES", 8)
    row = runs.still(load_codec("s", "cpu", "bf16"), read_clip(SAMPLE, 1), 16, 0)
    assert row.gain_db > 0 and row.clean_db[1] > row.noisy_db[1] > 25
    assert row.idle_bytes <= row.idle_most_bytes <= 40


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "rate"], "--clips is needed for rate"),
        (["--only", "low", "--rates", "0"], "--rates 0"),
        (["--only", "low", "--seconds", "3", "--after-s", "2.5"], "--after-s 2.5"),
        (["--clips", str(SAMPLE), "--only", "endless", "--quality", "64"], "--quality 64"),
        (["--clips", str(SAMPLE), "--only", "endless", "--frames", "10"], "--frames 10"),
    ],
)
def test_bad_options_end_with_status_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["steady", *words]) == 2
    assert said in capsys.readouterr().err
