"""Base models on disk: presence, fingerprint, fetching."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.artifacts.bases import FETCHED_MARKER, find_base_gguf, find_base_model
from app.domain.base_parts import changed_parts
from app.domain.instance import EMBEDDED_MODEL_NAME
from app.errors import BaseModelNotFound, ModelDownloadFailed
from app.training.fetching import fetch_base_model, fetch_embedded_model, is_embedded_model_present
from app.training.loading import load_base_model
from app.training.models import file_sha256, fingerprint


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


def test_model_whose_gguf_file_was_thrown_away_does_without_a_network(
    embedded_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / EMBEDDED_MODEL_NAME
    older.mkdir()
    marker = json.loads((embedded_model / FETCHED_MARKER).read_text())
    gguf = find_base_gguf(embedded_model)
    assert gguf is not None
    assert marker["files"].pop(gguf.name)["size_bytes"] == 98_362_432
    for name in marker["files"]:
        (older / name).symlink_to(embedded_model / name)
    (older / FETCHED_MARKER).write_text(json.dumps(marker))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    steps: list[str] = []
    assert fetch_embedded_model(tmp_path, steps.append) == older
    assert "goes without its GGUF file" in steps[-1]
    assert json.loads((older / FETCHED_MARKER).read_text()) == marker


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


def _change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}, indent=1))


def test_fingerprint_is_the_same_of_the_same_base_wherever_and_by_whomever_it_was_saved(
    tiny_model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_model, copy)
    original = fingerprint(str(tiny_model))
    assert fingerprint(str(copy)) == original
    _change_json(copy / "config.json", transformers_version="0", dtype="float16")
    _change_json(copy / "tokenizer_config.json", name_or_path="there")
    (copy / "README.md").write_text("read me")
    assert fingerprint(str(copy)) == original


def test_what_of_a_base_changed_is_named(tiny_model: Path, tmp_path: Path) -> None:
    original = fingerprint(str(tiny_model))

    def changed(change: Callable[[Path], object]) -> tuple[str, ...]:
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        copy = shutil.copytree(tiny_model, tmp_path / "other")
        change(copy)
        found = fingerprint(str(copy))
        assert found.sha256 != original.sha256
        assert not found.is_meant_by(original.sha256, original.parts)
        return changed_parts(original.parts, found.parts)

    def reverse_vocabulary(path: Path) -> None:
        stored = json.loads((path / "tokenizer.json").read_text())
        words = stored["model"]["vocab"]
        numbers = reversed(list(words.values()))
        stored["model"]["vocab"] = dict(zip(words, numbers, strict=True))
        (path / "tokenizer.json").write_text(json.dumps(stored))

    def flip_weight(path: Path) -> None:
        content = bytearray((path / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (path / "model.safetensors").write_bytes(content)

    assert changed(flip_weight) == ("weights model.safetensors is another",)
    assert changed(reverse_vocabulary) == ("tokenizer tokenizer.json is another",)
    assert changed(lambda path: _change_json(path / "config.json", rms_norm_eps=0.5)) == (
        "config is another",
    )
    assert changed(lambda path: _change_json(path / "generation_config.json", eos_token_id=5)) == (
        "generation_config is another",
    )
    assert changed(lambda path: (path / "chat_template.jinja").write_text("{{ messages }}")) == (
        "chat_template is another",
    )
    assert changed(lambda path: (path / "generation_config.json").unlink()) == (
        "generation_config is gone",
    )
    assert changed(lambda path: (path / "added_tokens.json").write_text("{}")) == (
        "tokenizer added_tokens.json is new",
    )


def test_base_that_was_recorded_without_its_parts_is_known_by_weights_and_configuration(
    tiny_model: Path, tmp_path: Path
) -> None:
    # As versions before this one took it.
    config = json.loads((tiny_model / "config.json").read_text())
    for name in ("transformers_version", "_name_or_path", "dtype", "torch_dtype"):
        config.pop(name, None)
    recorded = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    recorded.update(f"\nmodel.safetensors {file_sha256(tiny_model / 'model.safetensors')}".encode())
    assert fingerprint(str(tiny_model)).is_meant_by(recorded.hexdigest(), {})
    copy = shutil.copytree(tiny_model, tmp_path / "other")
    _change_json(copy / "config.json", rms_norm_eps=0.5)
    assert not fingerprint(str(copy)).is_meant_by(recorded.hexdigest(), {})


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
