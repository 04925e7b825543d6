"""`bench results`: the README and docs/results.md say what the JSON says."""

import json
from pathlib import Path

import pytest
from test_bench_rd import _clip, _points

from vidcodec.bench import main, rd
from vidcodec.bench.coders import find_spec
from vidcodec.bench.results import BEGIN, END, fill, read_results, readme_block
from vidcodec.bench.summary import against
from vidcodec.errors import InputError, UsageError

ROOT = Path(__file__).resolve().parent.parent


def _write_rd(folder: Path, ours_factor: float = 0.5) -> None:
    points = _points("x264-veryfast", 1.0) + _points("svtav1", 0.6) + _points("s", ours_factor)
    clip = _clip()
    specs = [find_spec("x264-veryfast"), find_spec("svtav1")]
    rd.write(folder, points, clips=[(Path("a"), clip)], specs=specs, anchor="x264-veryfast", notes=[])


def _project(folder: Path, ours_factor: float = 0.5) -> list[str]:
    (folder / "out").mkdir()
    _write_rd(folder / "out", ours_factor)
    (folder / "README.md").write_text(f"# title\n\n{BEGIN}\nold\n{END}\n\nrest\n")
    return ["results", "--docs", str(folder / "docs"), "--readme", str(folder / "README.md")]


def test_results_are_taken_and_written_between_the_markers(tmp_path: Path) -> None:
    command = _project(tmp_path)
    assert main([*command, "--take", str(tmp_path / "out")]) == 0
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("# title\n") and readme.endswith("rest\n") and "old" not in readme
    assert "| s | -50 % |" in readme and "| svtav1 | -40 % |" in readme
    assert "`s` needs 50 % fewer bits than x264 veryfast" in readme
    assert "and 17 % fewer bits than real-time SVT-AV1" in readme
    assert "| s | -50 % |" in (tmp_path / "docs" / "results.md").read_text()
    assert main([*command, "--check"]) == 0


def test_worse_is_said_as_plainly_as_better(tmp_path: Path) -> None:
    command = _project(tmp_path, ours_factor=1.5)
    assert main([*command, "--take", str(tmp_path / "out")]) == 0
    readme = (tmp_path / "README.md").read_text()
    assert "`s` needs 50 % more bits than x264 veryfast" in readme
    assert "and 150 % more bits than real-time SVT-AV1" in readme


def test_far_worse_is_said_in_times(tmp_path: Path) -> None:
    command = _project(tmp_path, ours_factor=7.0)
    assert main([*command, "--take", str(tmp_path / "out")]) == 0
    readme = (tmp_path / "README.md").read_text()
    assert "`s` needs 7 times the bits of x264 veryfast" in readme
    assert "| s | x 7 |" in readme


def test_figure_changed_by_hand_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = _project(tmp_path)
    main([*command, "--take", str(tmp_path / "out")])
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text().replace("-50 %", "-55 %"))
    assert main([*command, "--check"]) == 3
    assert "README.md" in capsys.readouterr().err


def test_delta_against_another_codec_comes_from_the_same_points(tmp_path: Path) -> None:
    _write_rd(tmp_path)
    result = read_results(tmp_path)["rd"]
    row = against(rd.read_points(result), "s", "svtav1")
    assert (row.bd_rate_percent, row.bd_rate_luma_percent) == pytest.approx([100 * (0.5 / 0.6 - 1)] * 2, abs=0.01)
    assert row.clips == 2
    for codec, anchor in (("absent", "svtav1"), ("s", "absent")):
        with pytest.raises(UsageError, match="'absent' was not measured"):
            against(rd.read_points(result), codec, anchor)
    assert "## Bits of `s` against each video codec" in (page := rd.markdown(result))
    assert "| svtav1 | -17 % | -17 % .. -17 % | -17 % | -17 % | 2 |" in page


def test_readme_without_markers_is_an_input_error() -> None:
    with pytest.raises(InputError, match="once each"):
        fill("# title\n", "block\n")
    with pytest.raises(InputError, match="once each"):
        fill(f"{END}\n{BEGIN}\n", "block\n")


def test_folder_without_results_and_damaged_json_are_input_errors(tmp_path: Path) -> None:
    command = _project(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main([*command, "--take", str(tmp_path / "empty")]) == 3
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / "rd.json").write_text("{")
    assert main(command) == 3


@pytest.mark.parametrize("name", ["rd", "paper", "speed", "steady", "latency", "calls", "soak", "link"])
@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"rows": [[1]], "columns": 3, "points": [[1]], "parts": []}'])
def test_result_of_another_version_is_one_line(name: str, text: str, tmp_path: Path) -> None:
    command = _project(tmp_path)
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / f"{name}.json").write_text(text)
    assert main(command) == 3


def test_page_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = _project(tmp_path)
    (tmp_path / "docs").write_text("in the way")
    assert main([*command, "--take", str(tmp_path / "out")]) == 3
    assert "cannot be written" in capsys.readouterr().err


def test_figures_of_this_checkout_are_those_of_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / "docs" / "results" / "rd.json").exists():
        pytest.skip("no committed results in this checkout")
    monkeypatch.chdir(ROOT)
    assert main(["results", "--check"]) == 0
    block = readme_block(read_results(ROOT / "docs" / "results"))
    assert block in (ROOT / "README.md").read_text()
    summary = json.loads((ROOT / "docs" / "results" / "rd.json").read_text())["summary"]
    assert {row["codec"] for row in summary} >= {"x264-veryfast", "svtav1", "vp8"}
