"""When an instance sleeps, what of a cycle it takes, and when a checkpoint must go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from datetime import time
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic.dataclasses import dataclass

from app.domain.categories import (
    DEFAULT_CATEGORIES,
    CategoryFloors,
    CategoryRules,
)
from app.domain.declared import DECLARED, Share, lay_fields_over
from app.domain.near_copies import MIN_JACCARD
from app.domain.reply_parts import Thinking
from app.errors import InvalidPolicy

_QUIET_HOURS = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)


class Promotion(StrEnum):
    """Who makes an accepted checkpoint current."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


@plain_dataclass(frozen=True, kw_only=True, slots=True)
class QuietHours:
    """A daily span of local time in which no cycle starts by itself; may pass midnight."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> QuietHours:
        """Read `22:00-07:00`. Raises: ValueError."""
        match = _QUIET_HOURS.fullmatch(text)
        if match is None or match[1] == match[2]:
            raise ValueError(f"quiet_hours must look like 22:00-07:00, not {text!r}")
        return cls(start=time.fromisoformat(match[1]), end=time.fromisoformat(match[2]))

    def contains(self, moment: time) -> bool:
        """Whether a local time lies in the span; the start belongs to it, the end does not."""
        if self.start <= self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


def _read_quiet_hours(value: object) -> QuietHours:
    if isinstance(value, QuietHours):
        return value
    if not isinstance(value, str):
        raise ValueError("quiet_hours must be a text that looks like 22:00-07:00")  # noqa: TRY004
    return QuietHours.parse(value)


WrittenQuietHours = Annotated[
    QuietHours,
    PlainValidator(_read_quiet_hours),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]
"""Quiet hours that are written `22:00-07:00` in settings, in JSON and in the database."""


@dataclass(frozen=True, kw_only=True, slots=True, config=DECLARED)
class SleepPolicy:
    """When an instance sleeps, and when a checkpoint must go; what is known of some defaults.

    Attributes:
        max_pattern_share: Off, since a model's way to begin is its style: where one beginning opens
            most replies, four would be taken.
        near_duplicate_jaccard: 0.8 as in Lee et al. 2022 (arXiv:2107.06499): of a reply of 130
            words about five may differ. The nearest two of 656 real replies stand at 0.51
            (`tests/benchmarks/test_curation.py`), so it costs nothing where there is no flood.
            Replies of a few words are not compared (`app.domain.traits.MIN_COMPARED_WORDS`).
        category_floors: None: whether a floor helps was not measured, and salience does not pass
            these categories over: of Qwen2.5-0.5B's 64 most salient real exchanges 8 % are about
            identity and 6 % each about uncertainty and reality, of all its 333 exchanges 9, 5 and
            10 %.
        promotion: While a candidate waits, no cycle starts by itself.
        rebuild_every_cycles: Ten real slices learned one after the other gained 0.534 nats per
            token on all their held-out parts, made anew from the base 0.617, in four times a
            cycle's time (`test_recipe.py -k ten_cycles`).
        max_repetition_ratio: A guess: of the 8 replies of the field's collapse 6 were identical,
            0.75.
        min_report_score: A guess.
        retain_checkpoints: Beside those in use, pinned, or best (`app.domain.retention`). A guess.
    """

    mass_threshold: Annotated[
        FiniteFloat, Field(gt=0, description="Salience that must wait, as a sum.")
    ] = 20.0
    adaptive_threshold: Annotated[
        bool,
        Field(description="mass_threshold falls while an instance waits, rises with rejections."),
    ] = False
    min_salience: Annotated[
        Share, Field(description="An experience of less is kept and not trained on.")
    ] = 0.5
    min_experiences: Annotated[int, Field(ge=1, le=10**9, description="So many must wait.")] = 10
    min_interval_seconds: Annotated[
        FiniteFloat, Field(ge=0, description="Between the last cycle's end and the next.")
    ] = 6 * 3600.0
    failure_backoff_seconds: Annotated[
        FiniteFloat,
        Field(ge=0, description="After a failed cycle; twice as long after each more in a row."),
    ] = 600.0
    cancel_pause_seconds: Annotated[
        FiniteFloat,
        Field(ge=0, description="After a cancelled cycle, before one starts by itself."),
    ] = 3600.0
    idle_seconds: Annotated[
        FiniteFloat, Field(ge=0, description="Without an exchange, before a cycle starts.")
    ] = 60.0
    wake_on_exchange: Annotated[
        bool, Field(description="An exchange stops a cycle until the instance is idle again.")
    ] = False
    quiet_hours: Annotated[
        WrittenQuietHours | None,
        Field(
            description="Local hours in which no cycle starts by itself: 22:00-07:00.",
            examples=["22:00-07:00"],
        ),
    ] = None
    max_experiences: Annotated[
        int, Field(ge=1, le=4096, description="Of one cycle, rehearsal apart.")
    ] = 256
    thinking: Annotated[
        Thinking,
        Field(
            strict=False,
            description="Of a thinking model's replies: strip learns the answer alone, or keep.",
        ),
    ] = Thinking.STRIP
    max_prompt_share: Annotated[
        Share, Field(description="Of a cycle, for one prompt; 1: no rule.")
    ] = 0.25
    max_phase_share: Annotated[
        Share, Field(description="Of a cycle, for one phase; 1: no rule.")
    ] = 1.0
    max_pattern_share: Annotated[
        Share, Field(description="Of a cycle, for replies that begin alike; 1: no rule.")
    ] = 1.0
    near_duplicate_jaccard: Annotated[
        FiniteFloat,
        Field(
            ge=MIN_JACCARD,
            le=1,
            description="From which the less salient of two replies is a copy; 1: no rule.",
        ),
    ] = 0.8
    category_floors: Annotated[
        CategoryFloors,
        Field(
            description='Of a cycle, at least, where enough waits: {"identity": 0.1}.',
            examples=[{"identity": 0.1}],
        ),
    ] = Field(default_factory=dict)
    categories: Annotated[
        CategoryRules,
        Field(
            description='Phrases in place of those shipped: {"identity": ["who are you"]}.',
            examples=[{"identity": ["who are you", "my name"]}],
        ),
    ] = Field(default_factory=lambda: dict(DEFAULT_CATEGORIES))
    promotion: Annotated[
        Promotion,
        Field(
            strict=False,
            description="manual: an accepted checkpoint is a candidate until a person promotes it.",
        ),
    ] = Promotion.AUTOMATIC
    rebuild_every_cycles: Annotated[
        int,
        Field(
            ge=0,
            le=10**9,
            description="Stacked updates before a new start from the base; 0: never.",
        ),
    ] = 10
    push_to_ollama: Annotated[
        bool, Field(description="Ollama's <instance>:latest becomes what is live here.")
    ] = False
    push_to_vllm: Annotated[
        bool, Field(description="vLLM serves what is live here, as <instance>@<cycle>.")
    ] = False
    push_to_mirror: Annotated[
        bool, Field(description="Published checkpoints are copied to the mirror.")
    ] = False
    ollama_models_kept: Annotated[
        int, Field(ge=0, le=1000, description="Of an instance's older models in Ollama.")
    ] = 2
    regression_reports: Annotated[
        int, Field(ge=0, le=1000, description="Sessions whose bad reports roll back; 0: never.")
    ] = 3
    regression_window: Annotated[
        int, Field(ge=1, le=1000, description="The newest sessions among which they are counted.")
    ] = 5
    max_repetition_ratio: Annotated[
        Share, Field(description="A session report above it is bad.")
    ] = 0.5
    min_report_score: Annotated[Share, Field(description="A session report below it is bad.")] = (
        0.25
    )
    retain_text_days: Annotated[
        int,
        Field(ge=0, le=36500, description="Until texts that wait for no cycle go; 0: they stay."),
    ] = 0
    retain_checkpoints: Annotated[
        int, Field(ge=0, le=100_000, description="Of the newest, those that keep files; 0: all.")
    ] = 10


def check_reach(changes: Mapping[str, Any]) -> None:
    """Refuse a window that somebody made too small for the reports asked of it.

    Who names one of the two alone gets a window that is large enough
    (`app.domain.regression.count_considered`).

    Raises: InvalidPolicy.
    """
    reports, window = changes.get("regression_reports"), changes.get("regression_window")
    if reports is not None and window is not None and reports > window:
        raise InvalidPolicy(
            f"regression_reports is {reports} and regression_window {window}: so many bad sessions "
            "are never among so few. Lower the one, or raise the other.",
            pointer="/policy/regression_window",
        )


def lay_over_policy(policy: SleepPolicy, changes: Mapping[str, Any]) -> SleepPolicy:
    """The policy with these fields in place of its own; categories stand in for those they name.

    Raises: InvalidPolicy.
    """
    values = dict(changes)
    if isinstance(categories := values.get("categories"), Mapping):
        values["categories"] = {**policy.categories, **categories}
    return lay_fields_over(policy, values, section="policy")
