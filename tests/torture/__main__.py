"""Kill the daemon, its child, or both, hundreds of times at random moments, and look what is left.

python -m tests.torture [--kills 1000] [--rigs 2] [--seed N] [--faults second,full,...]
                        [--model DIRECTORY | embedded]

Without a model the trainer takes milliseconds (`tests.torture.child`); with one, cycles are real
and a kill comes every few seconds. Ends with 1 where a promise did not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.torture.rig import FAULTS, QUICK_SETTINGS, Outcome, Rig

KILLS_EACH = 100
"""Of one data directory at most: what is started and looked at after each grows with it. After 300
some 60,000 experiences lay there."""

MODEL_SETTINGS = {
    **QUICK_SETTINGS,
    "SAGE_EPOCHS": "1",
    "SAGE_MAX_EXPERIENCES": "8",
    "SAGE_MAX_LENGTH": "192",
    "SAGE_SNAPSHOT_INTERVAL_SECONDS": "1",
}


def main() -> int:
    """Run what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--rigs", type=int, default=2, help="data directories at a time")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(
        "--faults",
        default=",".join(FAULTS),
        help=f"what happens beside the kills, of {', '.join(FAULTS)}",
    )
    parser.add_argument("--model", help="a base model's directory, or: embedded")
    wanted = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if wanted.seed is None else wanted.seed
    print(f"seed {seed}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as directory:
        count = max(wanted.rigs, -(-wanted.kills // KILLS_EACH))

        def run(number: int) -> Outcome:
            rig = make_rig(
                Path(directory) / str(number),
                f"{seed}-{number}",
                wanted.model,
                [fault for fault in wanted.faults.split(",") if fault],
            )
            share = len(range(number, wanted.kills, count))
            return rig.run(share, settle_seconds=900.0 if wanted.model else 240.0)

        with ThreadPoolExecutor(wanted.rigs) as threads:
            outcomes = list(threads.map(run, range(count)))
    print(summary(outcomes, time.monotonic() - started))
    return 1 if any(outcome.broken for outcome in outcomes) else 0


def make_rig(directory: Path, seed: str, model: str | None, faults: Sequence[str]) -> Rig:
    """A rig with the quick trainer, or with a real model."""
    if model is None:
        return Rig(directory, seed=seed, faults=faults)
    path = fetch_embedded() if model == "embedded" else Path(model)
    return Rig(
        directory,
        seed=seed,
        module="app",
        settings={**MODEL_SETTINGS, "SAGE_BASE_MODEL": str(path)},
        lull_seconds=(3.0, 25.0),
        # The clock and the moment of a publication are those of this package's own processes.
        faults=sorted({*faults} - {"full", "clock"}),
    )


def fetch_embedded() -> Path:
    """The embedded model, from where the tests keep it."""
    from app.training.fetching import fetch_embedded_model

    default = Path.home() / ".cache" / "sage-sleep-tests"
    return fetch_embedded_model(Path(os.environ.get("SAGE_TEST_CACHE", default)))


def summary(outcomes: list[Outcome], seconds: float) -> str:
    """What a person wants to know of it."""
    kills: Counter[str] = sum((outcome.kills for outcome in outcomes), Counter())
    cycles: Counter[str] = sum((outcome.cycles for outcome in outcomes), Counter())
    struck: Counter[str] = sum((outcome.struck for outcome in outcomes), Counter())
    lines = [
        f"kills              {kills.total()}: "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(kills.items())),
        "struck             " + ", ".join(f"{n} {what}" for what, n in sorted(struck.items())),
        "cycles             " + ", ".join(f"{n} {status}" for status, n in sorted(cycles.items())),
        f"acknowledged       {sum(o.acknowledged for o in outcomes)}",
        f"doubled            {sum(o.doubled for o in outcomes)}",
        f"lost               {sum(o.lost for o in outcomes)}",
        f"consumed twice     {sum(o.consumed_twice for o in outcomes)}",
        f"half checkpoints   {sum(o.half_checkpoints for o in outcomes)}",
        f"left behind        {sum(o.left_behind for o in outcomes)}",
        f"manual steps       {sum(o.manual_steps for o in outcomes)}",
        *(f"left out           {o.left_out}: only root may mount" for o in outcomes if o.left_out),
        f"anything broken    {sum(len(o.broken) for o in outcomes)}",
        f"slowest start      {max(o.slowest_start_seconds for o in outcomes):.1f} s",
        f"slowest SIGTERM    {max(o.slowest_drain_seconds for o in outcomes):.1f} s",
        f"slowest child end  {max(o.slowest_child_end_seconds for o in outcomes):.1f} s",
        f"duration           {seconds:.0f} s",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
