"""The training loop: examples in, a trained and saved adapter out.

`TrainingLoop` is what the daemon's trainer drives, and the older scripts' loop (`app.older`). Must
not know experiences, evaluation or the order of a cycle.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import torch

from app.artifacts.bases import base_name
from app.domain.progress import Progress, Stage
from app.domain.recipe import Recipe
from app.errors import NonFiniteLoss, NoSupervisedTokens, TrainingStopped
from app.training.accelerated import PackedGradients
from app.training.anchors import ReferenceSet
from app.training.batches import loss_weights
from app.training.by_hand.decoder import find_stack
from app.training.examples import TrainingExample, count_targets
from app.training.gradients import AutogradGradients, Beside, Gradients, StackGradients
from app.training.lanes import LANES, open_lanes
from app.training.loading import BaseModel, device_named, load_held
from app.training.lora import attach_adapter, continue_adapter, save_adapter
from app.training.run_state import TrainingState
from app.training.schedule import Step, plan_steps
from app.training.snapshots import SnapshotFile


class TrainingRun(TypedDict):
    """What `train_on_experiences` returns.

    Attributes:
        checkpoint_path: Directory with the adapter's files.
        loss_curve: Of every step, nats per supervised token, unweighted.
        final_loss: Mean of the last epoch's steps.
        validation_curve: What `validate` gave after every epoch; empty without one.
        best_epoch: The epoch whose adapter was saved, counted from 1.
        trained_tokens: Tokens through forward and backward, without padding, over all epochs.
        train_seconds: The loop alone; `save_seconds` is extra.
    """

    checkpoint_path: str
    loss_curve: list[float]
    final_loss: float
    validation_curve: list[float]
    best_epoch: int
    epochs: int
    steps: int
    trained_tokens: int
    supervised_tokens: int
    tokens_per_second: float
    train_seconds: float
    save_seconds: float


class TrainingLoop:
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
        is_packed: Else in one pass over packed rows (`accelerated`), or part by part in padded
            ones; None packs where the device is not a CPU. For tests and comparison.
        activation_bytes: Of the former, for a part's activations; None for what is free.

    Attributes:
        path: How the last training went through an accelerator, in words; empty on a CPU.

    Raises:
        BaseModelNotFound, ChatTemplateMissing: About the base.
        BaseModelMismatch, CheckpointFilesMissing, NoTrainableParameters, TargetModulesUnmatched:
            About the adapter.
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
        is_packed: bool | None = None,
        activation_bytes: int | None = None,
    ) -> None:
        self.recipe = recipe or Recipe()
        self.checkpoint_dir = Path(checkpoint_dir)
        self.base = (
            base
            or load_held(
                str(model_path), self.recipe.quantization, device=device_named(self.recipe.device)
            )[0]
        )
        self.tokenizer = self.base.tokenizer
        self._base_name = base_name(str(model_path))
        self.attached = (
            attach_adapter(self.base.model, self.recipe)
            if parent_adapter is None
            else continue_adapter(self.base.model, Path(parent_adapter), seed=self.recipe.seed)
        )
        self.adapted = self.attached.adapted
        self.stack = find_stack(self.base.model) if is_fused else None
        self.path: dict[str, str] = {}
        self._is_packed = self.base.device.type != "cpu" if is_packed is None else is_packed
        self._activation_bytes = activation_bytes

    def train_on_experiences(
        self,
        training_data: Sequence[TrainingExample],
        epochs: int | None = None,
        lr: float | None = None,
        *,
        anchors: ReferenceSet | None = None,
        untold: ReferenceSet | None = None,
        validate: Callable[[int], float] | None = None,
        snapshots: SnapshotFile | None = None,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> TrainingRun:
        """Train the adapter and write it to `checkpoint_dir`.

        The loss of a step is `mean_t w_t nll_t + anchor_weight mean_t KL(base || model)`, the
        second mean over the tokens of the anchors beside it, if the step has any; and a third
        term, as the second, over those of `untold`: beside the long answers of anchors, the few
        tokens that decide whether to claim to know would weigh nothing.

        Args:
            training_data: In order; see `like_length_batches`.
            epochs: None for the recipe's.
            lr: Peak learning rate; None for the recipe's.
            anchors: What the base answers to general prompts; None trains without them.
            untold: How the base begins its answers to what nobody told; None for none.
            validate: Measures the adapter on what it does not train on, lower is better, after
                each epoch, whose number it is given; training ends at the first epoch that is not
                better than the best before it, and the best one's adapter is saved.
            snapshots: Where the training goes on from if it was interrupted, and is kept as it
                goes; None keeps nothing.
            on_progress: Told after every step.
            should_stop: Asked before every step.

        Raises:
            NoSupervisedTokens: The set is empty or an example has no label.
            NonFiniteLoss: The loss or the gradient is NaN or infinite; nothing is written.
            TrainingStopped: `should_stop` said so; a snapshot is kept, no adapter is written.
        """
        _demand_supervised(training_data)
        steps = plan_steps(
            training_data,
            self.recipe,
            epochs=self.recipe.epochs if epochs is None else epochs,
            peak_learning_rate=self.recipe.learning_rate if lr is None else lr,
            anchor_count=0 if anchors is None else len(anchors.examples),
            untold_count=0 if untold is None else len(untold.examples),
        )
        state = TrainingState(self.adapted, weight_decay=self.recipe.weight_decay)
        if snapshots is not None and (found := snapshots.find()) is not None:
            state.restore(found)
        # An interruption takes no time: as if the steps before it had ended just now.
        started = time.monotonic() - state.seconds
        self.adapted.train()
        rows = [*training_data]
        for references in (anchors, untold):
            rows += [] if references is None else references.examples
        with self._open_gradients(rows, state.parameters) as gradients:
            # A snapshot may be of a training that had ended, but for its saving.
            for step in [] if state.is_past_best else steps[state.steps :]:
                if should_stop():
                    if snapshots is not None:
                        snapshots.keep(state.snapshot())
                    raise TrainingStopped(
                        f"stopped before step {step.number} of {len(steps)}", step=step.number
                    )
                beside = [
                    references.chosen(indices)
                    for references, indices in ((anchors, step.anchors), (untold, step.untold))
                    if references is not None and indices
                ]
                self._take(step, training_data, beside, gradients, state)
                if step.ends_epoch and validate is not None:
                    state.end_epoch(step.epoch, validate(step.epoch))
                state.seconds = time.monotonic() - started
                on_progress(_progress(step, steps, state))
                if state.is_past_best:
                    break
                if snapshots is not None and snapshots.is_due:
                    snapshots.keep(state.snapshot())
        # A stop that comes after the last step loses the measuring that follows, not the training.
        if snapshots is not None and should_stop():
            snapshots.keep(state.snapshot())
        trained_at = time.monotonic()
        state.go_back_to_best()
        self.adapted.eval()
        on_progress(Progress(stage=Stage.SAVING, step=state.steps, total_steps=len(steps)))
        self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        save_adapter(self.adapted, self.checkpoint_dir, base_name=self._base_name)
        epochs_done = steps[state.steps - 1].epoch if state.steps else 0
        last_epoch = state.losses[-(len(state.losses) // max(epochs_done, 1)) :]
        return TrainingRun(
            checkpoint_path=str(self.checkpoint_dir),
            loss_curve=state.losses,
            final_loss=sum(last_epoch) / len(last_epoch) if last_epoch else 0.0,
            validation_curve=state.validation,
            best_epoch=state.best_epoch or epochs_done,
            epochs=epochs_done,
            steps=state.steps,
            trained_tokens=state.trained_tokens,
            supervised_tokens=state.supervised_tokens,
            tokens_per_second=state.trained_tokens / max(state.seconds, 1e-9),
            train_seconds=state.seconds,
            save_seconds=time.monotonic() - trained_at,
        )

    @contextmanager
    def _open_gradients(
        self, rows: Sequence[TrainingExample], parameters: Sequence[torch.nn.Parameter]
    ) -> Iterator[Gradients]:
        """The way through the model; the hand-written one first, where there is one."""
        if self.stack is None and self._is_packed:
            packed = PackedGradients(
                self.base,
                parameters,
                longest=max(len(row["input_ids"]) for row in rows),
                budget=self._activation_bytes,
            )
            try:
                yield packed
            finally:
                self.path = packed.describe()
                packed.close()
            return
        # Autograd shares each of its operations out among all cores by itself.
        with open_lanes(LANES if self.stack else 1) as lanes:
            yield StackGradients(self.stack, lanes) if self.stack else AutogradGradients(self.base)

    def _take(
        self,
        step: Step,
        training_data: Sequence[TrainingExample],
        beside: Sequence[ReferenceSet],
        gradients: Gradients,
        state: TrainingState,
    ) -> None:
        """One update.

        Raises: NonFiniteLoss.
        """
        examples = [training_data[i] for i in step.examples]
        loss, targets = self._add_gradients(gradients, examples, beside)
        # Over all of them together: the sum is what the step goes along.
        norm = float(torch.nn.utils.clip_grad_norm_(state.parameters, self.recipe.max_grad_norm))
        # Before the update: a NaN in Adam's moments never leaves them.
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise NonFiniteLoss(
                f"step {step.number}: loss {loss}, gradient norm {norm}; "
                "a smaller learning_rate usually helps",
                step=step.number,
            )
        state.update(step.learning_rate)
        state.losses.append(loss)
        state.supervised_tokens += targets
        state.trained_tokens += sum(len(example["input_ids"]) for example in examples)

    def _add_gradients(
        self,
        gradients: Gradients,
        examples: Sequence[TrainingExample],
        beside: Sequence[ReferenceSet],
    ) -> tuple[float, int]:
        """The unweighted loss of a batch in nats per token, and the tokens it is over."""
        weights = loss_weights(torch.tensor([example["salience"] for example in examples]))
        tokens = sum(count_targets(example) for example in examples)
        # The mean over tokens, not over examples: a word counts the same in a short reply.
        also = [
            Beside(
                examples=one.examples,
                hidden=one.hidden,
                weight=self.recipe.anchor_weight / sum(len(hidden) for hidden in one.hidden),
            )
            for one in beside
        ]
        return gradients.add_step(examples, weights / tokens, also) / tokens, tokens


def _progress(step: Step, steps: Sequence[Step], state: TrainingState) -> Progress:
    return Progress(
        stage=Stage.TRAINING,
        step=step.number,
        total_steps=len(steps),
        epoch=step.epoch,
        loss=state.losses[-1],
        tokens_per_second=state.trained_tokens / max(state.seconds, 1e-9),
    )


def _demand_supervised(training_data: Sequence[TrainingExample]) -> None:
    if not training_data:
        raise NoSupervisedTokens("the training set is empty")
    for example in training_data:
        if not count_targets(example):
            raise NoSupervisedTokens(
                f"experience {example['experience_id']} has no supervised token",
                experience_id=example["experience_id"],
            )
