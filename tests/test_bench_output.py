"""Where figures are written: found out before anything is measured, and on the screen whatever happens."""

import argparse
import json
import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from vidcodec.bench import main
from vidcodec.bench.output import add_out, output_folder, save, write_run
from vidcodec.errors import InputError


def test_a_run_is_written_as_figures_and_as_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a" / "b"
    write_run(folder, "speed", {"rows": [1, 2.5]}, "| a page |\n")
    assert json.loads((folder / "speed.json").read_text()) == {"rows": [1, 2.5]}
    assert (folder / "speed.md").read_text() == "| a page |\n"
    assert capsys.readouterr().out == "| a page |\n\n"


def test_a_run_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    save(tmp_path, {"page.json": "first"})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))  # as on a full disk
    try:
        with pytest.raises(InputError, match="cannot be written"):
            save(tmp_path, {"page.json": "second" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert (tmp_path / "page.json").read_text() == "first"


def test_a_folder_that_cannot_be_written_is_named_before_the_run(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    parser = argparse.ArgumentParser()
    add_out(parser)
    with pytest.raises(InputError, match="is no folder"):
        parser.parse_args(["--out", str(file / "under")])
    assert parser.parse_args(["--out", str(tmp_path / "new")]).out == tmp_path / "new"
    assert not (tmp_path / "new").exists()
    assert parser.parse_args([]).out == Path("bench-out")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder here that even root cannot write to")
def test_a_folder_that_nobody_can_write_is_named_before_the_clips_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rd", "--clips", "missing", "--out", "/proc/figures"]) == 3
    assert capsys.readouterr().err == "error: --out /proc/figures: /proc cannot be written; give a folder that can\n"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_leave_to_write_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        output_folder(str(tmp_path / "new"))


def test_the_page_is_printed_even_where_it_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.json").mkdir()
    with pytest.raises(InputError, match=r"--out .*: cannot be written \(Is a directory\)"):
        write_run(tmp_path, "page", {}, "an hour's figures")
    assert "an hour's figures" in capsys.readouterr().out
    with pytest.raises(InputError, match="cannot be written"):
        save(tmp_path / "page.json", {"page.md": "a"} | {"no/such": "b"})


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (["rd", "--clips", "a.mkv"], "scipy"),
        (["rd", "--clips", "a.mkv"], "matplotlib"),
        (["ablate", "--clips", "a.mkv"], "scipy"),
        (["latency"], "matplotlib"),
    ],
)
def test_package_that_is_missing_is_said_before_anything_is_measured(
    words: list[str], package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(words) == 2
    said = f"error: bench {words[0]} needs {package}: pip install -e '.[bench]' in the project's folder\n"
    assert capsys.readouterr() == ("", said)
