"""`sage-sleep tokens`: made once, listed without secrets, revoked for good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.clock import utc_now
from app.db.engine import Database
from app.domain.access import hash_secret, read_token
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
    assert "is revoked" in tokens(environment, "revoke", made["id"])
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


def test_token_without_a_scope_or_with_an_unknown_one_is_wrong_usage(
    environment: dict[str, str],
) -> None:
    tokens(environment, "create", "x", code=2)
    tokens(environment, "create", "x", "-s", "everything", code=2)
    assert "tokens create" in tokens(environment, "list")
