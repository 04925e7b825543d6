"""Options from the command line, the environment and a file, by one rule for every command.

    command line  >  $VIDCODEC_BITRATE  >  bitrate = 40 in --config FILE.toml  >  the parser's default

No option is named in here: names, types and choices are those of the command's own parser, so a new option can stand in
the environment and in the file at once. Options that exclude each other count as one: `--quality` on the command line
silences a `bitrate` in the file.
"""

import argparse
import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from vidcodec.errors import InputError, UsageError, reason_of
from vidcodec.logs import set_up_logging

PREFIX = "VIDCODEC_"
OTHER_VARIABLES = frozenset(
    PREFIX + name for name in ("TOKEN", "ICE_PASSWORD", "SIDE", "LPIPS", "DATA", "FUZZ", "LONG")
)
"""Variables of ours that stand for no option: secrets, and what tests and benchmarks need."""

COMMANDS = {
    "sender": ("sender.options", "make_parser"),
    "receiver": ("receiver.__main__", "make_parser"),
    "encode": ("vidcodec.files", "encode_parser"),
    "decode": ("vidcodec.files", "decode_parser"),
    "info": ("vidcodec.files", "info_parser"),
}
"""Commands whose options may stand in a file and in the environment, and where their parsers are."""

EXCLUSIVE = (("quality", "bitrate"), ("demo", "connect"), ("demo", "watch"))
"""Options of which one silences the other, beside those that the parser itself keeps apart."""

EPILOG = (
    "Every option can also stand in the environment (--log-level: VIDCODEC_LOG_LEVEL) and in a TOML file (--config). "
    "The command line goes before the environment, and the environment before the file."
)

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class Given:
    """A value from somewhere else than the command line.

    Attributes:
        value: converted and checked.
        origin: where it stands, for messages.
    """

    value: Any
    origin: str


Layer = Mapping[str, Given]


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None, command: str) -> argparse.Namespace:
    """Parse a command's options from everywhere.

    Args:
        parser: with an option `--config`.
        argv: the command line, None for the program's own.
        command: one of `COMMANDS`, the name of its table in the file.

    Returns:
        The options, and in `origins` by name where each one that was given stands ("" for the command line).

    Raises:
        UsageError: a name that no option has, or a value that it does not take.
        InputError: the file cannot be read, or is no TOML.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    actions = options_of(parser)
    # Before anything else: what is wrong with the options themselves is a log line, too.
    set_up_logging("warning", "--log-json" in words or os.environ.get(variable("log-json"), "").strip().lower() in TRUE)
    # What argparse leaves as it was is not on the command line; lists grow from what is there, so they begin as None.
    blank = {action.dest: None if _is_list(action) else _UNSET for action in actions.values()}
    options = parse_words(parser, words, argparse.Namespace(**blank))
    origins = {name: "" for name, action in actions.items() if getattr(options, action.dest) is not blank[action.dest]}
    rivals = _rivals(parser)

    def take(layer: Layer) -> None:
        before = {name for name in origins if getattr(options, actions[name].dest) is not False}
        _refuse_rivals(layer, rivals)
        for name, given in layer.items():
            if name not in origins and not rivals.get(name, frozenset()) & before:
                setattr(options, actions[name].dest, given.value)
                origins[name] = given.origin

    take(_environment(actions, os.environ))
    if "config" in origins:
        for layer in _file(Path(options.config), actions, command):
            take(layer)
    for name, action in actions.items():
        if name not in origins:
            text = isinstance(action.default, str) and action.type is not None
            setattr(options, action.dest, _typed(action, action.default) if text else action.default)
    options.origins = origins
    return options


@contextlib.contextmanager
def naming_origins(options: argparse.Namespace) -> Iterator[None]:
    """Errors about an option that is not on the command line say where it stands."""
    try:
        yield
    except (UsageError, InputError) as error:
        text = str(error)
        found = (options.origins.get(name) for name in re.findall(r"--([a-z][a-z-]*[a-z])", text))
        origins = dict.fromkeys(origin for origin in found if origin)
        if origins:
            error.args = (f"{text} (from {', '.join(origins)})",)
        raise


def without_options(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for a command that gets all its options on its command line."""
    return {
        name: value for name, value in environment.items() if not name.startswith(PREFIX) or name in OTHER_VARIABLES
    }


def parse_words(
    parser: argparse.ArgumentParser, words: Sequence[str] | None, options: argparse.Namespace | None = None
) -> argparse.Namespace:
    """The parser's own work, its complaint in one line and not below a page of usage.

    Raises:
        UsageError: words that make no sense to the parser.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser.parse_args(words, options)
    except SystemExit as end:
        if not end.code:
            raise
        reason = said.getvalue().strip().rpartition("error: ")[2] or "the options make no sense"
        raise UsageError(f"{reason}; --help lists the options") from None


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The options of a parser by their long names, without dashes before them."""
    found = {}
    for action in parser._actions:
        for word in action.option_strings:
            if word.startswith("--") and action.dest != "help":
                found[word[2:]] = action
    return found


def variable(option: str) -> str:
    """The environment variable of an option."""
    return PREFIX + option.replace("-", "_").upper()


def _environment(actions: Mapping[str, argparse.Action], environment: Mapping[str, str]) -> Layer:
    names = {variable(name): name for name in actions}
    layer = {}
    for key in sorted(environment):
        text = environment[key].strip()
        if not key.startswith(PREFIX) or key in OTHER_VARIABLES:
            continue
        if key not in names:
            known = {variable(name) for others in _everyone().values() for name in others}
            if key not in known:
                raise UsageError(f"${key}: no option has this variable{_near(key, known)}")
        elif text:  # an empty variable is as good as none
            layer[names[key]] = Given(_from_text(actions[names[key]], text, f"${key}"), f"${key}")
    return layer


def _file(path: Path, actions: Mapping[str, argparse.Action], command: str) -> tuple[Layer, Layer]:
    """What a file says in the command's own table, and, for every command, above all tables."""
    own: dict[str, Given] = {}
    common: dict[str, Given] = {}
    for key, content in _read(path).items():
        if not isinstance(content, dict):
            name = _option(key)
            if name in actions and name != "config":
                common[name] = _from_toml(actions[name], content, f"{path}: {key}")
                continue
            known = {other for others in _everyone().values() for other in others} - {"config"}
            if name not in known:
                raise UsageError(f"{path}: {key}: no option has this name{_near(name, known)}")
        elif key not in COMMANDS:
            raise UsageError(f"{path}: [{key}]: no such table; those of {', '.join(COMMANDS)} are read")
        elif key == command:
            for entry, value in content.items():
                name = _option(entry)
                if name not in actions or name == "config":
                    known = set(actions) - {"config"}
                    raise UsageError(f"{path}: [{key}] {entry}: {key} has no such option{_near(name, known)}")
                own[name] = _from_toml(actions[name], value, f"{path}: [{key}] {entry}")
    return own, common


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}: {reason_of(error)}; give a TOML file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--config {path}: not text; give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--config {path}: not TOML: {error}") from error


def _from_text(action: argparse.Action, text: str, where: str) -> Any:
    """A value as a variable holds it: words for a list are apart by spaces or commas."""
    lower = text.lower()
    if action.nargs == 0 or (action.nargs == "?" and lower in TRUE + FALSE):
        if lower not in TRUE + FALSE:
            raise UsageError(f"{where}: {text!r} is neither true nor false")
        return _switched(action, lower in TRUE)
    if _is_list(action):
        return [_checked(action, word, where) for word in text.replace(",", " ").split()]
    return _checked(action, text, where)


def _from_toml(action: argparse.Action, value: Any, where: str) -> Given:
    if action.nargs == 0 or (action.nargs == "?" and isinstance(value, bool)):
        if not isinstance(value, bool):
            raise UsageError(f"{where} = {value!r}: must be true or false")
        return Given(_switched(action, value), where)
    if _is_list(action):
        entries = value if isinstance(value, list) else [value]
        return Given([_checked_toml(action, entry, where) for entry in entries], where)
    return Given(_checked_toml(action, value, where), where)


def _checked_toml(action: argparse.Action, value: Any, where: str) -> Any:
    if action.type is int and type(value) is not int:
        raise UsageError(f"{where} = {value!r}: must be a whole number")
    if action.type is float and type(value) not in (int, float):
        raise UsageError(f"{where} = {value!r}: must be a number")
    if action.type not in (int, float) and not isinstance(value, str):
        raise UsageError(f"{where} = {value!r}: must be text, in quotes")
    return _checked(action, value, where)


def _checked(action: argparse.Action, value: Any, where: str) -> Any:
    """A word or number as the option's type, and one of its choices.

    Messages quote the value: no option holds a secret whose value could be of a wrong type.
    """
    kinds: dict[object, str] = {int: "a whole number", float: "a number"}
    try:
        typed = _typed(action, value)
    except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
        raise UsageError(f"{where}: {value!r} is not {kinds.get(action.type, 'what the option takes')}") from error
    if action.choices is not None and typed not in action.choices:
        near = _near(str(value), [str(choice) for choice in action.choices])
        raise UsageError(f"{where}: {value!r} is none of {', '.join(str(choice) for choice in action.choices)}{near}")
    return typed


def _typed(action: argparse.Action, value: Any) -> Any:
    return action.type(value) if callable(action.type) else value


def _switched(action: argparse.Action, on: bool) -> Any:
    """What an option without a value, or with one that may be left out, stands at."""
    return action.const if on else action.default


def _is_list(action: argparse.Action) -> bool:
    return type(action).__name__ == "_AppendAction"


def _option(key: str) -> str:
    return key.replace("_", "-")


def _rivals(parser: argparse.ArgumentParser) -> dict[str, frozenset[str]]:
    """For each option, those that it excludes."""
    names = {action.dest: name for name, action in options_of(parser).items()}
    groups = [[names[action.dest] for action in group._group_actions] for group in parser._mutually_exclusive_groups]
    found: dict[str, frozenset[str]] = {}
    for group in (*groups, *EXCLUSIVE):
        for name in group:
            found[name] = found.get(name, frozenset()) | (frozenset(group) - {name})
    return found


def _refuse_rivals(layer: Layer, rivals: Mapping[str, frozenset[str]]) -> None:
    """Two options in one place, of which only one can be meant."""
    on = {name: given for name, given in layer.items() if given.value not in (None, False)}
    for name, given in on.items():
        for other in sorted(rivals.get(name, frozenset()) & on.keys()):
            raise UsageError(f"{given.origin} and {on[other].origin} exclude each other: leave one out")


def _everyone() -> dict[str, set[str]]:
    """The options of every command; asked only about names that the running one does not know."""
    return {
        command: set(options_of(getattr(import_module(module), function)()))
        for command, (module, function) in COMMANDS.items()
    }


def _near(name: str, known: set[str] | Sequence[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
