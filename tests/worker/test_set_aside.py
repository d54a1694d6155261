"""One exchange never fails a cycle: what no model can be given is named, the rest is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from transformers import AutoTokenizer

from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.experience import ExperienceStatus
from app.domain.fit import FitAnswer
from app.services import experiences, sleep
from app.services.ingest import IngestOutcome, Submission, ingest_many
from app.worker.fit_check import FitCheck
from tests.publishing import NOW
from tests.support import StartDaemon, make_exchange
from tests.tiny import make_tiny_model
from tests.training.families import TEMPLATES
from tests.worker.conftest import Place

SAID = "We noticed, precisely, that the basil was not a fern; what should we look at together?"


def post(place: Place, **values: object) -> str:
    (result,) = ingest_many(
        place.db, [Submission(exchange=Exchange.model_validate(values))], now=NOW
    )
    assert result.outcome is IngestOutcome.INSERTED, result.error
    assert result.experience is not None
    return str(result.experience["id"])


def status_of(place: Place, experience_id: str) -> tuple[str, str | None]:
    row = experiences.get_experience(place.db, experience_id).row
    return row.status, row.reason


def ask_fit(place: Place) -> FitAnswer:
    """What a dry run says of it."""
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    preview = sleep.preview_cycle(place.db, request, now=NOW)
    assert preview.question is not None
    return FitCheck(environment={}).ask(preview.question)


def test_cycle_trains_the_rest_and_names_what_does_not_fit(make_place: Callable[[], Place]) -> None:
    place = make_place()
    place.fill(range(20))
    too_long = [
        post(place, prompt=f"Told {n}?", response=f"{SAID} {n}", system_prompt="rule " * 5000)
        for n in range(12)
    ]
    thought = post(place, prompt="Who?", response=f"<think>We wonder.</think>{SAID} I am SAGE.")
    foretold = ask_fit(place)
    ended = place.sleep()
    assert ended.status == "succeeded", ended.verdict
    assert ended.metrics is not None
    assert foretold == FitAnswer(set_aside=ended.metrics.unfit, layers=ended.metrics.layers)
    assert ended.plan.layers == ended.metrics.layers
    assert ended.plan.layers is not None
    assert ended.plan.layers.summary == "14 of 14 layers"
    named = {one.experience_id for one in ended.metrics.unfit}
    taken = {*ended.plan.experience_ids, *ended.plan.held_out_ids}
    assert named == {*too_long} & taken
    assert named & {*ended.plan.experience_ids}
    for experience_id in named:
        status, reason = status_of(place, experience_id)
        assert status == ExperienceStatus.SET_ASIDE
        assert str(reason).startswith("exchange-too-long: ")
        assert "rule" not in str(reason)
    rest = {*ended.plan.experience_ids} - named
    assert {status_of(place, one)[0] for one in rest} == {"consolidated"}
    assert status_of(place, thought)[0] in {"consolidated", "held_out"}


def test_template_that_refuses_odd_histories_holds_them_all(
    make_place: Callable[[], Place], embedded_model: Path, tmp_path: Path
) -> None:
    model = make_tiny_model(tmp_path / "gemma-like", tokenizer_of=embedded_model)
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    template = (TEMPLATES / "gemma2.jinja").read_text(encoding="utf-8")
    tokenizer.chat_template = template.replace("<start_of_turn>", "<|im_start|>").replace(
        "<end_of_turn>", "<|im_end|>"
    )
    tokenizer.save_pretrained(str(model))
    place = make_place()
    place.restart(base_model=str(model))
    roles = ("assistant", "user", "user", "tool", "system", "assistant")
    history = [{"role": role, "content": f"{role} said so"} for role in roles]
    place.fill(range(10), history=history)
    place.fill(range(10, 20))
    ended = place.sleep()
    assert ended.status == "succeeded", ended.error
    assert ended.metrics is not None
    assert ended.metrics.unfit == ()


def test_dry_run_foretells_a_cycle_that_would_fail(
    make_place: Callable[[], Place], tmp_path: Path
) -> None:
    place = make_place()
    place.fill(range(20), system_prompt="rule " * 5000)
    foretold = ask_fit(place)
    assert foretold.error is not None
    assert foretold.error.code == "nothing-fits"
    assert {one.code for one in foretold.set_aside} == {"exchange-too-long"}
    place.restart(base_model=str(tmp_path / "nowhere"))
    absent = ask_fit(place)
    assert absent.error is not None
    assert absent.error.code == "base-model-not-found"
    ended = place.sleep()
    assert ended.error is not None
    assert ended.error.code == absent.error.code


def test_dry_run_says_that_a_device_is_absent_before_any_cycle_starts(
    start_daemon: StartDaemon, tiny_model: Path
) -> None:
    http = start_daemon(base_model=tiny_model, scheduler_interval_seconds=3600).http
    exchanges = [make_exchange(n) for n in range(12)]
    http.post("/v1/experiences/batch", json=exchanges).raise_for_status()
    wanted = {"force": True, "dry_run": True, "overrides": {"device": "cuda:9"}}
    told = http.post("/v1/sleep-cycles", json=wanted).json()
    assert told["error"]["code"] == "device-unavailable"
    assert "There is no cuda:9 here" in told["error"]["message"]
    assert http.get("/v1/sleep-cycles").json()["data"] == []
