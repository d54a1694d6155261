"""Change the rules, one operator, bound, factor or term at a time, and see that a test notices.

python -m tests.mutants [--rule salience ...] [--jobs 2]

Prints every survivor and the score. What survives and changes nothing that anybody could see is
listed in `equivalent.toml` with the reason; ends with 1 where another survives, or where one that
is listed is not made any more or was killed.

Cosmic Ray makes the mutants. Its own runner writes each into the working tree and starts pytest
anew; `tests.mutants.judging` forks instead. mutmut 3 changes functions alone: no constant, no
default of a class and no property, which is where the limits stand.
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from pathlib import Path

from tests.mutants.judging import judge_all, preload
from tests.mutants.making import Mutant, make_mutants

DOMAIN = Path("app/domain")
TESTS = Path("tests/domain")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")

RULES: dict[str, tuple[str, ...]] = {
    "salience": ("salience", "wording"),
    "surprise": ("surprise", "salience"),
    "wording": ("wording",),
    "collapse": ("collapse",),
    "gate": ("gate",),
    "decision": ("decision",),
    "policy": ("policy",),
    "declared": ("policy", "gate"),
    "curation": ("curation",),
    "traits": ("curation",),
    "near_copies": ("near_copies",),
    "selection": ("selection",),
}
"""The modules that are changed, and the tests that must notice."""

PLACES = {"declared": frozenset({"Share"})}
"""What is changed of a module that holds more than a rule."""

Key = tuple[str, str, str, str]


def main() -> int:
    """Run what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rule", action="append", choices=RULES, help="one module; repeatable")
    parser.add_argument("--jobs", type=int, default=2)
    wanted = parser.parse_args()
    rules = wanted.rule or list(RULES)
    started = time.monotonic()
    tests = {rule: [TESTS / f"test_{name}.py" for name in RULES[rule]] for rule in rules}
    preload(sorted({path for paths in tests.values() for path in paths}))
    listed = {key for key in read_equivalent() if key[0] in rules}
    mutants: list[Mutant] = []
    survivors: list[Mutant] = []
    for rule in rules:  # each is told as it ends: all of them take an hour of a core
        made = list(make_mutants(DOMAIN / f"{rule}.py", PLACES.get(rule)))
        survived = judge_rule(made, tests[rule], jobs=wanted.jobs)
        tell(rule, made, survived, listed)
        mutants += made
        survivors += survived
    gone = listed - {mutant.key for mutant in survivors}
    for key in sorted(gone):
        print(f"listed in {EQUIVALENT.name}, but killed or made no more: {' | '.join(key)}")
    print(summary(mutants, survivors, listed, time.monotonic() - started))
    return 1 if gone or any(mutant.key not in listed for mutant in survivors) else 0


def judge_rule(made: list[Mutant], tests: list[Path], *, jobs: int) -> list[Mutant]:
    """Those of a rule's mutants that its tests let pass."""
    survived: list[Mutant] = []
    for mutant, is_killed in judge_all([(mutant, tests) for mutant in made], jobs=jobs):
        if not is_killed:
            assert isinstance(mutant, Mutant)  # what was put in
            survived.append(mutant)
    return survived


def tell(rule: str, made: list[Mutant], survived: list[Mutant], listed: set[Key]) -> None:
    """Print the survivors of a rule that are not listed, and how many were killed."""
    unlisted = [mutant for mutant in survived if mutant.key not in listed]
    for mutant in sorted(unlisted, key=lambda found: found.line):
        print(f"{mutant.path}:{mutant.line} {mutant.place} ({mutant.operator})")
        print(f"  - {mutant.before}\n  + {mutant.after}")
    count = sum(mutant.key not in listed for mutant in made)
    print(f"{rule:12} {count - len(unlisted)} of {count} killed", flush=True)


def read_equivalent() -> set[Key]:
    """The mutants that change nothing, each listed with its reason."""
    entries = tomllib.loads(EQUIVALENT.read_text())["mutant"]
    assert all(entry["reason"] for entry in entries)  # a file of ours
    return {
        (entry["rule"], entry["place"], entry["before"], after)
        for entry in entries
        for after in entry["after"]
    }


def summary(
    mutants: list[Mutant], survivors: list[Mutant], listed: set[Key], seconds: float
) -> str:
    """The score of all rules, without the listed mutants."""
    made = sum(mutant.key not in listed for mutant in mutants)
    killed = made - sum(mutant.key not in listed for mutant in survivors)
    return (
        f"score {killed / made:.1%}: {killed} of {made} mutants killed; "
        f"{len(listed)} change nothing and are listed; {seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
