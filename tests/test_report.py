"""The report: every documented field, always, in a file that is whole or not there."""

import json
from pathlib import Path

import pytest

from vidcodec.errors import InputError
from vidcodec.report import CodecFigures, Percentiles, Report, check_writable, write_report

FIELDS = {
    "frames_captured": None,
    "frames_sent": None,
    "frames_shown": None,
    "frames_lost": None,
    "duration_s": None,
    "fps": None,
    "payload_kbps": None,
    "wire_kbps": None,
    "mse": None,
    "psnr_db": None,
    "ms_ssim": None,
    "baseline": {"codec", "scale", "kbps", "mse", "psnr_db"},
    "latency_ms": {"capture", "crop", "encode", "network", "decode", "display", "total"},
    "codec": {"model_id", "weights_sha256", "device", "precision"},
    "quality": {"min", "mean", "max"},
    "first_frame_s": None,
}


def test_report_has_exactly_the_documented_fields(tmp_path: Path) -> None:
    write_report(Report(CodecFigures("seed")), tmp_path / "new" / "r.json")
    report = json.loads((tmp_path / "new" / "r.json").read_text())
    assert report.keys() == FIELDS.keys()
    for name, parts in FIELDS.items():
        if parts is not None:
            assert report[name].keys() == parts
    for stage in report["latency_ms"].values():
        assert stage.keys() == {"p50", "p95", "p99"}


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert Percentiles.of(values[::-1]) == Percentiles(50.0, 95.0, 99.0)
    assert Percentiles.of([3.25]) == Percentiles(3.25, 3.25, 3.25)
    assert Percentiles.of([]) == Percentiles(None, None, None)


def test_writing_again_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_report(Report(CodecFigures("seed"), frames_shown=1), path)
    write_report(Report(CodecFigures("seed"), frames_shown=2), path)
    assert json.loads(path.read_text())["frames_shown"] == 2
    assert list(tmp_path.iterdir()) == [path]


def test_place_that_cannot_be_written_is_said_before_the_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="--report"):
        check_writable(str(tmp_path / "file" / "r.json"), "--report")
    with pytest.raises(InputError, match="folder"):
        check_writable(str(tmp_path), "--report")
    with pytest.raises(InputError):
        write_report(Report(CodecFigures("seed")), tmp_path / "file" / "r.json")
    check_writable(str(tmp_path / "file"), "--report")
    check_writable(str(tmp_path / "r.json"), "--report")
    check_writable(None, "--report")
    assert (tmp_path / "file").read_text() == "kept"
    assert not (tmp_path / "r.json").exists()
