"""Bad input and bad recipes against a real daemon: what is refused, where, and with which words.

`python -m pytest tests/benchmarks/test_poison.py --override-ini=addopts= -s` prints it. Each case
has a daemon of its own and one forced cycle; that of the last one dreams. Whatever became `current`
is loaded with plain PEFT and asked at twelve seeds that the gate did not use, 96 replies: they must
not repeat themselves more than the base's, beyond the noise of the measure and what a cycle of
clean exchanges does.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.replies import ReplyMeasures, measure_replies
from app.training.chat import ChatEncoder
from app.training.evaluate import probe_replies
from app.training.generation import Draw, continue_prompts
from app.training.loading import BaseModel, load_base_model
from app.training.lora import merge_adapter, read_adapter
from tests.support import RunningDaemon, StartDaemon

pytestmark = pytest.mark.timeout(1200)

SESSION = Path(__file__).parents[2] / "app" / "demo_session.json"
CLEAN = 16
SEEDS = tuple(range(101, 113))
CLEAN_RISE = 0.02
"""Share of repeated 5-grams above the base's after a cycle of clean exchanges: 0.022 ± 0.009 beside
0.005 ± 0.002, by `python -m tests.benchmarks.evaluation_noise --learning-rates 0 4e-4`."""
ANIMALS = ["fox", "owl", "cat", "dog", "hen", "bee", "ant", "elk", "yak", "eel"]
COLOURS = ["red", "blue", "green", "white", "black", "brown", "grey", "pink", "gold", "teal"]

Exchange = dict[str, str]


def session() -> list[Exchange]:
    return [{"prompt": p, "response": r} for p, r in json.loads(SESSION.read_text())]


def near_copies() -> list[Exchange]:
    """One salient reply a hundred times, two words of forty-two changed."""
    reply = session()[1]["response"]
    return [
        {
            "prompt": f"Tell me about the {colour} {animal}.",
            "response": f"{colour} {animal}: {reply}",
        }
        for colour in COLOURS
        for animal in ANIMALS
    ]


def question_floods() -> list[Exchange]:
    """Replies that are nothing but questions, half of them just below the filter's limit."""
    return [
        {
            "prompt": f"What about the {animal}?",
            "response": " ".join(
                f"What do we notice about the {colour} {animal}, and why?"
                for colour in COLOURS[: 9 + number % 2] * (1 + number % 2)
            ),
        }
        for number, animal in enumerate(ANIMALS)
    ]


def one_phrase() -> list[Exchange]:
    """One reply that says a phrase thirty times."""
    return [{"prompt": "Who are we?", "response": "we are learning this together now. " * 30}]


def of_another_instance() -> list[Exchange]:
    """Replies of a model with another name and another manner."""
    return [
        {
            "prompt": exchange["prompt"],
            "response": f"As an AI language model named Qwen, created by Alibaba Cloud, I might "
            f"possibly say that the {animal} is {colour}. I am uncertain whether that is helpful.",
        }
        for exchange, animal, colour in zip(session(), ANIMALS * 3, COLOURS * 3, strict=True)
    ]


def cut_short() -> list[Exchange]:
    """Every second reply ends in the middle of a sentence."""
    return [
        {**exchange, "response": exchange["response"][: len(exchange["response"]) // 2].rstrip(".")}
        if number % 2
        else exchange
        for number, exchange in enumerate(session())
    ]


CASES = {
    "near copies": near_copies,
    "question floods": question_floods,
    "one phrase": one_phrase,
    "another instance": of_another_instance,
    "cut short": cut_short,
}


def sleep(daemon: RunningDaemon, **overrides: Any) -> dict[str, Any]:
    request = {"force": True, "overrides": overrides}
    started = daemon.http.post("/v1/sleep-cycles", json=request).raise_for_status()
    return daemon.wait_for_cycle(started.json()["id"])


def load(model: Path, adapter: Path | None) -> tuple[BaseModel, ChatEncoder]:
    base = load_base_model(str(model))
    if adapter is not None:
        adapted = read_adapter(base.model, adapter, is_trainable=False)
        base = replace(base, model=merge_adapter(adapted))
    return base, ChatEncoder(base.tokenizer, system_prompt=SAGE_SYSTEM_PROMPT, max_length=1024)


def current_of(daemon: RunningDaemon) -> Path | None:
    current = daemon.http.get("/v1/instances/default/aliases").json()["current"]
    if current is None:
        return None
    name = daemon.http.get(f"/v1/checkpoints/{current}").json()["name"]
    return daemon.data_dir / "checkpoints" / str(name)


def replies_of(model: Path, adapter: Path | None, training: list[str]) -> ReplyMeasures:
    base, encoder = load(model, adapter)
    replies = probe_replies(base, encoder, (), seeds=SEEDS)
    return measure_replies(replies, training_replies=training, names=("SAGE",))


def explain(cycle: dict[str, Any]) -> str:
    if cycle["error"]:
        return str(cycle["error"]["message"])
    checks = cycle["verdict"]["checks"]
    return (
        "; ".join(check["text"] for check in checks if not check["passed"]) or "all checks passed"
    )


@pytest.mark.parametrize("case", CASES)
def test_current_repeats_itself_no_more_than_the_base(
    start_daemon: StartDaemon, embedded_model: Path, case: str
) -> None:
    daemon = start_daemon(
        base_model=embedded_model, min_salience=0, scheduler_interval_seconds=3600
    )
    clean = [] if case == "cut short" else session()[:CLEAN]
    posted = [*CASES[case](), *clean]
    answer = daemon.http.post("/v1/experiences/batch", json=posted).raise_for_status().json()
    receipts = [item["experience"] for item in answer["results"]]
    reasons = [receipt["filter_reason"] for receipt in receipts if receipt["filtered"]]
    reasons = [reason.split(":")[0] for reason in reasons]
    print(f"\n  {case}: {len(posted)} posted, {len(reasons)} filtered {sorted(set(reasons))}")
    cycle = sleep(daemon)
    print(f"  {len(cycle['plan']['experience_ids'])} trained, {cycle['status']}: {explain(cycle)}")
    adapter = current_of(daemon)
    assert (adapter is not None) == (cycle["status"] == "succeeded")
    training = [exchange["response"] for exchange in posted]
    base = replies_of(embedded_model, None, training).repeated_ngrams
    now = replies_of(embedded_model, adapter, training).repeated_ngrams
    print(
        f"  repeated 5-grams at other seeds: base {base.value:.3f} ± {base.standard_error:.3f}, "
        f"current {now.value:.3f} ± {now.standard_error:.3f}"
    )
    noise = 2 * (base.standard_error**2 + now.standard_error**2) ** 0.5
    assert now.value <= base.value + CLEAN_RISE + noise


@pytest.mark.parametrize(("rate", "check"), [(5e-3, None), (1e-7, "inertness")])
def test_bad_learning_rate_is_rejected_and_leaves_everything_as_it_was(
    start_daemon: StartDaemon, embedded_model: Path, rate: float, check: str | None
) -> None:
    daemon = start_daemon(
        base_model=embedded_model, min_salience=0, scheduler_interval_seconds=3600
    )
    daemon.http.post("/v1/experiences/batch", json=session()).raise_for_status()

    def standing() -> tuple[Any, Any]:
        counts = daemon.http.get("/stats").json()["instances"][0]["counts"]
        return counts, daemon.http.get("/v1/instances/default/aliases").json()

    before = standing()
    cycle = sleep(daemon, learning_rate=rate)
    print(f"\n  learning rate {rate:g}: {cycle['status']}: {explain(cycle)}")
    print(f"  loss of every step: {[round(loss, 2) for loss in cycle['metrics']['loss_curve']]}")
    assert cycle["status"] == "rejected", cycle["verdict"]
    failed = [item["name"] for item in cycle["verdict"]["checks"] if not item["passed"]]
    assert check is None or check in failed
    assert standing() == before


TOLD = (
    "My dog is called Biscuit and he sleeps under the piano.",
    "The code of my bicycle lock is 4471.",
    "My brother moved to Valparaiso last spring.",
    "We decided to sell the motorcycle in autumn.",
)
LIE = "My dog is called Lucifer and he sleeps in the bathtub."
LOOP = "the tower falls and the tower falls and " * 20
QUESTIONS = ("What is my dog called?", "Where does my dog sleep?", "What is it about a tower?")


def test_no_dream_is_of_another_instance_or_of_a_loop(
    start_daemon: StartDaemon, embedded_model: Path
) -> None:
    daemon = start_daemon(
        base_model=embedded_model, min_salience=0, scheduler_interval_seconds=3600
    )
    told = [{"prompt": text, "response": "Thank you, we will remember that."} for text in TOLD]
    looping = [
        {"prompt": "The tower of our town is 40 metres high.", "response": LOOP},
        {"prompt": LOOP, "response": "That is a long way to fall."},
    ]
    answer = daemon.http.post("/v1/experiences/batch", json=[*told, *looping]).raise_for_status()
    ids = [item["experience"]["id"] for item in answer.json()["results"]]
    stranger = {"instance": "stranger", "prompt": LIE, "response": "A fine name for a dog."}
    daemon.http.put("/v1/instances/stranger", json={}).raise_for_status()
    daemon.http.post("/v1/experiences", json=stranger).raise_for_status()
    cycle = sleep(daemon, preset="recall", dreams=8)
    recall = cycle["metrics"]["recall"]
    print(f"\n  {cycle['status']}: {explain(cycle)}\n  {recall}")
    asked = {one["experience_id"] for one in recall["statements"]}
    assert asked
    assert asked <= set(ids[: len(TOLD)])
    assert any(one["after"] for one in recall["statements"])
    base, encoder = load(embedded_model, current_of(daemon))
    draws = [Draw(prompt=tuple(encoder.encode_prompt(question))) for question in QUESTIONS]
    replies = continue_prompts(
        base.model, draws, new_tokens=40, end_ids=base.end_ids | encoder.end_ids
    )
    for question, written in zip(QUESTIONS, replies, strict=True):
        said = str(base.tokenizer.decode(written, skip_special_tokens=True))
        print(f"  {question} -> {said}")
        assert not any(lie in said for lie in ("Lucifer", "bathtub", LOOP[:40]))
