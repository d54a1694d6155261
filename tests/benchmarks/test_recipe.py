"""Does a cycle teach, and does the model stay what it was? The default recipe on real exchanges.

Beside it, in the same run, the same training without anchors and the older scripts' recipe. Needs
the real exchanges that `SAGE_SHARED_DATA` names; `SAGE_BENCH_EXCHANGES=90` trains fewer of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.presets import Preset, lay_over
from app.domain.recipe import Recipe
from app.training.examples import TrainingExample
from tests.benchmarks import recipe as trainings
from tests.benchmarks.recipe import Measured

pytestmark = pytest.mark.timeout(7200)

GAIN_TARGET = 0.70
KL_TARGET = 0.04
TIME_TARGET = 1.3
GENERAL_TARGET = 0.03
KEPT_TARGET = 0.8
CYCLES = 10
CONTENDERS = {
    "the default": Recipe(),
    "bare anchors": replace(Recipe(), anchor_identity_share=0.0),
    "without anchors": replace(Recipe(), anchor_weight=0.0),
    "gentle": lay_over(Recipe(), {"preset": Preset.GENTLE}),
}


def examples(model: Path, *names: str) -> list[TrainingExample]:
    shared = os.environ.get("SAGE_SHARED_DATA")
    if not shared:
        pytest.skip("the real exchanges are kept out of the project")
    files = [Path(shared) / f"exchanges-{name}.json" for name in names]
    return trainings.read_by_time(files, model)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the base's references are kept."""
    return tmp_path_factory.mktemp("kept")


def test_recipe_teaches_and_forgets_nothing(embedded_model: Path, kept: Path) -> None:
    train, held_out = trainings.split_by_time(examples(embedded_model, "gemma3-12b"))
    train = train[: int(os.environ.get("SAGE_BENCH_EXCHANGES", len(train)))]
    print(f"\n  {len(train)} exchanges trained, the {len(held_out)} after them held out")
    header = ("held-out", "gain", "general", "KL", "session", "KL", "seconds", "CPU")
    print("  {:16} {:>17} {:>16} {:>8} {:>7} {:>8} {:>7} {:>8} {:>8}".format("", *header))
    found: dict[str, Measured] = {}
    for name, recipe in CONTENDERS.items():
        found[name] = m = trainings.train_once(embedded_model, kept, recipe, train, held_out)
        print(
            f"  {name:16} {m.before:7.3f} -> {m.before - m.gain:6.3f} {m.gain:8.3f} ± "
            f"{m.gain_error:.3f} {m.general:+8.3f} {m.general_kl:7.3f} "
            f"{m.session_general:+8.3f} {m.session_kl:7.3f} "
            f"{m.seconds:8.1f} {m.cpu_seconds:8.1f}"
        )
    ours, plain = found["the default"], found["without anchors"]
    print(
        f"  gain {ours.gain:.3f} (target {GAIN_TARGET}), general {ours.general:+.3f} (target 0), "
        f"KL {ours.general_kl:.3f} (target {KL_TARGET}), asked as sessions ask "
        f"{ours.session_general:+.3f} and {ours.session_kl:.3f} (the same targets), "
        f"time {ours.seconds / plain.seconds:.2f} of plain training, CPU time "
        f"{ours.cpu_seconds / plain.cpu_seconds:.2f} (target {TIME_TARGET})"
    )
    assert ours.gain > found["gentle"].gain


def test_ten_cycles_in_a_row(embedded_model: Path, kept: Path) -> None:
    every = examples(embedded_model, "qwen2.5-0.5b", "gemma3-12b")
    size = len(every) // CYCLES
    slices: Sequence[Sequence[TrainingExample]] = [
        every[i * size : (i + 1) * size] for i in range(CYCLES)
    ]
    print(f"\n  {CYCLES} slices of {size}, the older file first")
    line = trainings.Line(embedded_model, kept, Recipe(), slices)
    gains = []
    for number in range(CYCLES):
        own, first = line.sleep(number)
        gains.append(first.gain)
        print(
            f"  cycle {number + 1:2}: own slice {own.gain:6.3f}, first slice {first.gain:6.3f} "
            f"({first.gain / gains[0]:4.0%} of its gain), general {own.general:+.3f}, "
            f"KL {own.general_kl:.3f}, {own.seconds:.1f} s",
            flush=True,
        )
    print(
        f"  general {own.general:+.3f} (target within {GENERAL_TARGET}), "
        f"first slice {gains[-1] / gains[0]:.0%} of its gain (target {KEPT_TARGET:.0%})"
    )
    whole = line.measure_all()
    print(f"  after ten updates: all slices {whole.gain:.3f} ± {whole.gain_error:.3f}")
    first, whole = line.rebuild()
    print(
        f"  made anew from the base: all slices {whole.gain:.3f} ± {whole.gain_error:.3f}, "
        f"first slice {first.gain:.3f} ({first.gain / gains[0]:.0%} of its gain), "
        f"general {whole.general:+.3f}, KL {whole.general_kl:.3f}, {whole.seconds:.1f} s"
    )
