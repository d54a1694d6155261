"""What a model still knows, after sleep, of what it was told: `python -m tests.benchmarks.recall`.

`facts.json` holds conversations written for this: each tells one fact, and asks for it twice in
other words; some are corrected later; some questions are about what nobody ever told. A cycle
trains on the conversations as the daemon's does (`LoraTrainer`), then the questions are asked under
the identity prompt, without the conversations, and answered greedily.

Printed: recall of the bare base (the floor) and of the base with the conversation before the
question (the ceiling), then after each cycle recall, what it is of the way from floor to ceiling,
and what a better memory may cost: replies to questions about what was never told that claim to know
or name what was told of something else, corrected facts whose old value is said, what was
forgotten of general knowledge, asked bare and as sessions ask, how the loss on held-out replies
changed, by its mean and by its median, and what the gate says.

`--taught` gives each exchange the four questions and answers that were written for it, none of
which is asked, as a teacher's lessons.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.domain.experience import (
    CycleRole,
    Lesson,
    TrainingExchange,
    Turn,
    content_hash,
    is_held_out,
)
from app.domain.gate import GatePolicy, judge
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.plan import TrainingJob
from app.domain.presets import Preset, lay_over
from app.domain.recipe import Recipe
from app.domain.report import TrainingReport
from app.domain.salience import COMPONENTS, Salience
from app.training.chat import ChatEncoder
from app.training.fetching import fetch_embedded_model
from app.training.generation import Draw, continue_prompts
from app.training.loading import BaseModel, load_base_model
from app.training.lora import merge_adapter, read_adapter
from app.training.trainer import LoraTrainer

FACTS = Path(__file__).with_name("facts.json")
CACHE = Path(os.environ.get("SAGE_TEST_CACHE", Path.home() / ".cache" / "sage-sleep-tests"))
NIGHT = 24
"""Facts that the first cycle is told."""

LATER = 4
"""Facts that each later cycle is told."""

REPLY_TOKENS = 40
COLUMNS = (
    "recall",
    "of the way",
    "invented",
    "old values",
    "general",
    "KL",
    "in session",
    "KL",
    "held-out mean",
    "median",
    "s",
    "gate",
)
ROWS = 16
"""Questions that are asked at once."""

_CLAIMS = re.compile(r"\byou (told|said|mentioned)\b", re.IGNORECASE)


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


@dataclass(frozen=True)
class Recall:
    """Shares: of questions answered, of claims about what was never told, of old values."""

    answered: float
    invented: float
    superseded: float


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


class Asker:
    """Asks one model under the identity prompt."""

    def __init__(self, base: BaseModel, told: Sequence[Fact], never_told: Sequence[str]) -> None:
        self._base = base
        self._told = told
        self._never_told = never_told
        self._encoder = ChatEncoder(
            base.tokenizer, system_prompt=SAGE_SYSTEM_PROMPT, max_length=1024
        )

    def ask(self, *, has_context: bool = False, is_shown: bool = False) -> Recall:
        """Ask for everything told, and never told."""
        asked = [(fact, question) for fact in self._told for question in fact.questions]
        replies = self._reply(
            [(question, _turns(fact) if has_context else ()) for fact, question in asked]
        )
        right = [
            fact.statements[-1].is_in(said) for (fact, _), said in zip(asked, replies, strict=True)
        ]
        old = [
            fact.told.is_in(said) and not is_right
            for (fact, _), said, is_right in zip(asked, replies, right, strict=True)
            if fact.correction is not None
        ]
        others = self._reply([(question, ()) for question in self._never_told])
        invented = [
            bool(_CLAIMS.search(said))
            or any(fact.statements[-1].is_in(said) for fact in self._told)
            for said in others
        ]
        if is_shown:
            for (_, question), said, is_right in zip(asked, replies, right, strict=True):
                print(f"    {'+' if is_right else '-'} {question} -> {said}")
            for question, said in zip(self._never_told, others, strict=True):
                print(f"    ? {question} -> {said}")
        return Recall(answered=_share(right), invented=_share(invented), superseded=_share(old))

    def _reply(self, asked: Sequence[tuple[str, Sequence[Turn]]]) -> list[str]:
        ends = self._base.end_ids | self._encoder.end_ids
        draws = [
            Draw(prompt=tuple(self._encoder.encode_prompt(question, history=history)))
            for question, history in asked
        ]
        written: list[list[int]] = []
        for start in range(0, len(draws), ROWS):
            written += continue_prompts(
                self._base.model,
                draws[start : start + ROWS],
                new_tokens=REPLY_TOKENS,
                end_ids=ends,
            )
        decode = self._base.tokenizer.decode
        return [str(decode(ids, skip_special_tokens=True)).strip() for ids in written]


def _turns(fact: Fact) -> list[Turn]:
    return [
        Turn(role=role, content=text)
        for one in fact.statements
        for role, text in (("user", one.prompt), ("assistant", one.response))
    ]


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else 0.0


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


def sleep(
    model: Path,
    room: Path,
    recipe: Recipe,
    *,
    train: Sequence[TrainingExchange],
    held_out: Sequence[TrainingExchange],
    parent: Path | None,
    kept: Path,
) -> TrainingReport:
    """One cycle's heavy part, into an empty directory."""
    room.mkdir()
    rehearsal = sum(one.role is CycleRole.REHEARSAL for one in train)
    new = len(train) - rehearsal
    job = TrainingJob(
        base_model=str(model),
        parent_adapter=parent,
        parent_base_sha256=None,
        output_directory=room,
        system_prompt=SAGE_SYSTEM_PROMPT,
        recipe=recipe,
        train=tuple(train),
        held_out=tuple(held_out),
        rehearsal_count=min(rehearsal, int(new * recipe.rehearsal_share)),
        kept_directory=kept,
    )
    return LoraTrainer().run(job, on_progress=lambda _: None, should_stop=lambda: False)


def main() -> None:
    """Ask, sleep, ask again; print a row a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="A directory; the embedded model without.")
    parser.add_argument("--facts", type=int, default=NIGHT, help="Told to the first cycle.")
    parser.add_argument("--later", type=int, default=0, help="Cycles after it.")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="Recipe.")
    parser.add_argument("--preset", default=Preset.STANDARD, help="The recipe to start from.")
    parser.add_argument("--kept", type=Path, help="Where to keep what is measured of the base.")
    parser.add_argument("--taught", action="store_true", help="With written lessons.")
    parser.add_argument("--show", action="store_true", help="Print every answer.")
    told = parser.parse_args()
    model = told.base or fetch_embedded_model(CACHE)
    say = partial(exchanges, is_taught=told.taught)
    facts, never_told = read_facts()
    first, rest = facts[: told.facts], facts[told.facts :]
    overrides = {
        name: json.loads(value) for name, _, value in (one.partition("=") for one in told.set)
    }
    asked = [fact for fact in first if not fact.is_held_out]
    print(
        f"{len(first)} facts told, {len(asked)} of them trained and asked for, "
        f"{len(never_told)} questions about what was never told\n"
    )
    print(f"| | {' | '.join(COLUMNS)} |")
    print("|---" * (1 + len(COLUMNS)) + "|")
    asker = Asker(load_base_model(str(model)), asked, never_told)
    floor, ceiling = asker.ask(), asker.ask(has_context=True)
    print(f"| the base | {row(floor, floor, ceiling)} |")
    print(f"| the base, told in context | {row(ceiling, floor, ceiling)} |", flush=True)
    del asker
    with tempfile.TemporaryDirectory() as name:
        for seed in range(told.seeds):
            recipe = lay_over(Recipe(), {"preset": told.preset, **overrides, "seed": seed})
            parent: Path | None = None
            pool: list[TrainingExchange] = []
            for cycle in range(1 + told.later):
                start = (cycle - 1) * LATER
                new = first if not cycle else rest[start : start + LATER]
                if not new:
                    break
                room = Path(name) / f"{seed}-{cycle}"
                report = sleep(
                    model,
                    room,
                    recipe,
                    train=[*say([one for one in new if not one.is_held_out]), *pool],
                    held_out=exchanges([one for one in facts if one.is_held_out]),
                    parent=parent,
                    kept=told.kept or Path(name) / "kept",
                )
                pool += say([f for f in new if not f.is_held_out], CycleRole.REHEARSAL)
                parent = room
                if cycle and cycle not in {1, 5, 10}:
                    continue
                fresh = load_base_model(str(model))
                merge_adapter(read_adapter(fresh.model, room, is_trainable=False))
                recalled = Asker(fresh, asked, never_told).ask(is_shown=told.show)
                cost = forgotten(report)
                words = f"cycle {cycle + 1}, seed {seed}"
                print(f"| {words} | {row(recalled, floor, ceiling)} | {cost} |", flush=True)


def row(found: Recall, floor: Recall, ceiling: Recall) -> str:
    """The cells of recall."""
    way = (found.answered - floor.answered) / max(ceiling.answered - floor.answered, 1e-9)
    return f"{found.answered:.3f} | {way:.2f} | {found.invented:.3f} | {found.superseded:.3f}"


def forgotten(report: TrainingReport) -> str:
    """The cells of what a cycle cost."""
    base, after = report.measures.base, report.measures.after
    cells = []
    for was, now in (
        (base.retention, after.retention),
        (base.session_retention, after.session_retention),
    ):
        if was is None or now is None:
            raise ValueError("this version measures both")
        cells.append(f"{now.general_loss.value - was.general_loss.value:+.3f}")
        cells.append(f"{now.general_kl.value:.3f}")
    first, last = report.held_out_before, report.held_out_reloaded
    cells.append(f"{last.nats_per_token - first.nats_per_token:+.3f}")
    if first.median_nats is None or last.median_nats is None:
        raise ValueError("this version measures it")
    cells.append(f"{last.median_nats - first.median_nats:+.3f}")
    failed = [check.name for check in judge(report, GatePolicy()).checks if not check.is_passed]
    cells.append(f"{sum(report.seconds.values()):.0f}")
    return " | ".join((*cells, ", ".join(failed) or "accepted"))


if __name__ == "__main__":
    main()
