"""A plan is stored as JSON and read back as it was."""

from __future__ import annotations

from app.domain.plan import CyclePlan
from app.domain.recipe import Recipe
from app.domain.stored import from_json, to_json


def test_plan_survives_json() -> None:
    plan = CyclePlan(
        base_model="m",
        system_prompt="s",
        recipe=Recipe(target_modules=("q_proj",)),
        min_salience=0.5,
        max_experiences=8,
        parent_checkpoint_id=None,
        experience_ids=("a", "b"),
        rehearsal_ids=(),
        held_out_ids=("c",),
        data_sha256="0",
        probe_prompts=("Who?",),
    )
    assert from_json(CyclePlan, to_json(plan)) == plan
