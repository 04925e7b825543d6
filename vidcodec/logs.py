"""What goes to stderr: log lines and errors, for people or, with `--log-json`, one JSON object a line for programs.

    {"time":"2026-01-31T12:00:00.123Z","level":"warning","logger":"receiver.call","message":"...","pid":4711,...}

Fields given as `log.info("call over", extra={"frames_sent": 300})` stand beside those; a traceback is in `exception`.
"""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

OURS = ("vidcodec", "sender", "receiver")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. Extra fields never replace the standard ones."""
        at = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                fields.setdefault(name, value)
        return json.dumps(fields, default=str, separators=(",", ":"))


class JsonHandler(logging.StreamHandler):
    """Writes JSON lines to stderr."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonFormatter())


def set_up_logging(level: str, as_json: bool = False) -> None:
    """Log to stderr, one line an event, our own loggers at `level` and other packages' at warnings.

    With `as_json` Python's own warnings and what ends a thread or the program are log lines as well.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, JsonHandler) or (as_json and type(handler) is logging.StreamHandler):
            root.removeHandler(handler)
    if as_json:
        root.addHandler(JsonHandler())
        logging.captureWarnings(True)
        sys.excepthook = _log_crash
        threading.excepthook = _log_thread_crash
    else:
        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())


def logs_json() -> bool:
    """Whether log lines are JSON."""
    return any(isinstance(handler, JsonHandler) for handler in logging.getLogger().handlers)


def say(text: str, level: int = logging.WARNING, **fields: object) -> None:
    """A line on stderr that people get as it is, whatever the log level; a log line of `vidcodec` where those are JSON.

    Args:
        text: the line.
        level: of the log line.
        fields: more of the log line.
    """
    if logs_json():
        logging.getLogger("vidcodec").log(max(level, logging.getLogger("vidcodec").level), text, extra=fields)
    else:
        print(text, file=sys.stderr, flush=True)


def say_error(error: Exception, exit_status: int) -> None:
    """The one line that says why a command ends."""
    text = str(error) if logs_json() else f"error: {error}"
    say(text, logging.ERROR, exit_status=exit_status)


def said_error(line: str) -> str | None:
    """What a line of another command's stderr says if it is the error that ends it, else None."""
    if line.startswith("error: "):
        return line.removeprefix("error: ").strip()
    if not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    is_error = isinstance(fields, dict) and fields.get("level") == "error" and "exit_status" in fields
    return str(fields.get("message", "")) if is_error else None


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("vidcodec").critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _log_thread_crash(crash: "threading.ExceptHookArgs") -> None:
    if crash.exc_value is not None:
        _log_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)
