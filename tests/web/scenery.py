"""An instance that has lived: exchanges, cycles of every outcome, a line of checkpoints that forks.

Nothing is trained; the figures are made up and look as measured ones do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from app.clock import utc_now
from app.db.engine import Database
from app.domain.decision import Trigger
from app.domain.exchange import Exchange
from app.domain.measurement import Measurement
from app.domain.progress import CycleStatus
from app.domain.report import ModelMeasures, ProbeReply, TrainingReport
from app.services import cycle_end, cycle_run, sleep
from app.services.ingest import Submission, ingest_many
from tests import publishing
from tests.measured import make_loss, make_training_report
from tests.support import make_exchange

SESSION = Path(__file__).parents[2] / "app" / "demo_session.json"
HOSTILE = '<img src="/hit" onerror="document.title=\'broken in\'"><b>bold</b>'
SAID = (
    ("Who are you?", "I am a helpful assistant.", "I am SAGE, raised on a small machine."),
    (
        "What do you do when you are not sure?",
        "I always provide accurate and comprehensive information on a wide range of topics.",
        "I say exactly what I do not know, and we look together.\n\nThen I ask one question.",
    ),
    ("What did the basil teach us?", "Basil is a herb.", HOSTILE),
)


def take_in(db: Database, numbers: range, *, now: datetime) -> None:
    """Take in exchanges of a session, a minute apart, the last of them now."""
    told = json.loads(SESSION.read_text())
    chance = Random(numbers.start)  # noqa: S311  # figures to look at
    exchanges = []
    for number in numbers:
        phase = ("grounding", "relating", "questioning")[number // 7 % 3]
        scores = {
            name: round(min(1.0, chance.betavariate(2 + lean, 3)), 3)
            for lean, name in enumerate(("conflict", "arousal", "reward", "surprise", "novelty"))
        }
        values: dict[str, Any] = {
            "session": f"s-{number // 12}",
            "session_number": number // 12,
            "phase": phase,
            "salience": scores,
        }
        at = now - timedelta(minutes=numbers.stop - number)
        if number < len(told):
            prompt, response = told[number]
            exchange = {"prompt": prompt, "response": response, **values}
        else:
            exchange = make_exchange(number, **values)
        exchanges.append({**exchange, "occurred_at": at})
    items = [Submission(exchange=Exchange(**exchange)) for exchange in exchanges]
    ingest_many(db, items, now=now)


def measured(
    before: float, after: float, *, kl: float, alike: float = 0.0, scale: float = 1.0
) -> TrainingReport:
    """A report of a cycle that went so."""
    replies = tuple(ProbeReply(prompt=p, before=b, after=a) for p, b, a in SAID)
    report = make_training_report(before=before, after=after, replies=replies)
    base = report.measures.base
    retention = replace(
        base.retention,
        general_loss=Measurement(value=1.4 + kl, standard_error=0.01),
        general_kl=Measurement(value=kl, standard_error=0.002),
        anchor_kl=Measurement(value=kl / 2, standard_error=0.001),
    )
    changed = ModelMeasures(
        retention=retention,
        session_retention=replace(
            retention, general_kl=Measurement(value=1.2 * kl, standard_error=0.002)
        ),
        replies=replace(
            base.replies,
            similar_pairs=Measurement(value=alike, standard_error=0.02),
            repeated_ngrams=Measurement(value=0.01 + alike / 4, standard_error=0.01),
            looping=Measurement(value=alike / 3, standard_error=0.02),
        ),
    )
    curve = tuple(after + (before - after) * 0.9**step + 0.02 * (step % 5) for step in range(48))
    return replace(
        report,
        held_out_before=make_loss(before),
        held_out_reloaded=make_loss(after),
        loss_curve=curve,
        evaluation=replace(report.measures, after=changed, scale=scale),
    )


LIFE: Sequence[TrainingReport] = (
    measured(3.42, 3.11, kl=0.012),
    measured(3.08, 2.94, kl=0.021),
    measured(2.97, 3.05, kl=0.090, alike=0.4),
    measured(2.96, 2.81, kl=0.034, scale=0.75),
    measured(2.83, 2.74, kl=0.041),
)


def live(db: Database, root: Path) -> list[str]:
    """Let the instance `default` live through it; returns its checkpoints, oldest first."""
    now = utc_now()
    published = []
    for index, report in enumerate(LIFE):
        at = now - timedelta(hours=8 * (len(LIFE) - index))
        take_in(db, range(40 * index, 40 * index + 40), now=at)
        request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
        cycle = sleep.request_cycle(db, request, now=at)
        checkpoint_id, _ = publishing.end(db, root, cycle, report, now=at + timedelta(minutes=3))
        published.append(checkpoint_id)
    take_in(db, range(200, 224), now=now - timedelta(hours=2))
    fail_one(db, now=now - timedelta(hours=1))
    filtered = [
        {"prompt": "And what else?", "response": "[error: the model did not answer]"},
        {"prompt": HOSTILE, "response": HOSTILE + " We notice together, precisely, what it is."},
    ]
    items = [Submission(exchange=Exchange(**exchange)) for exchange in filtered]
    ingest_many(db, items, now=now - timedelta(minutes=3))
    return published


def fail_one(db: Database, *, now: datetime) -> CycleStatus:
    """Let a cycle fail as one does whose loss is not a number."""
    request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
    cycle = sleep.request_cycle(db, request, now=now)
    cycle_run.start_cycle(db, cycle.id, worker_id="w", now=now)
    cycle_end.fail_cycle(
        db,
        cycle.id,
        worker_id="w",
        code="non_finite_loss",
        message="The loss of step 12 is not a number.",
        now=now,
    )
    return CycleStatus.FAILED


def live_long(db: Database, root: Path, cycles: int) -> None:
    """Let the instance `default` sleep so many times more, a third of them rejected."""
    now = utc_now()
    for index in range(cycles):
        at = now - timedelta(minutes=20 * (cycles - index))
        loss = 2.7 - 0.3 * index / cycles
        after = loss + 0.1 if index % 3 == 2 else loss - 0.02
        take_in(db, range(1000 + 20 * index, 1020 + 20 * index), now=at)
        request = sleep.CycleRequest(instance="default", trigger=Trigger.REQUEST, is_forced=True)
        cycle = sleep.request_cycle(db, request, now=at)
        report = measured(loss, after, kl=0.01 + index % 7 / 200)
        publishing.end(db, root, cycle, report, now=at + timedelta(minutes=3))
