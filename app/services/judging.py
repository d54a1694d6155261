"""Judging replies at ingest: their salience, the collapse filter, and whether they were cut.

A judge remembers what it found of each reply and of each pair of replies. So the reading of long
texts can be done ahead of a write transaction, against what the instance had said until then;
within it only what came meanwhile is read. Must not know where earlier replies are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from app.domain.collapse import (
    CollapseFinding,
    collapse_finding,
    find_own_collapse,
    find_similarity,
)
from app.domain.completeness import is_cut
from app.domain.exchange import Exchange
from app.domain.reply_parts import said_in
from app.domain.salience import (
    CALLER_SCORER,
    COMPONENTS,
    FIRST_SURPRISE,
    RECENT_RESPONSES_FOR_SURPRISE,
    Salience,
    ToolUse,
    score,
    scorer_of,
)
from app.domain.surprise import Pieces


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What is found of one reply."""

    salience: Salience
    scorer: str
    finding: CollapseFinding
    is_truncated: bool


class Judge:
    """Judges the replies of one request; it keeps what it found for as long as it is kept."""

    def __init__(self) -> None:
        self._own_reason = cache(find_own_collapse)
        self._is_cut = cache(is_cut)
        self._known = cache(self._find_known)
        # One, for it may take tens of megabytes, and a reply is compared with all others in a row.
        self._pieces = lru_cache(maxsize=1)(Pieces)

    def judge(
        self, exchange: Exchange, *, recent_responses: Sequence[str], new_word_share: float | None
    ) -> Judgement:
        """Score and filter a reply, given the instance's last responses, newest last."""
        response = exchange.response
        similarity = find_similarity(response, recent_responses)
        return Judgement(
            salience=self._salience(exchange, recent_responses, new_word_share),
            scorer=(scorer_of(said_in(response)) if exchange.salience is None else CALLER_SCORER),
            finding=collapse_finding(self._own_reason(response), similarity),
            is_truncated=self._is_cut(response, exchange.finish_reason),
        )

    def _salience(
        self, exchange: Exchange, recent_responses: Sequence[str], new_word_share: float | None
    ) -> Salience:
        if exchange.salience is not None:
            return Salience(**{name: getattr(exchange.salience, name) for name in COMPONENTS})
        return score(
            said_in(exchange.response),
            tool_uses=[
                ToolUse(name=call.name, is_success=call.success) for call in exchange.tool_calls
            ],
            recent_responses=[said_in(earlier) for earlier in recent_responses],
            new_word_share=new_word_share,
            surprise_among=self._surprise,
        )

    def _surprise(self, said: str, recent: Sequence[str]) -> float:
        if not recent:
            return FIRST_SURPRISE
        findings = [self._known(said, one) for one in recent[-RECENT_RESPONSES_FOR_SURPRISE:]]
        return self._pieces(said).surprise(*findings)

    def _find_known(self, said: str, earlier: str) -> bytes:
        return self._pieces(said).find_in(earlier)
