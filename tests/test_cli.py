"""Commands: quick to start, one line and the documented status for bad input."""

import os
import subprocess
import sys
import time

import pytest

from vidcodec.__main__ import COMMANDS, main

HEAVY = ("torch", "cv2", "av", "aiortc")


def python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "command",
    [["vidcodec"], ["vidcodec", "encode"], ["vidcodec", "bench"], ["vidcodec", "train"], ["sender"], ["receiver"]],
)
def test_help_is_quick_and_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = {[*command, '--help']!r}\n"
        "try:\n"
        f"    runpy.run_module({command[0]!r}, run_name='__main__')\n"
        "except SystemExit as done:\n"
        f"    print('loaded:', [m for m in {HEAVY!r} if m in sys.modules], done.code)\n"
    )
    start = time.monotonic()
    done = python("-c", code)
    assert "usage:" in done.stdout
    assert "loaded: [] 0" in done.stdout, done.stdout[-300:] + done.stderr[-300:]
    assert time.monotonic() - start < 10


def test_help_names_the_default_that_this_command_has(capsys: pytest.CaptureFixture[str]) -> None:
    for command, default in (
        (["encode"], "kbit/s (default: 40; a model"),
        (["bench", "looks"], "kbit/s (default: 12)"),
    ):
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
        assert default in " ".join(capsys.readouterr().out.split())


def test_importing_the_package_imports_no_torch() -> None:
    assert python("-c", f"import sys, vidcodec; print([m for m in {HEAVY!r} if m in sys.modules])").stdout == "[]\n"


def test_unknown_command_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encod"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and all(name in err for name in COMMANDS)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_reader_that_went_away_is_no_error(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        command = [sys.executable, "-m", "vidcodec", "--help"]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=env, check=False, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_a_full_disk_does_not_take_is_one_line_and_status_3(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        command = [sys.executable, "-m", "vidcodec", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=env, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (3, b"error: standard output: No space left on device\n")


@pytest.mark.parametrize(
    ("argv", "status", "says"),
    [
        (["encode", "missing.mp4", "OUT.vdc"], 3, "missing.mp4"),
        (["encode", "sample", "OUT.vdc", "--quality", "3", "--bitrate", "40"], 2, "exclude each other"),
        (["encode", "sample", "OUT.vdc", "--bitrate", "0"], 2, "above zero"),
        (["encode", "sample", "OUT.vdc", "--model", "seed", "--quality", "99"], 2, "--quality 99"),
        (["encode", "sample", "missing/OUT.vdc", "--model", "seed"], 3, "missing/OUT.vdc"),
        (
            ["encode", "sample", "OUT.vdc", "--model", "seed", "--weights", "missing.safetensors"],
            3,
            "missing.safetensors",
        ),
        (["decode", "missing.vdc", "OUT.mkv"], 3, "missing.vdc"),
        (["info", "pyproject.toml"], 5, "not a .vdc file"),
        (["train"], 2, "--config FILE"),
        (["train", "--model", "foo"], 2, "invalid choice: 'foo'"),
        (["train", "--model", "seed", "foo"], 2, "--help lists the options"),
    ],
)
def test_bad_input_is_one_line_with_its_status(
    argv: list[str],
    status: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    out = tmp_path_factory.mktemp("out")
    assert main([str(out / a) if a.startswith(("OUT", "missing/")) else a for a in argv]) == status
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and says in err
