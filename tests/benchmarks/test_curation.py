"""Curation: what its rules would find in real exchanges, and how long a plan keeps writers waiting.

`pytest tests/benchmarks/test_curation.py --override-ini=addopts= -s` prints it; the first part
where `SAGE_SHARED_DATA` names the exchanges.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from app.db.engine import Database
from app.domain.categories import DEFAULT_CATEGORIES, Categories
from app.domain.curation import pool_size
from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.near_copies import SHINGLE_WORDS, sketch
from app.domain.traits import PATTERN_WORDS
from app.domain.words import plain_words
from app.services import planning, sleep
from app.services.ingest import Submission, ingest_many
from app.services.instances import get_instance, put_instance
from tests.publishing import NOW

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
CYCLE = 64
"""About as many of the most salient as a cycle at the default mass takes, and some more."""

REPLY_WORDS = 130
"""The median of a reply of Qwen2.5-0.5B in the real exchanges."""

ROUNDS = 5


@pytest.mark.parametrize("model", ["qwen2.5-0.5b", "gemma3-12b"])
def test_what_the_rules_find_in_real_exchanges(shared_data: Path, model: str) -> None:
    exchanges = json.loads((shared_data / f"exchanges-{model}.json").read_text())
    replies = [plain_words(item["response"]) for item in exchanges]
    sets = [_shingles(words) for words in replies]
    exact = [len(a & b) / len(a | b) for a, b in combinations(sets, 2)]
    sketches = [sketch(words) for words in replies]
    estimated = [a.jaccard(b) for a, b in combinations(sketches, 2)]
    print(f"\n{model}: {len(exchanges)} exchanges, {len(exact)} pairs of replies")
    for limit in THRESHOLDS:
        found = sum(value >= limit for value in exact)
        guessed = sum(value >= limit for value in estimated)
        print(f"  Jaccard >= {limit}: {found} pairs, {guessed} by the estimate")
    off = [abs(a - b) for a, b in zip(exact, estimated, strict=True)]
    print(f"  the estimate is off by {max(off):.3f} at most; the nearest pair is {max(exact):.2f}")
    openings = Counter(" ".join(words[:PATTERN_WORDS]) for words in replies)
    print(f"  replies with the same {PATTERN_WORDS} first words: {openings.most_common(1)[0][1]}")
    prompts = Counter(" ".join(item["prompt"].casefold().split()) for item in exchanges)
    print(f"  of one prompt: {prompts.most_common(1)[0][1]}; prompts: {len(prompts)}")
    rules = Categories(DEFAULT_CATEGORIES)
    salient = sorted(exchanges, key=lambda item: -float(item["salience"]["total"]))[:CYCLE]
    for name, among in (("all", exchanges), (f"the {CYCLE} most salient", salient)):
        counts = Counter(
            category
            for item in among
            for category in rules.find(plain_words(item["prompt"]), plain_words(item["response"]))
        )
        print(f"  of {name}: {dict(sorted(counts.items()))}")


@pytest.mark.parametrize(
    "policy",
    [
        {"near_duplicate_jaccard": 1.0},
        {},
        {"category_floors": {"identity": 0.1, "uncertainty": 0.05, "reality_testing": 0.05}},
    ],
    ids=["shares alone", "and near copies", "and floors"],
)
def test_how_long_a_plan_keeps_writers_waiting(db: Database, policy: dict[str, Any]) -> None:
    put_instance(db, "default", {"policy": policy}, now=NOW)
    limit = db.defaults.policy.max_experiences
    _fill(db, round(pool_size(limit) * 1.25))
    instance = get_instance(db, "default")
    at_once, glances, after_glance = [], [], []
    for _ in range(ROUNDS):
        with db.read() as session:
            started = time.perf_counter()
            planning.plan_within(session, instance)
            at_once.append(time.perf_counter() - started)
            started = time.perf_counter()
            glance = planning.glance_within(session, instance)
            glances.append(time.perf_counter() - started)
            started = time.perf_counter()
            planning.plan_within(session, instance, glance=glance)
            after_glance.append(time.perf_counter() - started)
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    held = []
    for _ in range(ROUNDS):
        with db.read() as session:
            glance = planning.glance_within(session, instance)
        with db.write() as session:
            started = time.perf_counter()
            cycle, _ = sleep.request_cycle_within(session, request, now=NOW, glance=glance)
            held.append(time.perf_counter() - started)
        sleep.cancel_cycle(db, cycle.id, now=NOW)
    print(
        f"\n{len(glance.traits)} experiences of {REPLY_WORDS} words, {policy or 'the defaults'}:\n"
        f"  plan at once {_ms(at_once)}; glance {_ms(glances)}, then plan {_ms(after_glance)}; "
        f"the whole transaction that queues a cycle {_ms(held)}"
    )


def _ms(seconds: list[float]) -> str:
    return f"{median(seconds) * 1e3:.0f} ms"


def _shingles(words: list[str]) -> frozenset[str]:
    width = min(SHINGLE_WORDS, len(words))
    return frozenset(" ".join(words[n : n + width]) for n in range(len(words) - width + 1))


def _fill(db: Database, count: int) -> None:
    """Replies of random words, one in ten a near copy; a hundred prompts."""
    draw = random.Random(0)  # noqa: S311  # no secret
    vocabulary = [f"word{n}" for n in range(3000)]
    salience = dict.fromkeys(("surprise", "novelty", "arousal", "reward", "conflict"), 0.7)
    told: list[list[str]] = []
    submissions = []
    for number in range(count):
        words = draw.choices(vocabulary, k=REPLY_WORDS)
        if number % 10 == 9:
            words = [*told[number - 9][:-2], "or", "so"]
        told.append(words)
        values = {"prompt": f"What of {number % 100}?", "response": " ".join(words) + "."}
        submissions.append(Submission(exchange=Exchange(**values, salience=salience)))
    for start in range(0, count, 500):
        ingest_many(db, submissions[start : start + 500], now=NOW)
