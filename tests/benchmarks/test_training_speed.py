"""Training on a CPU against the older loop, each contender in a process of its own.

Targets: 4 times the older loop's tokens per second, at most 1.0 GB at the peak on SmolLM2-135M and
2.4 GB on the Qwen2.5-0.5B geometry. They are printed beside the figures, not asserted: a busy
machine decides as much as the code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SHARED_DATA

pytestmark = pytest.mark.timeout(1800)

BUFFER = SHARED_DATA / "exchanges-qwen2.5-0.5b.json"
SMALL_BUFFER = Path(__file__).parent.parent / "training" / "experience_buffer.json"
EXAMPLES = 20
CONTENDERS = (
    "older_loop", "ours", "blocks_of_transformers", "prefix_not_shared", "head_in_fp32",
    "lengths_as_they_come", "all_kernels_kept",
)  # fmt: skip


def measure(contender: str, model: Path, recipe: str = "q_v") -> dict[str, float]:
    buffer = BUFFER if BUFFER.is_file() else SMALL_BUFFER
    command = [sys.executable, "-m", "tests.benchmarks.training_child", contender, str(model)]
    done = subprocess.run(
        [*command, str(buffer), str(EXAMPLES), recipe],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def show(name: str, figures: dict[str, float], baseline: dict[str, float], limit_mb: int) -> None:
    speed = figures["tokens_per_second"]
    print(
        f"{name:24} {speed:6.0f} tokens/s {speed / baseline['tokens_per_second']:5.2f}x (4x)  "
        f"loss {figures['loss']:.3f}  peak {figures['peak_mb']:5.0f} MB ({limit_mb})"
    )


def test_training_on_a_cpu(embedded_model: Path) -> None:
    print()
    baseline: dict[str, float] = {}
    for name in CONTENDERS:
        figures = measure(name, embedded_model)
        baseline = baseline or figures
        show(name, figures, baseline, 1000)
        assert figures["tokens_per_second"] > 0
    for name in ("blocks_of_transformers", "ours"):
        show(f"{name}, default", measure(name, embedded_model, "default"), baseline, 1000)


def test_memory_on_the_geometry_of_qwen(shared_data: Path) -> None:
    figures = measure("qwen_geometry", shared_data / "qwen2.5-tokenizer")
    print()
    show("qwen2.5-0.5b geometry", figures, figures, 2400)
    assert figures["peak_mb"] > 0
