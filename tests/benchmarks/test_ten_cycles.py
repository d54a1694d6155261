"""Ten cycles in a row on ten equal slices: the cost of sleep must not grow with history.

Every slice holds as many exchanges, of as many tokens, and as many of them held out, all known
beforehand by their hashes. The instance keeps what a year would leave behind in kind: a parent
adapter, held-out experiences of earlier slices, events, checkpoints.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from app.domain.experience import content_hash, is_held_out
from tests.support import RunningDaemon, StartDaemon

pytestmark = pytest.mark.timeout(900)

CYCLES = 10
TRAINED = 9
HELD_OUT = 1
TARGET_RATIO = 1.15
VOCABULARY = (
    "water river stone light window bench garden house morning evening summer winter music story "
    "letter paper table chair door wall road bridge train ship bird horse fish dog tree leaf "
    "flower grass field hill mountain sea sand wind rain snow cloud star moon sun fire smoke iron "
    "gold glass wood bread milk salt sugar apple orange tea coffee book page line word name voice "
    "song dance game ball team coach king queen child friend brother sister mother father teacher "
    "doctor farmer driver writer market street city village island forest desert lake valley"
)
SENTENCES = (
    "I notice a {} beside the {} while our {} and {} become a {} or {}.",
    "Then the {} taught us {}, which no {} ever knew of any {}, {} or {}.",
    "We understand together why every {} asks its {} for more {} than {} and {} give to {}.",
    "Rather than {}, someone gave me {} from an old {}, so {} follows {} like {}.",
    "Perhaps this {} feels what that {} says: {} before {}, {} after {}.",
)


def exchange(number: int) -> dict[str, str]:
    """Five sentences with thirty words of the vocabulary; every number draws others."""
    drawn = random.Random(number).sample(VOCABULARY.split(), 6 * len(SENTENCES))  # noqa: S311  # no secret
    response = " ".join(
        sentence.format(*drawn[6 * i : 6 * i + 6]) for i, sentence in enumerate(SENTENCES)
    )
    prompt = f"What did we learn about the {drawn[0]} and the {drawn[1]}?"
    return {"prompt": prompt, "response": response}


def slices() -> Iterator[list[dict[str, str]]]:
    """Slices without end: `TRAINED` exchanges to train on and `HELD_OUT` that are held out."""
    made = [(exchange(number) for number in count(kind * 1_000_000)) for kind in range(2)]
    trained = (e for e in made[0] if not is_held_out(content_hash(e["prompt"], e["response"])))
    held_out = (e for e in made[1] if is_held_out(content_hash(e["prompt"], e["response"])))
    while True:
        yield [*islice(trained, TRAINED), *islice(held_out, HELD_OUT)]


def run_cycle(daemon: RunningDaemon, exchanges: list[dict[str, str]]) -> dict[str, Any]:
    answer = daemon.http.post("/v1/experiences/batch", json=exchanges).raise_for_status().json()
    assert answer["inserted"] == len(exchanges)
    started = daemon.http.post("/v1/sleep-cycles", json={"force": True}).raise_for_status()
    return daemon.wait_for_cycle(started.json()["id"])


def seconds_of(cycle: dict[str, Any]) -> float:
    """From the request to the promoted checkpoint."""
    created, finished = (datetime.fromisoformat(cycle[n]) for n in ("created_at", "finished_at"))
    return (finished - created).total_seconds()


def test_tenth_cycle_costs_what_the_first_did(
    start_daemon: StartDaemon, embedded_model: Path
) -> None:
    daemon = start_daemon(
        base_model=embedded_model,
        min_salience=0,
        scheduler_interval_seconds=3600,
        mass_threshold=1e6,
        learning_rate=5e-5,
        epochs=1,
    )
    durations: list[float] = []
    tokens: list[int] = []
    print()
    for number, exchanges in enumerate(islice(slices(), CYCLES), start=1):
        cycle = run_cycle(daemon, exchanges)
        assert cycle["status"] == "succeeded", f"{cycle['verdict']}\n{daemon.log}"
        assert len(cycle["plan"]["experience_ids"]) == TRAINED
        durations.append(seconds_of(cycle))
        metrics = cycle["metrics"]
        tokens.append(metrics["trained_tokens"])
        stages = "  ".join(f"{name} {value:.1f}" for name, value in metrics["seconds"].items())
        print(
            f"  cycle {number:2} {durations[-1]:6.2f} s  {metrics['trained_tokens']} tokens, "
            f"{len(cycle['plan']['held_out_ids'])} held out  {stages}"
        )
    # The first has nothing to rehearse, and costs the references that the others find kept.
    assert len(set(tokens[1:])) == 1, "the slices were not equal"
    print(
        f"  tenth to first {durations[-1] / durations[0]:.2f} (target {TARGET_RATIO}), "
        f"to the second {durations[-1] / durations[1]:.2f}"
    )
