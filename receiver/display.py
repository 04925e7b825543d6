"""A window, where there is a screen to open one on."""

import os
import socket
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vidcodec.errors import UsageError

Picture = NDArray[np.uint8]

TITLE = "vidcodec"
_QUIT_KEYS = (ord("q"), 27)


def has_screen() -> bool:
    """Whether a window can be opened. OpenCV would abort the whole process where none can, so the screen is tried."""
    if sys.platform in ("darwin", "win32"):
        return True
    wayland = os.environ.get("WAYLAND_DISPLAY")
    if wayland:
        folder = os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")
        if _answers(socket.AF_UNIX, str(Path(folder) / wayland)):
            return True
    display = os.environ.get("DISPLAY", "")
    host, colon, rest = display.rpartition(":")
    number = rest.split(".")[0]
    if not colon or not number.isdigit():
        return False
    if host in ("", "unix"):
        path = f"/tmp/.X11-unix/X{number}"
        return _answers(socket.AF_UNIX, path) or _answers(socket.AF_UNIX, "\0" + path)
    return _answers(socket.AF_INET, (host, 6000 + int(number)))


def _answers(family: socket.AddressFamily, address: object) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)  # type: ignore[arg-type]
        except (OSError, OverflowError):  # a display whose number makes no port
            return False
        return True


def choose_display(wanted: str) -> str:
    """`window`, `web` or `none` for an option `auto` or one of them.

    Raises:
        UsageError: a window is wanted where there is no screen.
    """
    if wanted in ("none", "web"):
        return wanted
    if has_screen():
        return "window"
    if wanted == "window":
        raise UsageError("--display window: there is no screen here; use --display web or none, or set DISPLAY")
    return "web"


class Window:
    """Shows pictures. Only the main thread may use it."""

    def __init__(self) -> None:
        self._open = False
        self._quit = False
        self._shape: tuple[int, ...] = ()

    def show(self, picture: Picture) -> None:
        """Show a picture `[H, W, 3]` uint8 RGB; the window takes the size of one that has another than the last."""
        if not self._open:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            self._open = True
        if picture.shape != self._shape:
            cv2.resizeWindow(TITLE, picture.shape[1], picture.shape[0])
            self._shape = picture.shape
        cv2.imshow(TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._handle_events()

    def wants_to_quit(self) -> bool:
        """Handle the window's events; True once it was closed, or q or Esc was pressed."""
        if self._open:
            self._handle_events()
        return self._quit

    def _handle_events(self) -> None:
        self._quit = self._quit or cv2.waitKey(1) & 0xFF in _QUIT_KEYS
        self._quit = self._quit or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1

    def close(self) -> None:
        """Close the window."""
        if self._open:
            cv2.destroyAllWindows()
            cv2.waitKey(1)
            self._open = False
