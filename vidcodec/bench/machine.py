"""What a benchmark ran on: threads, memory, and the fastest that the machine can multiply."""

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from vidcodec.bench.output import load_average


def limit_threads(threads: int, torch_too: bool = True) -> None:
    """Threads of OpenCV and, for what runs in it, torch; peers' memory should not hold torch."""
    import cv2

    cv2.setNumThreads(threads)
    if torch_too:
        import torch

        torch.set_num_threads(threads)


def peak_mb(device: str) -> float | None:
    """Most memory this process ever held; None on a system that does not say."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would do elsewhere, but on Linux a child starts with its parent's peak
        line = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) / 1e3
    if sys.platform != "darwin":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def machine(threads: int, device: str) -> dict[str, Any]:
    """What ran, and the fastest it can multiply: a 1x1 convolution (a matrix product) and a 3x3 one."""
    import torch

    limit_threads(threads)
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peak_1x1_gmac_per_s": round(_conv_peak(256, 1, cuda), 1),
        "peak_3x3_gmac_per_s": round(_conv_peak(128, 3, cuda), 1),
        "load": load_average(),
    }


def _conv_peak(channels: int, kernel: int, cuda: bool) -> float:
    """GMAC/s of one convolution at 48x48, best of several: what a network could reach at most (a core, on a CPU)."""
    import torch

    place = torch.device("cuda" if cuda else "cpu")
    kind = torch.float16 if cuda else torch.float32
    x = torch.randn(1, channels, 48, 48, device=place, dtype=kind).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, kernel, kernel, device=place, dtype=kind)
    weight = weight.contiguous(memory_format=torch.channels_last)
    best = float("inf")
    clock = time.perf_counter if cuda else time.process_time
    with torch.inference_mode():
        for _ in range(30):
            start = clock()
            for _ in range(4):
                torch.nn.functional.conv2d(x, weight, padding=kernel // 2)
            if cuda:
                torch.cuda.synchronize()
            best = min(best, (clock() - start) / 4)
    return 48 * 48 * channels * channels * kernel * kernel / 1e9 / best
