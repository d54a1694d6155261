"""Which exchanges teach most, where there are more than fit: `python -m tests.benchmarks.choice`.

Of each buffer a part is held out by hash, as the daemon does it; of the rest every choice takes
exchanges until an equal budget of supervised tokens is spent. What it took is trained in the order
of time with the default recipe, from the bare base, and held-out loss is measured before and after.
Anchors are left out: they cost time and left the gain as it was (the guide's page on the recipe).

Printed: a row for each training, then of every choice its gain over random choice's at the same
budget, with a 95 % interval by bootstrap over held-out exchanges and seeds. `gain` is in nats per
token; `each` counts every exchange alike, however long; `rare` is of tokens that at most two of the
pool's replies hold, since style is learned from any exchange. Prompts cost time too: `tokens` are
all that went through the model.

    python -m tests.benchmarks.choice --buffers FILE:1/3 FILE:2/3 --choices short covering --seeds 3
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

import torch

from app.domain.collapse import find_collapse
from app.domain.experience import TrainingExchange, content_hash
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.policy import SleepPolicy
from app.domain.recipe import Recipe
from app.domain.salience import COMPONENTS, Salience
from app.training.chat import ChatEncoder
from app.training.evaluate import token_log_probabilities
from app.training.examples import TrainingExample, count_targets, make_examples, targets_of
from app.training.fetching import fetch_embedded_model
from app.training.loading import BaseModel, load_base_model
from app.training.lora import detach_adapter
from tests.benchmarks.choices import CHOICES, Pool, Trained, fill, split
from tests.benchmarks.evaluation_noise import session
from tests.benchmarks.facts import exchanges, read_facts
from tests.benchmarks.recall import CACHE
from tests.benchmarks.upper import Upper

HELD_OUT = 24
CHECKED = 8
"""A second held-out part, which a choice may look at and nothing is measured with."""

POOL = 48
BUDGET_SHARE = 1 / 3
MAX_BUDGET = 2000
"""Supervised tokens."""

RARE = 2
RESAMPLES = 2000
WANTED = 1.15
"""Times random choice's gain: what would be worth a choice."""

RANDOM = "random"


@dataclass
class Buffer:
    """Exchanges in the order of time, cut as a cycle would cut them."""

    name: str
    pool: list[TrainingExample]
    held_out: list[TrainingExample]
    checked: list[TrainingExample]

    @classmethod
    def cut(
        cls,
        name: str,
        told: Sequence[TrainingExchange],
        encoder: ChatEncoder,
        *,
        held_out: int,
        pool: int,
    ) -> Buffer:
        """By hash: what falls to which part does not hang on the order."""
        by_hash = sorted(told, key=lambda one: content_hash(one.prompt, one.response))
        held, checked = min(held_out, len(told) // 4), min(CHECKED, len(told) // 8)
        kept_out = {one.experience_id for one in by_hash[: held + checked]}
        rest = [one for one in told if one.experience_id not in kept_out]
        parts = rest[-pool:], by_hash[:held], by_hash[held : held + checked]
        return cls(name, *(make_examples(part, encoder)[0] for part in parts))

    @cached_property
    def is_rare(self) -> torch.Tensor:
        """Of each held-out token whether hardly any reply of the pool holds it."""
        counts = Counter(token for one in self.pool for token in set(targets_of(one).tolist()))
        tokens = torch.cat([targets_of(one) for one in self.held_out]).tolist()
        return torch.tensor([counts[token] <= RARE for token in tokens])


@dataclass(frozen=True)
class Row:
    """One training: of each held-out exchange by how much its summed loss fell, and its tokens."""

    choice: str
    falls: list[float]
    held_out_tokens: list[int]
    rare: float
    each: float
    exchanges: int
    steps: int
    supervised: int
    tokens: int
    seconds: float

    @property
    def gain(self) -> float:
        """Nats per token."""
        return sum(self.falls) / sum(self.held_out_tokens)

    def cells(self) -> str:
        """As printed."""
        return (
            f"{self.exchanges} | {self.supervised} | {self.tokens} | {self.steps} | "
            f"{self.gain:.3f} | {self.each:.3f} | {self.rare:.3f} | {self.seconds:.0f}"
        )


def measure(
    base: BaseModel,
    buffer: Buffer,
    before: torch.Tensor,
    choice: str,
    taken: Sequence[int],
    recipe: Recipe,
) -> Row:
    """Train on what was taken, measure, and take the adapter off again."""
    started = time.monotonic()
    examples = [buffer.pool[i] for i in taken]
    trained = Trained.on(base, examples, recipe)
    falls = token_log_probabilities(base, buffer.held_out) - before
    detach_adapter(trained.loop.adapted)
    parts = split(falls, buffer.held_out)
    return Row(
        choice=choice,
        falls=[float(part.sum()) for part in parts],
        held_out_tokens=[len(part) for part in parts],
        rare=float(falls[buffer.is_rare].mean()),
        each=fmean(float(part.mean()) for part in parts),
        exchanges=len(examples),
        steps=trained.steps,
        supervised=sum(count_targets(example) for example in examples),
        tokens=trained.tokens,
        seconds=time.monotonic() - started,
    )


def compare(rows: Sequence[Row], others: Sequence[Row]) -> tuple[float, float, float]:
    """Ratio of two choices' gains, and its 95 % interval over held-out exchanges and seeds."""
    draw = torch.Generator().manual_seed(0)
    falls = [torch.tensor([row.falls for row in side]) for side in (rows, others)]
    width = falls[0].shape[1]
    exchanges = torch.randint(width, (RESAMPLES, width), generator=draw)
    sums = []
    for side in falls:
        seeds = torch.randint(len(side), (RESAMPLES, len(side)), generator=draw)
        # Of each resample the seeds' mean by exchange, then of its exchanges the sum.
        sums.append(side[seeds].mean(1).gather(1, exchanges).sum(1))
    found = (sums[0] / sums[1]).sort().values
    low, high = (float(found[round(share * (RESAMPLES - 1))]) for share in (0.025, 0.975))
    return float(falls[0].mean(0).sum() / falls[1].mean(0).sum()), low, high


def read(wanted: str) -> list[TrainingExchange]:
    """A buffer of the older scripts as the daemon would keep it, or a part of it by time.

    Args:
        wanted: `FILE`, or `FILE:2/3` for the second of three parts.
    """
    name, _, part = wanted.partition(":")
    stored = json.loads(Path(name).read_text(encoding="utf-8"))
    records = stored["experiences"] if isinstance(stored, dict) else stored
    kept: list[TrainingExchange] = []
    for record in sorted(records, key=lambda one: str(one["timestamp"])):
        salience = Salience(**{key: record["salience"][key] for key in COMPONENTS})
        collapse = find_collapse(record["response"], [one.response for one in kept])
        if salience.total >= SleepPolicy().min_salience and not collapse.is_filtered:
            kept.append(
                TrainingExchange(
                    experience_id=record["id"],
                    prompt=record["prompt"],
                    response=record["response"],
                    salience=salience,
                )
            )
    number, count = map(int, part.split("/")) if part else (1, 1)
    return kept[len(kept) * (number - 1) // count : len(kept) * number // count]


def main() -> None:
    """Cut, choose, train, compare; a row as each ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--buffers", nargs="*", metavar="FILE[:1/3]", help="Else the project's own."
    )
    parser.add_argument("--choices", nargs="*", default=list(CHOICES), choices=list(CHOICES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--random", type=int, help="Random draws; as many as seeds without.")
    parser.add_argument("--upper", type=int, help="Train the last so many blocks; see `Upper`.")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="At most.")
    parser.add_argument("--pool", type=int, default=POOL, help="The newest of the rest.")
    parser.add_argument("--budget", type=int, default=MAX_BUDGET, help="Supervised tokens.")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="Recipe.")
    asked = parser.parse_args()
    overrides = {key: json.loads(value) for key, _, value in (s.partition("=") for s in asked.set)}
    recipe = Recipe(anchor_weight=0.0, **overrides)
    model = str(fetch_embedded_model(CACHE))
    base = load_base_model(model)
    encoder = ChatEncoder(
        base.tokenizer, system_prompt=SAGE_SYSTEM_PROMPT, max_length=recipe.max_length
    )
    told = {short_name(one): read(one) for one in asked.buffers or ()} or {
        "demo": list(session()),
        "facts": exchanges(read_facts()[0]),
    }
    ratios: dict[str, list[tuple[float, float, float]]] = {}
    for name, found in told.items():
        buffer = Buffer.cut(name, found, encoder, held_out=asked.held_out, pool=asked.pool)
        if asked.upper:
            base = load_base_model(model)
            parts = Upper(base, asked.upper, (buffer.pool, buffer.held_out, buffer.checked)).parts
            buffer = Buffer(name, *parts)
        for choice, ratio in compare_choices(base, buffer, asked, recipe).items():
            ratios.setdefault(choice, []).append(ratio)
    print("\n| choice | mean ratio | clearly above random | and by 15 % | clearly below |")
    print("|---" * 5 + "|")
    for choice, each in ratios.items():
        clear = sum(low > 1 for _, low, _ in each)
        far = sum(low > 1 and ratio >= WANTED for ratio, low, _ in each)
        below = sum(high < 1 for _, _, high in each)
        mean = fmean(ratio for ratio, _, _ in each)
        print(f"| {choice} | {mean:.3f} | {clear} of {len(each)} | {far} | {below} |")


def short_name(wanted: str) -> str:
    """Of a buffer, for a table."""
    name, _, part = wanted.partition(":")
    return f"{Path(name).stem} {part}".strip()


def compare_choices(
    base: BaseModel, buffer: Buffer, asked: argparse.Namespace, recipe: Recipe
) -> dict[str, tuple[float, float, float]]:
    """Train on every choice, and print how each does against random choice."""
    rows = measure_choices(base, buffer, asked, recipe)
    others = [row for row in rows if row.choice == RANDOM]
    print(f"\n| {buffer.name} | gain over random's | 95 % | each | rare |\n|---|---|---|---|---|")
    ratios = {}
    for choice in asked.choices:
        own = [row for row in rows if row.choice == choice]
        ratio, low, high = ratios[choice] = compare(own, others)
        each = fmean(row.each for row in own) / fmean(row.each for row in others)
        rare = fmean(row.rare for row in own) / fmean(row.rare for row in others)
        print(f"| {choice} | {ratio:.3f} | {low:.3f} to {high:.3f} | {each:.3f} | {rare:.3f} |")
    return ratios


def measure_choices(
    base: BaseModel, buffer: Buffer, asked: argparse.Namespace, recipe: Recipe
) -> list[Row]:
    """Every choice at every seed, and random draws; printed as they end."""
    pool = Pool(base, buffer.pool, buffer.checked, recipe)
    budget = min(asked.budget, round(sum(pool.tokens) * BUDGET_SHARE))
    before = token_log_probabilities(base, buffer.held_out)
    print(
        f"\n{buffer.name}: {len(buffer.pool)} to choose from with {sum(pool.tokens)} supervised "
        f"tokens, {budget} of them taken; {len(buffer.held_out)} held out with {len(before)}, "
        f"{int(buffer.is_rare.sum())} of them rare; loss before {-float(before.mean()):.3f}\n"
    )
    print("| choice | seed | exchanges | supervised | tokens | steps | gain | each | rare | s |")
    print("|---" * 10 + "|", flush=True)
    rows: list[Row] = []
    for choice in (RANDOM, *asked.choices):
        seeds = (asked.random or asked.seeds) if choice == RANDOM else asked.seeds
        for seed in range(seeds):
            if choice == RANDOM:
                order = list(range(len(pool.tokens)))
                random.Random(seed).shuffle(order)  # noqa: S311  # a draw, not a secret
            else:
                order = CHOICES[choice](pool)
            taken = fill(order, pool.tokens, budget)
            row = measure(base, buffer, before, choice, taken, replace(recipe, seed=seed))
            rows.append(row)
            print(f"| {choice} | {seed} | {row.cells()} |", flush=True)
    return rows


if __name__ == "__main__":
    main()
