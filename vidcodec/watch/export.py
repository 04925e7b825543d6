"""`python -m vidcodec export-web`: everything that a browser needs to decode, into one folder."""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from vidcodec.cli import add_shared
from vidcodec.errors import InputError, UsageError, reason_of
from vidcodec.settings import parse_words
from vidcodec.watch.files import RUNTIME_FILES, default_folder, model_folder

RUNTIME = "onnxruntime-web@1.30.0"
"""The npm package, at the version that this was tested with."""

FETCH_S = 300.0


def make_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        prog="vidcodec export-web",
        description="Write what `python -m sender --watch` serves: the model as ONNX graphs and tables, and ONNX "
        f"Runtime Web (npm package {RUNTIME}).",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, default=None, help=f"folder (default: {default_folder()})")
    parser.add_argument(
        "--runtime",
        metavar="DIR",
        type=Path,
        help="take ONNX Runtime Web from this folder (an unpacked onnxruntime-web, or its dist) and not by npm",
    )
    parser.add_argument("--no-runtime", action="store_true", help="write the model only")
    parser.add_argument("--no-model", action="store_true", help="fetch ONNX Runtime Web only")
    add_shared(parser, "weights")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = parse_words(make_parser(), argv)
    folder: Path = options.out or default_folder()
    if not options.no_model:
        held = export_model(folder, Path(options.weights) if options.weights else None)
        print(f"model: {held}")
    if not options.no_runtime:
        runtime = folder / "runtime"
        copy_runtime(options.runtime, runtime) if options.runtime else fetch_runtime(runtime)
        print(f"runtime: {runtime}")
    return 0


def export_model(folder: Path, weights: Path | None = None) -> Path:
    """Write the model `s`; returns its folder.

    Raises:
        UsageError: what writes ONNX files is not installed.
        InputError: the weights cannot be read, or the folder cannot be written.
    """
    from vidcodec.learned import LearnedCodec
    from vidcodec.watch.integers import describe
    from vidcodec.watch.networks import graphs
    from vidcodec.weights import load_weights

    loaded = load_weights("s", weights)
    codec = LearnedCodec.load("s", "cpu", "fp32", weights=weights)
    try:
        described, arrays = describe(loaded, codec.info.model_id)
    except (KeyError, ValueError) as error:
        raise InputError(f"weights {loaded.path}: {error}; not of this version") from error
    files = {"symbols.bin": arrays, **{f"{name}.onnx": graph for name, graph in graphs(codec.plain_model()).items()}}
    held = model_folder(folder, loaded.sha256)
    for name, data in {**files, "symbols.json": described}.items():  # the description last: it says that all is there
        _write(held / name, data)
    return held


def copy_runtime(source: Path, runtime: Path) -> None:
    """Take ONNX Runtime Web from a folder that holds it.

    Raises:
        InputError: a file is missing there, or cannot be written.
    """
    places = (source, source / "dist", source / "node_modules" / "onnxruntime-web" / "dist")
    dist = next((place for place in places if (place / RUNTIME_FILES[0]).is_file()), None)
    if dist is None:
        raise InputError(f"--runtime {source}: no {RUNTIME_FILES[0]} there; give the folder of {RUNTIME}")
    for name in RUNTIME_FILES:
        try:
            _write(runtime / name, (dist / name).read_bytes())
        except OSError as error:
            raise InputError(f"{dist / name}: {reason_of(error)}; give the folder of {RUNTIME}") from error


def fetch_runtime(runtime: Path) -> None:
    """Have npm fetch ONNX Runtime Web; npm checks what it gets against the registry's hash. No script of it runs.

    Raises:
        UsageError: there is no npm.
        InputError: npm could not fetch it.
    """
    npm = shutil.which("npm")
    how = f"give `--runtime DIR` of an unpacked {RUNTIME}"
    if npm is None:
        raise UsageError(f"npm is not installed: {how}")
    with tempfile.TemporaryDirectory() as temporary:
        words = [npm, "pack", "--silent", "--ignore-scripts", RUNTIME]
        try:
            done = subprocess.run(
                words,
                cwd=temporary,
                check=False,
                capture_output=True,
                text=True,
                timeout=FETCH_S,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"npm did not fetch {RUNTIME} within {FETCH_S:g} s: {how}") from error
        archives = list(Path(temporary).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
            raise InputError(f"npm cannot fetch {RUNTIME} ({reason}): {how}")
        _unpack(archives[0], runtime)


def _unpack(archive: Path, runtime: Path) -> None:
    """Only the files that are served, by their names; nothing else of the archive touches the disk."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes()), mode="r:gz") as tar:
            for name in RUNTIME_FILES:
                member = tar.extractfile(f"package/dist/{name}")
                if member is None:
                    raise KeyError(name)
                _write(runtime / name, member.read())
    except (KeyError, tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{RUNTIME} does not hold what it should ({error})") from error


def _write(path: Path, data: bytes) -> None:
    """So that a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {reason_of(error)}; give another --out DIR") from error
