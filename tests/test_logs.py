"""Log lines for programs: each line of stderr is one JSON object, whatever it is that is said."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from call_commands import ROOT

from vidcodec.logs import JsonFormatter, said_error


def python(*words: str, env: dict[str, str] | None = None) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, the objects on stderr, and stdout."""
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=env
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()], done.stdout


def test_record_becomes_one_line_with_its_extra_fields() -> None:
    record = logging.makeLogRecord(
        {"name": "sender.call", "levelno": 30, "levelname": "WARNING", "msg": "frame %d\nis late", "args": (7,)}
    )
    record.created = 1_700_000_000.25
    record.frame, record.path = 7, Path("x")
    line = JsonFormatter().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields.pop("pid") > 0
    assert fields == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "sender.call",
        "message": "frame 7\nis late",
        "frame": 7,
        "path": "x",
    }


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("sender", "--loopback", "--bitrate", "-1"), 2, "--bitrate -1"),
        (("sender", "--loopback", "--bitrate", "many"), 2, "invalid float value"),
        (("sender", "--loopback", "--no-such-option"), 2, "--no-such-option"),
        (("sender", "--connect", "http://127.0.0.1:9/whip", "--input", "missing.mp4"), 3, "missing.mp4"),
        (("vidcodec", "decode", "missing.vdc", "out.mkv"), 3, "missing.vdc"),
    ],
)
def test_errors_are_objects_with_the_exit_status(words: tuple[str, ...], status: int, said: str) -> None:
    ended, lines, _ = python("-m", *words, "--log-json")
    assert ended == status
    (line,) = lines
    assert (line["level"], line["exit_status"]) == ("error", status)
    assert said in line["message"] and not line["message"].startswith("error")


def test_crashes_warnings_and_threads_are_objects_as_well() -> None:
    program = (
        "import threading, warnings\n"
        "from vidcodec.logs import set_up_logging\n"
        "set_up_logging('warning', as_json=True)\n"
        "warnings.warn('old', stacklevel=1)\n"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "raise RuntimeError('end')\n"
    )
    status, lines, _ = python("-c", program)
    assert status == 1
    assert [line["level"] for line in lines] == ["warning", "critical", "critical"]
    assert "old" in lines[0]["message"]
    assert "ZeroDivisionError" in lines[1]["exception"] and "end" in lines[2]["message"]


def test_call_logs_its_end_with_the_report_and_people_read_the_table_elsewhere() -> None:
    words = ["sender", "--loopback", "--input", "sample", "--model", "seed", "--display", "none", "--frames", "10"]
    status, lines, out = python("-m", *words, "--log-json", "--log-level", "info")
    assert status == 0
    over = [line for line in lines if line["message"] == "the call is over"]
    assert {line["logger"] for line in over} == {"sender", "receiver"}, "both processes of a loopback call"
    for line in over:
        assert line["report"]["frames_sent"] == 10
        assert line["report"]["codec"]["model_id"] == "seed"
    assert len({line["pid"] for line in over}) == 2
    assert "10" in out


def test_variable_turns_it_on_and_a_receiver_that_fails_is_said_once() -> None:
    env = {**os.environ, "VIDCODEC_LOG_JSON": "yes"}
    words = ["sender", "--loopback", "--input", "sample", "--model", "seed", "--web", "192.0.2.1:1"]
    status, lines, _ = python("-m", *words, env=env)
    assert status == 2
    (line,) = lines
    assert "--web" in line["message"] and line["exit_status"] == 2


def test_error_lines_of_another_command_are_told_from_its_log() -> None:
    assert said_error("error: no such file\n") == "no such file"
    assert said_error('{"level":"error","message":"no such file","exit_status":3}') == "no such file"
    assert said_error('{"level":"error","message":"only logged"}') is None
    assert said_error("WARNING sender: slow") is None
    assert said_error("{not json") is None
