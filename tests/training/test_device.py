"""The device that a recipe names is taken, or named as one that is not there."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from app.domain.recipe import Recipe
from app.errors import DeviceUnavailable
from app.training.loading import choose_device, device_named


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
