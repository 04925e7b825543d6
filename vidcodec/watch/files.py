"""What the page needs beside its own files: the model for a browser and ONNX Runtime Web, made once by `export-web`.

    FOLDER/model-<first 16 digits of the weights' sha256>/   symbols.json, symbols.bin, warp.onnx, decode.onnx
    FOLDER/runtime/                                          files of the npm package onnxruntime-web

Neither is part of this package: the first follows from the weights, the second is large and not ours.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from vidcodec.watch import FORMAT

STATIC = Path(__file__).parent / "static"
MODEL_FILES = ("symbols.json", "symbols.bin", "warp.onnx", "decode.onnx")
RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""The first three for WebAssembly, the others for WebGPU."""

TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".bin": "application/octet-stream",
    ".onnx": "application/octet-stream",
}
PAGE = "/watch"


def default_folder() -> Path:
    """Where `export-web` writes and the sender reads, unless told otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "vidcodec" / "watch"


def model_folder(folder: Path, weights_sha256: str) -> Path:
    """Where the model with these weights lies."""
    return folder / f"model-{weights_sha256[:16]}"


@dataclass(frozen=True)
class WatchFiles:
    """Every file that the page may ask for, by URL path; no other path is ever served.

    Attributes:
        paths: URL path to file.
        model, runtime: URL paths of the two folders.
        missing: one line that says what is not there and how to get it, empty when all is there.
    """

    paths: dict[str, Path]
    model: str
    runtime: str
    missing: str

    @classmethod
    def find(cls, folder: Path, model_id: str, weights_sha256: str) -> "WatchFiles":
        """The files for a model with these weights."""
        held = model_folder(folder, weights_sha256)
        model, runtime = f"{PAGE}/{held.name}/", f"{PAGE}/runtime/"
        paths = {f"{PAGE}/{path.name}": path for path in STATIC.iterdir() if path.suffix in TYPES}
        paths[PAGE] = paths.pop(f"{PAGE}/watch.html")
        paths |= {model + name: held / name for name in MODEL_FILES}
        paths |= {runtime + name: folder / "runtime" / name for name in RUNTIME_FILES}
        return cls(paths, model, runtime, _missing(folder, held, model_id, weights_sha256))

    def describe(self) -> str:
        """What the page is told first, as JSON."""
        return json.dumps({"missing": self.missing, "model": self.model, "runtime": self.runtime})


def _missing(folder: Path, held: Path, model_id: str, weights_sha256: str) -> str:
    how = "run `python -m vidcodec export-web` where the sender is (docs/web.md)"
    if not all((folder / "runtime" / name).is_file() for name in RUNTIME_FILES):
        return f"ONNX Runtime Web is not in {folder / 'runtime'}: {how}"
    if not all((held / name).is_file() for name in MODEL_FILES):
        return f"model {model_id} ({weights_sha256[:12]}) is not in {folder} for browsers: {how}"
    try:
        described = json.loads((held / "symbols.json").read_text("utf-8"))
        if described["format"] == FORMAT and described["weights_sha256"] == weights_sha256:
            return ""
    except (OSError, ValueError, KeyError, TypeError):
        return f"{held} cannot be read: {how}"
    return f"{held} was made by another version: {how}"
