"""A cycle's heavy part from job to report: load, measure, train, save, read back, measure again.

Must not know the database, checkpoints or verdicts.
"""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

import torch

from app.domain.experience import TrainingExchange
from app.domain.gate import ProbeReply, TrainingReport
from app.domain.sleep import Progress, Stage, TrainingJob
from app.errors import BaseModelMismatch, NoSupervisedTokens, TrainingStopped
from app.training.batches import TrainingExample
from app.training.chat import ChatEncoder
from app.training.data import make_example
from app.training.evaluate import (
    effect_nats,
    greedy_replies,
    held_out_loss,
    token_log_probabilities,
)
from app.training.loading import BaseModel, load_base_model
from app.training.loop import SleepTrainingLoop
from app.training.lora import (
    describe_adapter,
    detach_adapter,
    read_adapter,
    trainable_parameters,
)
from app.training.models import base_sha256
from app.training.precision import fp32_forward

EFFECT_EXAMPLES = 4
"""Examples that the effect is measured on, in fp32: 0.8 s each on 2 cores, before and after."""


def run_job(
    job: TrainingJob,
    *,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    imports_seconds: float,
) -> TrainingReport:
    """Run a job; see `LoraTrainer.run` for what it promises and raises."""
    seconds = {"imports": imports_seconds}

    def enter(stage: Stage) -> None:
        if should_stop():
            raise TrainingStopped(f"stopped before {stage.value}", stage=stage.value)
        on_progress(Progress(stage=stage))

    enter(Stage.LOADING)
    with _timed(seconds, "loading"):
        fingerprint = base_sha256(job.base_model)
        _demand_same_base(job, fingerprint)
        base = load_base_model(job.base_model)
        encoder = ChatEncoder(
            base.tokenizer, system_prompt=job.system_prompt, max_length=job.recipe.max_length
        )
        train = [make_example(exchange, encoder) for exchange in job.train]
        held_out = encode_held_out(job.held_out, encoder)
        loop = SleepTrainingLoop(
            job.base_model,
            job.output_directory,
            recipe=job.recipe,
            parent_adapter=job.parent_adapter,
            base=base,
        )
    yardstick = (held_out or train)[:EFFECT_EXAMPLES]

    enter(Stage.EVALUATING_BEFORE)
    with _timed(seconds, "evaluating_before"):
        before = token_log_probabilities(base, held_out)
        exact_before = _exact_log_probabilities(base, yardstick)
    with _timed(seconds, "replies"):
        replies_before = greedy_replies(base, encoder, job.probe_prompts)

    enter(Stage.TRAINING)
    run = loop.train_on_experiences(train, on_progress=on_progress, should_stop=should_stop)
    seconds["training"] = run["train_seconds"]
    seconds["saving"] = run["save_seconds"]

    enter(Stage.EVALUATING_AFTER)
    with _timed(seconds, "evaluating_after"):
        after = token_log_probabilities(base, held_out)
        geometry = describe_adapter(loop.adapted)
        trainable = sum(parameter.numel() for parameter in trainable_parameters(loop.adapted))
        detach_adapter(loop.adapted)
        read_adapter(base.model, job.output_directory, is_trainable=False)
        reloaded = token_log_probabilities(base, held_out)
        effect = effect_nats(exact_before, _exact_log_probabilities(base, yardstick))
    with _timed(seconds, "replies"):
        replies_after = greedy_replies(base, encoder, job.probe_prompts)

    measured = len(held_out)
    return TrainingReport(
        base_sha256=fingerprint,
        held_out_before=held_out_loss(before, experiences=measured),
        held_out_after=held_out_loss(after, experiences=measured),
        held_out_reloaded=held_out_loss(reloaded, experiences=measured),
        effect_nats=effect,
        loss_curve=tuple(run["loss_curve"]),
        steps=run["steps"],
        trained_tokens=run["trained_tokens"],
        supervised_tokens=run["supervised_tokens"],
        trainable_parameters=trainable,
        tokens_per_second=run["tokens_per_second"],
        peak_memory_bytes=_peak_memory_bytes(base.device),
        seconds=seconds,
        environment=_describe_environment(base, geometry),
        replies=tuple(
            ProbeReply(prompt=prompt, before=first, after=second)
            for prompt, first, second in zip(
                job.probe_prompts, replies_before, replies_after, strict=True
            )
        ),
    )


def encode_held_out(
    exchanges: Sequence[TrainingExchange], encoder: ChatEncoder
) -> list[TrainingExample]:
    """Encode the held-out exchanges; one without a supervised token measures nothing and is left.

    A training example of that kind fails the cycle; as a yardstick it has simply no weight.
    """
    examples = []
    for exchange in exchanges:
        try:
            examples.append(make_example(exchange, encoder))
        except NoSupervisedTokens:
            continue
    return examples


def _exact_log_probabilities(base: BaseModel, examples: list[TrainingExample]) -> torch.Tensor:
    with fp32_forward(base.model):
        return token_log_probabilities(base, examples)


def _demand_same_base(job: TrainingJob, fingerprint: str) -> None:
    if job.parent_base_sha256 not in {None, fingerprint}:
        raise BaseModelMismatch(
            f"the parent adapter was trained on base {str(job.parent_base_sha256)[:12]}, "
            f"and {job.base_model} is {fingerprint[:12]}: promote a checkpoint of this base, or "
            "set the instance's base model back",
            parent_base_sha256=job.parent_base_sha256,
            base_sha256=fingerprint,
        )


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.monotonic() - started


def _peak_memory_bytes(device: torch.device) -> int:
    """Peak of the device's memory on a GPU, of this process's on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _describe_environment(base: BaseModel, geometry: str) -> dict[str, str]:
    name = torch.cuda.get_device_name(base.device) if base.device.type == "cuda" else ""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": version("transformers"),
        "peft": version("peft"),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": f"{base.device.type} {name}".strip(),
        "dtype": str(base.dtype).removeprefix("torch."),
        "threads": str(torch.get_num_threads()),
        "adapter": geometry,
    }
