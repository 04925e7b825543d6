"""Why something failed, in the words of a line."""

import errno
import os

import pytest

from vidcodec.errors import reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a file"), os.strerror(errno.ENOSPC)),
        (OSError("no number in it"), "no number in it"),
        (ValueError("first line\nsecond line"), "first line"),
        (ValueError(), "ValueError"),
    ],
)
def test_reason_is_one_line_without_number_and_file(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_reason_of_what_the_system_did_not_refuse_may_be_another() -> None:
    assert reason_of(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "not text") == "not text"
    assert reason_of(FileNotFoundError(errno.ENOENT, "No such file"), "not text") == "No such file"
