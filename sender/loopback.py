"""The receiver of a loopback call: a process of its own on this machine, reached over real WebRTC."""

import os
import queue
import secrets
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from vidcodec.errors import InputError, PeerError, UsageError, VidcodecError
from vidcodec.logs import said_error
from vidcodec.settings import without_options
from vidcodec.sidechannel import SideSender

START_S = 60.0
END_S = 30.0


class LoopbackReceiver:
    """Starts `python -m receiver` and hands pictures to it. Use as a context manager.

    It gets its token through the environment, listens on a free port of 127.0.0.1, ends after one call, and is in a
    session of its own, so that Ctrl-C reaches it through the sender's goodbye.

    Args:
        arguments: further options of the receiver.

    Attributes:
        side: the way for originals and baseline pictures.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.side = SideSender()
        # What stands there for options is the sender's; the receiver gets what concerns it as arguments.
        ours = without_options(os.environ)
        environment = {**ours, **self.side.environment, "VIDCODEC_TOKEN": secrets.token_urlsafe(16)}
        environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"  # what we read, whatever the locale
        command = [sys.executable, "-m", "receiver", "--listen", "127.0.0.1:0", "--once", *arguments]
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
        assert self._process.stdout is not None and self._process.stderr is not None  # they are pipes
        self._lines: queue.Queue[str] = queue.Queue()
        self._listens = False
        self._error = ""
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._pass_on, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Process id of the receiver."""
        return self._process.pid

    def url(self) -> str:
        """Wait until the receiver listens; returns its URL.

        Raises:
            VidcodecError: the error that it ended with; PeerError when it said nothing in time.
        """
        try:
            line = self._lines.get(timeout=START_S)
        except queue.Empty:
            raise PeerError(f"the receiver's process said nothing within {START_S:.0f} s") from None
        if not line:
            status = self._process.wait()
            self._readers[1].join(2.0)
            kinds: tuple[type[VidcodecError], ...] = (UsageError, InputError)
            kind = next((kind for kind in kinds if kind.exit_status == status), PeerError)
            raise kind(self._error or f"the receiver's process ended with status {status} before it listened")
        self._listens = True
        return line

    def close(self) -> None:
        """Wait for the receiver to end by itself; if it does not, end it. What it still says is passed on."""
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for reader in self._readers:
            reader.join(2.0)
        self.side.close()

    @property
    def status(self) -> int:
        """What went wrong at the receiver, once it is closed: its exit status, such as 3 for a recording that could not
        be written. How the link ended is for the sender to say, and 0 here, as for one that a signal ended."""
        status = self._process.returncode
        return 0 if status < 0 or status == PeerError.exit_status else status

    def terminate(self) -> None:
        """End the receiver now: there will be no call."""
        self._process.terminate()

    def _pass_on(self, pipe: IO[str]) -> None:
        """What the receiver says on stderr goes to ours. What ends it before it listens is raised by `url` instead."""
        with pipe:
            for line in pipe:
                error = None if self._listens else said_error(line)
                if error is not None:
                    self._error = error
                else:
                    print(line.rstrip(), file=sys.stderr, flush=True)

    def _read(self, pipe: IO[str]) -> None:
        """The first line is where the receiver listens; what it says after that is for people."""
        with pipe:
            self._lines.put(pipe.readline().strip())
            for line in pipe:
                with suppress(BrokenPipeError):  # nobody reads us any more; the receiver's pipe is emptied all the same
                    print(line.rstrip(), flush=True)

    def __enter__(self) -> "LoopbackReceiver":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.terminate()
        self.close()
