"""Conversations of every language come to as much at ingest, and their copies are no more taken."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

import pytest

from app.db.engine import Database
from app.domain.exchange import Exchange
from app.services.ingest import Submission, ingest_many
from app.services.instances import put_instance
from tests.domain.said import FURTHER, LOOPS, TWELVE, read_said
from tests.publishing import NOW


def post(db: Database, instance: str, replies: Sequence[str]) -> list[dict[str, Any]]:
    """What became of replies, posted one after the other as a session does."""
    stored = []
    for number, reply in enumerate(replies):
        exchange = Exchange(instance=instance, prompt=f"{number}?", response=reply)
        (result,) = ingest_many(db, [Submission(exchange=exchange)], now=NOW)
        assert result.experience is not None
        stored.append(result.experience)
    return stored


@pytest.fixture
def said(db: Database) -> dict[str, list[dict[str, Any]]]:
    replies = read_said("said_alike_held_out")
    found = {}
    for language in (*TWELVE, *FURTHER):
        put_instance(db, f"says-{language}", {}, now=NOW)
        found[language] = post(db, f"says-{language}", replies[language])
    return found


def test_totals_of_equal_conversations_are_alike_and_counted(
    said: dict[str, list[dict[str, Any]]],
) -> None:
    english = mean(row["total"] for row in said["en"])
    for rows in said.values():
        assert mean(row["total"] for row in rows) == pytest.approx(english, abs=0.05)
        assert sum(row["status"] in {"buffered", "held_out"} for row in rows) >= len(rows) * 0.6
        assert not any(row["status"] == "filtered" for row in rows)


def test_the_scorer_is_stored_with_the_language(said: dict[str, list[dict[str, Any]]]) -> None:
    assert {row["scorer"] for row in said["en"]} == {"snarc-1"}
    assert said["ja"][0]["scorer"] == "snarc-1-ja"
    assert said["el"][0]["scorer"] == "snarc-1-und"


@pytest.mark.parametrize("language", TWELVE)
def test_copies_and_loops_are_filtered_and_score_as_nothing_new(
    db: Database, language: str
) -> None:
    reply = read_said("said_alike")[language][6]
    copy, letter = f"{reply[:20]}{reply[30]}{reply[21:]}", reply[20]
    first, second, third = post(db, "default", [reply, copy, f"{LOOPS[language]} " * 3])
    assert first["status"] != "filtered"
    assert copy == reply or letter != reply[30]
    assert second["reason"].startswith("similar")
    assert second["novelty"] < 0.5
    assert third["reason"].startswith("repetition")


def test_what_the_caller_scored_names_the_caller(db: Database) -> None:
    salience = dict.fromkeys(("surprise", "novelty", "arousal", "reward", "conflict"), 0.5)
    exchange = Exchange.model_validate({"prompt": "?", "response": "好的。", "salience": salience})
    (result,) = ingest_many(db, [Submission(exchange=exchange)], now=NOW)
    assert result.experience is not None
    assert result.experience["scorer"] == "caller"
