"""What one sleep cycle is told to do: the stored plan, and the job that a trainer gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError, model_validator

from app.domain.base_parts import BaseParts
from app.domain.curation import Floor, LeftOut
from app.domain.experience import TrainingExchange
from app.domain.gate import GatePolicy
from app.domain.layers import AdaptedLayers
from app.domain.mirror import AdoptedFrom
from app.domain.recipe import Recipe
from app.domain.reply_parts import Thinking

HELD_BEFORE_TOLD: Mapping[str, Any] = {
    "anchor_weight": 0.0,
    "anchor_interval": 1,
    "anchor_identity_share": 0.0,
}
"""Hyper-parameters that an older plan does not tell, and what a cycle did then: it trained without
anchors, later with some beside every batch, and with all of them asked bare."""


MAX_SESSION_PROMPTS = 4
"""Of a cycle, that general knowledge is asked under."""

OF_RANGES = frozenset({
    "greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number",
    "string_pattern_mismatch", "too_long", "too_short",
})  # fmt: skip
"""What pydantic calls a value that is of the right type and yet not one to ask for."""


def _read_recipe(stored: Any) -> Any:
    """A recipe as it was, whatever is asked of one today: it was held to the ranges of its time."""
    if not isinstance(stored, Mapping):
        return stored
    names = [field.name for field in fields(Recipe)]
    told = {name: stored[name] for name in names if name in stored}
    told = {**HELD_BEFORE_TOLD, **told}
    try:
        return Recipe(**told)
    except ValidationError as error:
        odd = {str(item["loc"][0]) for item in error.errors()}
        if not OF_RANGES.issuperset(item["type"] for item in error.errors()):
            raise
        recipe = Recipe(**{name: value for name, value in told.items() if name not in odd})
        for name in odd:
            value = told[name]
            object.__setattr__(recipe, name, tuple(value) if isinstance(value, list) else value)
        return recipe


StoredRecipe = Annotated[Recipe, BeforeValidator(_read_recipe)]


@dataclass(frozen=True, kw_only=True, slots=True)
class CyclePlan:
    """All that a cycle needs to run, and to be run again with the same result.

    Attributes:
        experience_ids: In training order, that of time (most salient first until 0.1); rehearsal
            and held-out apart.
        data_sha256: Over the content hashes of all three lists in order.
        min_salience: The limit the selection was made with.
        parent_checkpoint_id: The promoted adapter the cycle starts from; None for the base.
        rehearsal_ids: The rehearsal pool; the trainer chooses `rehearsal_count` of it, None
            for all.
        replaces_checkpoint_id: What was `current` when the cycle was queued; its result goes live
            only where that still stands. The parent, unless the cycle starts from the base again.
        thinking: What of a thinking model's replies is trained.
        left_out: Which rule of curation kept which experiences out of the cycle.
        floors: What became of the floors of categories.
        layers: Which of the base's linear layers the adapter changes; None until someone who can
            read the model has looked: a dry run, or the cycle itself as it ends.
        adopted_from: The checkpoint of another machine that is measured and judged here in place of
            a training; None for a cycle that trains.
    """

    base_model: str
    system_prompt: str
    recipe: StoredRecipe
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
    thinking: Thinking = Thinking.STRIP
    left_out: tuple[LeftOut, ...] = ()
    floors: tuple[Floor, ...] = ()
    layers: AdaptedLayers | None = None
    adopted_from: AdoptedFrom | None = None

    @property
    def example_count(self) -> int:
        """Examples that are trained on, over all epochs; without those that may be made."""
        pool = len(self.rehearsal_ids)
        rehearsed = pool if self.rehearsal_count is None else min(pool, self.rehearsal_count)
        return (len(self.experience_ids) + rehearsed) * self.recipe.epochs

    @model_validator(mode="before")
    @classmethod
    def _of_older(cls, stored: Any) -> Any:
        """Say what held when plans did not tell it: a cycle replaced its parent."""
        if not isinstance(stored, Mapping):
            return stored
        return {"replaces_checkpoint_id": stored.get("parent_checkpoint_id"), **stored}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJob:
    """What the worker hands to a trainer: values and directories, no database.

    Attributes:
        base_model: Hub id or directory.
        parent_adapter: Directory of the adapter to start from; None for a new one.
        parent_base_sha256: Fingerprint of the base that the parent was trained on.
        parent_base_parts: The same part by part, where that was recorded.
        output_directory: Existing, empty; receives the adapter's files.
        train: In the order of the plan, the rehearsal pool included.
        rehearsal_count: How many of those are rehearsed, by surprise; None for all.
        held_out: Never trained on; loss is measured on them before and after.
        replaced_adapter: Directory of the adapter whose place a new one would take, for comparison;
            None where it goes on from that one, or where a person asked for a new one.
        replaced_base_sha256: Fingerprint of the base that it was trained on, with its parts; on
            another base there is nothing to compare.
        adopted_adapter: Directory of an adapter that was trained elsewhere, to be measured and not
            trained; None for a training.
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
    thinking: Thinking = Thinking.STRIP
    replaced_adapter: Path | None = None
    replaced_base_sha256: str | None = None
    replaced_base_parts: BaseParts = field(default_factory=dict)
    parent_base_parts: BaseParts = field(default_factory=dict)
    adopted_adapter: Path | None = None
    gate: GatePolicy = field(default_factory=GatePolicy)
    kept_directory: Path | None = None
    snapshot_file: Path | None = None
    snapshot_interval_seconds: float = 30.0

    @property
    def session_prompts(self) -> tuple[str, ...]:
        """The system prompts that sessions speak under, the commonest first.

        Those of a quarter of the exchanges at least; the instance's own where an exchange tells
        none. Never none.
        """
        found = Counter(_system_prompt(exchange, self.system_prompt) for exchange in self.train)
        enough = len(self.train) / MAX_SESSION_PROMPTS
        common = tuple(text for text, count in found.most_common() if count >= enough)
        return common or (self.system_prompt,)


def _system_prompt(exchange: TrainingExchange, of_instance: str) -> str:
    first = exchange.history[0] if exchange.history else None
    told = first.content if first is not None and first.role == "system" else None
    own = exchange.system_prompt if exchange.system_prompt is not None else told
    return of_instance if own is None else own
