"""Promises that all commands keep: exit codes, JSON, completion, every instance shown."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from app.cli import COMMANDS, app
from app.db.engine import Database
from tests.cli.conftest import Command
from tests.publishing import publish
from tests.support import RunningDaemon, free_port, run_command


def test_help_says_the_exit_codes() -> None:
    said = run_command("--help", environment={"COLUMNS": "200"}).stdout
    assert "0 done" in said
    assert "3 no daemon answers" in said


def test_every_command_of_every_file_is_in_the_table() -> None:
    """Each is looked up by its name there, and none that a file registers was forgotten."""
    root = typer.main.get_group(app)
    assert [root.commands[name].name for name in COMMANDS] == list(COMMANDS)
    for entry in set(COMMANDS.values()):
        file, _, of_its_own = entry.partition(":")
        if not of_its_own:
            own = typer.main.get_group(importlib.import_module(f"app.cli.{file}").app)
            assert {name for name in COMMANDS if COMMANDS[name] == entry} == set(own.commands)


HEAVY = {"torch", "transformers", "peft", "numpy", "alembic"}


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        (["app.main", *(f"app.cli.{entry.split(':')[0]}" for entry in COMMANDS.values())], HEAVY),
        (["app.main", "app.cli.daemon"],
         {*HEAVY, "app.client", "httpx", "jinja2", "rensa", "markdown_it"}),
    ],
    ids=["every command", "serving"],
)  # fmt: skip
def test_importing_loads_nothing_heavy_and_serving_nothing_unused(
    imported: list[str], unwanted: set[str]
) -> None:
    code = (
        f"import sys, {', '.join(imported)}\n"
        f"found = {unwanted!r} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats",), ("watch", "--once"), ("instances",), ("instances", "put", "a"), ("export",),
        ("sleep",), ("cycles",), ("cancel", "ID"), ("checkpoints",), ("promote", "ID"),
        ("rollback",), ("dismiss",),
    ],
)  # fmt: skip
def test_without_a_daemon_the_exit_code_is_3(arguments: tuple[str, ...]) -> None:
    environment = {"SAGE_PORT": str(free_port())}
    result = run_command(*arguments, environment=environment, check=False)
    assert (result.returncode, result.stdout) == (3, "")
    assert "sage-sleep serve" in result.stderr


def test_wrong_usage_is_2(command: Command) -> None:
    command("stats", "--nonsense", code=2)
    command("export", "--min-salience", "7", code=2)
    assert "policy.NAME" in command("instances", "put", "a", "--set", "x", code=2, stream="stderr")


def test_statistics_hold_every_instance_not_the_first_page(
    daemon: RunningDaemon, command: Command
) -> None:
    for number in range(230):
        daemon.http.put(f"/v1/instances/machine-{number:03}", json={})
    answer = json.loads(command("stats", "--json"))
    assert len(answer["instances"]) == 231
    assert (answer["has_more"], answer["next"]) == (False, None)
    assert "machine-229" in command("stats")
    assert "machine-229" in command("instances")
    assert len(json.loads(command("instances", "--json"))["data"]) == 231


def test_instance_is_made_with_its_own_settings(command: Command) -> None:
    settings = ("policy.mass_threshold=12", "recipe.epochs=1", "timezone=Europe/Lisbon")
    sets = [part for setting in settings for part in ("--set", setting)]
    said = command("instances", "put", "sprout-a", *sets)
    assert "policy.mass_threshold=12" in said
    made = json.loads(command("instances", "put", "sprout-a", *sets, "--json"))
    assert (made["policy"]["mass_threshold"], made["timezone"]) == (12, "Europe/Lisbon")
    assert "recipe.epochs=1" in command("instances")
    command("instances", "put", "sprout-a", "--set", "policy.nothing=1", code=1)


def test_cancel_takes_the_cycle_that_waits_and_says_so(
    daemon: RunningDaemon, command: Command
) -> None:
    said = command("cancel", code=1, stream="stderr")
    assert "No cycle of default" in said
    assert "no sleep cycle" in command("cancel", "01J", code=1, stream="stderr")
    cycle = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()
    daemon.wait_for_cycle(cycle["id"])
    assert "failed already" in command("cancel", cycle["id"], code=1, stream="stderr")


def test_aliases_move_in_words_and_as_json(
    db: Database,
    data_dir: Path,
    daemon: RunningDaemon,
    command: Command,
) -> None:
    first, second = (publish(db, data_dir / "checkpoints", range(n, n + 20))[0] for n in (100, 120))
    said = command("rollback", "--reason", "tried")
    assert f"current is {first}" in said
    moved = json.loads(command("promote", second, "--json"))
    assert (moved["current"], moved["previous"]) == (second, first)
    assert "takes it back" in command("promote", first, stream="stderr")
    assert "no candidate" in command("dismiss", code=1, stream="stderr").lower()
    history = daemon.http.get("/v1/instances/default/aliases/history").json()["data"]
    assert {"sage-sleep promote", "sage-sleep rollback"} <= {move["actor"] for move in history}


def test_schema_and_tokens_answer_programs_too(tmp_path: Path) -> None:
    environment = {"SAGE_DATA_DIR": str(tmp_path / "data")}
    made = json.loads(run_command("migrate", "--json", environment=environment).stdout)
    assert made["database_url"].endswith("sage-sleep.db")
    assert made["revision"]
    token = run_command(
        "tokens", "create", "a", "--scope", "read", "--json", environment=environment
    )
    token_id = json.loads(token.stdout)["id"]
    revoked = run_command("tokens", "revoke", token_id, "--json", environment=environment)
    assert json.loads(revoked.stdout)["revoked_at"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_there(shell: str) -> None:
    program = Path(sys.executable).parent / "sage-sleep"
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(
        [program, "--show-completion", shell],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "_SAGE_SLEEP_COMPLETE" in shown.stdout


def test_completion_names_commands() -> None:
    program = Path(sys.executable).parent / "sage-sleep"
    environment = {
        **os.environ,
        "_SAGE_SLEEP_COMPLETE": "complete_bash",
        "COMP_WORDS": "sage-sleep ro",
        "COMP_CWORD": "1",
    }
    found = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["rollback"]
