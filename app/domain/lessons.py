"""Lessons: questions and short answers about what a person told, written by a teacher.

A teacher is a model of the operator's own, larger than the one that learns. It is given one
exchange and asked what the person told; nothing else that it says is taken. A lesson is derived
text: kept with its exchange, gone with it, and never trained where a later statement takes back
what it is about. Must not know models, databases or HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from app.domain.collapse import find_collapse
from app.domain.dreams import (
    Statement,
    ask_of,
    find_statements,
    telling_words,
    without_corrected,
)
from app.domain.experience import CycleRole, Lesson, TrainingExchange
from app.domain.language import find_language
from app.domain.scripts import count_questions, fold

MAX_LESSONS = 6
"""Of one exchange. A guess."""

MAX_QUESTION_SIGNS = 200
MAX_ANSWER_SIGNS = 200

MAX_TOLD_SIGNS = 4000
"""Of a message that a teacher is shown; its window is not known here."""

_TASK = """\
You are given one message of a person to an assistant. Write {count} short questions that the
person might ask later to be reminded of what this message tells about them, their people, things,
places, dates, numbers, wishes or decisions, each with a short answer.
Write as the person speaks, in the language of the message: "What is the name of my dog?"
Every question must make sense without the message. Ask in different words each time. Use only
what the message says; if it tells nothing of that kind, write NOTHING.
Write nothing else than lines of this form:
Q: the question
A: the answer, one short sentence"""

_LINE = re.compile(r"^[\s\-*#>\d.)]*\**\s*([QA])\s*\d*\s*\**\s*[:：]\s*\**\s*(.+?)\s*\**\s*$")


def task_for(exchange: TrainingExchange) -> list[dict[str, str]]:
    """The messages that a teacher is sent: what it is to do, and what the person said."""
    return [
        {"role": "system", "content": _TASK.format(count=MAX_LESSONS)},
        {"role": "user", "content": exchange.prompt[:MAX_TOLD_SIGNS]},
    ]


def tells_something(exchange: TrainingExchange) -> bool:
    """Whether there is anything to ask a teacher about."""
    return exchange.role is not CycleRole.HELD_OUT and bool(find_statements(exchange))


def read_lessons(
    reply: str, exchange: TrainingExchange, *, teacher: str, cycle: int
) -> tuple[Lesson, ...]:
    """What of a teacher's reply can be trained on.

    A question ends as one, an answer says what the message does and not what the question does
    alone, and both are short. What else the reply says is left.
    """
    found: dict[str, Lesson] = {}
    question = ""
    for line in reply.splitlines():
        if (match := _LINE.match(line)) is None:
            continue
        kind, text = match.groups()
        if kind == "Q":
            question = text
        elif question:
            if _is_sound(question, text, exchange.prompt):
                lesson = Lesson(question=question, answer=text, teacher=teacher, cycle=cycle)
                found.setdefault(fold(question), lesson)
            question = ""
    return tuple(found.values())[:MAX_LESSONS]


def plan_lessons(exchanges: Sequence[TrainingExchange]) -> list[tuple[TrainingExchange, Lesson]]:
    """The lessons of what still holds, in rounds: each exchange's first, then each one's second."""
    told = [one for one in exchanges if one.role is not CycleRole.HELD_OUT]
    statements = {one.experience_id: find_statements(one) for one in told}
    holding = without_corrected([each for one in told for each in statements[one.experience_id]])
    taught = [
        [
            (one, lesson)
            for lesson in one.lessons
            if _is_of_any(lesson, statements[one.experience_id], holding)
        ]
        for one in told
    ]
    longest = max(map(len, taught), default=0)
    return [own[turn] for turn in range(longest) for own in taught if turn < len(own)]


def known_by(cycle: int, exchanges: Sequence[TrainingExchange]) -> tuple[TrainingExchange, ...]:
    """The exchanges as a cycle of that number had them, without the lessons of later ones."""
    return tuple(
        replace(one, lessons=tuple(lesson for lesson in one.lessons if lesson.cycle <= cycle))
        for one in exchanges
    )


def as_exchange(source: TrainingExchange, lesson: Lesson) -> TrainingExchange:
    """A lesson as what is trained on."""
    return ask_of(source, lesson.question, lesson.answer)


def _is_of_any(lesson: Lesson, said: Sequence[Statement], holding: Collection[Statement]) -> bool:
    """Whether the statement that a lesson is about still holds: the one most of whose words it has.

    Of one message a part may be taken back later, and another stand.
    """
    words = fold(f"{lesson.question} {lesson.answer}")
    shared = [sum(word in words for word in one.folded) for one in said]
    return any(
        count == max(shared) and one in holding for one, count in zip(said, shared, strict=True)
    )


def _is_sound(question: str, answer: str, told: str) -> bool:
    if len(question) > MAX_QUESTION_SIGNS or len(answer) > MAX_ANSWER_SIGNS:
        return False
    if not count_questions(question) or count_questions(answer):
        return False
    if find_collapse(f"{question} {answer}", []).is_filtered:
        return False
    language = find_language(told)
    asked, message = fold(question), fold(told)
    words = [fold(word) for word in telling_words(answer, language)]
    news = [word for word in words if word not in asked]
    # A teacher may say a thing in other words, but not other things.
    return bool(news) and 2 * sum(word in message for word in news) >= len(news)
