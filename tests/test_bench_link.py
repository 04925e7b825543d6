"""`bench link`: what it says about a network that is known."""

import json
from pathlib import Path

import pytest

from vidcodec.bench import main
from vidcodec.bench.link import figures, freezes


def test_freezes_are_those_of_w3c() -> None:
    assert freezes([]) == 0
    assert freezes([33.0] * 100) == 0
    assert freezes([33.0] * 99 + [180.0]) == 0  # mean about 34.5: below mean + 150
    assert freezes([33.0] * 99 + [180.0, 400.0]) == 1
    assert freezes([1000.0] * 9 + [2900.0]) == 0  # slow is not frozen: below three means


def test_figures_count_what_was_sent_refused_and_lost() -> None:
    sent = {number: 100.0 * number for number in range(20)}
    arrived = [(number, 100.0 * number + 30) for number in range(20) if number != 7]
    row = figures("loss=5", sent, 4, arrived, 19_000)
    assert (row["frames"], row["sent"], row["refused"], row["arrived"]) == (24, 20, 4, 19)
    assert row["delay_ms"] == {"p50": 30.0, "p95": 30.0, "p99": 30.0}
    assert row["delay_growth_ms"] == 0.0
    assert row["longest_gap_ms"] == 200.0
    assert row["wire_kbps"] == 80.0


def test_command_measures_delay_and_loss_of_a_known_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["link", "--impair", "delay=30", "--duration", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    assert "| `delay=30` |" in capsys.readouterr().out
    row = json.loads((tmp_path / "link.json").read_text())["rows"][0]
    assert row["arrived"] >= 0.95 * row["sent"] > 0
    assert row["delay_ms"]["p50"] >= 30
    assert row["wire_kbps"] > 30 * (93 + 100) * 8 / 1000


def test_bad_options_end_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link", "--impair", "wind=3"]) == 2
    assert main(["link", "--packet-bytes", "3"]) == 2
    assert capsys.readouterr().err.count("error:") == 2
