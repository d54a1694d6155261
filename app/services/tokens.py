"""Access tokens: making, listing and revoking them, what one grants, and whose an id is."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.clock import new_id
from app.db import instances, tokens
from app.db.engine import Database
from app.db.tables import CheckpointRow, ExperienceRow, SleepCycleRow, TokenRow
from app.domain.access import Access, Scope, Token, hash_secret, write_token
from app.domain.exchange import SLUG_PATTERN
from app.domain.nearest import did_you_mean, nearest
from app.errors import (
    AddressUnguarded,
    CheckpointNotFound,
    ExperienceNotFound,
    InstanceNotFound,
    InvalidSlug,
    InvalidToken,
    NotFound,
    SleepCycleNotFound,
)

SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class NewToken:
    """A token that was just made; `text` is what its holder sends and is stored nowhere.

    Attributes:
        is_first: None was ever made before it, so from now on they are demanded on loopback, too.
    """

    row: TokenRow
    text: str
    is_first: bool


def create_token(
    db: Database,
    *,
    name: str,
    scopes: Collection[Scope],
    instances: Collection[str] | None,
    expires_at: datetime | None,
    requests_per_minute: int | None,
    max_body_bytes: int | None,
    now: datetime,
) -> NewToken:
    """Make a token.

    Args:
        instances: Slugs of instances; None for all.
        requests_per_minute: None for the daemon's limit, 0 for none.

    Raises: InvalidSlug, InstanceNotFound, InvalidToken without a scope, or when it would be expired
        already.
    """
    for slug in instances or ():
        if re.fullmatch(SLUG_PATTERN, slug) is None:
            raise InvalidSlug(f"{slug!r} cannot be the slug of an instance.")
    if not scopes:
        raise InvalidToken("A token needs a scope: ingest, report, read, operate or admin.")
    if expires_at is not None and expires_at <= now:
        raise InvalidToken("The token would have expired before it is made.")
    token_id, secret = new_id(), secrets.token_urlsafe(SECRET_BYTES)
    with db.write() as session:
        _require_instances(session, instances or ())
        is_first = not tokens.is_any(session)
        row = tokens.insert_token(
            session,
            {
                "id": token_id,
                "name": name,
                "secret_sha256": hash_secret(secret),
                "scopes": sorted(scope.value for scope in scopes),
                "instances": sorted(set(instances)) if instances else None,
                "requests_per_minute": requests_per_minute,
                "max_body_bytes": max_body_bytes,
                "created_at": now,
                "expires_at": expires_at,
            },
        )
    return NewToken(row=row, text=write_token(token_id, secret), is_first=is_first)


def _require_instances(session: Session, slugs: Collection[str]) -> None:
    """A slug with a slip in it would make a token that is good for nothing.

    Raises: InstanceNotFound, with the slugs that it may have been.
    """
    known = [row.slug for row in instances.list_instances(session)] if slugs else []
    for slug in slugs:
        if slug not in known:
            meant = did_you_mean(nearest(slug, known))
            remedy = meant or f"make it first: `sage-sleep instances put {slug}`, beside a daemon."
            raise InstanceNotFound(f"There is no instance {slug!r}; {remedy}", instance=slug)


def list_tokens(db: Database) -> Sequence[TokenRow]:
    """All tokens, oldest first; none with its secret."""
    with db.read() as session:
        return tokens.list_tokens(session)


def revoke_token(db: Database, token_id: str, *, now: datetime) -> TokenRow:
    """Revoke a token for good. Raises: TokenNotFound."""
    with db.write() as session:
        return tokens.revoke(session, token_id, now=now)


def find_token(db: Database, token_id: str) -> Token | None:
    """What the token of this id grants and is known by, usable or not."""
    with db.read() as session:
        row = tokens.find_token(session, token_id)
    if row is None:
        return None
    return Token(
        access=Access(
            scopes=frozenset(Scope(scope) for scope in row.scopes),
            instances=None if row.instances is None else frozenset(row.instances),
            token_id=row.id,
            requests_per_minute=row.requests_per_minute,
            max_body_bytes=row.max_body_bytes,
        ),
        secret_sha256=row.secret_sha256,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )


def is_any_token(db: Database) -> bool:
    """Whether a token was ever made, usable or not."""
    with db.read() as session:
        return tokens.is_any(session)


def require_guard(db: Database, *, host: str, now: datetime) -> None:
    """Demand a usable token where others may reach the daemon. Raises: AddressUnguarded."""
    with db.read() as session:
        is_guarded = tokens.is_any_usable(session, now=now)
    if not is_guarded:
        raise AddressUnguarded(
            f"SAGE_HOST is {host}, which others may reach, and no token guards the daemon. "
            "Make one first: sage-sleep tokens create NAME --scope ingest --scope read. "
            "Or set SAGE_HOST=127.0.0.1."
        )


def record_use(db: Database, token_id: str, *, now: datetime) -> None:
    """Note that a token was used; to be called seldom, since it is a commit."""
    with db.write() as session:
        tokens.record_use(session, token_id, now=now)


_Owned = type[CheckpointRow] | type[SleepCycleRow] | type[ExperienceRow]


OWNED: Mapping[str, tuple[_Owned, type[NotFound], str]] = {
    "checkpoint_id": (CheckpointRow, CheckpointNotFound, "checkpoint"),
    "cycle_id": (SleepCycleRow, SleepCycleNotFound, "sleep cycle"),
    "experience_id": (ExperienceRow, ExperienceNotFound, "experience"),
}
"""What belongs to an instance, by the name that its id has in a path."""


def require_own(db: Database, access: Access, name: str, value: str) -> None:
    """Raise what an unknown id raises, word for word, for one of a foreign instance.

    An id that is unknown passes: what it is asked of says so itself.

    Args:
        name: One of `OWNED`.

    Raises: CheckpointNotFound, SleepCycleNotFound, ExperienceNotFound.
    """
    table, not_found, noun = OWNED[name]
    with db.read() as session:
        owner = instances.find_owner(session, table, value)
    if owner is not None and not access.covers(owner):
        raise not_found(f"There is no {noun} {value!r}.")
