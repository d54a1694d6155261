"""The ways of training that `tests.benchmarks.gpu` compares, each over the same examples.

Which is which stands there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from app.domain.recipe import Recipe
from app.training.examples import TrainingExample
from app.training.loading import BaseModel, load_base_model
from app.training.loop import TrainingLoop
from app.training.lora import attach_adapter, trainable_parameters
from app.training.quantized import BYTES_EACH, PACKAGE
from tests.benchmarks import trl_child

SECONDS_EACH = 60.0
"""After so long a contender stops: the older loop has no need to finish."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Machine:
    """Where it runs, and what it does at most.

    Attributes:
        peak: bf16 operations a second of one large product.
    """

    device: torch.device
    name: str
    peak: float

    @property
    def has_memory(self) -> bool:
        """Whether the device counts its own memory."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.has_memory:
            torch.cuda.synchronize(self.device)

    def begin(self) -> None:
        """Forget the last contender's memory."""
        if self.has_memory:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_mb(self) -> float | None:
        """Of the contender that ran."""
        return torch.cuda.max_memory_allocated(self.device) / 1e6 if self.has_memory else None


def older(machine: Machine, model: Path, examples: Sequence[TrainingExample]) -> Figures:
    """One exchange at a time in fp32, loss over the whole of it."""
    base = load_base_model(str(model), device=machine.device, dtype=torch.float32)
    recipe = Recipe()
    parameters = trainable_parameters(attach_adapter(base.model, recipe).adapted)
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate)
    base.model.train()
    started, tokens, losses = time.monotonic(), 0, []
    for example in examples:
        ids = example["input_ids"].unsqueeze(0).to(machine.device)
        result = base.model(input_ids=ids, labels=ids)
        result.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        tokens += ids.numel()
        losses.append(float(result.loss.detach()))
        if time.monotonic() - started > SECONDS_EACH:
            break
    machine.wait()
    return figures_of(base, tokens, time.monotonic() - started, losses[-1])


def ours(
    batch_size: int, *, is_packed: bool, quantization: str = "none", is_compiled: bool = False
) -> Callable[[Machine, Path, Sequence[TrainingExample]], Figures]:
    """The project's loop through the model's own forward pass."""

    def train(machine: Machine, model: Path, examples: Sequence[TrainingExample]) -> Figures:
        base = load_base_model(str(model), device=machine.device, quantization=quantization)
        recipe = replace(Recipe(), epochs=1, anchor_weight=0.0, batch_size=batch_size)
        with tempfile.TemporaryDirectory() as room:
            loop = TrainingLoop(
                str(model), room, recipe=recipe, base=base, is_fused=False, is_packed=is_packed
            )
            if is_compiled:
                # Of the dry run the code alone, without a compiler.
                backend = "inductor" if machine.has_memory else "aot_eager"
                base.model.get_decoder().compile(dynamic=True, backend=backend)  # type: ignore[no-untyped-call]
            run = loop.train_on_experiences(examples)
            figures = figures_of(
                base, run["trained_tokens"], run["train_seconds"], run["final_loss"]
            )
            if is_compiled:
                figures["warm"] = loop.train_on_experiences(examples)["tokens_per_second"]
        return {**figures, "path": loop.path}

    return train


def elsewhere(
    name: str,
) -> Callable[[Machine, Path, Sequence[TrainingExample]], Figures]:
    """Another library's trainer in a process of its own, which it may change as it likes."""

    def train(_machine: Machine, model: Path, examples: Sequence[TrainingExample]) -> Figures:
        with tempfile.TemporaryDirectory() as room:
            torch.save(list(examples), f"{room}/examples.pt")
            done = subprocess.run(
                [
                    sys.executable, "-m", "tests.benchmarks.trl_child", name, str(model),
                    f"{room}/examples.pt", str(len(examples)), "default",
                ],
                check=False, capture_output=True, text=True,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-300:])
        found: Figures = json.loads(done.stdout.splitlines()[-1])
        weights = weights_of(load_base_model(str(model), device=torch.device("cpu")))
        speed = found["tokens_per_second"]
        return {**found, "operations_per_second": 4 * weights * speed, "dtype": "bfloat16"}

    return train


CONTENDERS = {
    "older": older,
    "padded": ours(Recipe().batch_size, is_packed=False),
    "padded 16": ours(16, is_packed=False),
    "packed": ours(Recipe().batch_size, is_packed=True),
    "packed 16": ours(16, is_packed=True),
    "packed compiled": ours(Recipe().batch_size, is_packed=True, is_compiled=True),
    **{
        f"packed {kind}": ours(Recipe().batch_size, is_packed=True, quantization=kind)
        for kind in BYTES_EACH
        if find_spec(PACKAGE) is not None
    },
    **{name: elsewhere(name) for name in trl_child.importable()},
}


def figures_of(base: BaseModel, tokens: int, seconds: float, loss: float) -> Figures:
    """What every contender tells."""
    return {
        "tokens_per_second": tokens / seconds,
        "seconds": seconds,
        "loss": loss,
        "operations_per_second": 4 * weights_of(base) * tokens / seconds,
        "dtype": base.numbers.removeprefix("torch."),
    }


def weights_of(base: BaseModel) -> int:
    """Those that a token is multiplied by."""
    frozen = [one for name, one in base.model.named_parameters() if ".lora_" not in name]
    matrices = [one for one in frozen if one.dim() > 1]  # tied: the head's, once
    # In 4 bits a byte holds two.
    states = [getattr(one, "quant_state", None) for one in matrices]
    return sum(
        one.numel() if state is None else state.shape.numel()
        for one, state in zip(matrices, states, strict=True)
    )
