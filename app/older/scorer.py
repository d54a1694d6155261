"""`ConversationalSalienceScorer`: the daemon's score of an exchange, with a memory in this process.

The daemon keeps what an instance said before in its database; here it is kept by the object, as the
older scripts had it, so that a restart forgets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.collapse import (
    RECENT_RESPONSES_FOR_SIMILARITY,
    CollapseFinding,
    find_collapse,
)
from app.domain.reply_parts import said_in
from app.domain.salience import ToolUse, distinct_words, score


class ConversationalSalienceScorer:
    """Scores exchanges one after the other.

    Attributes:
        seen_vocabulary: Words of all replies scored so far, as they were written.
        previous_responses: The newest of those replies, newest last.
    """

    def __init__(self) -> None:
        self.seen_vocabulary: set[str] = set()
        self.previous_responses: list[str] = []

    def score_exchange(
        self, prompt: str, response: str, metadata: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        """Score a reply, and remember it.

        Args:
            prompt: Not looked at: what matters is what the model said.
            metadata: Its `tool_calls`, if it has some, add to the score.

        Returns:
            The five components and `total`, each in 0..1.
        """
        del prompt
        said = said_in(response)
        words = distinct_words(said)
        is_first = not self.previous_responses and not self.seen_vocabulary
        salience = score(
            said,
            tool_uses=_tool_uses((metadata or {}).get("tool_calls") or ()),
            recent_responses=[said_in(earlier) for earlier in self.previous_responses],
            new_word_share=None
            if is_first
            else len(words - self.seen_vocabulary) / max(len(words), 1),
        )
        self.remember(response)
        return {**salience.components(), "total": salience.total}

    def find_collapse(self, response: str) -> CollapseFinding:
        """Whether a reply must not be trained on, beside those remembered."""
        return find_collapse(response, self.previous_responses)

    def remember(self, response: str) -> None:
        """Take a reply for said."""
        self.seen_vocabulary |= distinct_words(said_in(response))
        recent = [*self.previous_responses, response]
        self.previous_responses = recent[-RECENT_RESPONSES_FOR_SIMILARITY:]


def _tool_uses(calls: Sequence[Mapping[str, Any]]) -> list[ToolUse]:
    return [
        ToolUse(name=str(call.get("name") or "unnamed"), is_success=bool(call.get("success")))
        for call in calls
    ]
