"""Where a network runs: device, precision and threads."""

import logging

import torch

from vidcodec.errors import UsageError

_LOG = logging.getLogger(__name__)

_PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(device: str, precision: str) -> tuple[torch.device, torch.dtype]:
    """Turn `--device` and `--precision` into torch's words.

    Args:
        device: `auto` (CUDA where there is a GPU), `cpu` or `cuda`.
        precision: `auto` (half on CUDA, single on a CPU), `fp32`, `fp16` or `bf16`.

    A GPU that is there but does not work (too old for this torch, no memory left) is passed over by `auto`, with a
    warning in the log.

    Raises:
        UsageError: CUDA is asked for and not to be had, or the precision is none a CPU is good for.
    """
    available = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: choose auto, cpu or cuda")
    if device == "cuda" and not available:
        raise UsageError("--device cuda: no CUDA device here; use --device cpu")
    if available and device != "cpu" and (trouble := _trouble()):
        if device == "cuda":
            raise UsageError(f"--device cuda: {trouble}; use --device cpu")
        _LOG.warning("the GPU cannot be used: %s; the CPU does the work", trouble)
        available = False
    where = torch.device("cuda" if device == "cuda" or (device == "auto" and available) else "cpu")
    if precision == "auto":
        return where, torch.float16 if where.type == "cuda" else torch.float32
    if precision not in _PRECISIONS:
        raise UsageError(f"--precision {precision}: choose auto, fp32, fp16 or bf16")
    if precision == "fp16" and where.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU; use fp32 or bf16 on a CPU")
    return where, _PRECISIONS[precision]


def _trouble() -> str | None:
    """Why the GPU cannot multiply in half precision, in a few words; None if it can."""
    try:
        ones = torch.ones(16, 16, dtype=torch.float16, device="cuda")
        return None if float((ones @ ones).sum()) == 16**3 else "it multiplies wrongly"
    except (RuntimeError, AssertionError) as error:  # torch.OutOfMemoryError is a RuntimeError
        return str(error).strip().splitlines()[0].rstrip(".")


def limit_threads(threads: int | None) -> None:
    """Set the number of CPU threads for networks, for the whole process; None leaves torch's choice."""
    if threads is not None:
        torch.set_num_threads(threads)
