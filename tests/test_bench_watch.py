"""`bench watch`: a short run with a real browser, and what it says where the decoder for browsers is missing."""

import json
from pathlib import Path

import pytest
from watch_files import runtime

from vidcodec.bench import main
from vidcodec.bench.viewers import find_browser
from vidcodec.watch.export import copy_runtime, export_model


def test_missing_files_are_told_before_anything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "--watch-files", str(tmp_path), "--out", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: ONNX Runtime Web is not in") and said.count("\n") == 1


def test_figures_of_a_short_call_are_sound(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="no onnxscript here: pip install -e '.[watch]'")
    if find_browser() is None:
        pytest.skip("no Chromium here: install one, or name it in the variable CHROMIUM")
    copy_runtime(runtime(), tmp_path / "runtime")
    export_model(tmp_path)
    # Long enough for a busy machine to show more than the frames that are not counted.
    words = ["--watch-files", str(tmp_path), "--out", str(tmp_path), "--rates", "10", "--duration", "25"]
    assert main(["watch", *words]) == 0
    (row,) = json.loads((tmp_path / "watch.json").read_text())["rows"]
    assert row["frames"] > 10 and 0 < row["shown_fps"] < 11 and "WebAssembly" in row["where"]
    assert 0 < row["symbols_ms"]["p50"] <= row["symbols_ms"]["p95"] and row["networks_ms"]["p50"] > 0
    assert row["delay_ms"]["p50"] >= row["networks_ms"]["p50"]
    assert "| 10 | WebAssembly" in (tmp_path / "watch.md").read_text()
