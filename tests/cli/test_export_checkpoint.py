"""A checkpoint for another runtime by a command: of a daemon's, or of a directory without one."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest

from app.db.engine import Database
from tests.api.routes.test_exports import publish_adapter
from tests.cli.conftest import Command
from tests.exports.tiny import Adapted, make_adapted
from tests.support import RunningDaemon, run_command

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    return make_adapted(tmp_path_factory.mktemp("tiny"), settings={})


@pytest.fixture
def checkpoint(shared_daemon: RunningDaemon, db: Database, tiny: Adapted) -> str:
    return publish_adapter(db, shared_daemon.data_dir / "checkpoints", tiny)


@pytest.fixture
def daemon(shared_daemon: RunningDaemon) -> RunningDaemon:
    return shared_daemon


def test_daemon_makes_them(command: Command, checkpoint: str, tmp_path: Path) -> None:
    file = tmp_path / "new" / "adapter.gguf"
    said = command("export", "adapter", checkpoint[:12], "--gguf", str(file))
    assert said == f"{file}\n"
    assert gguf.GGUFReader(file).fields["general.type"].contents() == "adapter"
    again = ("export", "adapter", checkpoint, "--gguf", str(file))
    assert "--overwrite" in command(*again, code=1, stream="stderr")
    command(*again, "--overwrite")

    command("export", "merged", checkpoint, str(tmp_path / "model.gguf"))
    kinds = {tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert kinds == {"Q8_0", "F32"}

    directory = tmp_path / "model"
    for _ in range(2):
        command(
            "export", "merged", checkpoint, str(directory), "--format", "safetensors", "--overwrite"
        )
    names = {path.name for path in directory.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert "export.json" not in names
    assert sorted(path.name for path in tmp_path.glob(".export-*")) == []


def test_four_bits_are_refused_with_the_reason_and_others_named(
    command: Command, checkpoint: str, tmp_path: Path
) -> None:
    to = str(tmp_path / "x")
    said = command(
        "export", "merged", checkpoint, to, "--format", "gguf-q4_k_m", code=1, stream="stderr"
    )
    assert "0.34" in said
    said = command("export", "merged", checkpoint, to, "--format", "q5", code=2, stream="stderr")
    assert "gguf-q8_0" in said


def test_directory_is_made_into_the_same_without_a_daemon(tiny: Adapted, tmp_path: Path) -> None:
    environment = {"SAGE_PORT": "1"}
    base = ("--base", str(tiny.base))
    file = tmp_path / "a.gguf"
    run_command(
        "export", "adapter", str(tiny.adapter), "--gguf", str(file), *base, environment=environment
    )
    assert gguf.GGUFReader(file).fields["adapter.type"].contents() == "lora"
    merged = tmp_path / "m.gguf"
    command = ("export", "merged", str(tiny.adapter), str(merged), "--format", "gguf-f16", *base)
    run_command(*command, environment=environment)
    fields = gguf.GGUFReader(merged).fields
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"
    # What the base's own GGUF says of the tokenizer is taken as it stands.
    own = tmp_path / "q.gguf"
    run_command(
        *("export", "merged", str(tiny.adapter), str(own)),
        *(*base, "--base-gguf", str(merged)),
        environment=environment,
    )
    taken = gguf.GGUFReader(own).fields
    assert taken["tokenizer.ggml.tokens"].contents() == fields["tokenizer.ggml.tokens"].contents()
    assert taken["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_Q8_0
    refused = run_command(*command, environment=environment, check=False)
    assert refused.returncode == 1
    assert "--overwrite" in refused.stderr
    config = json.loads((tiny.adapter / "adapter_config.json").read_text())
    dora = tmp_path / "dora"
    dora.mkdir()
    (dora / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    (dora / "adapter_model.safetensors").write_bytes(
        (tiny.adapter / "adapter_model.safetensors").read_bytes()
    )
    refused = run_command(
        *("export", "adapter", str(dora), "--gguf", str(tmp_path / "d.gguf"), *base),
        environment=environment,
        check=False,
    )
    assert refused.returncode == 1
    assert "DoRA" in refused.stderr
    assert not (tmp_path / "d.gguf").exists()
