"""Queries on access tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.tables import TokenRow
from app.errors import TokenNotFound


def insert_token(session: Session, values: Mapping[str, Any]) -> TokenRow:
    """Add a token."""
    row = TokenRow(**values)
    session.add(row)
    session.flush()
    return row


def find_token(session: Session, token_id: str) -> TokenRow | None:
    """Return the token of this id, also one that is revoked or expired, or None."""
    return session.get(TokenRow, token_id)


def list_tokens(session: Session) -> Sequence[TokenRow]:
    """All tokens, oldest first."""
    return session.scalars(sa.select(TokenRow).order_by(TokenRow.id)).all()


def is_any(session: Session) -> bool:
    """Whether a token was ever made."""
    return session.scalar(sa.select(TokenRow.id).limit(1)) is not None


def is_any_usable(session: Session, *, now: datetime) -> bool:
    """Whether a token is neither revoked nor expired."""
    usable = sa.select(TokenRow.id).where(
        TokenRow.revoked_at.is_(None),
        sa.or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > now),
    )
    return session.scalar(usable.limit(1)) is not None


def revoke(session: Session, token_id: str, *, now: datetime) -> TokenRow:
    """Revoke a token for good; again is the same as once. Raises: TokenNotFound."""
    row = find_token(session, token_id)
    if row is None:
        raise TokenNotFound(
            f"There is no token {token_id!r}; `sage-sleep tokens list` shows the ids."
        )
    row.revoked_at = row.revoked_at or now
    session.flush()
    return row


def record_use(session: Session, token_id: str, *, now: datetime) -> None:
    """Note that a token was used."""
    session.execute(sa.update(TokenRow).where(TokenRow.id == token_id).values(last_used_at=now))
