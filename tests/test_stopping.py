"""Ctrl-C and SIGTERM: at once while a command starts, in order while a call runs, at once when asked twice."""

import os
import signal
import subprocess
import sys

import pytest

from vidcodec.stopping import Stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_before_the_call_interrupts_at_once(number: int) -> None:
    with Stopping() as stop, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert stop.requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_a_call_is_a_request_and_the_second_one_interrupts(number: int) -> None:
    with Stopping() as stop, stop.deferred():
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_of_before_are_back_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Stopping():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_signal_within_code_that_is_executed_from_a_string_leaves_the_exit_status_alone() -> None:
    program = (
        "import os, signal, sys\n"
        "from vidcodec.stopping import Stopping\n"
        "try:\n"
        "    with Stopping():\n"
        "        exec('os.kill(os.getpid(), signal.SIGINT)')\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(3)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 3
