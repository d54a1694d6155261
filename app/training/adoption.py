"""An adapter that was trained elsewhere: measured here as a cycle measures its own, not trained.

It is as a new start from the base: compared with the bare base, and with the adapter whose place it
would take. Its files stay as they are, so it is measured at full scale alone. Must not know the
database, checkpoints, verdicts, or where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

from app.artifacts.bases import base_name
from app.domain.plan import TrainingJob
from app.domain.progress import Progress, Stage
from app.domain.report import Evaluation, TrainingReport
from app.errors import NothingFits
from app.training.anchors import load_or_make_references
from app.training.environment import describe_environment, peak_memory_bytes
from app.training.evaluate import (
    effect_nats,
    exact_log_probabilities,
    held_out_gain,
    held_out_loss,
    measure_retention,
    probe_replies,
    token_log_probabilities,
)
from app.training.fit import sort_out
from app.training.job import (
    EFFECT_EXAMPLES,
    encoder_of,
    enter_stage,
    measure_replaced,
    timed,
)
from app.training.kept import KeptFiles
from app.training.loading import device_named, load_held
from app.training.lora import (
    continue_adapter,
    describe_adapter,
    merge_adapter,
    trainable_parameters,
)
from app.training.measures import (
    Measured,
    Yardsticks,
    measure_base,
    measures_name,
    measures_of,
    side_by_side,
)
from app.training.models import fingerprint
from app.training.update_norm import update_norm


def measure_adopted(
    job: TrainingJob,
    *,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    imports_seconds: float,
) -> TrainingReport:
    """Measure `job.adopted_adapter`; see `LoraTrainer.run` for what it promises and raises."""
    if job.adopted_adapter is None:
        raise ValueError("a job that trains")
    seconds = {"imports": imports_seconds}
    enter = partial(enter_stage, on_progress=on_progress, should_stop=should_stop)

    enter(Stage.LOADING)
    with timed(seconds, "loading"):
        found = fingerprint(job.base_model)
        base, held = load_held(
            job.base_model, job.recipe.quantization, device=device_named(job.recipe.device)
        )
        encoder = encoder_of(job, base)
        fit = sort_out((), job.held_out, encoder, base_model=job.base_model)
    held_out = fit.held_out
    if not held_out:
        raise NothingFits(
            f"none of the exchanges here can be put before {base_name(job.base_model)}, so nothing "
            "can be judged by them",
            unfit=fit.unfit,
        )

    enter(Stage.EVALUATING_BEFORE)
    kept = KeptFiles(job.kept_directory, found.sha256)
    with timed(seconds, "references"):
        yardsticks = Yardsticks(
            encoder=encoder,
            bare=load_or_make_references(base, kept),
            in_session=load_or_make_references(base, kept, job.session_prompts),
            kept=kept,
            held_out=held_out,
            effect=held_out[:EFFECT_EXAMPLES],
        )
        of_base = measure_base(job, base, yardsticks)
        replaced = measure_replaced(job, base, held_out, found)
    with timed(seconds, "evaluating_before"):
        before = token_log_probabilities(base, held_out)
        exact_before = exact_log_probabilities(base, yardsticks.effect)

    enter(Stage.EVALUATING_AFTER)
    with timed(seconds, "evaluating_after"):
        attached = continue_adapter(base.model, job.adopted_adapter, seed=job.recipe.seed)
        moved = update_norm(attached.adapted, None)
        after = token_log_probabilities(base, held_out)
        effect = effect_nats(exact_before, exact_log_probabilities(base, yardsticks.effect))
        retention = measure_retention(base, yardsticks.bare)
        in_session = measure_retention(base, yardsticks.in_session)
        geometry = describe_adapter(attached)
        trainable = sum(one.numel() for one in trainable_parameters(attached.adapted))
    with timed(seconds, "replies"):
        # Last, since it changes the base's own weights.
        merged = replace(base, model=merge_adapter(attached.adapted))
        replies = probe_replies(merged, encoder, job.probe_prompts)
        measured = Measured(retention=retention, in_session=in_session, replies=replies)
        # The next cycle finds these as its parent's, and need not measure them again.
        kept.keep_json(measures_name(job, yardsticks, base, job.adopted_adapter), asdict(measured))

    losses = held_out_loss(after, held_out)
    return TrainingReport(
        base_sha256=found.sha256,
        base_parts=found.parts,
        held_out_before=held_out_loss(before, held_out),
        held_out_after=losses,
        held_out_reloaded=losses,  # it was never anywhere but in its files
        held_out_replaced=replaced,
        effect_nats=effect,
        evaluation=Evaluation(
            base=measures_of(job, of_base),
            before=measures_of(job, of_base),
            after=measures_of(job, measured),
            held_out_gain=held_out_gain(before, after, held_out),
            update_norm=moved,
            scale=1.0,
            trials=(),
        ),
        loss_curve=(),
        unfit=fit.unfit,
        steps=0,
        trained_tokens=0,
        supervised_tokens=0,
        trainable_parameters=trainable,
        layers=attached.layers,
        tokens_per_second=0.0,
        peak_memory_bytes=peak_memory_bytes(base.device),
        seconds=seconds,
        environment={**describe_environment(base, geometry), **held},
        replies=side_by_side(of_base.replies, replies),
    )
