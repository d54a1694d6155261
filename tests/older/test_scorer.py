"""The scorer with a memory of its own gives what the daemon gives."""

from __future__ import annotations

import pytest

from app.domain.exchange import Exchange
from app.older import ConversationalSalienceScorer
from app.services.judging import Judge
from tests.support import make_exchange

NAMES = {"surprise", "novelty", "arousal", "reward", "conflict", "total"}


def test_first_reply_is_half_new() -> None:
    scorer = ConversationalSalienceScorer()
    scores = scorer.score_exchange("Hello?", "We learn together, and I notice it.")
    assert set(scores) == NAMES
    assert (scores["surprise"], scores["novelty"]) == (0.5, 0.5)
    assert scores["total"] == pytest.approx(sum(scores[n] for n in NAMES - {"total"}) / 5)


def test_it_remembers_words_and_replies() -> None:
    scorer = ConversationalSalienceScorer()
    reply = "We learn together, and I notice it."
    scorer.score_exchange("p", reply)
    assert scorer.previous_responses == [reply]
    assert scorer.seen_vocabulary == set(reply.split())
    again = scorer.score_exchange("p", reply)
    # Half, since the empty piece behind the full stop counts in the total.
    assert (again["surprise"], again["novelty"]) == (0.5, 0.0)
    assert scorer.find_collapse(reply).is_filtered


def test_tool_calls_add_to_the_score() -> None:
    plain = ConversationalSalienceScorer().score_exchange("p", "We looked.")
    calls = [{"name": "clock", "success": False}]
    used = ConversationalSalienceScorer().score_exchange("p", "We looked.", {"tool_calls": calls})
    assert used["conflict"] == pytest.approx(plain["conflict"] + 0.2)


def test_a_run_of_replies_scores_as_in_the_daemon() -> None:
    scorer, judge = ConversationalSalienceScorer(), Judge()
    said: list[str] = []
    words: set[str] = set()
    for number in range(20):
        exchange = Exchange(**make_exchange(number))
        new = set(exchange.response.split())
        judged = judge.judge(
            exchange,
            recent_responses=said[-10:],
            new_word_share=len(new - words) / len(new) if said else None,
        )
        scores = scorer.score_exchange(exchange.prompt, exchange.response)
        assert scores == {**judged.salience.components(), "total": judged.salience.total}
        said.append(exchange.response)
        words |= new
