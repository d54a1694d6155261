"""One contender of the training benchmark in a process of its own; prints one line of JSON.

python -m tests.benchmarks.training_child CONTENDER MODEL BUFFER EXAMPLES [q_v | default]
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from app.domain.recipe import Recipe
from app.older import RaisingTrainingDataBuilder
from app.training import gradients, head, loop, loss
from app.training.batches import pad_batch
from app.training.by_hand import attention, packing
from app.training.examples import TrainingExample
from app.training.loading import BaseModel, load_tokenizer
from app.training.loop import TrainingLoop
from app.training.lora import attach_adapter, trainable_parameters

Outcome = tuple[float, float, Any]
"""Seconds of all steps, seconds of CPU that they took, and the trained model."""

Q_V = Recipe(r=4, lora_alpha=8, target_modules=("q_proj", "v_proj"), epochs=1)


def older_loop(model_path: str, examples: list[TrainingExample], recipe: Recipe) -> Outcome:
    """fp32, one example at a time, loss over the whole sequence, PEFT and AdamW."""
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    parameters = trainable_parameters(attach_adapter(model.requires_grad_(False), recipe).adapted)
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate)
    model.train()
    started, cpu_started = time.monotonic(), time.process_time()
    for example in examples:
        ids = example["input_ids"].unsqueeze(0)
        result = model(input_ids=ids, labels=ids)
        result.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.monotonic() - started, time.process_time() - cpu_started, model


def _no_prefix(_rows: Any) -> int:
    return 0


def ours(switch: str, base: BaseModel | None = None) -> Callable[..., Outcome]:
    """The project's loop, with one trick switched off."""
    if switch == "prefix_not_shared":
        for module in (packing, gradients):
            setattr(module, "common_prefix", _no_prefix)  # noqa: B010
    if switch == "lengths_as_they_come":
        packing.pack_rows.__kwdefaults__ = {"multiple": 1}
        attention.SHAPE_MULTIPLE = head.SHAPE_MULTIPLE = 1
    if switch == "head_in_fp32":
        head.IS_HEAD_NARROW = False
    if switch == "one_lane":
        setattr(loop, "LANES", 1)  # noqa: B010
    if switch == "twice_as_much_kept":
        gradients.KEPT_BYTES *= 2

    def train(model_path: str, examples: list[TrainingExample], recipe: Recipe) -> Outcome:
        if switch == "ours_batch_1":
            recipe = replace(recipe, batch_size=1)
        trained = TrainingLoop(
            model_path, tempfile.mkdtemp(), recipe=recipe, base=base,
            is_fused=switch != "blocks_of_transformers",
        )  # fmt: skip
        cpu_started = time.process_time()
        run = trained.train_on_experiences(examples)
        return run["train_seconds"], time.process_time() - cpu_started, trained.base.model

    return train


def random_base(geometry: Path) -> BaseModel:
    """Random bf16 weights in the geometry of Qwen2.5-0.5B, with its tokenizer."""
    config: Any = AutoConfig.for_model(
        "qwen2", hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    torch.set_default_dtype(torch.float32)
    return BaseModel(
        model=model.requires_grad_(False).eval(),
        tokenizer=load_tokenizer(str(geometry)),
        device=torch.device("cpu"),
        dtype=torch.bfloat16,
    )


def mean_loss(model: Any, examples: list[TrainingExample]) -> float:
    """Nats per supervised token over the examples, after training."""
    with torch.no_grad():
        nll = [loss.supervised_loss(model, pad_batch([example], 0)).nll for example in examples]
    return float(torch.cat(nll).mean())


def main() -> None:
    contender, model_path, buffer, count, which = sys.argv[1:6]
    warnings.simplefilter("ignore")
    builder = RaisingTrainingDataBuilder(buffer, model_path)
    examples = builder.build_training_set(0.0, int(count))
    del builder  # a second tokenizer, which no cycle has
    recipe = Q_V if which == "q_v" else Recipe(epochs=1)
    base = random_base(Path(model_path)) if contender == "qwen_geometry" else None
    train = older_loop if contender == "older_loop" else ours(contender, base)
    seconds, cpu_seconds, model = train(model_path, examples, recipe)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokens = sum(len(example["input_ids"]) for example in examples)
    print(
        json.dumps(
            {
                "tokens_per_second": tokens / seconds,
                "tokens_per_cpu_second": tokens / cpu_seconds,
                "loss": mean_loss(model, examples),
                "peak_mb": peak * 1024 / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main()
