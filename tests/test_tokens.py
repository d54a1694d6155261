"""`sage-sleep tokens`: made once, listed without secrets, revoked for good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.clock import utc_now
from app.db.engine import Database
from app.domain.access import hash_secret, read_token
from app.services.instances import put_instance
from app.services.tokens import find_token
from tests.support import run_command


@pytest.fixture
def environment(data_dir: Path) -> dict[str, str]:
    return {"SAGE_DATA_DIR": str(data_dir)}


def tokens(environment: dict[str, str], *arguments: str, code: int = 0) -> str:
    result = run_command("tokens", *arguments, environment=environment, check=False)
    assert result.returncode == code, result.stderr
    return result.stdout + (result.stderr if code else "")


def test_token_is_printed_once_and_only_its_hash_is_stored(
    environment: dict[str, str], db: Database, data_dir: Path
) -> None:
    text = tokens(environment, "create", "sprout", "-s", "ingest", "-s", "read").strip()
    read = read_token(text)
    assert read is not None
    token_id, secret = read
    assert len(secret) == 43  # 32 random bytes in base64
    stored = find_token(db, token_id)
    assert stored is not None
    assert stored.secret_sha256 == hash_secret(secret)
    assert stored.matches(secret)
    assert not stored.matches(secret[:-1])
    files = data_dir.glob("sage-sleep.db*")
    assert not any(secret.encode() in file.read_bytes() for file in files)
    listed = tokens(environment, "list", "--json")
    assert secret not in listed
    assert json.loads(listed)[0]["scopes"] == ["ingest", "read"]


def test_revoked_and_expired_tokens_are_not_usable(
    environment: dict[str, str], db: Database
) -> None:
    made = json.loads(
        tokens(environment, "create", "x", "-s", "admin", "--expires-in", "2d", "--json")
    )
    stored = find_token(db, made["id"])
    assert stored is not None
    assert stored.expires_at is not None
    assert stored.is_usable(utc_now())
    assert not stored.is_usable(stored.expires_at)
    assert "is revoked" in tokens(environment, "revoke", made["id"][:20].lower())
    first = find_token(db, made["id"])
    tokens(environment, "revoke", made["id"])
    again = find_token(db, made["id"])
    assert first is not None
    assert again is not None
    assert first.revoked_at == again.revoked_at is not None
    assert not again.is_usable(utc_now())
    assert "revoked" in tokens(environment, "list")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("create", "x", "-s", "read", "-i", "../etc"), "slug"),
        (("create", "x", "-s", "read", "--expires-in", "soon"), "30d"),
        (("create", "x", "-s", "read", "--expires-in", "0d"), "expired before"),
        (("revoke", "01J"), "tokens list"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    environment: dict[str, str], arguments: tuple[str, ...], word: str
) -> None:
    assert word in tokens(environment, *arguments, code=1)


def test_first_token_says_that_tokens_are_demanded_now_and_what_to_set(
    environment: dict[str, str],
) -> None:
    first = run_command("tokens", "create", "a", "-s", "read", environment=environment)
    said = " ".join(first.stderr.split())
    for words in (
        "first token",
        "from now on the daemon demands one",
        "export SAGE_TOKEN=",
        "SleepClient(",
        'curl -H "Authorization: Bearer',
        "may not ingest, report, operate, admin",
    ):
        assert words in said
    assert first.stdout.startswith("sage_")
    assert len(first.stdout.split()) == 1
    for options in ((), ("--json",)):
        later = run_command(
            "tokens", "create", "b", "-s", "read", *options, environment=environment
        )
        assert "first token" not in later.stderr


def test_first_token_is_told_of_to_programs_too_and_not_where_none_is_demanded(
    environment: dict[str, str],
) -> None:
    open_to_all = {**environment, "SAGE_REQUIRE_TOKENS": "false"}
    made = run_command("tokens", "create", "a", "-s", "admin", "--json", environment=open_to_all)
    assert json.loads(made.stdout)["name"] == "a"
    assert "demands none all the same" in " ".join(made.stderr.split())


def test_token_for_an_unknown_instance_is_refused_with_the_nearest(
    environment: dict[str, str], db: Database
) -> None:
    put_instance(db, "sprout-qwen2.5-0.5b", {}, now=utc_now())
    said = tokens(environment, "create", "x", "-s", "read", "-i", "sprout-qwen25-0.5b", code=1)
    assert "no instance 'sprout-qwen25-0.5b'; did you mean sprout-qwen2.5-0.5b?" in said
    said = tokens(environment, "create", "x", "-s", "read", "-i", "other", code=1)
    assert "sage-sleep instances put other" in said
    assert json.loads(tokens(environment, "list", "--json")) == []
    made = json.loads(
        tokens(environment, "create", "x", "-s", "read", "-i", "sprout-qwen2.5-0.5b", "--json")
    )
    assert made["instances"] == ["sprout-qwen2.5-0.5b"]


def test_token_without_a_scope_or_with_an_unknown_one_is_wrong_usage(
    environment: dict[str, str],
) -> None:
    tokens(environment, "create", "x", code=2)
    tokens(environment, "create", "x", "-s", "everything", code=2)
    assert "tokens create" in tokens(environment, "list")
