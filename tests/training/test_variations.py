"""Variations are made by the model itself, the same every time, and never measured with."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.domain.experience import TrainingExchange, Turn
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.plan import TrainingJob
from app.domain.progress import Progress
from app.domain.recipe import Recipe
from app.domain.report import TrainingReport
from app.domain.stored import to_json
from app.domain.variations import LOSS_RISE_LIMIT, Drift, VariationKind
from app.errors import TrainingStopped
from app.training.chat import ChatEncoder
from app.training.examples import TrainingExample, make_example, targets_of
from app.training.loading import BaseModel, load_base_model
from app.training.pulse import heard_by
from app.training.trainer import LoraTrainer
from app.training.variations import Variations, make_variations, put_in_other_words

SESSION = Path(__file__).parents[2] / "app" / "demo_session.json"
PARAPHRASES = Recipe(variations=(VariationKind.PARAPHRASED_PROMPT,), variation_share=1.0)
EVERYTHING = Recipe(variations=tuple(VariationKind), variation_share=3.0)


def run(job: TrainingJob) -> TrainingReport:
    return LoraTrainer().run(job, on_progress=lambda _progress: None, should_stop=lambda: False)


def with_history(exchanges: tuple[TrainingExchange, ...]) -> tuple[TrainingExchange, ...]:
    """Every exchange after the two before it."""
    return tuple(
        replace(
            exchange,
            history=tuple(
                turn
                for earlier in exchanges[max(place - 2, 0) : place]
                for turn in (
                    Turn(role="user", content=earlier.prompt),
                    Turn(role="assistant", content=earlier.response),
                )
            ),
        )
        for place, exchange in enumerate(exchanges)
    )


def encode(
    base: BaseModel, exchanges: tuple[TrainingExchange, ...], max_length: int = 1024
) -> tuple[ChatEncoder, list[TrainingExample]]:
    encoder = ChatEncoder(base.tokenizer, system_prompt=SAGE_SYSTEM_PROMPT, max_length=max_length)
    return encoder, [make_example(exchange, encoder) for exchange in exchanges]


@pytest.fixture
def talk(exchanges: tuple[TrainingExchange, ...]) -> tuple[TrainingExchange, ...]:
    return with_history(exchanges[:6])


@pytest.fixture
def varying_job(tiny_job: TrainingJob) -> TrainingJob:
    recipe = replace(tiny_job.recipe, variations=tuple(VariationKind), variation_share=3.0)
    return replace(tiny_job, recipe=recipe, train=with_history(tiny_job.train))


def test_reply_stays_word_for_word_and_the_context_changes(
    tiny_base: BaseModel, talk: tuple[TrainingExchange, ...]
) -> None:
    encoder, examples = encode(tiny_base, talk)
    found = make_variations(tiny_base, encoder, talk, examples, EVERYTHING)
    by_id = {example["experience_id"]: example for example in examples}
    assert len(found.examples) == sum(count.kept for count in found.summary.counts)
    assert {count.kind for count in found.summary.counts} == set(VariationKind)
    assert sum(count.made for count in found.summary.counts) == 6 + 5 + 4
    kept = [one for one in found.summary.findings if one.drift is None]
    assert {one.kind for one in kept} >= {
        VariationKind.DROPPED_CONTEXT,
        VariationKind.SHUFFLED_CONTEXT,
    }
    for finding, example in zip(kept, found.examples, strict=True):
        assert example["experience_id"] == finding.experience_id
        original = by_id[finding.experience_id]
        assert torch.equal(targets_of(example), targets_of(original))
        assert not torch.equal(example["input_ids"], original["input_ids"])
        assert finding.loss_rise is not None
        assert finding.loss_rise <= LOSS_RISE_LIMIT


def test_variations_are_the_same_every_time(
    tiny_base: BaseModel, talk: tuple[TrainingExchange, ...]
) -> None:
    def make(recipe: Recipe) -> Variations:
        torch.seed()  # whatever the random state is
        encoder, examples = encode(tiny_base, talk)
        return make_variations(tiny_base, encoder, talk, examples, recipe)

    first, second = make(EVERYTHING), make(EVERYTHING)
    assert first.summary == second.summary
    assert same(first, second)
    assert not same(first, make(replace(EVERYTHING, seed=1)))


def same(one: Variations, other: Variations) -> bool:
    return [example["input_ids"].tolist() for example in one.examples] == [
        example["input_ids"].tolist() for example in other.examples
    ]


def test_what_is_cut_off_anyway_is_no_variation(
    tiny_base: BaseModel, exchanges: tuple[TrainingExchange, ...]
) -> None:
    encoder, alone = encode(tiny_base, exchanges[:1])
    fits = len(alone[0]["input_ids"])
    long_ago = tuple(Turn(role=role, content="word " * 40) for role in ("user", "assistant") * 2)
    talk = (replace(exchanges[0], history=long_ago),)
    encoder, examples = encode(tiny_base, talk, fits)
    recipe = replace(EVERYTHING, variations=(VariationKind.DROPPED_CONTEXT,))
    found = make_variations(tiny_base, encoder, talk, examples, recipe)
    assert [finding.drift for finding in found.summary.findings] == [Drift.UNCHANGED]
    assert found.examples == ()


def test_model_gives_signs_of_life_while_it_writes_and_can_be_stopped_there(
    tiny_base: BaseModel,
) -> None:
    beats = 0
    is_over = threading.Event()

    def listen() -> None:
        nonlocal beats
        beats += 1
        if is_over.is_set():
            raise TrainingStopped("enough")

    prompts = [f"What did we learn about thing {i}?" for i in range(20)]
    with heard_by(listen):
        written = put_in_other_words(tiny_base, prompts)
        assert set(written) == set(prompts)
        assert beats >= 2 * 10
        is_over.set()
        with pytest.raises(TrainingStopped):
            put_in_other_words(tiny_base, prompts)


def test_nothing_is_measured_with_a_variation(varying_job: TrainingJob, tmp_path: Path) -> None:
    """Where no step moves anything, what is measured is a matter of what it is measured with."""
    few = varying_job.train[:3]
    for held_out in (varying_job.held_out, ()):
        reports = []
        for kinds in ((), varying_job.recipe.variations):
            output = tmp_path / f"{len(held_out)}-{len(kinds)}"
            output.mkdir()
            recipe = replace(
                varying_job.recipe,
                learning_rate=1e-60,  # 0 in fp32, which a recipe may not say
                epochs=1,
                variations=kinds,
            )
            job = replace(varying_job, recipe=recipe, train=few, held_out=held_out)
            reports.append(run(replace(job, output_directory=output)))
        without, beside = reports
        assert beside.trained_tokens > without.trained_tokens
        assert without.variations is None
        assert beside.variations is not None
        for name in (
            "held_out_before", "held_out_after", "held_out_reloaded", "effect_nats", "evaluation",
            "replies", "best_epoch", "rehearsed_ids",
        ):  # fmt: skip
            assert getattr(beside, name) == getattr(without, name), name
        assert set(beside.validation_curve) == set(without.validation_curve)


def test_report_marks_every_variation_and_quotes_none(varying_job: TrainingJob) -> None:
    report = run(varying_job)
    assert report.variations is not None
    assert "variations" in report.seconds
    told = to_json(report)["variations"]
    trained = {exchange.experience_id for exchange in varying_job.train}
    assert {finding["experience_id"] for finding in told["findings"]} <= trained
    assert sum(count["made"] for count in told["counts"]) == len(told["findings"]) > 9
    assert sum(count["kept"] for count in told["counts"]) > 9
    text = json.dumps(told, allow_nan=False)
    for exchange in varying_job.train:
        assert exchange.prompt not in text
        assert exchange.response not in text


def test_same_job_gives_the_same_bytes_when_it_goes_on_from_a_snapshot_too(
    varying_job: TrainingJob, tmp_path: Path
) -> None:
    def train(name: str, *, stop_after: int = 0) -> bytes:
        output = tmp_path / name
        output.mkdir()
        job = replace(varying_job, output_directory=output, snapshot_file=tmp_path / "snapshot")
        seen: list[Progress] = []
        LoraTrainer().run(
            job,
            on_progress=seen.append,
            should_stop=lambda: bool(stop_after and seen and seen[-1].step == stop_after),
        )
        steps = [progress.step for progress in seen if progress.loss is not None]
        assert min(steps) == (4 if name == "resumed" else 1)
        return (output / "adapter_model.safetensors").read_bytes()

    whole = train("whole")
    (tmp_path / "snapshot").unlink(missing_ok=True)
    with pytest.raises(TrainingStopped):
        train("stopped", stop_after=3)
    assert train("resumed") == whole


def test_embedded_model_finds_other_words_and_most_of_them_are_refused(
    embedded_model: Path, exchanges: tuple[TrainingExchange, ...]
) -> None:
    base = load_base_model(str(embedded_model))
    demo = tuple(
        replace(exchanges[0], experience_id=str(place), prompt=prompt, response=response)
        for place, (prompt, response) in enumerate(json.loads(SESSION.read_text()))
        if place in {5, 16, 17, 21, 29}  # uncertainty, two views, a power cut, a word, good night
    )
    encoder, examples = encode(base, demo)
    found = make_variations(base, encoder, demo, examples, PARAPHRASES)
    (count,) = found.summary.counts
    assert count.made == len(demo)
    assert 0 < count.kept < len(demo)
    for finding in found.summary.findings:
        if finding.drift is None:
            assert finding.word_overlap is not None
            assert 0.5 <= finding.word_overlap < 1
