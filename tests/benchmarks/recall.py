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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from app.domain.experience import CycleRole, TrainingExchange, Turn
from app.domain.gate import GatePolicy, judge
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.plan import TrainingJob
from app.domain.presets import Preset, lay_over
from app.domain.recipe import Recipe
from app.domain.report import HeldOutLoss, Retention, TrainingReport
from app.training.anchors import load_or_make_references
from app.training.chat import ChatEncoder
from app.training.evaluate import (
    base_retention,
    held_out_loss,
    measure_retention,
    token_log_probabilities,
)
from app.training.examples import make_example
from app.training.fetching import fetch_embedded_model
from app.training.generation import Draw, continue_prompts
from app.training.kept import KeptFiles
from app.training.loading import BaseModel, load_base_model
from app.training.lora import merge_adapter, read_adapter, rescaling
from app.training.models import fingerprint
from app.training.trainer import LoraTrainer
from tests.benchmarks.facts import Fact, exchanges, read_facts

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
class Recall:
    """Shares: of questions answered, of claims about what was never told, of old values."""

    answered: float
    invented: float
    superseded: float


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
    told = _parse()
    model = told.base or fetch_embedded_model(CACHE)
    facts, never_told = read_facts()
    first, rest = facts[: told.facts], facts[told.facts :]
    later = [rest[at : at + LATER] for at in range(0, len(rest), LATER)][: told.later]
    asked = [fact for fact in first if not fact.is_held_out]
    print(
        f"{len(first)} facts told, {len(asked)} of them trained and asked for, "
        f"{len(never_told)} questions about what was never told\n"
    )
    print(f"| | {' | '.join(COLUMNS)} |")
    print("|---" * (1 + len(COLUMNS)) + "|")
    asker = Asker(load_base_model(str(model)), asked, never_told)
    floor, ceiling = asker.ask(), asker.ask(has_context=True)
    del asker

    def show(words: str, found: Recall, cost: str = "") -> None:
        print(f"| {words} | {row(found, floor, ceiling)} | {cost} |", flush=True)

    show("the base", floor)
    show("the base, told in context", ceiling)
    say = partial(exchanges, is_taught=told.taught)
    held_out = exchanges([one for one in facts if one.is_held_out])
    with tempfile.TemporaryDirectory() as name:
        kept = told.kept or Path(name) / "kept"
        for seed in range(told.first_seed, told.first_seed + told.seeds):
            recipe = lay_over(Recipe(), {"preset": told.preset, **told.set, "seed": seed})
            parent: Path | None = None
            pool: list[TrainingExchange] = []
            for cycle, new in enumerate([first, *later]):
                trained = [one for one in new if not one.is_held_out]
                room = Path(name) / f"{seed}-{cycle}"
                report = sleep(
                    model,
                    room,
                    recipe,
                    train=[*say(trained), *pool],
                    held_out=held_out,
                    parent=parent,
                    kept=kept,
                )
                pool += say(trained, CycleRole.REHEARSAL)
                parent = room
                if cycle and cycle not in {1, 5, 10}:
                    continue
                base, _ = scaled(model, room, 1.0, kept, ())
                recalled = Asker(base, asked, never_told).ask(is_shown=told.show)
                at = f"at {report.measures.scale:g} of what was trained"
                show(f"cycle {cycle + 1}, seed {seed}, {at}", recalled, forgotten(report))
                for scale in () if cycle else told.scales:
                    base, cost = scaled(model, room, scale, kept, held_out)
                    recalled = Asker(base, asked, never_told).ask(is_shown=told.show)
                    show(f"the same at {scale:g} of itself", recalled, cost)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="A directory; the embedded model without.")
    parser.add_argument("--facts", type=int, default=NIGHT, help="Told to the first cycle.")
    parser.add_argument("--later", type=int, default=0, help="Cycles after it.")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="Recipe.")
    parser.add_argument("--preset", default=Preset.STANDARD, help="The recipe to start from.")
    parser.add_argument("--kept", type=Path, help="Where to keep what is measured of the base.")
    parser.add_argument("--taught", action="store_true", help="With written lessons.")
    parser.add_argument("--show", action="store_true", help="Print every answer.")
    parser.add_argument(
        "--scales",
        nargs="*",
        type=float,
        default=[],
        metavar="SCALE",
        help="Ask the first cycle's adapter at these shares of itself as well: the frontier.",
    )
    told = parser.parse_args()
    told.set = {
        name: json.loads(value) for name, _, value in (one.partition("=") for one in told.set)
    }
    return told


def row(found: Recall, floor: Recall, ceiling: Recall) -> str:
    """The cells of recall."""
    way = (found.answered - floor.answered) / max(ceiling.answered - floor.answered, 1e-9)
    return f"{found.answered:.3f} | {way:.2f} | {found.invented:.3f} | {found.superseded:.3f}"


def forgotten(report: TrainingReport) -> str:
    """The cells of what a cycle cost."""
    base, after = report.measures.base, report.measures.after
    failed = [check.name for check in judge(report, GatePolicy()).checks if not check.is_passed]
    cells = (
        _lost(base.retention, after.retention),
        _lost(base.session_retention, after.session_retention),
        *_learned(report.held_out_before, report.held_out_reloaded),
        f"{sum(report.seconds.values()):.0f}",
        f"{', '.join(failed) or 'accepted'}{_asked_in_the_cycle(report)}",
    )
    return " | ".join(cells)


def _asked_in_the_cycle(report: TrainingReport) -> str:
    """What its own questions about what nobody told came to, and the scales it was asked at."""
    if report.recall is None:
        return ""
    tried = ", ".join(f"{trial.scale:g}" for trial in report.measures.trials)
    return f"; made up {report.recall.invented_after:.2f} by its own questions; tried {tried}"


def _learned(first: HeldOutLoss, last: HeldOutLoss) -> tuple[str, str]:
    if first.median_nats is None or last.median_nats is None:
        raise ValueError("this version measures it")
    mean = last.nats_per_token - first.nats_per_token
    return f"{mean:+.3f}", f"{last.median_nats - first.median_nats:+.3f}"


def _lost(base: Retention | None, now: Retention | None) -> str:
    if base is None or now is None:
        raise ValueError("this version measures both")
    risen = now.general_loss.value - base.general_loss.value
    return f"{risen:+.3f} | {now.general_kl.value:.3f}"


def scaled(
    model: Path, adapter: Path, scale: float, kept: Path, held_out: Sequence[TrainingExchange]
) -> tuple[BaseModel, str]:
    """The base with so much of a published adapter in it, and the cells of what that cost."""
    base = load_base_model(str(model))
    encoder = ChatEncoder(base.tokenizer, system_prompt=SAGE_SYSTEM_PROMPT, max_length=1024)
    unseen = [make_example(one, encoder) for one in held_out]
    before = token_log_probabilities(base, unseen)
    files = KeptFiles(kept, fingerprint(str(model)).sha256)
    asked = [load_or_make_references(base, files, how) for how in ((), (SAGE_SYSTEM_PROMPT,))]
    adapted = read_adapter(base.model, adapter, is_trainable=False)
    with rescaling(adapted) as rescale:
        rescale(scale)
    lost = [_lost(base_retention(one), measure_retention(base, one)) for one in asked]
    after = token_log_probabilities(base, unseen)
    cells = (*lost, *_learned(held_out_loss(before, unseen), held_out_loss(after, unseen)), "", "")
    return replace(base, model=merge_adapter(adapted)), " | ".join(cells)


if __name__ == "__main__":
    main()
