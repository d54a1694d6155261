"""The device that a recipe names is taken, or named as one that is not there."""

from __future__ import annotations

import os

import pytest
import torch
from pydantic import ValidationError

from app.domain.plan import TrainingJob
from app.domain.progress import Progress
from app.domain.recipe import Recipe
from app.errors import DeviceFailed, DeviceUnavailable
from app.training.loading import choose_device, device_named
from app.training.trainer import LoraTrainer, narrow_to


def test_auto_is_the_best_there_is() -> None:
    assert device_named("auto") == choose_device()
    assert device_named("cpu") == torch.device("cpu")


def test_device_that_is_not_there_is_named() -> None:
    absent = f"cuda:{torch.cuda.device_count() + 7}"
    with pytest.raises(DeviceUnavailable, match=f"no {absent} here.*SAGE_DEVICE=auto"):
        device_named(absent)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cuda:111", "CPU", "cpu:0", "meta"])
def test_what_is_no_device_is_refused_before_any_cycle(name: str) -> None:
    with pytest.raises(ValidationError):
        Recipe(device=name)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_names_that_are_taken(name: str) -> None:
    assert Recipe(device=name).device == name


@pytest.mark.parametrize(
    ("device", "visible", "narrowed", "name"),
    [
        ("auto", None, "0", "auto"),
        ("cuda", None, "0", "cuda"),
        ("cuda:1", None, "1", "cuda"),
        ("cuda:1", "2,5", "5", "cuda"),
        ("cuda", "GPU-8f1c,GPU-77aa", "GPU-8f1c", "cuda"),
        ("cuda:3", "2,5", "2,5", "cuda:3"),
        ("auto", "", "", "auto"),
        ("cpu", None, None, "cpu"),
        ("mps", "2,5", "2,5", "mps"),
    ],
)
def test_training_sees_one_device(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    visible: str | None,
    narrowed: str | None,
    name: str,
) -> None:
    # Set first, so that whatever is set below is taken back.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert narrow_to(device) == name
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == narrowed


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("CUDA error: uncorrectable ECC error encountered", "nvidia-smi -q -d ECC"),
        ("CUDA error: unspecified launch failure", "fell off the bus"),
        ("CUDA error: no CUDA-capable device is detected", "fell off the bus"),
        ("CUDA error: an illegal memory access was encountered", "SAGE_DEVICE=cpu"),
    ],
)
def test_device_that_breaks_down_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tiny_job: TrainingJob, words: str, advice: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    told = 0

    def break_down(_progress: Progress) -> None:
        nonlocal told
        told += 1
        if told > 1:  # within the training
            raise torch.AcceleratorError(words)

    with pytest.raises(DeviceFailed) as caught:
        LoraTrainer().run(tiny_job, on_progress=break_down, should_stop=lambda: False)
    assert advice in caught.value.message
    assert not any(tiny_job.output_directory.iterdir())
