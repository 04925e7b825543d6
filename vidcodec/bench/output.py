"""Where a benchmark's figures go: DIR/NAME.json and DIR/NAME.md, and the same page on the screen."""

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vidcodec.errors import InputError, MissingExtra, reason_of


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add `--out DIR`, which is looked at when it is parsed: what took an hour to measure is not lost at its end."""
    help_text = "folder for the figures (default: %(default)s)"
    parser.add_argument("--out", type=output_folder, default="bench-out", metavar="DIR", help=help_text)


def output_folder(text: str) -> Path:
    """The folder of this name, which need not exist yet.

    Raises:
        InputError: it could not be made or written.
    """
    folder = Path(text)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--out {text}: {there} is no folder")
    try:
        with tempfile.TemporaryFile(dir=there):  # tried: permissions do not say all, least of all to root
            pass
    except OSError as error:
        raise InputError(f"--out {text}: {there} cannot be written; give a folder that can") from error
    return folder


def need(command: str, *packages: str) -> None:
    """Look for packages of the extra before the work, not at its end.

    Raises:
        MissingExtra: one is missing.
    """
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtra(f"{command} needs {package}", "bench")


def write_run(folder: Path, name: str, result: Mapping[str, Any], page: str) -> None:
    """Print the page, then write it and the figures, NAME.md and NAME.json: a disk that is full loses neither.

    Raises:
        InputError: the folder cannot be written.
    """
    print(page)
    save(folder, {f"{name}.json": json.dumps(result, indent=1) + "\n", f"{name}.md": page})


def read_run(folder: Path, name: str) -> dict[str, Any]:
    """What an earlier run left in NAME.json; nothing where there is none or it is unreadable."""
    try:
        kept = json.loads((folder / f"{name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def save(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts, by the name of their file, into a folder that is made where there is none; a kill leaves of each
    the old one or the new one.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            partial = folder / f"{name}.partial"
            partial.write_text(text, "utf-8")
            partial.replace(folder / name)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({reason_of(error)})") from error


def load_average() -> float | None:
    """How many processes wanted a core in the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
