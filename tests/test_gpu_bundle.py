"""What is packed for a GPU machine installs from its wheels alone, and measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import bundle
from tests.tiny import make_tiny_model

pytestmark = pytest.mark.timeout(1200)


def test_bundle_installs_and_measures_without_a_network(
    embedded_model: Path, tmp_path: Path
) -> None:
    """On the CPU, small: its torch is this environment's, all else comes from the wheels."""
    model = make_tiny_model(tmp_path / "tiny", tokenizer_of=embedded_model)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    parts = tmp_path / "parts"
    bundle.main(
        ["--to", str(parts), "--python", python, "--machine", os.uname().machine,
         "--model", str(model), "--part-mb", "16"]
    )  # fmt: skip
    assert len(list(parts.iterdir())) > 1
    assert all(part.stat().st_size <= 16_000_000 for part in parts.iterdir())
    unpack = f"cat {parts}/part.* | tar x -C {tmp_path}"
    subprocess.run(["bash", "-euo", "pipefail", "-c", unpack], check=True)
    room = tmp_path / bundle.NAME
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHON": sys.executable,
        "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    done = subprocess.run(
        ["sh", str(room / "run.sh"), "--small", "--out", "gpu.json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    for geometry in ("SmolLM2-135M", "Qwen2.5-0.5B"):
        assert {*found[geometry]} >= {
            "older", "padded", "padded 16", "packed", "packed 16", "packed compiled",
        }  # fmt: skip
        assert all(figures["tokens_per_second"] > 0 for figures in found[geometry].values())
        # The same batches either way, to the digits that the order of sums leaves alone.
        for size in ("", " 16"):
            padded, packed = (found[geometry][f"{way}{size}"] for way in ("padded", "packed"))
            assert packed["loss"] == pytest.approx(padded["loss"], abs=0.02)
            assert packed["path"]["rows"].startswith("packed")
        compiled = found[geometry]["packed compiled"]
        assert compiled["loss"] == pytest.approx(found[geometry]["packed"]["loss"], abs=0.02)
    assert all(speed > 0 for speed in found["replies"].values())
    first, second = found["cycles"]
    assert second["phases"]["references"] < first["phases"]["references"]
    assert "| cycle | s |" in done.stdout
    # Not this environment's own, which would hide a package that was not packed.
    asked = "import transformers, app; print(transformers.__file__, app.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path, check=True, capture_output=True, text=True,
        env={**environment, "PYTHONPATH": f"{room}/site:{room}/source"},
    )  # fmt: skip
    assert all(str(room) in path for path in where.stdout.split())
