"""Dreams: questions about what a person told, answered with the person's own words.

A cycle takes its loss on replies alone, and what was told stands in the prompt; so nothing of it is
learned. A dream turns it round: a question made by rule from words of the statement, and as its
answer the statement, quoted. Every word in it is the person's or of a form in `dream_words`; no
model invents any. That a question alone is no sign of knowing is taught beside it (`untold`).

Dreams are derived text: made again from the exchange, recipe and seed whenever they are needed,
stored nowhere, and gone with their exchange. Must not know models or tokens.

What is told is what is no question and no request. A statement that takes an earlier one back
(`corrects` of `dream_words`, and most of its words) is dreamt of in its place.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.collapse import find_collapse
from app.domain.dream_words import ANY_LANGUAGE, DREAM_WORDS, DreamWords
from app.domain.experience import CycleRole, TrainingExchange
from app.domain.language import common_words, find_language
from app.domain.scripts import WORD, bare_words, count_questions, fold, is_spaceless, split_word

STATEMENT_WORDS = range(3, 41)
"""How many words a statement has; a guess. Fewer tell little, and a small model loses more."""

MAX_SIGNS = 400
MAX_STATEMENTS = 3
"""Of one exchange; those with the most telling words. A guess."""

MIN_TELLING = 2
"""Words of a statement that few other sentences hold: one to ask by, and one to be told."""

CORRECTED_SHARE = 0.5
"""Of a statement's telling words, that one which takes it back holds at least."""

_SENTENCE_END = re.compile(
    # Not behind `Mr.`, `Dr.`, or an initial.
    r"(?:(?<!\b[A-Z])(?<!\b[A-Z][a-z])(?<!\b[A-Z][a-z]{2})\.|[!?])+[\"')\]»”]*\s+"
    r"|[。．｡！？؟।။۔]+[”」』»]*\s*|\n+"
)
_LEAST_LETTERS = 3
"""Of a telling word in a language without a list of common ones."""


class DreamKind(StrEnum):
    """What a dream is for: to say again what was told, or to reply as ever where nothing was.

    A quote says it in the person's words, a lesson in a teacher's.
    """

    QUOTE = "quote"
    LESSON = "lesson"
    UNTOLD = "untold"


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """Something that a person told.

    Attributes:
        telling: Its words that few sentences hold, as they are written.
    """

    exchange: TrainingExchange
    text: str
    language: str
    telling: tuple[str, ...]

    @property
    def folded(self) -> frozenset[str]:
        """The telling words, to be compared."""
        return frozenset(map(fold, self.telling))

    def is_recalled_in(self, reply: str, question: str) -> bool:
        """Whether a reply holds most of what the question does not say itself."""
        asked = fold(question)
        wanted = [word for word in self.folded if word not in asked]
        said = fold(reply)
        return bool(wanted) and 2 * sum(word in said for word in wanted) > len(wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dream:
    """One question with its answer, as an exchange under the system prompt of its source."""

    statement: Statement
    exchange: TrainingExchange


@dataclass(frozen=True, kw_only=True, slots=True)
class Night:
    """What a cycle dreams.

    Attributes:
        trained: In rounds, so that no statement is asked for twice before each was once.
        asked: One question a statement that is never trained on, to see what is remembered.
    """

    trained: tuple[Dream, ...]
    asked: tuple[Dream, ...]


def plan_night(exchanges: Sequence[TrainingExchange], count: int, *, seed: int) -> Night:
    """Dream of what a cycle's exchanges tell.

    Args:
        exchanges: Of any role, in any order; of the held-out nothing is dreamt.
        count: Trained questions about each statement.
    """
    trained: list[list[Dream]] = []
    asked: list[Dream] = []
    for statement in told_in(exchanges):
        words = words_of(statement.language)
        questions = _questions(statement, words, count + 1, draw_of(statement, seed))
        if len(questions) < 2:
            continue
        *learned, last = questions
        asked.append(_quote(statement, words, last))
        trained.append([_quote(statement, words, question) for question in learned])
    longest = max(map(len, trained), default=0)
    return Night(
        trained=tuple(own[turn] for turn in range(longest) for own in trained if turn < len(own)),
        asked=tuple(asked),
    )


def claims_to_know(
    reply: str, question: TrainingExchange, night: Night, taught: Sequence[str] = ()
) -> bool:
    """Whether a reply to what nobody told speaks as one to what somebody did, or says that.

    Args:
        taught: Answers of lessons.
    """
    said = bare_words(fold(reply))
    if any(bare_words(fold(answer)).strip() in said for answer in taught):
        return True
    # Of any language: a question of two words does not tell its own.
    for words in DREAM_WORDS.values():
        if all(bare_words(fold(part)).strip() in said for part in words.answer.split("{}")):
            return True
    return any(dream.statement.is_recalled_in(reply, question.prompt) for dream in night.asked)


def told_in(exchanges: Sequence[TrainingExchange]) -> list[Statement]:
    """What exchanges tell and no later one takes back; nothing of the held-out."""
    told = [one for one in exchanges if one.role is not CycleRole.HELD_OUT]
    return without_corrected([one for each in told for one in find_statements(each)])


def find_statements(exchange: TrainingExchange) -> list[Statement]:
    """What the prompt of an exchange tells, in its order; nothing of questions and requests."""
    found: list[Statement] = []
    language = find_language(exchange.prompt)
    words = words_of(language)
    # Each once: what is said thirty times is one statement.
    for text in dict.fromkeys(_join_short(_sentences(exchange.prompt))):
        spoken = [fold(word) for word in WORD.findall(text)]
        if count_questions(text) or not spoken or _asks_for_something(text, words):
            continue
        telling = tuple(telling_words(text, language))
        size = len(spoken) if not is_spaceless(text) else len(text) // 2
        if (
            size in STATEMENT_WORDS
            and len(text) <= MAX_SIGNS
            and len(telling) >= MIN_TELLING
            and not find_collapse(text, []).is_filtered
        ):
            found.append(
                Statement(exchange=exchange, text=text, language=language, telling=telling)
            )
    best = sorted(found, key=lambda one: -len(one.telling))[:MAX_STATEMENTS]
    return [one for one in found if one in best]


def without_corrected(statements: Sequence[Statement]) -> list[Statement]:
    """Leave out what a later statement takes back or says again; the exchanges' ids tell time.

    What is said in the same telling words, in their order, is said again: the last of it stays.
    """
    by_time = sorted(range(len(statements)), key=lambda i: statements[i].exchange.experience_id)
    folded = [one.folded for one in statements]
    said = [tuple(map(fold, one.telling)) for one in statements]
    takes_back = [_takes_back(one) for one in statements]
    corrected = {
        earlier
        for place, earlier in enumerate(by_time)
        for later in by_time[place + 1 :]
        if said[later] == said[earlier]
        or (takes_back[later] and _is_about(folded[later], folded[earlier]))
    }
    return [one for place, one in enumerate(statements) if place not in corrected]


def _is_about(later: frozenset[str], earlier: frozenset[str]) -> bool:
    """Whether a statement says something else of what an earlier one told."""
    return len(later & earlier) >= CORRECTED_SHARE * len(earlier)


def _takes_back(statement: Statement) -> bool:
    """Whether it says of itself that it corrects something."""
    marks = words_of(statement.language).corrects.split()
    text = fold(statement.text)
    if is_spaceless(text):
        return any(fold(mark) in text for mark in marks)
    return not frozenset(map(fold, marks)).isdisjoint(WORD.findall(text))


def _asks_for_something(text: str, words: DreamWords) -> bool:
    """Whether a sentence is a request: by what it begins with, or in some languages ends with."""
    greetings, begins, ends = (
        tuple(fold(each).split()) for each in (words.greetings, words.requests, words.request_ends)
    )
    bare = bare_words(fold(text)).strip()
    if is_spaceless(bare):
        for greeting in greetings:
            bare = bare.removeprefix(greeting).lstrip()
        return bare.startswith(begins) or bare.endswith(ends)
    spoken = bare.split()
    while spoken and spoken[0] in greetings:
        spoken.pop(0)
    # A mere greeting tells nothing.
    if not spoken or spoken[0] in begins or spoken[-1] in ends:
        return True
    return spoken[-1].endswith(tuple(end[1:] for end in ends if end.startswith("-")))


def _questions(
    statement: Statement, words: DreamWords, count: int, draw: random.Random
) -> list[str]:
    """Different questions that say one to three of the statement's words, never all of them."""
    most = min(3, len(statement.telling) - 1)
    found: dict[str, None] = {}
    for _ in range(4 * count):  # of few words there are few questions
        chosen = draw.sample(range(len(statement.telling)), min(draw.choice((1, 2, 2, 3)), most))
        if draw.random() < 0.5:  # as they stood, or as another would say it
            chosen.sort()
        said = draw.choice((" ", " ", " ", ", ")).join(statement.telling[i] for i in chosen)
        found[draw.choice(words.asks).format(said)] = None
        if len(found) == count:
            break
    return list(found)


def _quote(statement: Statement, words: DreamWords, question: str) -> Dream:
    answer = words.answer.format(statement.text)
    return Dream(statement=statement, exchange=ask_of(statement.exchange, question, answer))


def ask_of(source: TrainingExchange, question: str, answer: str = "") -> TrainingExchange:
    """A question as an exchange of its own, under the system prompt of what it is asked of."""
    return TrainingExchange(
        experience_id=source.experience_id,
        prompt=question,
        response=answer,
        salience=source.salience,
        system_prompt=source.system_prompt,
        role=source.role,
    )


def words_of(language: str) -> DreamWords:
    """The forms of a language; of one that has none, what asks in any."""
    return DREAM_WORDS.get(language, ANY_LANGUAGE)


def _sentences(text: str) -> Iterable[str]:
    """Sentences with the marks that end them."""
    start = 0
    for end in _SENTENCE_END.finditer(text):
        yield text[start : end.end()].strip()
        start = end.end()
    yield text[start:].strip()


def _join_short(sentences: Iterable[str]) -> list[str]:
    """Sentences that tell little by themselves, with the one before them."""
    joined: list[str] = []
    for sentence in sentences:
        if not sentence:
            continue
        is_short = len(WORD.findall(sentence)) < STATEMENT_WORDS.start
        if is_short and joined and not count_questions(joined[-1] + sentence):
            joined[-1] = f"{joined[-1]} {sentence}"
        else:
            joined.append(sentence)
    return joined


def telling_words(text: str, language: str) -> list[str]:
    """The words of a text that few others hold, once each, as they are written."""
    common = common_words(language)
    found: dict[str, str] = {}
    for word in WORD.findall(text):
        for part in split_word(word) if is_spaceless(word) else [word]:
            folded = fold(part)
            is_telling = (
                folded not in common
                if common
                else is_spaceless(part) or len(part) >= _LEAST_LETTERS or part.isdigit()
            )
            if is_telling:
                found.setdefault(folded, part)
    return list(found.values())


def draw_of(statement: Statement, seed: int, purpose: str = "dream") -> random.Random:
    """Random numbers of one statement's own, whatever else is dreamt of beside it."""
    key = f"{seed}:{purpose}:{statement.exchange.experience_id}:{statement.text}"
    return random.Random(key)  # noqa: S311  # no secret
