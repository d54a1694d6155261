"""The training loop: examples in, a trained and saved adapter out.

`SleepTrainingLoop` is the older scripts' class and what the daemon's trainer drives. Must not know
experiences, evaluation or the order of a cycle.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import torch

from app.domain.sleep import Progress, Recipe, Stage
from app.errors import NonFiniteLoss, NoSupervisedTokens, TrainingStopped
from app.training.anchors import ReferenceSet
from app.training.batches import (
    TrainingExample,
    count_targets,
    like_length_batches,
    loss_weights,
)
from app.training.decoder import find_stack
from app.training.gradients import AutogradGradients, Gradients, StackGradients
from app.training.lanes import LANES, open_lanes
from app.training.loading import BaseModel, load_base_model
from app.training.lora import attach_adapter, continue_adapter, save_adapter, trainable_parameters
from app.training.models import base_name


class TrainingRun(TypedDict):
    """What `train_on_experiences` returns.

    Attributes:
        checkpoint_path: Directory with the adapter's files.
        loss_curve: Of every step, nats per supervised token, unweighted.
        final_loss: Mean of the last epoch's steps.
        trained_tokens: Tokens through forward and backward, without padding, over all epochs.
        train_seconds: The loop alone; `save_seconds` is extra.
    """

    checkpoint_path: str
    loss_curve: list[float]
    final_loss: float
    epochs: int
    steps: int
    trained_tokens: int
    supervised_tokens: int
    tokens_per_second: float
    train_seconds: float
    save_seconds: float


class SleepTrainingLoop:
    """A base model with one adapter, trained on sets of examples and saved after each.

    Calling `train_on_experiences` again continues with the adapter as it is, and a fresh optimiser.

    Args:
        model_path: Directory or hub id of the base.
        checkpoint_dir: Receives `adapter_model.safetensors` and `adapter_config.json`; made when
            absent.
        recipe: Hyper-parameters; a parent adapter keeps its own r, lora_alpha and target_modules.
        parent_adapter: Directory of an adapter to go on from; None for a new one.
        base: The base where it is loaded already; None loads `model_path`.
        is_fused: Train with the hand-written blocks where they apply; see `find_stack`.

    Raises:
        BaseModelNotFound, ChatTemplateMissing: About the base.
        BaseModelMismatch, CheckpointFilesMissing, NoTrainableParameters: About the adapter.
    """

    def __init__(
        self,
        model_path: str | Path,
        checkpoint_dir: str | Path,
        *,
        recipe: Recipe | None = None,
        parent_adapter: str | Path | None = None,
        base: BaseModel | None = None,
        is_fused: bool = True,
    ) -> None:
        self.recipe = recipe or Recipe()
        self.checkpoint_dir = Path(checkpoint_dir)
        self.base = base or load_base_model(str(model_path))
        self.tokenizer = self.base.tokenizer
        self._base_name = base_name(str(model_path))
        self.adapted = (
            attach_adapter(self.base.model, self.recipe)
            if parent_adapter is None
            else continue_adapter(self.base.model, Path(parent_adapter), seed=self.recipe.seed)
        )
        self.stack = find_stack(self.base.model) if is_fused else None

    def train_on_experiences(
        self,
        training_data: Sequence[TrainingExample],
        epochs: int | None = None,
        lr: float | None = None,
        *,
        anchors: ReferenceSet | None = None,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> TrainingRun:
        """Train the adapter and write it to `checkpoint_dir`.

        The loss of a step is `mean_t w_t nll_t + anchor_weight mean_t KL(base || model)`, the
        second mean over the tokens of `anchors_per_batch` anchors.

        Args:
            training_data: Most important first; see `like_length_batches`.
            epochs: None for the recipe's.
            lr: Peak learning rate; None for the recipe's.
            anchors: What the base answers to general prompts; None trains without them.
            on_progress: Told after every step.
            should_stop: Asked before every step.

        Raises:
            NoSupervisedTokens: The set is empty or an example has no label.
            NonFiniteLoss: The loss or the gradient is NaN or infinite; nothing is written.
            TrainingStopped: `should_stop` said so; nothing is written.
        """
        _demand_supervised(training_data)
        epochs = self.recipe.epochs if epochs is None else epochs
        peak = self.recipe.learning_rate if lr is None else lr
        plan = self._plan_batches(training_data, epochs)
        parameters = trainable_parameters(self.adapted)
        optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=self.recipe.weight_decay)
        warmup = math.ceil(self.recipe.warmup_ratio * len(plan))
        self.adapted.train()
        beside = self._plan_anchors(anchors, len(plan))
        losses: list[float] = []
        trained = supervised = 0
        started = time.monotonic()
        with open_lanes(LANES if self.stack else 1) as lanes:
            gradients: Gradients = (
                StackGradients(self.stack, lanes) if self.stack else AutogradGradients(self.base)
            )
            for step, (epoch, members) in enumerate(plan, start=1):
                if should_stop():
                    raise TrainingStopped(f"stopped before step {step} of {len(plan)}", step=step)
                for group in optimizer.param_groups:
                    group["lr"] = peak * learning_rate_factor(step, len(plan), warmup)
                examples = [training_data[i] for i in members]
                loss, targets = self._add_gradients(gradients, examples)
                if anchors is not None:
                    self._add_anchor_gradients(gradients, anchors.chosen(beside[step - 1]))
                self._update(parameters, optimizer, loss, step)
                losses.append(loss)
                supervised += targets
                trained += sum(len(example["input_ids"]) for example in examples)
                on_progress(
                    Progress(
                        stage=Stage.TRAINING,
                        step=step,
                        total_steps=len(plan),
                        epoch=epoch,
                        loss=loss,
                        tokens_per_second=trained / max(time.monotonic() - started, 1e-9),
                    )
                )
        trained_at = time.monotonic()
        self.adapted.eval()
        on_progress(Progress(stage=Stage.SAVING, step=len(plan), total_steps=len(plan)))
        self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        save_adapter(self.adapted, self.checkpoint_dir, base_name=self._base_name)
        last_epoch = losses[-(len(losses) // max(epochs, 1)) :]
        return TrainingRun(
            checkpoint_path=str(self.checkpoint_dir),
            loss_curve=losses,
            final_loss=sum(last_epoch) / len(last_epoch) if last_epoch else 0.0,
            epochs=epochs,
            steps=len(plan),
            trained_tokens=trained,
            supervised_tokens=supervised,
            tokens_per_second=trained / max(trained_at - started, 1e-9),
            train_seconds=trained_at - started,
            save_seconds=time.monotonic() - trained_at,
        )

    def _plan_batches(
        self, training_data: Sequence[TrainingExample], epochs: int
    ) -> list[tuple[int, list[int]]]:
        """`(epoch, indices)` of every step; the seed decides it all."""
        lengths = [len(example["input_ids"]) for example in training_data]
        order = random.Random(self.recipe.seed)  # noqa: S311  # a schedule, not a secret
        return [
            (epoch, members)
            for epoch in range(1, epochs + 1)
            for members in like_length_batches(
                lengths, batch_size=self.recipe.batch_size, order=order
            )
        ]

    def _plan_anchors(self, anchors: ReferenceSet | None, steps: int) -> list[list[int]]:
        """Indices of the anchors beside every step: each comes once before any comes again."""
        if anchors is None or not self.recipe.anchor_weight:
            return [[]] * steps
        order = random.Random(self.recipe.seed)  # noqa: S311  # a schedule, not a secret
        waiting: list[int] = []
        plan = []
        for _ in range(steps):
            while len(waiting) < self.recipe.anchors_per_batch:
                waiting += order.sample(range(len(anchors.examples)), len(anchors.examples))
            plan.append(waiting[: self.recipe.anchors_per_batch])
            del waiting[: self.recipe.anchors_per_batch]
        return plan

    def _add_gradients(
        self, gradients: Gradients, examples: Sequence[TrainingExample]
    ) -> tuple[float, int]:
        """The unweighted loss of a batch in nats per token, and the tokens it is over."""
        weights = loss_weights(torch.tensor([example["salience"] for example in examples]))
        tokens = sum(count_targets(example) for example in examples)
        return gradients.add_cross_entropy(examples, weights / tokens) / tokens, tokens

    def _add_anchor_gradients(self, gradients: Gradients, anchors: ReferenceSet) -> None:
        if anchors.examples:
            tokens = sum(len(hidden) for hidden in anchors.hidden)
            gradients.add_divergence(
                anchors.examples, anchors.hidden, self.recipe.anchor_weight / tokens
            )

    def _update(
        self,
        parameters: Sequence[torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        loss: float,
        step: int,
    ) -> None:
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.recipe.max_grad_norm)
        if not math.isfinite(loss) or not math.isfinite(float(norm)):
            raise NonFiniteLoss(
                f"step {step}: loss {loss}, gradient norm {float(norm)}; "
                "a smaller learning_rate usually helps",
                step=step,
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """Share of the peak rate at a step counted from 1: linear up, then a cosine down to a tenth."""
    if step <= warmup_steps:
        return step / warmup_steps
    done = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))


def _demand_supervised(training_data: Sequence[TrainingExample]) -> None:
    if not training_data:
        raise NoSupervisedTokens("the training set is empty")
    for example in training_data:
        if not count_targets(example):
            raise NoSupervisedTokens(
                f"experience {example['experience_id']} has no supervised token",
                experience_id=example["experience_id"],
            )
