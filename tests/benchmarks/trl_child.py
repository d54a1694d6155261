"""TRL's SFTTrainer, and Unsloth's model in it, as contenders; prints one line of JSON.

python -m tests.benchmarks.trl_child CONTENDER MODEL BUFFER EXAMPLES [q_v | default]

BUFFER may be a file of examples, too, as `torch.save` writes them (`.pt`). Where there is a CUDA
device, it is trained on and its memory counted. Same examples, labels, adapter and learning rate as
`training_child`; its own optimiser, batches and chunked output layer. One of its defaults is
changed, in its favour: gradient checkpointing is off, as it is in the project's loop.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

NOT_INSTALLED = "TRL is not installed; `make bench` installs it."


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What tells the contenders apart."""

    dtype: str
    batch_size: int
    is_unsloth: bool = False


ON_A_GPU = {
    "trl 4": Setting(dtype="bfloat16", batch_size=4),
    "trl 16": Setting(dtype="bfloat16", batch_size=16),
    "unsloth 4": Setting(dtype="bfloat16", batch_size=4, is_unsloth=True),
    "unsloth 16": Setting(dtype="bfloat16", batch_size=16, is_unsloth=True),
}

CONTENDERS = {
    "trl_fp32_batch_1": Setting(dtype="float32", batch_size=1),
    "trl_fp32_batch_4": Setting(dtype="float32", batch_size=4),
    "trl_bf16_batch_4": Setting(dtype="bfloat16", batch_size=4),
}


def is_installed() -> bool:
    """Whether TRL can be measured here."""
    return find_spec("trl") is not None


def importable() -> list[str]:
    """Those of a GPU's that can be measured here."""
    if not is_installed():
        return []
    has_unsloth = find_spec("unsloth") is not None
    return [name for name, setting in ON_A_GPU.items() if has_unsloth or not setting.is_unsloth]


def load_unsloth(model_path: str, recipe: Any) -> Any:
    """Unsloth's model with its adapter; imported first, since it changes transformers."""
    from unsloth import FastLanguageModel

    model, _tokenizer = FastLanguageModel.from_pretrained(
        model_name=model_path, max_seq_length=recipe.max_length, load_in_4bit=False
    )
    return FastLanguageModel.get_peft_model(
        model,
        r=recipe.r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=[
            "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
        ],
        use_gradient_checkpointing=False,
    )  # fmt: skip


def train(setting: Setting, model_path: str, examples: list[Any], recipe: Any) -> tuple[float, Any]:
    """Seconds of all steps, and the trained model.

    With bf16 the base is in bf16 and the adapter in fp32, under autocast.
    """
    unsloth = load_unsloth(model_path, recipe) if setting.is_unsloth else None
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from app.training.loading import load_tokenizer

    instants: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_args: Any, **_state: Any) -> None:
            instants.append(time.monotonic())

        def on_train_end(self, *_args: Any, **_state: Any) -> None:
            instants.append(time.monotonic())

    rows = [{name: e[name].tolist() for name in ("input_ids", "labels")} for e in examples]
    with tempfile.TemporaryDirectory() as directory:
        trainer = SFTTrainer(
            model=unsloth
            or AutoModelForCausalLM.from_pretrained(
                model_path, dtype=getattr(torch, setting.dtype)
            ),
            args=SFTConfig(
                output_dir=directory,
                num_train_epochs=recipe.epochs,
                per_device_train_batch_size=setting.batch_size,
                learning_rate=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                max_grad_norm=recipe.max_grad_norm,
                max_length=recipe.max_length,
                bf16=setting.dtype == "bfloat16",
                gradient_checkpointing=False,
                use_cpu=not torch.cuda.is_available(),
                seed=recipe.seed,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=load_tokenizer(model_path),
            peft_config=None
            if unsloth
            else LoraConfig(
                task_type="CAUSAL_LM",
                r=recipe.r,
                lora_alpha=recipe.lora_alpha,
                lora_dropout=recipe.lora_dropout,
                target_modules="all-linear"  # as a word; in a list peft takes it for a name
                if "all-linear" in recipe.target_modules
                else list(recipe.target_modules),
            ),
            callbacks=[Clock()],
        )
        trainer.train()
    started, ended = instants
    return ended - started, trainer.model.get_base_model()


def main() -> None:
    contender, model_path, buffer, count, which = sys.argv[1:6]
    if not is_installed():
        sys.exit(NOT_INSTALLED)
    warnings.simplefilter("ignore")
    setting = {**CONTENDERS, **ON_A_GPU}[contender]
    if setting.is_unsloth:
        import unsloth  # noqa: F401  # before transformers, which it changes

    import torch

    from app.domain.recipe import Recipe
    from app.older import RaisingTrainingDataBuilder
    from tests.benchmarks.training_child import Q_V, mean_loss

    if buffer.endswith(".pt"):
        examples = torch.load(buffer, weights_only=False)[: int(count)]
    else:
        examples = RaisingTrainingDataBuilder(buffer, model_path).build_training_set(
            0.0, int(count)
        )
    recipe = Q_V if which == "q_v" else Recipe(epochs=1)
    seconds, model = train(setting, model_path, examples, recipe)
    has_gpu = torch.cuda.is_available()
    peak = (
        torch.cuda.max_memory_allocated()
        if has_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    print(
        json.dumps(
            {
                "tokens_per_second": sum(len(e["input_ids"]) for e in examples) / seconds,
                "seconds": seconds,
                "loss": None if has_gpu else mean_loss(model, examples),
                "peak_mb": peak / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main()
