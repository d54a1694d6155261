"""Training reports without training: what a trainer would report of a cycle that went well."""

from __future__ import annotations

from app.domain.measurement import Measurement
from app.domain.replies import ReplyMeasures
from app.domain.report import (
    Evaluation,
    HeldOutLoss,
    ModelMeasures,
    ProbeReply,
    Retention,
    TrainingReport,
)


def make_training_report(
    *, before: float, after: float, replies: tuple[ProbeReply, ...] = ()
) -> TrainingReport:
    """A report whose held-out loss went from `before` to `after`, and that forgot nothing."""
    base = ModelMeasures(
        retention=make_retention(),
        session_retention=make_retention(),
        replies=make_reply_measures(),
    )
    return TrainingReport(
        base_sha256="b" * 64,
        held_out_before=make_loss(before),
        held_out_after=make_loss(after),
        held_out_reloaded=make_loss(after),
        effect_nats=0.5,
        evaluation=Evaluation(
            base=base,
            before=base,
            after=base,
            held_out_gain=exactly(before - after),
            update_norm=0.02,
            scale=1.0,
            trials=(),
        ),
        loss_curve=(before, after),
        steps=2,
        trained_tokens=200,
        supervised_tokens=100,
        trainable_parameters=10,
        tokens_per_second=300.0,
        peak_memory_bytes=1,
        seconds={"training": 1.0},
        environment={},
        replies=replies,
    )


def make_loss(nats: float) -> HeldOutLoss:
    """A held-out loss over few tokens."""
    return HeldOutLoss(nats_per_token=nats, tokens=100, experiences=4)


def make_retention() -> Retention:
    """What the bare base itself has."""
    return Retention(
        anchor_loss=exactly(0.4),
        anchor_kl=exactly(0.0),
        general_loss=exactly(1.4),
        general_kl=exactly(0.0),
    )


def make_reply_measures() -> ReplyMeasures:
    """What a small base's replies look like."""
    return ReplyMeasures(
        replies=24,
        words=exactly(35.0),
        repeated_ngrams=exactly(0.01),
        looping=exactly(0.0),
        distinct_1=exactly(0.57),
        distinct_2=exactly(0.92),
        similar_pairs=exactly(0.0),
        question_floods=exactly(0.0),
        copies=exactly(0.0),
        self_references=exactly(0.5),
        disclaimers=exactly(0.0),
        partnership=exactly(0.8),
        ended=exactly(0.6),
    )


def exactly(value: float) -> Measurement:
    """A measurement without noise."""
    return Measurement(value=value, standard_error=0.0)
