"""Every block of README and guide is run as it stands, or is in a table with the reason why not.

Run means: by bash or Python, against a real daemon on a real socket, whose data directory holds a
checkpoint with a real adapter of a tiny model. A curl that is refused fails its block.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from app.db.engine import Database
from app.services import registry
from app.settings import Settings
from tests.client.distribution import install_client
from tests.guide.commands import check_command
from tests.guide.documents import REPOSITORY, Block, list_blocks
from tests.publishing import publish
from tests.support import RunningDaemon, StartDaemon

RUN = {"sh", "python"}

NOT_COMMANDS = {
    "": "a table of figures",
    "nginx": "another program's settings",
    "json": "what is sent",
}
"""Languages of blocks that nobody types, with what they are."""

NOT_RUN = {
    "make demo ": "installs, fetches and trains for minutes, which CI does by `make test`",
    "make install ": "as above",
    "pip install ./app/client": "would install where the tests run; Python blocks find the same "
    "wheel, and tests/client/test_distribution.py installs it into an environment of its own",
    ".venv/bin/sage-sleep chat default": "needs the base as GGUF, which the small one here is not; "
    "tests/api/routes/test_chat.py runs it with the embedded model",
    ".venv/bin/sage-sleep push ollama": "needs an Ollama; tests/worker/test_ollama_push.py has one "
    "that speaks its routes",
    ".venv/bin/sage-sleep push vllm": "needs a vLLM, likewise",
    ".venv/bin/sage-sleep mirror list": "needs a mirror; tests/cli/test_mirror.py has one",
    ".venv/bin/sage-sleep mirror pull": "as above",
    ".venv/bin/sage-sleep webhooks add": "would post to a stranger; tests/worker/"
    "test_webhook_sender.py has a receiver",
    "docker compose -f docker/compose.yaml --profile cpu up": "needs Docker, and never ends",
    "docker compose -f docker/compose.yaml --profile cpu --profile observability up": "as above",
}
"""Beginnings of blocks that are checked line by line in place of being run, with the reason."""

STOPPED = ("sage-sleep migrate", "sage-sleep restore")
"""Commands that the page says are for a daemon that is stopped."""

DEFAULT_MODEL = ".../models/SmolLM2-135M-Instruct"

PEFTS_OWN_WARNING = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
"""As in pyproject.toml."""

SHIMS = {
    ".venv/bin/sage-sleep": f'exec {sys.executable} -m app "$@"',
    "shims/curl": f'exec {shutil.which("curl")} --fail-with-body "$@"',
    "shims/token-id": ".venv/bin/sage-sleep tokens list --json | "
    f"{sys.executable} -c 'import json, sys; print(json.load(sys.stdin)[0][\"id\"])'",
}
"""What a block finds where it is run: the program, and a curl that fails where it is refused."""


def is_run(block: Block) -> bool:
    return block.language in RUN and not block.text.startswith(tuple(NOT_RUN))


def test_every_block_is_run_or_listed_with_a_reason() -> None:
    blocks = list_blocks()
    assert {block.language for block in blocks} == RUN | NOT_COMMANDS.keys()
    assert {block.document for block in blocks if is_run(block)} == EXPECTED_OUTPUT.keys()
    for beginning in NOT_RUN:
        assert any(block.text.startswith(beginning) for block in blocks), beginning


def test_what_is_not_run_is_checked_line_by_line() -> None:
    for block in list_blocks():
        if block.language in RUN and not is_run(block):
            for command in block.commands:
                check_command(command)


@pytest.fixture(scope="module")
def client_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client's wheel is installed, for the blocks of a session."""
    directory = tmp_path_factory.mktemp("client")
    install_client(directory)
    return directory


@pytest.fixture(scope="module")
def lived(
    tiny_model: Path, migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, str]:
    """A data directory after a night, its cycle and its checkpoint."""
    directory = tmp_path_factory.mktemp("lived")
    shutil.copy(migrated_file, directory / "sage-sleep.db")
    settings = Settings(data_dir=directory, base_model=str(tiny_model))
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    model = AutoModelForCausalLM.from_pretrained(str(tiny_model))
    get_peft_model(model, config).save_pretrained(str(directory / "adapter"))
    db = Database(settings.effective_database_url, settings.instance_defaults())
    checkpoint_id, _ = publish(
        db,
        settings.checkpoints_dir,
        range(40),
        adapter=directory / "adapter",
        base=tiny_model,
    )
    cycle_id = registry.get_checkpoint(db, checkpoint_id).row.cycle_id
    db.close()
    return directory, cycle_id, checkpoint_id


EXPECTED_OUTPUT = {
    "README.md": [r'"stored":true', r'"inserted":2', r'"due":false', r'"dry_run":true',
                  r'"trigger":"request"', r'"instances": \[', "no cycle running|cycle is queued",
                  "result", r"event: sleep_cycle\.succeeded"],
    "attach.md": [r"PeftModel\.from_pretrained\(base, 'adapters/", r"\d of 20\.0\n",
                  r"0\.\d\d (True|False) None\n[01] insufficient_data\n", r"sage_\w+_[\w-]+"],
    "operate.md": [r"up to date", r"12 inserted", r"sage_\w+_[\w-]+", r"revoked",
                   r"What was there lies in"],
    "sharing.md": [r"push_to_mirror"],
    "runtimes.md": [r"night\.gguf\n", r"model-q8_0\.gguf\n", r"model\n"],
}  # fmt: skip
"""What a document's blocks print, among other things, in this order."""


@pytest.mark.parametrize("document", EXPECTED_OUTPUT)
def test_every_block_runs_word_by_word(
    document: str,
    lived: tuple[Path, str, str],
    client_directory: Path,
    tiny_model: Path,
    start_daemon: StartDaemon,
    data_dir: Path,
    tmp_path: Path,
) -> None:
    directory, cycle_id, checkpoint_id = lived
    shutil.copytree(directory, data_dir, dirs_exist_ok=True)
    options = {
        "base_model": tiny_model,
        "require_tokens": "false",
        "scheduler_interval_seconds": 3600,
    }
    daemon = start_daemon(**options)
    place = tmp_path / "place"
    for name, text in SHIMS.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"#!/bin/sh\n{text}\n")
        (place / name).chmod(0o755)
    shutil.copy(REPOSITORY / "tests/training/experience_buffer.json", place)
    filled = {
        ":8760": f":{daemon.http.base_url.port}",
        DEFAULT_MODEL: str(tiny_model),
        "/CYCLE/": f"/{cycle_id}/",
        "/CHECKPOINT/": f"/{checkpoint_id}/",
        " CHECKPOINT ": f" {checkpoint_id} ",
        "tokens revoke ID": 'tokens revoke "$(token-id)"',
        "/mnt/usb": str(tmp_path / "usb"),
    }
    (tmp_path / "usb").mkdir()
    printed = ""
    for block in list_blocks():
        if block.document == document and is_run(block):
            if any(command in block.text for command in STOPPED) and daemon.process.poll() is None:
                daemon.stop()
            elif daemon.process.poll() is not None:
                daemon = start_daemon(port=daemon.http.base_url.port, **options)
            printed += run_block(block, place, daemon, filled, client_directory)
    assert re.search(".*".join(EXPECTED_OUTPUT[document]), printed, re.DOTALL), printed


def run_block(
    block: Block, place: Path, daemon: RunningDaemon, filled: dict[str, str], packages: Path
) -> str:
    """Run it as a reader would who put in what is theirs; what it prints."""
    text = block.text
    for name, value in filled.items():
        text = text.replace(name, value)
    command = (
        ["bash", "-euo", "pipefail", "-c", text]
        if block.language == "sh"
        else [sys.executable, "-W", "error", "-W", PEFTS_OWN_WARNING, "-c", text]
    )
    result = subprocess.run(
        command,
        capture_output=True,
        check=False,
        text=True,
        cwd=place,
        env={
            **os.environ,
            "HOME": str(place),
            "PATH": f"{place / 'shims'}:{os.environ['PATH']}",
            "PYTHONPATH": f"{packages}:{REPOSITORY}",
            "SAGE_DATA_DIR": str(daemon.data_dir),
            "SAGE_PORT": str(daemon.http.base_url.port),
            "SAGE_BASE_MODEL": filled[DEFAULT_MODEL],
            "SAGE_CHILD_NICENESS": "0",
        },
    )
    assert result.returncode == 0, f"{block.text}\n{result.stdout}\n{result.stderr}"
    return result.stdout
