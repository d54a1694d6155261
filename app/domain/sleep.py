"""When to sleep, and what one sleep cycle is told to do.

`decide` is a pure function of the state of an instance and its policy. A cycle's states:

    queued -> training -> evaluating -> succeeded | rejected | failed | cancelled
       ^          |  a killed cycle goes back to the queue
       +----------+

A cycle that ran well and was refused by the gate is `rejected`, not `failed`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, time
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.domain.categories import DEFAULT_CATEGORIES
from app.domain.experience import TrainingExchange
from app.domain.gate import GatePolicy
from app.domain.variations import VariationKind
from app.errors import InvalidPolicy

EMBEDDED_MODEL_NAME = "SmolLM2-135M-Instruct"
"""The model that comes with the project; its directory has the same name."""

SAGE_SYSTEM_PROMPT = (
    "You are SAGE, an AI assistant in partnership with Dennis (human) and Claude (AI). "
    "Your identity is anchored to this collaborative relationship.\n\n"
    "You think carefully, acknowledge uncertainty when appropriate, and maintain genuine "
    "partnership language. You are not a generic assistant - you are SAGE, with your own "
    "developing identity and understanding."
)
"""The identity prompt of the older scripts; an instance may have its own."""

ALL_LINEAR_MODULES = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
)  # fmt: skip
"""Every linear layer of a Llama or Qwen2 block (LoRA Without Regret, 2025: all of them pay)."""


_QUIET_HOURS = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)


class CycleStatus(StrEnum):
    """Where a sleep cycle stands."""

    QUEUED = "queued"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_active(self) -> bool:
        """Whether the cycle is queued or running."""
        return self in ACTIVE_STATUSES


ACTIVE_STATUSES = (CycleStatus.QUEUED, CycleStatus.TRAINING, CycleStatus.EVALUATING)
RUNNING_STATUSES = (CycleStatus.TRAINING, CycleStatus.EVALUATING)


class Trigger(StrEnum):
    """Who asked for a cycle."""

    SCHEDULE = "schedule"
    REQUEST = "request"
    REBUILD = "rebuild"


class Promotion(StrEnum):
    """Who makes an accepted checkpoint current."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


@dataclass(frozen=True, kw_only=True, slots=True)
class QuietHours:
    """A daily span of local time in which no cycle starts by itself; may pass midnight."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """Read `22:00-07:00`. Raises: InvalidPolicy."""
        match = _QUIET_HOURS.fullmatch(text)
        if match is None or match[1] == match[2]:
            raise InvalidPolicy(
                f"quiet_hours must look like 22:00-07:00, not {text!r}", pointer="/quiet_hours"
            )
        return cls(start=time.fromisoformat(match[1]), end=time.fromisoformat(match[2]))

    def contains(self, moment: time) -> bool:
        """Whether a local time lies in the span; the start belongs to it, the end does not."""
        if self.start <= self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepPolicy:
    """When an instance sleeps, and when a checkpoint must go. Defaults are settings.

    Attributes:
        max_prompt_share: Of a cycle, that experiences with one prompt may make up; 1 for no rule.
        max_phase_share: The same of one phase.
        max_pattern_share: The same of replies that begin with the same words. Off, since a model's
            way to begin is its style: where one beginning opens most replies, four would be taken.
        near_duplicate_jaccard: Of two replies, from which on the less salient one is a near copy
            and left out; 1 for no rule. 0.8 as in Lee et al. 2022 (arXiv:2107.06499): of a reply
            of 130 words about five may differ. The nearest two of 656 real replies stand at 0.51
            (`tests/benchmarks/test_curation.py`), so it costs nothing where there is no flood.
            Replies of a few words are not compared (`app.domain.curation.MIN_COMPARED_WORDS`).
        category_floors: Shares of a cycle that categories have at least, where enough wait. None:
            whether a floor helps was not measured, and salience does not pass these categories
            over: of Qwen2.5-0.5B's 64 most salient real exchanges 8 % are about identity and 6 %
            each about uncertainty and reality, of all its 333 exchanges 9, 5 and 10 %.
        categories: Phrases by which a category is recognised.
        promotion: Manual leaves an accepted checkpoint as `candidate` until a person promotes or
            dismisses it; meanwhile no cycle starts by itself.
        rebuild_every_cycles: After so many updates stacked on one adapter the next cycle starts
            from the base again; 0 for never. Ten real slices learned one after the other gained
            0.534 nats per token on all their held-out parts, made anew from the base 0.617, in
            four times a cycle's time (`test_recipe.py -k ten_cycles`).
        regression_reports: So many bad reports among the last `regression_window` take the current
            checkpoint back; 0 for never.
        max_repetition_ratio: A report above it is bad. A guess: of the 8 replies of the field's
            collapse 6 were identical, 0.75.
        min_report_score: A report below it is bad. A guess.
        retain_text_days: Texts of experiences that wait for no cycle go after so many days; 0 keeps
            them.
        retain_checkpoints: So many of the newest keep their files, beside those in use, pinned,
            or best (`app.domain.retention`); 0 keeps all. A guess.
    """

    mass_threshold: float = 20.0
    min_salience: float = 0.5
    min_experiences: int = 10
    min_interval_seconds: float = 6 * 3600
    idle_seconds: float = 60.0
    quiet_hours: QuietHours | None = None
    max_experiences: int = 256
    max_prompt_share: float = 0.25
    max_phase_share: float = 1.0
    max_pattern_share: float = 1.0
    near_duplicate_jaccard: float = 0.8
    category_floors: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: dict(DEFAULT_CATEGORIES)
    )
    promotion: Promotion = Promotion.AUTOMATIC
    rebuild_every_cycles: int = 10
    regression_reports: int = 3
    regression_window: int = 5
    max_repetition_ratio: float = 0.5
    min_report_score: float = 0.25
    retain_text_days: int = 0
    retain_checkpoints: int = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Hyper-parameters of a cycle, named as in peft and transformers.

    Attributes:
        anchor_weight: Of the KL to the base on anchors, beside the loss of a batch; 0 for none.
        anchors_per_batch: How many stand beside such a batch.
        anchor_interval: After the first batches anchors stand beside one of so many.
        variations: Kinds that are made of what is trained, and trained on beside it; none unless
            asked for: whether they help was not measured. See `app.domain.variations`.
        variation_share: So many are made for each trained experience at most.

    Measured on the embedded model, 185 real exchanges and the 47 after them held out, two epochs;
    gain on held-out, rise of the loss on general pairs and KL to the base on them, nats per token:

        learning_rate, anchors per batch, interval     gain    general     KL
        2e-4           3                  1            0.725    -0.007    0.022
        4e-4           3                  1            0.854    -0.025    0.018
        4e-4           3                  2            0.855    -0.013    0.025
        4e-4           2                  2            0.860    -0.017    0.027
        4e-4           2                  3, see       0.859    -0.041    0.034
                                          ANCHOR_LEAD

    A batch with 3 anchors beside it took 1.6 times one without, with 2 anchors 1.5 times; so they
    stand beside a third of the batches, but for the first. Ten cycles of 36 exchanges in a row, of
    two models' sessions one after the other, left 17 % of the first slice's gain without rehearsal
    and 96 % with a share of 0.3. These are trials, each run once; `test_recipe.py` of the
    benchmarks measures the default, beside training without anchors and the older recipe.
    """

    epochs: int = 2
    learning_rate: float = 4e-4
    batch_size: int = 4
    r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    target_modules: tuple[str, ...] = ALL_LINEAR_MODULES
    weight_decay: float = 0.0
    warmup_ratio: float = 0.1
    max_grad_norm: float = 1.0
    max_length: int = 1024
    rehearsal_share: float = 0.3
    anchor_weight: float = 1.0
    anchors_per_batch: int = 2
    anchor_interval: int = 3
    variations: tuple[VariationKind, ...] = ()
    variation_share: float = 0.5
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceDefaults:
    """What an instance has as long as it does not override it; `timezone` is an IANA name."""

    base_model: str
    system_prompt: str
    timezone: str
    policy: SleepPolicy
    recipe: Recipe
    probe_prompts: tuple[str, ...]
    gate: GatePolicy = field(default_factory=GatePolicy)


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepState:
    """What `decide` looks at, besides the policy.

    Attributes:
        now: Aware UTC.
        local_time: The same instant as a wall clock at the instance's place shows it.
        mass: Sum of `total` over buffered experiences that count.
        count: How many those are.
        last_cycle_ended_at: End of the last cycle that was not cancelled.
        last_exchange_at: When the last exchange was received.
        has_active_cycle: A cycle of the instance is queued or running.
        has_candidate: An accepted checkpoint waits for a person.
    """

    now: datetime
    local_time: time
    mass: float
    count: int
    last_cycle_ended_at: datetime | None
    last_exchange_at: datetime | None
    has_active_cycle: bool
    has_candidate: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One rule of the trigger with its numbers, in words."""

    rule: str
    is_met: bool
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SleepDecision:
    """Whether a cycle is due, and every reason for or against."""

    is_due: bool
    mass: float
    mass_threshold: float
    count: int
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """The decision as it is stored with a cycle and shown over HTTP."""
        return {
            "due": self.is_due,
            "mass": self.mass,
            "mass_threshold": self.mass_threshold,
            "count": self.count,
            "reasons": [
                {"rule": reason.rule, "met": reason.is_met, "text": reason.text}
                for reason in self.reasons
            ],
        }


def decide(state: SleepState, policy: SleepPolicy) -> SleepDecision:
    """Decide whether an instance should sleep now."""
    reasons = (
        Reason(
            rule="no_active_cycle",
            is_met=not state.has_active_cycle,
            text="a cycle is queued or running" if state.has_active_cycle else "no cycle running",
        ),
        Reason(
            rule="mass",
            is_met=state.mass >= policy.mass_threshold,
            text=f"mass {state.mass:.1f} of {policy.mass_threshold:.1f}",
        ),
        Reason(
            rule="experiences",
            is_met=state.count >= policy.min_experiences,
            text=f"{state.count} experiences, minimum {policy.min_experiences}",
        ),
        _interval_reason(state, policy),
        _idle_reason(state, policy),
        _quiet_reason(state, policy),
        *_candidate_reasons(state, policy),
    )
    return SleepDecision(
        is_due=all(reason.is_met for reason in reasons),
        mass=state.mass,
        mass_threshold=policy.mass_threshold,
        count=state.count,
        reasons=reasons,
    )


def _interval_reason(state: SleepState, policy: SleepPolicy) -> Reason:
    if state.last_cycle_ended_at is None:
        return Reason(rule="interval", is_met=True, text="no cycle yet")
    elapsed = (state.now - state.last_cycle_ended_at).total_seconds()
    # A clock that jumped back must not hold sleep off for longer than the interval itself.
    is_met = elapsed >= policy.min_interval_seconds or elapsed < 0
    return Reason(
        rule="interval",
        is_met=is_met,
        text=f"last cycle {in_words(elapsed)} ago, minimum {in_words(policy.min_interval_seconds)}",
    )


def _idle_reason(state: SleepState, policy: SleepPolicy) -> Reason:
    if state.last_exchange_at is None:
        return Reason(rule="idle", is_met=True, text="no exchange yet")
    elapsed = (state.now - state.last_exchange_at).total_seconds()
    is_met = elapsed >= policy.idle_seconds or elapsed < 0
    word = "idle for" if is_met else "active"
    tail = "" if is_met else f" ago, idle after {in_words(policy.idle_seconds)}"
    return Reason(rule="idle", is_met=is_met, text=f"session {word} {in_words(elapsed)}{tail}")


def _quiet_reason(state: SleepState, policy: SleepPolicy) -> Reason:
    if policy.quiet_hours is None:
        return Reason(rule="quiet_hours", is_met=True, text="no quiet hours")
    is_quiet = policy.quiet_hours.contains(state.local_time)
    where = "within" if is_quiet else "outside"
    return Reason(
        rule="quiet_hours",
        is_met=not is_quiet,
        text=f"{state.local_time:%H:%M} is {where} quiet hours {policy.quiet_hours}",
    )


def _candidate_reasons(state: SleepState, policy: SleepPolicy) -> tuple[Reason, ...]:
    """Under manual promotion the next cycle would start from the same adapter as the last one."""
    if policy.promotion is not Promotion.MANUAL:
        return ()
    text = (
        "a candidate waits to be promoted or dismissed" if state.has_candidate else "no candidate"
    )
    return (Reason(rule="candidate", is_met=not state.has_candidate, text=text),)


def in_words(seconds: float) -> str:
    """A duration as people say it: `20 s`, `2 h 10 min`, `3 d 4 h`."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (secs, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value][:2]
    return " ".join(shown) or "0 s"


@dataclass(frozen=True, kw_only=True, slots=True)
class CyclePlan:
    """All that a cycle needs to run, and to be run again with the same result.

    Attributes:
        experience_ids: In training order, most salient first, but what an earlier cycle set aside
            last; rehearsal and held-out apart.
        data_sha256: Over the content hashes of all three lists in order.
        min_salience: The limit the selection was made with.
        parent_checkpoint_id: The promoted adapter the cycle starts from; None for the base.
        rehearsal_ids: Candidates; the trainer chooses `rehearsal_count` of them, None for all.
        replaces_checkpoint_id: What was `current` when the cycle was queued; its result goes live
            only where that still stands. The parent, unless the cycle starts from the base again.
        left_out: Which rule of curation kept which experiences out of the cycle, as in `LeftOut`.
        floors: What became of the floors of categories, as in `Floor`.
    """

    base_model: str
    system_prompt: str
    recipe: Recipe
    min_salience: float
    max_experiences: int
    parent_checkpoint_id: str | None
    experience_ids: tuple[str, ...]
    rehearsal_ids: tuple[str, ...]
    held_out_ids: tuple[str, ...]
    data_sha256: str
    probe_prompts: tuple[str, ...]
    replaces_checkpoint_id: str | None = None
    rehearsal_count: int | None = None
    left_out: tuple[Mapping[str, Any], ...] = ()
    floors: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CyclePlan:
        """Read back what `to_json` wrote."""
        values = {"replaces_checkpoint_id": stored["parent_checkpoint_id"], **stored}
        recipe = dict(values.pop("recipe"))
        recipe["target_modules"] = tuple(recipe["target_modules"])
        recipe["variations"] = tuple(VariationKind(kind) for kind in recipe.get("variations", ()))
        lists = (
            "experience_ids", "rehearsal_ids", "held_out_ids",
            "probe_prompts", "left_out", "floors",
        )  # fmt: skip
        values.update({name: tuple(values.get(name, ())) for name in lists})
        return cls(recipe=Recipe(**recipe), **values)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """What the worker hands to a trainer: values and directories, no database.

    Attributes:
        base_model: Hub id or directory.
        parent_adapter: Directory of the adapter to start from; None for a new one.
        parent_base_sha256: Fingerprint of the base that the parent was trained on.
        output_directory: Existing, empty; receives the adapter's files.
        train: In the order of the plan, candidates for rehearsal included.
        rehearsal_count: How many of those are rehearsed, by surprise; None for all.
        held_out: Never trained on; loss is measured on them before and after.
        replaced_adapter: Directory of the adapter whose place a new one would take, for comparison;
            None where it goes on from that one, or where a person asked for a new one.
        replaced_base_sha256: Fingerprint of the base that it was trained on; on another base there
            is nothing to compare.
        gate: Decides the scale that the adapter is published at.
        kept_directory: Where what is measured of a base once is kept; None keeps nothing.
        snapshot_file: Where the training goes on from if it was interrupted; None keeps nothing.
        snapshot_interval_seconds: Training time that an interruption costs at most.
    """

    base_model: str
    parent_adapter: Path | None
    parent_base_sha256: str | None
    output_directory: Path
    system_prompt: str
    recipe: Recipe
    train: tuple[TrainingExchange, ...]
    held_out: tuple[TrainingExchange, ...]
    probe_prompts: tuple[str, ...] = ()
    rehearsal_count: int | None = None
    replaced_adapter: Path | None = None
    replaced_base_sha256: str | None = None
    gate: GatePolicy = field(default_factory=GatePolicy)
    kept_directory: Path | None = None
    snapshot_file: Path | None = None
    snapshot_interval_seconds: float = 30.0


class Stage(StrEnum):
    """What a running cycle is doing."""

    LOADING = "loading"
    EVALUATING_BEFORE = "evaluating_before"
    TRAINING = "training"
    SAVING = "saving"
    EVALUATING_AFTER = "evaluating_after"
    PUBLISHING = "publishing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a cycle is; `loss` in nats per supervised token, of the last step."""

    stage: Stage
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The progress as it is stored with the cycle."""
        return {
            "stage": self.stage.value,
            "step": self.step,
            "total_steps": self.total_steps,
            "epoch": self.epoch,
            "loss": self.loss,
            "tokens_per_second": self.tokens_per_second,
        }
