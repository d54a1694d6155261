"""Salience scorer `snarc-1`: how much an exchange matters, in five numbers and their mean.

SNARC: surprise, novelty, arousal, reward, conflict, each in 0..1. Arousal, reward and conflict are
functions of the response text and its tool calls; surprise and novelty also need what the instance
said before, which the caller passes in: the scorer keeps no state, so a restart changes no score.

Must not know where earlier responses are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from app.domain.surprise import Pieces
from app.domain.words import ReplyWords, reply_words

SCORER = "snarc-1"
CALLER_SCORER = "caller"
"""Scorer name of experiences whose components were sent by the caller."""

RECENT_RESPONSES_FOR_SURPRISE = 5
FIRST_SURPRISE = 0.5
"""Of an instance's first response."""

EMOTION_TERMS = frozenset({
    "feel", "sense", "realize", "understand", "appreciate",
    "curious", "interesting", "important", "fascinating", "profound",
})  # fmt: skip
PARTNERSHIP_TERMS = frozenset({"we", "us", "our", "together", "collaborate", "partnership"})
SPECIFIC_TERMS = frozenset({"specifically", "precisely", "exactly", "particular"})
HEDGING_TERMS = frozenset({"might", "possibly", "perhaps", "unclear", "uncertain", "as an ai"})
CONFLICT_TERMS = frozenset({
    "uncertain", "unclear", "not sure", "don't know", "can't verify", "actually", "rather",
    "instead", "correction", "mistake", "realize", "notice", "recognize", "understand",
})  # fmt: skip

_TERMS = frozenset[str]().union(
    EMOTION_TERMS, PARTNERSHIP_TERMS, SPECIFIC_TERMS, HEDGING_TERMS, CONFLICT_TERMS
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Salience:
    """Five components, each in 0..1."""

    surprise: float
    novelty: float
    arousal: float
    reward: float
    conflict: float

    @property
    def total(self) -> float:
        """The mean of the five components."""
        return (self.surprise + self.novelty + self.arousal + self.reward + self.conflict) / 5

    def components(self) -> dict[str, float]:
        """The five components by name, in the order of the acronym."""
        return {name: getattr(self, name) for name in COMPONENTS}


COMPONENTS = ("surprise", "novelty", "arousal", "reward", "conflict")
BINS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolUse:
    """What salience sees of one tool call."""

    name: str
    is_success: bool


def distinct_words(response: str) -> frozenset[str]:
    """The distinct white-space separated words of a response, as they are written."""
    return frozenset(response.split())


def score(
    response: str,
    *,
    tool_uses: Sequence[ToolUse] = (),
    recent_responses: Sequence[str],
    new_word_share: float | None,
    surprise_among: Callable[[str, Sequence[str]], float] | None = None,
) -> Salience:
    """Score one response.

    Args:
        response: The text of the response.
        tool_uses: The tool calls made for it.
        recent_responses: The instance's last responses, newest last; at most the last
            `RECENT_RESPONSES_FOR_SURPRISE` are looked at.
        new_word_share: Share of the response's distinct words that the instance never used before,
            0..1; None when this is the instance's first response.
        surprise_among: `find_surprise`, or what remembers what that found.
    """
    surprise = (surprise_among or find_surprise)(response, recent_responses)
    words = reply_words(response)
    # What the parts below leave above 1 is cut here, with what tool calls add.
    terms = frozenset(term for term in _TERMS if term in words.lowered)
    return Salience(
        surprise=min(1.0, surprise + (0.2 if tool_uses else 0.0)),
        novelty=min(1.0, _novelty(new_word_share) + 0.1 * len({use.name for use in tool_uses})),
        arousal=min(1.0, _arousal(words, terms) + 0.15 * len(tool_uses)),
        reward=min(1.0, _reward(terms) + (0.3 if any(u.is_success for u in tool_uses) else 0.0)),
        conflict=min(1.0, _conflict(terms) + 0.2 * sum(not u.is_success for u in tool_uses)),
    )


def find_surprise(response: str, recent_responses: Sequence[str]) -> float:
    """The share of the response's pieces that stand in none of the recent ones.

    At most the last `RECENT_RESPONSES_FOR_SURPRISE` are looked at.
    """
    if not recent_responses:
        return FIRST_SURPRISE
    pieces = Pieces(response)
    recent = recent_responses[-RECENT_RESPONSES_FOR_SURPRISE:]
    return pieces.surprise(*map(pieces.find_in, recent))


def _novelty(new_word_share: float | None) -> float:
    return 0.5 if new_word_share is None else 3.0 * new_word_share


def _arousal(words: ReplyWords, terms: frozenset[str]) -> float:
    length = min(max(len(words.in_order) / 50, 0.3), 1.0)
    questions = min(words.lowered.count("?") / 2, 1.0)
    emotions = min(len(terms & EMOTION_TERMS) / 3, 1.0)
    return (length + questions + emotions) / 3


def _reward(terms: frozenset[str]) -> float:
    reward = 0.3 + 0.7 * len(terms & PARTNERSHIP_TERMS) / 2
    reward = min(1.0, reward + 0.3 * min(len(terms & SPECIFIC_TERMS) / 2, 1.0))
    return max(0.0, reward - 0.6 * min(len(terms & HEDGING_TERMS) / 2, 1.0))


def _conflict(terms: frozenset[str]) -> float:
    return len(terms & CONFLICT_TERMS) / 6


def count_bins(values: Iterable[float]) -> list[int]:
    """How many values of 0..1 fall into each of `BINS` equal parts; 1 belongs to the last."""
    counts = [0] * BINS
    for value in values:
        # Rounded, or 0.3 * 10 and its like would fall below where they belong.
        counts[min(int(round(value * BINS, 9)), BINS - 1)] += 1
    return counts
