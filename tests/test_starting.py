"""The age of a process: counted from its start, not from the import."""

import subprocess
import sys
import time

from vidcodec.starting import process_age_s

AGE = "import time; time.sleep(0.5); from vidcodec.starting import process_age_s; print(process_age_s())"


def test_age_counts_what_went_before_the_import() -> None:
    began_s = time.monotonic()
    said = subprocess.run([sys.executable, "-c", AGE], capture_output=True, text=True, check=True)
    took_s = time.monotonic() - began_s
    least_s = 0.48 if sys.platform == "linux" else 0.0  # a clock tick is 10 ms
    assert least_s <= float(said.stdout) <= took_s + 0.02


def test_age_grows_with_the_clock() -> None:
    first_s, began_s = process_age_s(), time.monotonic()
    time.sleep(0.2)
    assert abs(process_age_s() - first_s - (time.monotonic() - began_s)) < 0.05


def test_where_the_system_does_not_say_the_import_is_the_start(monkeypatch) -> None:
    monkeypatch.setattr("vidcodec.starting.Path.read_text", lambda *_: "no such format")
    assert 0.0 <= process_age_s() < 3600.0
