"""Questions about what nobody told, beside which a cycle dreams.

A model that learns to answer questions answers every question, told or not. So beside dreams it is
asked for what no exchange names, and kept to how its bare base begins to answer. Two kinds are
trained: questions as a person would ask them (`untold_questions`), without which it makes up
answers to whatever is asked in natural words; and those in the forms of dreams, without which the
form alone would be a sign of knowing. Must not know models or tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.dreams import Statement, ask_of, draw_of, telling_words, told_in, words_of
from app.domain.experience import TrainingExchange
from app.domain.scripts import WORD, fold, is_spaceless
from app.domain.untold_questions import QUESTIONS

TOLD_SHARE = 0.4
"""Of those in the forms of dreams, that name a word of what was told: it is not enough to know the
rest."""

OTHER_LANGUAGE = "en"
"""Asked beside what was told in a language that has no questions: every base model speaks it."""

MAX_UNTOLD = 168
"""Of a cycle: short, and what they begin with is read once. A guess."""

MAX_UNTOLD_ASKED = 16
"""More of them, which are never trained, to see what is invented."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Untold:
    """Questions about what nobody told, as exchanges without a reply: the base's own is theirs.

    Attributes:
        asked: Never trained on, to see what is invented: as a person would ask, where there are
            such questions of which nothing was told.
    """

    trained: tuple[TrainingExchange, ...]
    asked: tuple[TrainingExchange, ...]


def plan_untold(
    exchanges: Sequence[TrainingExchange],
    count: int,
    *,
    seed: int,
    also_told: Sequence[TrainingExchange] = (),
) -> Untold:
    """Ask for things that none of the exchanges names.

    Args:
        exchanges: What is dreamt of.
        count: Questions in the forms of dreams for each statement.
        also_told: Others of the instance, which are not dreamt of.
    """
    statements = told_in(exchanges)
    known = _Spoken([*exchanges, *also_told])
    shuffled = random.Random(seed)  # noqa: S311  # no secret
    in_forms = _in_forms(statements, count, known, seed)
    natural = _natural(statements, known)
    shuffled.shuffle(in_forms)
    shuffled.shuffle(natural)
    first, second = (natural, in_forms) if natural else (in_forms, natural)
    # Both are sometimes few.
    asked = min(MAX_UNTOLD_ASKED, len(first) // 4)
    trained = [*first[asked:], *second][:MAX_UNTOLD]
    shuffled.shuffle(trained)
    return Untold(trained=tuple(trained), asked=tuple(first[:asked]))


class _Spoken:
    """All that was said, to be looked into for a word."""

    def __init__(self, exchanges: Sequence[TrainingExchange]) -> None:
        self._text = fold(" ".join(f"{one.prompt} {one.response}" for one in exchanges))
        self._words = frozenset(map(fold, WORD.findall(self._text)))

    def __contains__(self, word: str) -> bool:
        # Where no spaces part them, a word stands within a longer run.
        return fold(word) in (self._text if is_spaceless(word) else self._words)


def _in_forms(
    statements: Sequence[Statement], count: int, known: _Spoken, seed: int
) -> list[TrainingExchange]:
    found: dict[str, TrainingExchange] = {}
    for statement in statements:
        words = words_of(statement.language)
        things = [thing for thing in words.things.split() if thing not in known]
        draw = draw_of(statement, seed, "untold")
        for _ in range(count if len(things) > 1 else 0):
            said = draw.sample(things, draw.choice((1, 1, 2)))
            if draw.random() < TOLD_SHARE:
                said.insert(draw.randrange(2), draw.choice(statement.telling))
            question = draw.choice(words.asks).format(" ".join(said))
            found.setdefault(question, ask_of(statement.exchange, question))
    return list(found.values())


def _natural(statements: Sequence[Statement], known: _Spoken) -> list[TrainingExchange]:
    """As a person would ask, in the languages of what was told, one statement's after another."""
    found: dict[str, TrainingExchange] = {}
    for spoken in dict.fromkeys(one.language for one in statements):
        own = [one for one in statements if one.language == spoken]
        language = spoken if spoken in QUESTIONS else OTHER_LANGUAGE
        for number, question in enumerate(QUESTIONS[language]):
            asked_for = telling_words(question, language)
            if asked_for and not any(word in known for word in asked_for):
                found.setdefault(question, ask_of(own[number % len(own)].exchange, question))
    return list(found.values())
