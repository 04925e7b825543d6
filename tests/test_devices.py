"""Where a network runs: what is asked for, what is there, and a GPU that is there but of no use."""

import logging

import pytest
import torch

from vidcodec.devices import choose_device
from vidcodec.errors import UsageError
from vidcodec.learned import LearnedCodec

NO_GPU = not torch.cuda.is_available()


@pytest.mark.skipif(not NO_GPU, reason="there is a CUDA device")
def test_without_a_gpu_auto_is_the_cpu_in_single_precision_and_cuda_is_refused() -> None:
    assert choose_device("auto", "auto") == (torch.device("cpu"), torch.float32)
    with pytest.raises(UsageError, match="no CUDA device here"):
        choose_device("cuda", "auto")


@pytest.mark.skipif(not NO_GPU, reason="there is a CUDA device")
def test_gpu_that_fails_is_passed_over_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # This torch or this machine then fails at the first tensor, as it does with a driver that is too old.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with caplog.at_level(logging.WARNING):
        assert choose_device("auto", "auto") == (torch.device("cpu"), torch.float32)
    (said,) = caplog.messages
    assert said.startswith("the GPU cannot be used: ") and said.endswith("; the CPU does the work") and "\n" not in said
    with pytest.raises(UsageError, match=r"--device cuda: .+; use --device cpu"):
        choose_device("cuda", "auto")
    caplog.clear()
    assert choose_device("cpu", "bf16") == (torch.device("cpu"), torch.bfloat16) and not caplog.messages


@pytest.mark.skipif(not NO_GPU, reason="there is a CUDA device")
def test_gpu_that_fails_only_when_the_networks_are_put_there_is_passed_over_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The small product by which a GPU is tried works, and then its memory is full: here, there is none at all.
    chosen = {"cuda": torch.device("cuda"), "auto": torch.device("cuda"), "cpu": torch.device("cpu")}
    monkeypatch.setattr("vidcodec.learned.choose_device", lambda device, precision: (chosen[device], torch.float32))
    with caplog.at_level(logging.WARNING):
        codec = LearnedCodec.load("s", "auto", "fp16")
    assert codec.info.device == "cpu" and codec.info.precision == "fp32"
    (said,) = caplog.messages
    assert said.startswith("the GPU cannot be used: ") and said.endswith("; the CPU does the work") and "\n" not in said
    with pytest.raises(UsageError, match=r"--device cuda: .+; use --device cpu"):
        LearnedCodec.load("s", "cuda", "fp16")


@pytest.mark.parametrize(
    ("device", "precision", "said"),
    [("tpu", "auto", "--device tpu"), ("cpu", "fp64", "--precision fp64"), ("cpu", "fp16", "needs a GPU")],
)
def test_wrong_words_are_usage_errors(device: str, precision: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose_device(device, precision)


@pytest.mark.cuda
@pytest.mark.skipif(NO_GPU, reason="no CUDA device here")
def test_with_a_gpu_auto_is_the_gpu_in_half_precision() -> None:
    assert choose_device("auto", "auto") == (torch.device("cuda"), torch.float16)
