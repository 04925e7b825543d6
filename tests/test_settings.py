"""Options from the command line, the environment and a file: which one counts, and what is said of a wrong one."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from call_commands import ROOT, only_error_line

from receiver.__main__ import main as receiver_main
from receiver.__main__ import make_parser as receiver_parser
from sender.__main__ import main as sender_main
from sender.options import make_parser, receiver_arguments
from vidcodec.__main__ import main as vidcodec_main
from vidcodec.errors import InputError, UsageError
from vidcodec.settings import OTHER_VARIABLES, naming_origins, options_of, parse, variable, without_options


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("VIDCODEC_") and name not in OTHER_VARIABLES:
            monkeypatch.delenv(name)


def sender(*words: str) -> argparse.Namespace:
    return parse(make_parser(), words, "sender")


def written(folder: Path, text: str) -> str:
    file = folder / "call.toml"
    file.write_text(text)
    return str(file)


def test_command_line_goes_before_environment_before_file_before_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, 'bitrate = 20\nfps = 10\ncrop = "none"\n')
    monkeypatch.setenv("VIDCODEC_BITRATE", "30")
    monkeypatch.setenv("VIDCODEC_FPS", "12.5")
    options = sender("--config", file, "--bitrate", "50")
    assert (options.bitrate, options.fps, options.crop, options.display) == (50.0, 12.5, "none", "auto")
    assert options.origins["bitrate"] == ""
    assert options.origins["fps"] == "$VIDCODEC_FPS"
    assert options.origins["crop"] == f"{file}: crop"
    assert "display" not in options.origins


def test_default_on_the_command_line_counts_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDCODEC_CROP", "none")
    assert sender("--crop", "face").crop == "face"
    assert sender().crop == "none"


def test_own_table_goes_before_what_is_for_all_and_other_tables_are_passed_over(tmp_path: Path) -> None:
    file = written(
        tmp_path, 'log-level = "info"\nmodel = "seed"\n[sender]\nlog_level = "error"\n[receiver]\nonce = true\n'
    )
    assert sender("--config", file).log_level == "error"
    options = parse(receiver_parser(), ["--config", file], "receiver")
    assert (options.log_level, options.once, options.model) == ("info", True, "seed")


def test_options_of_another_command_above_the_tables_are_no_mistake(tmp_path: Path) -> None:
    file = written(tmp_path, 'listen = "127.0.0.1:1"\nbitrate = 30\n')
    assert sender("--config", file).bitrate == 30
    assert parse(receiver_parser(), ["--config", file], "receiver").listen == "127.0.0.1:1"


def test_file_can_be_named_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDCODEC_CONFIG", written(tmp_path, "fps = 5\n"))
    assert sender().fps == 5.0


def test_every_option_of_every_parser_can_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for make, command in ((make_parser, "sender"), (receiver_parser, "receiver")):
        for name, action in options_of(make()).items():
            if name in ("config", "log-json"):  # test_logs has the second one, in a process of its own
                continue
            text: str = "1" if action.nargs == 0 or action.type in (int, float) else "x"
            if action.choices:
                text = str(list(action.choices)[-1])
            with monkeypatch.context() as patch:
                patch.setenv(variable(name), text)
                value = getattr(parse(make(), [], command), action.dest)
            expected: Any = True if action.nargs == 0 else text if action.type is None else action.type(text)  # type: ignore[operator]
            assert value == ([text] if name in ("ice-server", "record") else expected), name


def test_every_option_of_the_sender_can_stand_in_a_file(tmp_path: Path) -> None:
    for name, action in options_of(make_parser()).items():
        if name in ("config", "log-json"):
            continue
        value: Any = True if action.nargs == 0 else 1 if action.type in (int, float) else "x"
        if action.choices:
            value = list(action.choices)[-1]
        options = sender("--config", written(tmp_path, f"[sender]\n{name.replace('-', '_')} = {json.dumps(value)}\n"))
        expected = [value] if name in ("ice-server", "record") else Path("x") if action.type is Path else value
        assert getattr(options, action.dest) == expected, name


def test_lists_and_options_whose_value_may_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, 'ice-server = ["stun:a:1", "turn:b:2"]\nvirtual-camera = true\nloopback = false\n')
    options = sender("--config", file)
    assert (options.ice_server, options.virtual_camera, options.loopback) == (["stun:a:1", "turn:b:2"], "480p", False)
    assert sender("--config", file, "--ice-server", "stun:c:3").ice_server == ["stun:c:3"]
    monkeypatch.setenv("VIDCODEC_ICE_SERVER", "stun:d:4, stun:e:5")
    monkeypatch.setenv("VIDCODEC_VIRTUAL_CAMERA", "720p")
    options = sender("--config", file)
    assert (options.ice_server, options.virtual_camera) == (["stun:d:4", "stun:e:5"], "720p")
    assert sender("--virtual-camera").virtual_camera == "480p"


def test_option_silences_those_that_it_excludes_further_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, 'bitrate = 20\nconnect = "http://a/whip"\n[sender]\nquality = 9\n')
    options = sender("--config", file)
    assert (options.quality, options.bitrate) == (9, None)
    monkeypatch.setenv("VIDCODEC_BITRATE", "30")
    options = sender("--config", file, "--loopback")
    assert (options.quality, options.bitrate, options.connect) == (None, 30.0, None)
    monkeypatch.setenv("VIDCODEC_LOOPBACK", "no")
    assert sender("--config", file).connect == "http://a/whip", "what is off excludes nothing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bitrte = 3\n", "bitrte: no option has this name; did you mean bitrate?"),
        ("[sendr]\n", "[sendr]: no such table"),
        ("[sender]\nlisten = '127.0.0.1:1'\n", "[sender] listen: sender has no such option"),
        ("[sender]\nvirtual_camra = true\n", "did you mean virtual-camera?"),
        ("bitrate = 'fast'\n", "bitrate = 'fast': must be a number"),
        ("bitrate = true\n", "bitrate = True: must be a number"),
        ("frames = 1.5\n", "frames = 1.5: must be a whole number"),
        ("[sender]\nloop = 1\n", "[sender] loop = 1: must be true or false"),
        ("input = 0\n", "input = 0: must be text, in quotes"),
        ("crop = 'fce'\n", "crop: 'fce' is none of face, center, none; did you mean face?"),
        ("baseline-scale = 3\n", "baseline-scale: 3 is none of 1, 2, 4, 8"),
        ("ice-server = [1]\n", "must be text"),
        ("config = 'x'\n", "config: no option has this name"),
        ("quality = 1\nbitrate = 2\n", "exclude each other"),
    ],
)
def test_mistakes_in_a_file_end_with_status_2_and_one_line_that_names_it(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, text)
    assert sender_main(["--loopback", "--config", file]) == 2
    line = only_error_line(capsys.readouterr().err.splitlines())
    assert file in line and said in line


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("VIDCODEC_BITRAT", "3", "did you mean VIDCODEC_BITRATE"),
        ("VIDCODEC_BITRATE", "fast", "'fast' is not a number"),
        ("VIDCODEC_FRAMES", "1.5", "'1.5' is not a whole number"),
        ("VIDCODEC_LOOP", "maybe", "'maybe' is neither true nor false"),
        ("VIDCODEC_MODEL", "ss", "did you mean s?"),
    ],
)
def test_mistakes_in_the_environment_end_with_status_2_and_one_line_that_names_it(
    key: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(key, text)
    assert sender_main(["--loopback"]) == 2
    line = only_error_line(capsys.readouterr().err.splitlines())
    assert f"${key}" in line and said in line


def test_empty_variable_is_none_and_secrets_are_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDCODEC_BITRATE", " ")
    monkeypatch.setenv("VIDCODEC_TOKEN", "hush")
    monkeypatch.setenv("VIDCODEC_ICE_PASSWORD", "hush")
    assert sender().bitrate is None
    assert "hush" not in repr(sender())


def test_file_that_cannot_be_read_ends_with_status_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sender_main(["--loopback", "--config", str(tmp_path / "missing.toml")]) == 3
    assert "missing.toml" in only_error_line(capsys.readouterr().err.splitlines())
    (tmp_path / "noise.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not text"):
        sender("--config", str(tmp_path / "noise.toml"))
    file = written(tmp_path, "bitrate =\n")
    for main, words in ((sender_main, ["--loopback"]), (receiver_main, []), (vidcodec_main, ["info", "x.vdc"])):
        assert main([*words, "--config", file]) == 3
        assert f"--config {file}: not TOML" in only_error_line(capsys.readouterr().err.splitlines())


def test_error_about_a_value_says_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDCODEC_BITRATE", "-1")
    assert sender_main(["--loopback"]) == 2
    assert "(from $VIDCODEC_BITRATE)" in only_error_line(capsys.readouterr().err.splitlines())
    file = written(tmp_path, "[sender]\nfps = 0\n")
    assert sender_main(["--loopback", "--bitrate", "3", "--config", file]) == 2
    assert f"(from {file}: [sender] fps)" in only_error_line(capsys.readouterr().err.splitlines())
    with pytest.raises(UsageError) as raised, naming_origins(sender("--bitrate", "3")):
        raise UsageError("--bitrate 3: given here")
    assert str(raised.value) == "--bitrate 3: given here"


def test_file_commands_read_the_same_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, '[encode]\nmodel = "seed"\nquality = 99\n[decode]\nthreads = 1\n')
    assert vidcodec_main(["encode", "sample", str(tmp_path / "x.vdc"), "--config", file]) == 2
    said = only_error_line(capsys.readouterr().err.splitlines())
    assert "--quality 99" in said and f"{file}: [encode] quality" in said


def test_receiver_of_a_loopback_call_gets_arguments_and_no_variables() -> None:
    environment = {"PATH": "/bin", "VIDCODEC_RECORD": "x.mkv", "VIDCODEC_ICE_PASSWORD": "hush"}
    assert without_options(environment) == {"PATH": "/bin", "VIDCODEC_ICE_PASSWORD": "hush"}
    options = make_parser().parse_args(["--log-json"])
    assert "--log-json" in receiver_arguments(options)


def test_settings_need_no_heavy_module(tmp_path: Path) -> None:
    file = written(tmp_path, "bitrte = 1\n")
    program = (
        "import sys, sender.__main__ as command\n"
        f"print(command.main(['--loopback', '--config', {file!r}]))\n"
        "print(sorted({'torch', 'cv2', 'av', 'aiortc', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2", "[]"]


def test_example_of_the_documentation_is_read_by_both_ends(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "call.md").read_text("utf-8")
    file = written(tmp_path, document.partition("```toml\n")[2].partition("```")[0])
    options = sender("--config", file)
    assert (options.bitrate, options.input, options.log_json, options.model) == (35.0, "0", True, "s")
    options = parse(receiver_parser(), ["--config", file], "receiver")
    assert (options.record, options.ice_server) == (["call.mkv", "call.vdc"], ["stun:stun.example.org:3478"])


def test_every_variable_that_is_spoken_of_is_an_option_or_known() -> None:
    """One that is missing among the known ones would end every command that runs beside it."""
    options = {variable(name) for make in (make_parser, receiver_parser) for name in options_of(make())}
    files = [ROOT / "Makefile", *(ROOT / ".ci").glob("*")]
    for folder in ("vidcodec", "sender", "receiver", "tests", "docs"):
        files += [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.md")]
    spoken: set[str] = set()
    for file in files:
        if file.is_file() and file.name != Path(__file__).name:
            spoken |= set(re.findall(r"\bVIDCODEC_[A-Z_]*[A-Z]", file.read_text("utf-8", errors="replace")))
    assert {"VIDCODEC_TOKEN", "VIDCODEC_DATA"} <= spoken
    assert spoken <= options | OTHER_VARIABLES


def test_bitrate_that_no_codec_can_take_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert sender_main(["--loopback", "--bitrate", "1e9"]) == 2
    assert "kbit/s" in only_error_line(capsys.readouterr().err.splitlines())
