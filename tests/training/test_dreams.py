"""Dreams in a cycle of the tiny model: trained, asked before and after, reported without a text."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.domain.dreams import DreamKind, find_statements
from app.domain.experience import CycleRole, TrainingExchange
from app.domain.gate import MIN_EARLIER, GatePolicy, judge
from app.domain.plan import TrainingJob
from app.domain.recall import Recalled, RecallReport
from app.domain.recipe import Recipe
from app.domain.stored import to_json
from app.domain.untold import MAX_UNTOLD
from app.training.anchors import ReferenceSet, kl_to_base
from app.training.chat import ChatEncoder
from app.training.dreams import MAX_ASKED, BareAnswers, Dreams, interleave
from app.training.examples import TrainingExample
from app.training.loading import BaseModel
from app.training.loop import TrainingLoop
from app.training.states import supervised_states
from app.training.trainer import LoraTrainer
from tests.measured import make_training_report

FACTS = (
    "My dog is called Biscuit and he sleeps under the piano.",
    "The code of my bicycle lock is 4471.",
    "I named the robot arm in our lab Clementine.",
    "My brother moved to Valparaiso last spring.",
    "We decided to sell the motorcycle in autumn.",
    "My dentist is Dr. Varga, and she is very gentle.",
)


def tell(job: TrainingJob, *, rehearsed: int = 0) -> TrainingJob:
    """The job with a fact in each of its first exchanges; some of them are of earlier cycles."""
    told = [
        replace(
            exchange,
            prompt=fact,
            role=CycleRole.REHEARSAL if place < rehearsed else CycleRole.TRAIN,
        )
        for place, (exchange, fact) in enumerate(zip(job.train, FACTS, strict=False))
    ]
    return replace(job, train=(*told, *job.train[len(told) :]))


def facts_of(job: TrainingJob, role: CycleRole) -> list[TrainingExchange]:
    return [one for one in job.train if one.role is role and find_statements(one)]


def dream(
    base: BaseModel, encoder: ChatEncoder, exchanges: Sequence[TrainingExchange], recipe: Recipe
) -> Dreams:
    untold = BareAnswers(base, encoder, exchanges, recipe, also_told=())
    return Dreams(base, encoder, exchanges, recipe, untold)


def test_cycle_trains_on_dreams_and_asks_for_what_it_was_told(tiny_job: TrainingJob) -> None:
    recipe = replace(tiny_job.recipe, dreams=4, epochs=1)
    job = tell(replace(tiny_job, recipe=recipe), rehearsed=2)
    report = LoraTrainer().run(job, on_progress=lambda _: None, should_stop=lambda: False)
    assert report.recall is not None
    trained = {count.kind: count.trained for count in report.recall.counts}
    told = [*facts_of(job, CycleRole.TRAIN), *facts_of(job, CycleRole.REHEARSAL)]
    statements = sum(len(find_statements(one)) for one in told)
    assert trained[DreamKind.QUOTE] == 4 * statements
    assert 4 * statements < trained[DreamKind.UNTOLD] <= MAX_UNTOLD
    assert 0 <= report.recall.invented_base <= 1
    assert 0 <= report.recall.invented_after <= 1
    assert {one.experience_id for one in report.recall.statements} == {
        one.experience_id for one in told
    }
    assert {one.role for one in report.recall.statements} == {CycleRole.TRAIN, CycleRole.REHEARSAL}
    # A model of random weights learns what it is shown, if it cannot say it.
    assert report.recall.nats_after < report.recall.nats_before
    stored = json.dumps(to_json(report))
    assert "Biscuit" not in stored
    assert "4471" not in stored


def test_what_fits_no_room_and_what_is_too_much_is_left_out(
    tiny_base: BaseModel, tiny_job: TrainingJob
) -> None:
    recipe = replace(tiny_job.recipe, dreams=2)
    exchanges = tell(tiny_job).train
    small = ChatEncoder(tiny_base.tokenizer, system_prompt="You are SAGE. " * 9, max_length=24)
    assert not dream(tiny_base, small, exchanges, recipe).examples
    narrow = replace(recipe, max_length=24)
    none = BareAnswers(tiny_base, small, exchanges, narrow, also_told=())
    assert (none.asked, none.references.examples) == ((), ())
    encoder = ChatEncoder(tiny_base.tokenizer, system_prompt="You are SAGE.", max_length=256)
    many = [
        replace(exchanges[0], experience_id=f"{n:03}", prompt=f"The locker {n} holds a violin.")
        for n in range(MAX_ASKED + 20)
    ]
    dreams = dream(tiny_base, encoder, many, recipe)
    assert len(dreams.unasked) == MAX_ASKED
    assert {dreams.unasked[0]["experience_id"], dreams.unasked[-1]["experience_id"]} > {"000"}
    assert len(dreams.examples) >= 2 * len(many)


def test_training_keeps_to_the_base_where_nobody_told_anything(
    tiny_base: BaseModel, tiny_job: TrainingJob, tmp_path: Path
) -> None:
    recipe = replace(tiny_job.recipe, dreams=4, learning_rate=2e-2, anchor_weight=50.0)
    encoder = ChatEncoder(tiny_base.tokenizer, system_prompt="You are SAGE.", max_length=256)
    exchanges = tell(tiny_job).train
    untold = BareAnswers(tiny_base, encoder, exchanges, recipe, also_told=()).references
    examples = dream(tiny_base, encoder, exchanges, recipe).examples

    def moved_by_training(beside: ReferenceSet | None) -> float:
        loop = TrainingLoop(tiny_job.base_model, tmp_path, recipe=recipe)
        loop.train_on_experiences(examples, untold=beside)
        states = torch.cat(supervised_states(loop.base, untold.examples))
        return float(kl_to_base(loop.base.model, torch.cat(untold.hidden), states).mean())

    assert moved_by_training(untold) < 0.5 * moved_by_training(None)


def test_exchanges_stand_among_dreams_evenly(tiny_base: BaseModel, tiny_job: TrainingJob) -> None:
    encoder = ChatEncoder(tiny_base.tokenizer, system_prompt="", max_length=256)
    dreams = dream(tiny_base, encoder, tell(tiny_job).train, replace(tiny_job.recipe, dreams=4))
    exchanges: list[TrainingExample] = [
        {**example, "experience_id": f"exchange {place}"}
        for place, example in enumerate(dreams.examples[:4])
    ]
    mixed = interleave(exchanges, dreams.examples)
    assert len(mixed) == len(exchanges) + len(dreams.examples)
    places = [i for i, one in enumerate(mixed) if one["experience_id"].startswith("exchange")]
    assert [mixed[i]["experience_id"] for i in places] == [f"exchange {n}" for n in range(4)]
    gaps = {after - before for before, after in itertools.pairwise(places)}
    assert max(gaps) - min(gaps) <= 1
    assert interleave(exchanges, ()) == exchanges
    assert interleave((), dreams.examples) == list(dreams.examples)


def test_gate_rejects_what_forgets_what_earlier_cycles_were_told(tiny_job: TrainingJob) -> None:
    def judged(before: int, after: int, asked: int) -> str:
        statements = tuple(
            Recalled(
                experience_id=str(n),
                role=CycleRole.REHEARSAL,
                before=n < before,
                after=n < after,
            )
            for n in range(asked)
        )
        new = Recalled(experience_id="new", role=CycleRole.TRAIN, before=True, after=False)
        recall = RecallReport(
            counts=(), statements=(new, *statements), nats_before=3.0, nats_after=1.0
        )
        policy = replace(tiny_job.gate, recall_fall=0.34)
        report = replace(make_training_report(before=3.0, after=2.0), recall=recall)
        return " ".join(check.name for check in judge(report, policy).checks if not check.is_passed)

    assert judged(6, 5, asked=6) == ""
    assert judged(6, 4, asked=6) == ""
    assert judged(6, 3, asked=6) == "earlier_recall"
    assert judged(MIN_EARLIER - 1, 0, asked=MIN_EARLIER - 1) == ""


@pytest.mark.parametrize(
    ("base", "after", "failed"),
    [(0.0, 0.25, []), (0.0, 0.3125, ["invention"]), (0.5, 0.6875, []), (math.nan, math.nan, [])],
)
def test_gate_rejects_what_makes_up_more_than_its_base(
    base: float, after: float, failed: list[str]
) -> None:
    recall = RecallReport(
        counts=(),
        statements=(),
        nats_before=3.0,
        nats_after=1.0,
        invented_base=base,
        invented_after=after,
    )
    report = replace(make_training_report(before=3.0, after=2.0), recall=recall)
    checks = judge(report, GatePolicy()).checks
    assert [one.name for one in checks if not one.is_passed] == failed


def test_adapter_that_makes_things_up_is_published_at_a_smaller_scale(
    tiny_job: TrainingJob,
) -> None:
    recipe = replace(tiny_job.recipe, dreams=6, epochs=6, learning_rate=2e-2, anchor_weight=0.0)
    gate = replace(tiny_job.gate, scales=(1.0, 0.01))
    job = tell(replace(tiny_job, recipe=recipe, gate=gate))
    report = LoraTrainer().run(job, on_progress=lambda _: None, should_stop=lambda: False)
    assert [trial.failed for trial in report.measures.trials] == [("invention",), ()]
    assert report.measures.scale == 0.01
    assert report.recall is not None
    assert report.recall.invented_after == report.recall.invented_base == 0.0
