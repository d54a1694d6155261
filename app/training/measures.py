"""Raw values of a model, measured once and kept: general knowledge, and replies to the probes.

What a cycle measures of its adapter is what the next one needs of its parent. Must not know how the
model was trained or what is concluded from the values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE
from app.domain.measurement import Measurement
from app.domain.plan import TrainingJob
from app.domain.replies import SeededReply, measure_replies, names_in
from app.domain.report import ModelMeasures, ProbeReply, Retention
from app.training.anchors import References, general_prompts
from app.training.chat import ChatEncoder
from app.training.evaluate import base_retention, measure_retention, probe_replies, replies_key
from app.training.examples import TrainingExample
from app.training.kept import KeptFiles
from app.training.loading import BaseModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Yardsticks:
    """What a cycle is measured with, the same before and after.

    Attributes:
        bare: General knowledge asked without a system prompt.
        in_session: The same asked as the instance's sessions ask.
    """

    encoder: ChatEncoder
    bare: References
    in_session: References
    kept: KeptFiles
    held_out: Sequence[TrainingExample]
    effect: Sequence[TrainingExample]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Raw values of one model: what is kept of an adapter for the cycle after.

    Attributes:
        retention: Asked bare; `in_session` as the instance's sessions ask.
    """

    retention: Retention
    in_session: Retention
    replies: tuple[SeededReply, ...]


def measure_base(job: TrainingJob, base: BaseModel, yardsticks: Yardsticks) -> Measured:
    """The bare base's values; its replies are made once for all cycles that ask the same."""
    retention, in_session = base_retention(yardsticks.bare), base_retention(yardsticks.in_session)
    name = measures_name(job, yardsticks, base, None)
    if (found := _find_measured(yardsticks.kept, name)) is not None:
        return Measured(retention=retention, in_session=in_session, replies=found.replies)
    made = Measured(
        retention=retention,
        in_session=in_session,
        replies=probe_replies(base, yardsticks.encoder, job.probe_prompts),
    )
    yardsticks.kept.keep_json(name, asdict(made))
    return made


def measure_parent(
    job: TrainingJob, base: BaseModel, yardsticks: Yardsticks, of_base: Measured
) -> Measured:
    """The parent's values: kept since its own cycle, or made again.

    Args:
        base: With the parent's adapter attached.
    """
    if job.parent_adapter is None:
        return of_base
    name = measures_name(job, yardsticks, base, job.parent_adapter)
    if (found := _find_measured(yardsticks.kept, name)) is not None:
        return found
    made = Measured(
        retention=measure_retention(base, yardsticks.bare),
        in_session=measure_retention(base, yardsticks.in_session),
        replies=probe_replies(base, yardsticks.encoder, job.probe_prompts),
    )
    yardsticks.kept.keep_json(name, asdict(made))
    return made


def measures_name(
    job: TrainingJob, yardsticks: Yardsticks, base: BaseModel, adapter: Path | None
) -> str:
    """The file that an adapter's measures are kept in, named by its content; None for the base."""
    key = replies_key(base, yardsticks.encoder, job.probe_prompts)
    if adapter is None:
        return f"measures-base-{key}.json"
    digest = hashlib.sha256((adapter / ADAPTER_FILE).read_bytes())
    for example in yardsticks.in_session.general.examples:  # of other sessions, other values
        digest.update(example["input_ids"].numpy().tobytes())
    # The same A and B are another adapter at another lora_alpha.
    digest.update((adapter / CONFIG_FILE).read_bytes())
    return f"measures-{digest.hexdigest()[:32]}-{key}.json"


def _read_retention(stored: Mapping[str, Mapping[str, float]]) -> Retention:
    return Retention(**{name: Measurement(**value) for name, value in stored.items()})


def _find_measured(kept: KeptFiles, name: str) -> Measured | None:
    stored = kept.find_json(name)
    if stored is None:
        return None
    try:
        return Measured(
            retention=_read_retention(stored["retention"]),
            in_session=_read_retention(stored["in_session"]),
            replies=tuple(SeededReply(**reply) for reply in stored["replies"]),
        )
    except (KeyError, TypeError, AttributeError):  # written by another version
        return None


def measures_of(job: TrainingJob, measured: Measured) -> ModelMeasures:
    """One model's measures, of raw values.

    Only replies to fixed prompts are measured: the instance's own may be one or twenty.
    """
    endings = frozenset(general_prompts().endings)
    fixed = [reply for reply in measured.replies if reply.seed is not None]
    return ModelMeasures(
        retention=measured.retention,
        session_retention=measured.in_session,
        replies=measure_replies(
            [reply for reply in fixed if reply.prompt not in endings],
            endings=[reply for reply in fixed if reply.prompt in endings],
            training_replies=[exchange.response for exchange in job.train],
            names=names_in(job.system_prompt),
        ),
    )


def side_by_side(
    before: Sequence[SeededReply], after: Sequence[SeededReply]
) -> tuple[ProbeReply, ...]:
    """The greedy replies to the instance's own prompts."""
    return tuple(
        ProbeReply(prompt=second.prompt, before=first.text, after=second.text)
        for first, second in zip(before, after, strict=True)
        if second.seed is None
    )
