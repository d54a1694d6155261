"""Training on a CPU against the older loop and TRL, each contender in a process of its own.

Targets: 4 times the older loop's and TRL's best tokens per second, at most 1.0 GB at the peak on
SmolLM2-135M and 2.4 GB on the Qwen2.5-0.5B geometry. They are printed beside the figures, not
asserted, save for the geometry's memory: a busy machine decides as much as the code. What a loss
may be compared with stands beside it: the same number of steps with the same batch size.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.benchmarks import trl_child
from tests.conftest import SHARED_DATA

pytestmark = pytest.mark.timeout(1800)

BUFFER = SHARED_DATA / "exchanges-qwen2.5-0.5b.json"
SMALL_BUFFER = Path(__file__).parent.parent / "training" / "experience_buffer.json"
EXAMPLES = 20
MANY_EXAMPLES = 60
ROUNDS = 3
TRICKS = (
    "one_lane", "prefix_not_shared", "head_in_fp32", "blocks_of_transformers",
    "lengths_as_they_come", "twice_as_much_kept",
)  # fmt: skip

Figures = dict[str, float]


def measure(contender: str, model: Path, recipe: str = "q_v", examples: int = EXAMPLES) -> Figures:
    buffer = BUFFER if BUFFER.is_file() else SMALL_BUFFER
    module = "trl_child" if contender.startswith("trl") else "training_child"
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", contender, str(model)]
    done = subprocess.run(
        [*command, str(buffer), str(examples), recipe],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def in_turn(
    contenders: Sequence[str], model: Path, rounds: int, recipe: str = "q_v"
) -> dict[str, Figures]:
    """Each contender once a round; the median of every figure."""
    runs: dict[str, list[Figures]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in contenders:
            runs[name].append(measure(name, model, recipe))
    return {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }


def show(name: str, figures: Figures, beside: Mapping[str, float], *, limit_mb: int = 1000) -> None:
    speed = figures["tokens_per_second"]
    ratios = "  ".join(f"{speed / other:4.2f}x {label}" for label, other in beside.items())
    print(
        f"{name:28} {speed:5.0f} tokens/s  {ratios}  loss {figures['loss']:.3f}  "
        f"peak {figures['peak_mb']:5.0f} MB ({limit_mb})"
    )


def test_training_on_a_cpu(embedded_model: Path) -> None:
    print(f"\n{EXAMPLES} examples, r=4 on q and v, one epoch; medians of {ROUNDS} rounds in turn")
    figures = in_turn(("older_loop", "ours"), embedded_model, ROUNDS)
    older = figures["older_loop"]["tokens_per_second"]
    for name, found in figures.items():
        show(name, found, {"the older loop (target 4)": older})
    assert figures["ours"]["tokens_per_second"] > older


@pytest.mark.parametrize(
    ("recipe", "adapter"), [("q_v", "r=4 on q and v"), ("default", "the default recipe's adapter")]
)
def test_by_hand_against_autograd(embedded_model: Path, recipe: str, adapter: str) -> None:
    print(
        f"\nthe same batches of {EXAMPLES} examples, {adapter}; medians of {ROUNDS} rounds in turn"
    )
    names = ("blocks_of_transformers", "prefix_not_shared", "ours")
    figures = in_turn(names, embedded_model, ROUNDS, recipe)
    other = figures["blocks_of_transformers"]
    for label, key in (("wall clock", "tokens_per_second"), ("CPU", "tokens_per_cpu_second")):
        for name in names:
            ratio = figures[name][key] / other[key]
            print(f"{name:24} {figures[name][key]:5.0f} tokens a second of {label} {ratio:5.2f}x")
    for name in names:
        print(
            f"{name:24} loss {figures[name]['loss']:.3f}  peak {figures[name]['peak_mb']:5.0f} MB"
        )
        assert figures[name]["loss"] == pytest.approx(other["loss"], abs=0.02)
    assert figures["ours"]["tokens_per_cpu_second"] > other["tokens_per_cpu_second"]


def test_training_beside_trl(embedded_model: Path) -> None:
    if not trl_child.is_installed():
        print(f"\n{trl_child.NOT_INSTALLED}")
        return
    print("\nbeside TRL; losses of the same batch size may be compared")
    names = (*trl_child.CONTENDERS, "ours", "ours_batch_1")
    figures = in_turn(names, embedded_model, 1)
    best = max(figures[name]["tokens_per_second"] for name in trl_child.CONTENDERS)
    for name, found in figures.items():
        show(name, found, {"TRL's best (target 4)": best})
    assert figures["ours"]["loss"] == pytest.approx(figures["trl_fp32_batch_4"]["loss"], abs=0.05)


def test_what_each_trick_gains(embedded_model: Path) -> None:
    print("\neach trick switched off, or its other setting")
    figures = in_turn(("ours", *TRICKS), embedded_model, ROUNDS)
    for name, found in figures.items():
        show(name, found, {"ours": figures["ours"]["tokens_per_second"]})
    for name in ("blocks_of_transformers", "ours"):
        found = measure(name, embedded_model, "default")
        show(f"{name}, default recipe", found, {})
    for name in TRICKS:
        assert figures[name]["loss"] == pytest.approx(figures["ours"]["loss"], abs=0.02), name


def test_memory_of_repeated_shapes(embedded_model: Path) -> None:
    print(f"\n{MANY_EXAMPLES} examples: memory as ever new lengths come")
    names = ("ours", "lengths_as_they_come")
    found = {name: measure(name, embedded_model, examples=MANY_EXAMPLES) for name in names}
    for name, figures in found.items():
        show(name, figures, {})
    assert found["ours"]["peak_mb"] < found["lengths_as_they_come"]["peak_mb"]


def test_memory_on_the_geometry_of_qwen(shared_data: Path) -> None:
    figures = measure("qwen_geometry", shared_data / "qwen2.5-tokenizer", examples=8)
    print()
    show("qwen2.5-0.5b geometry", figures, {}, limit_mb=2400)
    assert figures["peak_mb"] < 2400
