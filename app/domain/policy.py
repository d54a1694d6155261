"""When an instance sleeps, what of a cycle it takes, and when a checkpoint must go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from enum import StrEnum

from app.domain.categories import DEFAULT_CATEGORIES
from app.errors import InvalidPolicy

_QUIET_HOURS = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)


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
