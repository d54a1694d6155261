"""The commands, as a person or a script runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from tests.support import RunningDaemon, free_port, make_exchange, run_command


@pytest.fixture
def daemon(shared_daemon: RunningDaemon) -> RunningDaemon:
    shared_daemon.http.post("/v1/experiences/batch", json=[make_exchange(n) for n in range(20)])
    return shared_daemon


def command(daemon: RunningDaemon, *arguments: str, code: int = 0) -> str:
    port = str(daemon.http.base_url.port)
    result = run_command(*arguments, environment={"SAGE_PORT": port}, check=False)
    assert result.returncode == code, result.stderr
    return result.stdout + result.stderr


def test_stats_in_words_and_as_json(daemon: RunningDaemon) -> None:
    assert "mass" in command(daemon, "stats")
    answer = json.loads(command(daemon, "stats", "--json"))
    assert answer["instances"][0]["instance"] == "default"


def test_dry_run_then_forced_sleep_that_fails_with_exit_code_1(daemon: RunningDaemon) -> None:
    assert "Would train on" in command(daemon, "sleep", "--dry-run")
    assert "Sleep is not due" in command(daemon, "sleep", code=1)
    assert "failed" in command(daemon, "sleep", "--force", "--follow", code=1)
    assert "failed" in command(daemon, "cycles")
    assert json.loads(command(daemon, "cycles", "--json"))["data"][0]["status"] == "failed"


def test_empty_lists_say_what_to_do(daemon: RunningDaemon) -> None:
    assert "sage-sleep sleep --force" in command(daemon, "cycles")
    assert "No checkpoint yet" in command(daemon, "checkpoints")
    assert "nothing to roll back" in command(daemon, "rollback", code=1)
    assert "no checkpoint" in command(daemon, "promote", "01J", code=1)


@pytest.mark.daemon(require_tokens="true")
def test_token_comes_from_the_option_or_the_environment(shared_daemon: RunningDaemon) -> None:
    made = run_command(
        "tokens", "create", "reader", "--scope", "read", "--json",
        environment={"SAGE_DATA_DIR": str(shared_daemon.data_dir)},
    )  # fmt: skip
    token = json.loads(made.stdout)["token"]
    assert "token" in command(shared_daemon, "stats", code=1)
    assert "mass" in command(shared_daemon, "stats", "--token", token)
    assert "No cycle yet" in command(shared_daemon, "cycles", "--token", token)
    port = str(shared_daemon.http.base_url.port)
    result = run_command("stats", environment={"SAGE_PORT": port, "SAGE_TOKEN": token})
    assert token not in result.stdout + result.stderr


def test_without_a_daemon_the_exit_code_is_3_and_says_how_to_start_one() -> None:
    environment = {"SAGE_PORT": str(free_port())}
    result = run_command("stats", environment=environment, check=False)
    assert result.returncode == 3
    assert "sage-sleep serve" in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGE_MASS_THRESHOLD", "-1"),
        ("SAGE_QUIET_HOURS", "late"),
        ("SAGE_TIMEZONE", "Mars/Base"),
        ("SAGE_TIMEZONE", "America"),
        ("SAGE_LOG_LEVEL", "loud"),
        ("SAGE_DATABASE_URL", "nonsense"),
        ("SAGE_DATABASE_URL", "postgresql://localhost/x"),
        ("SAGE_PORT", "high"),
    ],
)
def test_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    result = run_command("migrate", environment={name: value}, check=False)
    assert result.returncode == 1
    assert name in result.stderr


def test_taken_port_is_said_before_anything_starts(daemon: RunningDaemon, tmp_path: Path) -> None:
    environment = {"SAGE_DATA_DIR": str(tmp_path / "other")}
    run_command("migrate", environment=environment)
    environment["SAGE_PORT"] = str(daemon.http.base_url.port)
    result = run_command("serve", environment=environment, check=False)
    assert result.returncode == 1
    assert "set SAGE_PORT" in result.stderr


def test_target_modules_are_a_plain_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_TARGET_MODULES", "q_proj, v_proj")
    assert Settings().instance_defaults().recipe.target_modules == ("q_proj", "v_proj")


def test_floors_and_categories_are_json_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_CATEGORIES", '{"garden": ["basil"], "identity": ["me"]}')
    monkeypatch.setenv("SAGE_CATEGORY_FLOORS", '{"garden": 0.2, "uncertainty": 0.1}')
    policy = Settings().instance_defaults().policy
    assert policy.category_floors == {"garden": 0.2, "uncertainty": 0.1}
    assert policy.categories["identity"] == ("me",)
    assert "not sure" in policy.categories["uncertainty"]
    monkeypatch.setenv("SAGE_CATEGORY_FLOORS", '{"gardening": 0.2}')
    with pytest.raises(ValidationError, match="No rule recognises the category 'gardening'"):
        Settings()


def test_settings_come_from_a_file_and_the_environment_wins(tmp_path: Path) -> None:
    config = tmp_path / "sage.toml"
    config.write_text(f'data_dir = "{tmp_path / "from-file"}"\n')
    environment = {"SAGE_CONFIG_FILE": str(config), "SAGE_DATA_DIR": str(tmp_path / "from-env")}
    run_command("migrate", environment=environment)
    assert (tmp_path / "from-env" / "sage-sleep.db").is_file()
    for broken, word in [("mass_treshold = 3", "MASS_TRESHOLD"), ("= 3", "not valid TOML")]:
        config.write_text(broken)
        result = run_command("migrate", environment=environment, check=False)
        assert result.returncode == 1
        assert word in result.stderr
    config.unlink()
    assert "no such file" in run_command("migrate", environment=environment, check=False).stderr
