"""Salience scorer `snarc-1`: how much an exchange matters, in five numbers and their mean.

SNARC: surprise, novelty, arousal, reward, conflict, each in 0..1. Arousal, reward and conflict are
functions of the response text and its tool calls; surprise and novelty also need what the instance
said before, which the caller passes in: the scorer keeps no state, so a restart changes no score.

English replies are scored as they always were. A reply in another language is scored by the same
formulas, over that language's counterparts of the terms (`app.domain.wording`): German, French,
Spanish, Portuguese, Russian, Turkish, Arabic, Hindi, Chinese, Japanese and Korean have their own,
of any other the mean of English replies is assumed. Its scorer's name ends on the language,
`snarc-1-de`, or `snarc-1-und`. What was stored under `snarc-1` before languages were told apart
keeps its scores, and is told by that name.

A term counts where its letters stand: `us` in `because`, too. Whole words would change the stored
reward of most English exchanges, so that stays; other languages' terms are whole words or their
beginnings.

Must not know where earlier responses are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from app.domain.language import ENGLISH, find_language
from app.domain.scripts import split
from app.domain.surprise import Pieces
from app.domain.wording import Wording, read

SCORER = "snarc-1"
"""Of English replies; of others with their language, `snarc-1-de`: see `scorer_of`."""

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


def scorer_of(response: str) -> str:
    """The scorer's name with the language whose rules it takes; English is plain `snarc-1`."""
    language = find_language(response)
    return SCORER if language == ENGLISH else f"{SCORER}-{language}"


def distinct_words(response: str) -> frozenset[str]:
    """The distinct words of a response, as they are written.

    Of English what white space divides, as ever, whatever names stand in it; see
    `app.domain.scripts.split` for others.
    """
    is_english = find_language(response) == ENGLISH
    return frozenset(response.split() if is_english else split(response))


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
    wording = read(response, _TERMS)
    # What the parts below leave above 1 is cut here, with what tool calls add.
    return Salience(
        surprise=min(1.0, surprise + (0.2 if tool_uses else 0.0)),
        novelty=min(1.0, _novelty(new_word_share) + 0.1 * len({use.name for use in tool_uses})),
        arousal=min(1.0, _arousal(wording) + 0.15 * len(tool_uses)),
        reward=min(1.0, _reward(wording) + (0.3 if any(u.is_success for u in tool_uses) else 0.0)),
        conflict=min(1.0, _conflict(wording) + 0.2 * sum(not u.is_success for u in tool_uses)),
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


def _arousal(wording: Wording) -> float:
    length = min(max(wording.words / 50, 0.3), 1.0)
    questions = min(wording.questions / 2, 1.0)
    emotions = min((len(wording.terms & EMOTION_TERMS) + wording.assumed.emotions) / 3, 1.0)
    return (length + questions + emotions) / 3


def _reward(wording: Wording) -> float:
    terms = wording.terms
    partnership = len(terms & PARTNERSHIP_TERMS) + wording.assumed.partnership
    reward = 0.3 + 0.7 * partnership / 2
    reward = min(1.0, reward + 0.3 * min(len(terms & SPECIFIC_TERMS) / 2, 1.0))
    return max(0.0, reward - 0.6 * min(len(terms & HEDGING_TERMS) / 2, 1.0))


def _conflict(wording: Wording) -> float:
    return (len(wording.terms & CONFLICT_TERMS) + wording.assumed.conflict) / 6


def count_bins(values: Iterable[float]) -> list[int]:
    """How many values of 0..1 fall into each of `BINS` equal parts; 1 belongs to the last."""
    counts = [0] * BINS
    for value in values:
        # Rounded, or 0.3 * 10 and its like would fall below where they belong.
        counts[min(int(round(value * BINS, 9)), BINS - 1)] += 1
    return counts
