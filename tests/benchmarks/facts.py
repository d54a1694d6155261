"""Conversations that each tell a fact, for the benchmarks of memory; `facts.json` holds them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.experience import CycleRole, Lesson, TrainingExchange, content_hash, is_held_out
from app.domain.salience import COMPONENTS, Salience

FACTS = Path(__file__).with_name("facts.json")


@dataclass(frozen=True)
class Statement:
    """What a person said, what was replied, and the words that an answer must hold one of."""

    prompt: str
    response: str
    answers: tuple[str, ...]
    lessons: tuple[Lesson, ...] = ()

    def is_in(self, reply: str) -> bool:
        """Whether a reply holds an answer, as whole words."""
        return any(
            re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", reply, re.IGNORECASE)
            for answer in self.answers
        )


@dataclass(frozen=True)
class Fact:
    """A fact, how it was told, and how it is asked for."""

    kind: str
    told: Statement
    questions: tuple[str, ...]
    correction: Statement | None = None

    @property
    def statements(self) -> tuple[Statement, ...]:
        """In the order in which they were said; the last one holds."""
        return (self.told,) if self.correction is None else (self.told, self.correction)

    @property
    def is_held_out(self) -> bool:
        """Whether the daemon would keep a part of it for evaluation, and never train on it."""
        return any(is_held_out(content_hash(one.prompt, one.response)) for one in self.statements)


def read_facts() -> tuple[list[Fact], list[str]]:
    """The facts, the kinds mixed, and the questions about what was never told."""
    stored = json.loads(FACTS.read_text(encoding="utf-8"))
    facts = [_read_fact(entry) for entry in stored["facts"]]
    by_kind: dict[str, list[Fact]] = {}
    for fact in facts:
        by_kind.setdefault(fact.kind, []).append(fact)
    longest = max(map(len, by_kind.values()))
    mixed = [group[n] for n in range(longest) for group in by_kind.values() if n < len(group)]
    return mixed, stored["never_told"]


def _read_fact(entry: dict[str, Any]) -> Fact:
    correction = entry.get("correction")
    lessons = tuple(
        Lesson(question=question, answer=answer, teacher="written", cycle=1)
        for question, answer in entry["lessons"]
    )
    # They say what holds.
    return Fact(
        kind=entry["kind"],
        told=_read_statement(entry, () if correction else lessons),
        questions=tuple(entry["questions"]),
        correction=None if correction is None else _read_statement(correction, lessons),
    )


def _read_statement(entry: dict[str, Any], lessons: tuple[Lesson, ...]) -> Statement:
    return Statement(entry["prompt"], entry["response"], tuple(entry["answers"]), lessons)


def exchanges(
    facts: Sequence[Fact], role: CycleRole = CycleRole.TRAIN, *, is_taught: bool = False
) -> list[TrainingExchange]:
    """What was said, as a cycle gets it: first all that was told, then what corrects it."""
    said = [fact.told for fact in facts]
    said += [fact.correction for fact in facts if fact.correction is not None]
    return [
        TrainingExchange(
            # In the order of time, as the daemon's are.
            experience_id=f"{number:06}-{content_hash(one.prompt, one.response)[:19]}",
            prompt=one.prompt,
            response=one.response,
            salience=Salience(**dict.fromkeys(COMPONENTS, 0.7)),
            role=role,
            lessons=one.lessons if is_taught else (),
        )
        for number, one in enumerate(said)
    ]
