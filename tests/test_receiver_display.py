"""A window only where one can be opened: OpenCV aborts the whole process otherwise."""

import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from call_commands import ROOT

from receiver.display import choose_display, has_screen
from vidcodec.errors import UsageError


@pytest.fixture(autouse=True)
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="always has a screen")
@pytest.mark.parametrize(
    "display", ["", ":987", "localhost:987", "localhost:99999", "nonsense", "host.invalid:1.0", ":x"]
)
def test_screen_that_does_not_answer_is_no_screen(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", display)
    assert not has_screen()
    assert choose_display("auto") == "web"
    with pytest.raises(UsageError, match="no screen"):
        choose_display("window")
    assert choose_display("none") == "none"


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="always has a screen")
def test_screen_that_answers_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as screen:
        screen.bind(str(tmp_path / "wayland-7"))
        screen.listen(4)
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-7")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert has_screen()
        assert choose_display("auto") == choose_display("window") == "window"
        assert choose_display("none") == "none"


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs xvfb-run")
def test_window_shows_a_picture_and_closes() -> None:
    program = """
        import numpy as np
        from receiver.display import Window, choose_display
        assert choose_display("auto") == "window"
        window = Window()
        for value in (50, 200):
            window.show(np.full((524, 416, 3), value, np.uint8))
        assert not window.wants_to_quit()
        window.close()
        print("shown")
    """
    command = ["xvfb-run", "-a", sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "shown\n", done.stderr


def test_opencv_is_imported_before_pyav_by_both_commands() -> None:
    program = """
        import sys
        class Watch:
            def find_spec(self, name, path=None, target=None):
                if name in ("cv2", "av"):
                    seen.append(name)
        seen = []
        sys.meta_path.insert(0, Watch())
        import {modules}
        print(*[name for index, name in enumerate(seen) if name not in seen[:index]])
    """
    modules = ("receiver.call, receiver.measuring, receiver.recording", "sender.call, sender.videofile, sender.camera")
    for named in modules:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program).format(modules=named)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split()[0] == "cv2"
