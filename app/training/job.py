"""A cycle's heavy part from job to report: load, measure, train, save, read back, measure again.

The order of a cycle stands here; each step is another module's. Must not know the database,
checkpoints or verdicts.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial

import torch

from app.domain.base_parts import changed_parts
from app.domain.checkpoint import ADAPTER_FILE
from app.domain.plan import TrainingJob
from app.domain.progress import Progress, Stage
from app.domain.report import (
    Evaluation,
    HeldOutLoss,
    TrainingReport,
)
from app.errors import TrainingStopped
from app.training.anchors import load_or_make_references, mixed
from app.training.chat import ChatEncoder
from app.training.dreams import BareAnswers, Dreams, interleave
from app.training.environment import (
    describe_environment,
    give_back_memory,
    peak_memory_bytes,
    prove_device,
)
from app.training.evaluate import (
    effect_nats,
    exact_log_probabilities,
    held_out_gain,
    held_out_loss,
    probe_replies,
    token_log_probabilities,
)
from app.training.examples import TrainingExample
from app.training.fit import Fit, base_mismatch, sort_out
from app.training.kept import KeptFiles
from app.training.loading import BaseModel, load_base_model, load_held
from app.training.loop import TrainingLoop
from app.training.lora import (
    demand_targets,
    describe_adapter,
    detach_adapter,
    merge_adapter,
    read_adapter,
    trainable_parameters,
)
from app.training.measures import (
    Measured,
    Yardsticks,
    measure_base,
    measure_parent,
    measures_name,
    measures_of,
    side_by_side,
)
from app.training.models import Fingerprint, fingerprint
from app.training.rehearsal import choose_surprising
from app.training.scaling import choose_scale
from app.training.snapshots import SnapshotFile

EFFECT_EXAMPLES = 2
"""Examples that the effect is measured on, in fp32: 0.8 s each on 2 cores, before and after."""


class _Validation:
    """Held-out loss after an epoch; remembers what it was made of, which is needed again.

    Of a cycle that dreams it is the mean over the answers to what was never asked, too: else the
    epoch that ends the training is the one at which the replies alone were at their best.
    """

    def __init__(
        self,
        base: BaseModel,
        held_out: Sequence[TrainingExample],
        unasked: Sequence[TrainingExample],
    ) -> None:
        self._base = base
        self._held_out = held_out
        self._unasked = unasked
        self.log_probabilities: dict[int, torch.Tensor] = {}

    def __call__(self, epoch: int) -> float:
        found = token_log_probabilities(self._base, self._held_out)
        self.log_probabilities[epoch] = found
        if not self._unasked:
            return held_out_loss(found, self._held_out).nats_per_token
        told = token_log_probabilities(self._base, self._unasked)
        return -float(torch.cat((found, told)).double().mean())


def enter_stage(
    stage: Stage, *, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
) -> None:
    """Say that a stage begins. Raises: TrainingStopped."""
    if should_stop():
        raise TrainingStopped(f"stopped before {stage.value}", stage=stage.value)
    give_back_memory()
    on_progress(Progress(stage=stage))


def encoder_of(job: TrainingJob, base: BaseModel) -> ChatEncoder:
    """How a job's texts are put before its base."""
    return ChatEncoder(
        base.tokenizer,
        system_prompt=job.system_prompt,
        max_length=job.recipe.max_length,
        thinking=job.thinking,
    )


def run_job(
    job: TrainingJob,
    *,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    imports_seconds: float,
) -> TrainingReport:
    """Run a job; see `LoraTrainer.run` for what it promises and raises."""
    seconds = {"imports": imports_seconds}
    enter = partial(enter_stage, on_progress=on_progress, should_stop=should_stop)

    enter(Stage.LOADING)
    with timed(seconds, "loading"):
        # Before the weights are loaded: a wrong base costs 0.2 s, not the whole loading.
        found = _demand_same_base(job)
        base, described = _load(job)
        _demand_targets(job, base)
        encoder = encoder_of(job, base)
        fit = sort_out(job.train, job.held_out, encoder, base_model=job.base_model)
        new, held_out = fit.new, fit.held_out
    kept = KeptFiles(job.kept_directory, found.sha256)

    # While the base is bare: anchors, general answers and the base's replies are its own.
    enter(Stage.EVALUATING_BEFORE)
    with timed(seconds, "references"):
        yardsticks = Yardsticks(
            encoder=encoder,
            bare=load_or_make_references(base, kept),
            in_session=load_or_make_references(base, kept, job.session_prompts),
            kept=kept,
            held_out=held_out,
            effect=(held_out or new)[:EFFECT_EXAMPLES],
        )
        of_base = measure_base(job, base, yardsticks)
        bare = _ask_bare(job, base, encoder, fit)
        replaced = measure_replaced(job, base, held_out, found)
    # From here on the parent's adapter, or a new one that changes nothing yet, is in the base.
    loop = TrainingLoop(
        job.base_model,
        job.output_directory,
        recipe=job.recipe,
        parent_adapter=job.parent_adapter,
        base=base,
    )
    with timed(seconds, "evaluating_before"):
        before = token_log_probabilities(base, held_out)
        # In fp32, since bf16's rounding alone is larger than what a weak adapter does.
        exact_before = exact_log_probabilities(base, yardsticks.effect)
        of_parent = measure_parent(job, base, yardsticks, of_base)
        # By the model as it goes into this cycle: what the parent still knows needs no rehearsal.
        rehearsed = _rehearse(job, base, fit.pool)
    dreams = _dream(job, base, encoder, fit, rehearsed, bare, seconds)
    train = interleave([*new, *rehearsed], dreams.examples if dreams else [])

    enter(Stage.TRAINING)
    validation = _Validation(base, held_out, dreams.unasked if dreams else ())
    run = loop.train_on_experiences(
        train,
        anchors=mixed(
            yardsticks.bare.anchors, yardsticks.in_session.anchors, job.recipe.anchor_identity_share
        ),
        untold=bare.references if bare else None,
        validate=validation if held_out else None,
        snapshots=_snapshots(job, found.sha256, base, train, held_out),
        on_progress=on_progress,
        should_stop=should_stop,
    )
    seconds["training"] = run["train_seconds"]
    seconds["saving"] = run["save_seconds"]

    enter(Stage.EVALUATING_AFTER)
    with timed(seconds, "evaluating_after"):
        chosen = choose_scale(
            job,
            loop,
            yardsticks,
            of_base,
            before,
            # The best epoch was measured as it ended, and its adapter is the one that stands now.
            validation.log_probabilities.get(run["best_epoch"]),
            dreams,
        )
        geometry, layers = describe_adapter(loop.attached), loop.attached.layers
        trainable = sum(parameter.numel() for parameter in trainable_parameters(loop.adapted))
        # One model in memory: the trained one goes before the fresh one comes.
        detach_adapter(loop.adapted)
        described |= loop.path
        load_again = _as_loaded(job, base)
        del loop, base, validation
        fresh = load_again()
        # What a session will load is what is judged, not what was in memory.
        adapted = read_adapter(fresh.model, job.output_directory, is_trainable=False)
        reloaded = token_log_probabilities(fresh, held_out)
        effect = effect_nats(exact_before, exact_log_probabilities(fresh, yardsticks.effect))
    give_back_memory()
    with timed(seconds, "replies"):
        # Last, since it changes the fresh base's own weights.
        merged = replace(fresh, model=merge_adapter(adapted))
        replies = probe_replies(merged, encoder, job.probe_prompts)
        of_adapter = Measured(
            retention=chosen.retention, in_session=chosen.in_session, replies=replies
        )
        # The next cycle finds these as its parent's, and need not measure them again.
        kept.keep_json(
            measures_name(job, yardsticks, fresh, job.output_directory), asdict(of_adapter)
        )

    return TrainingReport(
        base_sha256=found.sha256,
        base_parts=found.parts,
        held_out_before=held_out_loss(before, held_out),
        held_out_after=chosen.held_out,
        held_out_reloaded=held_out_loss(reloaded, held_out),
        held_out_replaced=replaced,
        effect_nats=effect,
        evaluation=Evaluation(
            base=measures_of(job, of_base),
            before=measures_of(job, of_parent),
            after=measures_of(job, of_adapter),
            held_out_gain=held_out_gain(before, reloaded, held_out),
            update_norm=chosen.update_norm,
            scale=chosen.scale,
            trials=chosen.trials,
        ),
        loss_curve=tuple(run["loss_curve"]),
        validation_curve=tuple(run["validation_curve"]),
        best_epoch=run["best_epoch"],
        unfit=fit.unfit,
        rehearsed_ids=tuple(example["experience_id"] for example in rehearsed),
        recall=dreams.report(merged) if dreams else None,
        steps=run["steps"],
        trained_tokens=run["trained_tokens"],
        supervised_tokens=run["supervised_tokens"],
        trainable_parameters=trainable,
        layers=layers,
        tokens_per_second=run["tokens_per_second"],
        peak_memory_bytes=peak_memory_bytes(fresh.device),
        seconds=seconds,
        environment={**describe_environment(fresh, geometry), **described},
        replies=side_by_side(of_parent.replies, replies),
    )


def _load(job: TrainingJob) -> tuple[BaseModel, dict[str, str]]:
    """The base on its device; and what there is to say of the device, and of how it is held."""
    device, described = prove_device(job.recipe.device)
    base, held = load_held(job.base_model, job.recipe.quantization, device=device)
    return base, described | held


def _as_loaded(job: TrainingJob, base: BaseModel) -> Callable[[], BaseModel]:
    """Loads it again as it is held now, whatever is free by then: else both would not compare."""
    device, quantization = base.device, base.quantization

    def load() -> BaseModel:
        give_back_memory()  # the trained one's weights, which glibc would keep
        return load_base_model(job.base_model, device=device, quantization=quantization)

    return load


def _rehearse(
    job: TrainingJob, base: BaseModel, pool: Sequence[TrainingExample]
) -> list[TrainingExample]:
    wanted = len(pool) if job.rehearsal_count is None else job.rehearsal_count
    return choose_surprising(base, pool, wanted)


def _ask_bare(
    job: TrainingJob, base: BaseModel, encoder: ChatEncoder, fit: Fit
) -> BareAnswers | None:
    """For a cycle that dreams."""
    if not job.recipe.dreams:
        return None
    return BareAnswers(
        base, encoder, [*fit.exchanges, *fit.earlier], job.recipe, also_told=job.held_out
    )


def _dream(
    job: TrainingJob,
    base: BaseModel,
    encoder: ChatEncoder,
    fit: Fit,
    rehearsed: Sequence[TrainingExample],
    bare: BareAnswers | None,
    seconds: dict[str, float],
) -> Dreams | None:
    """Of what is new and what is rehearsed, in a cycle that dreams."""
    if bare is None:
        return None
    with timed(seconds, "dreams"):
        ids = {example["experience_id"] for example in rehearsed}
        earlier = [one for one in fit.earlier if one.experience_id in ids]
        return Dreams(base, encoder, [*fit.exchanges, *earlier], job.recipe, bare)


def _snapshots(
    job: TrainingJob,
    base_sha256: str,
    base: BaseModel,
    train: Sequence[TrainingExample],
    held_out: Sequence[TrainingExample],
) -> SnapshotFile | None:
    """Where this training's snapshot is; its key holds all that the adapter's bytes depend on."""
    if job.snapshot_file is None:
        return None
    parent = job.parent_adapter
    weights = b"" if parent is None else (parent / ADAPTER_FILE).read_bytes()
    facts = [
        base_sha256,
        hashlib.sha256(weights).hexdigest(),
        asdict(job.recipe),
        [[e["input_ids"].tolist(), e["labels"].tolist(), e["salience"]] for e in train],
        [example["input_ids"].tolist() for example in held_out],
        describe_environment(base, ""),  # other versions, or threads, round differently
    ]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return SnapshotFile(job.snapshot_file, key=key, interval_seconds=job.snapshot_interval_seconds)


def measure_replaced(
    job: TrainingJob, base: BaseModel, held_out: Sequence[TrainingExample], found: Fingerprint
) -> HeldOutLoss | None:
    """Held-out loss of the adapter whose place the new one would take, on this very base."""
    if job.replaced_adapter is None or not found.is_meant_by(
        job.replaced_base_sha256, job.replaced_base_parts
    ):
        return None
    # Its own report is of other held-out experiences; only the same ones compare.
    adapted = read_adapter(base.model, job.replaced_adapter, is_trainable=False)
    loss = held_out_loss(token_log_probabilities(base, held_out), held_out)
    detach_adapter(adapted)
    return loss


def _demand_same_base(job: TrainingJob) -> Fingerprint:
    """The base's fingerprint. Raises: BaseModelMismatch."""
    found = fingerprint(job.base_model)
    if found.is_meant_by(job.parent_base_sha256, job.parent_base_parts):
        return found
    raise base_mismatch(
        job.base_model,
        changed_parts(job.parent_base_parts, found.parts),
        parent_base_sha256=job.parent_base_sha256,
        base_sha256=found.sha256,
    )


def _demand_targets(job: TrainingJob, base: BaseModel) -> None:
    """Refuse before the minutes that measuring takes what no new adapter can be put on."""
    if job.parent_adapter is None:
        demand_targets(base.model, job.recipe)


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add what a block takes to the seconds of a part."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.monotonic() - started
