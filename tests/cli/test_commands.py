"""Promises that all commands keep: exit codes, JSON, completion, every instance shown."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import COMMANDS, GROUPS, app
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
        ("rollback",), ("dismiss",), ("chat", "default", "Hello."),
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
    command("instances", "put", "sprout-a", "--set", "policy.nothing=1", code=2)


def test_single_settings_are_set_and_taken_back(command: Command) -> None:
    command("instances", "put", "sprout-b", "--set", "policy.mass_threshold=12")
    said = command("instances", "set", "sprout-b", "recipe.epochs=1", "timezone=Europe/Lisbon")
    assert "policy.mass_threshold=12" in said
    assert "recipe.epochs=1" in said
    said = command("instances", "unset", "sprout-b", "policy.mass_threshold", "timezone")
    assert "policy.mass_threshold" not in said
    kept = json.loads(command("instances", "set", "sprout-b", "policy.idle_seconds=5", "--json"))
    assert (kept["recipe"]["epochs"], kept["timezone"]) == (1, "UTC")
    assert (kept["policy"]["idle_seconds"], kept["policy"]["mass_threshold"]) == (5, 20)
    command("instances", "set", "nobody", "recipe.epochs=1", code=1)
    command("instances", "set", "sprout-b", "recipe.epochs=0", code=1)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("policy.mass_treshold=1", "policy.mass_threshold"),
        ("mass_threshold=1", "policy.mass_threshold"),
        ("quiet_hour=22:00-07:00", "policy.quiet_hours"),
        ("recipe.learningrate=1", "recipe.learning_rate"),
        ("time_zone=UTC", "timezone"),
        ("zzz=1", "policy.NAME"),
        ("recipe.epochs", "recipe.epochs=VALUE"),
    ],
)
def test_misspelt_setting_gets_the_nearest_name(command: Command, wrong: str, meant: str) -> None:
    said = command("instances", "set", "default", wrong, code=2, stream="stderr")
    assert meant in " ".join(said.replace("│", " ").split())


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


def test_help_groups_the_commands_and_says_a_text_for_every_option() -> None:
    root = typer.main.get_group(app)
    shown = run_command("--help", environment={"COLUMNS": "100"}).stdout
    assert all(group in shown for group in GROUPS if group != "For the daemon")

    def walk(command: Any, path: str) -> Iterator[str]:
        for parameter in command.params:
            if not getattr(parameter, "help", None):
                yield f"{path} {parameter.name}"
        for name, one in getattr(command, "commands", {}).items():
            yield from walk(one, f"{path} {name}")

    visible = {name: root.commands[name] for name in COMMANDS if not root.commands[name].hidden}
    assert [hint for name, one in visible.items() for hint in walk(one, name)] == []


def test_version_is_said() -> None:
    assert run_command("--version", environment={}).stdout.startswith("sage-sleep 0.")


LISTS = [("stats",), ("instances",), ("cycles",), ("checkpoints",), ("search",), ("events",)]


@pytest.mark.parametrize("arguments", LISTS)
def test_lists_have_one_line_a_row_at_80_columns_and_all_of_it_in_a_pipe(
    db: Database, data_dir: Path, daemon: RunningDaemon, arguments: tuple[str, ...]
) -> None:
    long_name = "sprout-with-a-very-long-machine-name-and-a-model-of-many-words"
    daemon.http.put(f"/v1/instances/{long_name}", json={"policy": {"min_experiences": 7}})
    if arguments == ("checkpoints",):
        publish(db, data_dir / "checkpoints", range(200, 220))
    else:
        cycle = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()
        daemon.wait_for_cycle(cycle["id"])
    # Where the tests themselves run in a known width, this is a pipe of none.
    environment = {"SAGE_PORT": str(daemon.http.base_url.port), "COLUMNS": ""}
    piped = run_command(*arguments, environment=environment).stdout.splitlines()
    narrow = run_command(*arguments, environment={**environment, "COLUMNS": "80"}).stdout
    lines = narrow.splitlines()
    assert len(lines) == len(piped) > 1
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(piped)


def test_beginning_of_an_id_is_enough_where_it_is_the_only_one(
    db: Database, data_dir: Path, command: Command
) -> None:
    first, second = (publish(db, data_dir / "checkpoints", range(n, n + 20))[0] for n in (300, 320))
    shortest = next(n for n in range(27) if first[:n] != second[:n])
    assert second in command("promote", second[:shortest].lower())
    said = command("promote", first[:4], code=1, stream="stderr")
    assert "More than one checkpoint" in said
    assert "no checkpoint" in command("promote", "ZZZZ", code=1, stream="stderr").lower()


def test_pinned_checkpoint_is_marked(db: Database, data_dir: Path, command: Command) -> None:
    checkpoint = publish(db, data_dir / "checkpoints", range(400, 420))[0]
    assert "stays" in command("pin", checkpoint)
    assert "pinned" in command("checkpoints")
    assert "lets it go" in command("pin", checkpoint, "--off")


def test_checkpoint_is_downloaded_whole(
    db: Database, data_dir: Path, command: Command, tmp_path: Path
) -> None:
    checkpoint = publish(db, data_dir / "checkpoints", range(500, 520))[0]
    path = Path(command("download", checkpoint, str(tmp_path / "here")).strip())
    assert (path / "adapter_config.json").is_file()


def test_experience_is_found_and_erased(daemon: RunningDaemon, command: Command) -> None:
    text = "We keep a heliotrope by the window, and I notice it together with you."
    posted = daemon.http.post("/v1/experiences", json={"prompt": "p", "response": text}).json()
    assert posted["id"][:10] in command("search", "heliotrope")
    assert "Erase it" in command("erase", posted["id"], code=1, stream="stderr")
    assert posted["id"][:10] in command("search", "heliotrope")
    assert "is erased" in command("erase", posted["id"], "--yes")
    assert "No such experience" in command("search", "heliotrope")


def test_settings_say_where_each_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "sage.toml"
    file.write_text("mass_threshold = 7.0\n")
    environment = {
        "SAGE_CONFIG_FILE": str(file),
        "SAGE_PORT": "9",
        "SAGE_OLLAMA_URL": "http://user:secret@127.0.0.1:11434",
    }
    shown = run_command("settings", "--changed", "--json", environment=environment).stdout
    found = {row["name"]: (row["value"], row["from"]) for row in json.loads(shown)}
    assert found["SAGE_MASS_THRESHOLD"] == (7.0, "file")
    assert found["SAGE_PORT"] == (9, "environment")
    assert "user" in found["SAGE_OLLAMA_URL"][0]
    assert "secret" not in shown
    assert "SAGE_EPOCHS" in run_command("settings", "epoch", environment=environment).stdout


def test_report_of_a_failed_cycle_says_why(daemon: RunningDaemon, command: Command) -> None:
    cycle = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()
    daemon.wait_for_cycle(cycle["id"])
    assert "failed" in command("report", cycle["id"][:10])


def test_events_are_listed_oldest_first(command: Command) -> None:
    numbers = [int(line.split()[0]) for line in command("events").splitlines()[1:]]
    assert numbers == sorted(numbers)
