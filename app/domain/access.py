"""Who may do what: scopes, what a token grants, and how a token is written.

A token is `sage_<id>_<secret>`. The id is public and finds the row; the secret is 256 random bits,
of which only the SHA-256 is stored. A slow hash guards passwords, which can be guessed; 2^256
secrets cannot, so it would only make every request slow.

Must not know where tokens are stored, nor what a request is.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.errors import InstanceForbidden

TOKEN_PREFIX = "sage"  # noqa: S105  # the public beginning, by which scanners find a leaked one


class Scope(StrEnum):
    """What a token may be used for; none implies another."""

    INGEST = "ingest"
    REPORT = "report"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """What one caller may do.

    Attributes:
        instances: Slugs it is bound to; None for all, also those that come later.
        token_id: None where no token was demanded.
        requests_per_minute: Its own limit; None for the daemon's, 0 for none.
        max_body_bytes: Its own limit; None for the daemon's.
    """

    scopes: frozenset[Scope]
    instances: frozenset[str] | None = None
    token_id: str | None = None
    requests_per_minute: int | None = None
    max_body_bytes: int | None = None

    def covers(self, slug: str) -> bool:
        """Whether the caller may touch this instance."""
        return self.instances is None or slug in self.instances

    def require_unbound(self) -> None:
        """Raise InstanceForbidden where it is bound to instances, whichever they are."""
        if self.instances is not None:
            raise InstanceForbidden(
                "This token is bound to instances, and this concerns the daemon as a whole."
            )

    def require_instance(self, slug: str) -> None:
        """Raise InstanceForbidden unless the caller may touch it, whether or not it exists."""
        if not self.covers(slug):
            raise InstanceForbidden(
                f"This token is not bound to the instance {slug!r}.", instance=slug
            )


OPEN_ACCESS = Access(scopes=frozenset(Scope))
"""Of every caller where no token is demanded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A stored token: what it grants, and what it is known by."""

    access: Access
    secret_sha256: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def is_usable(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def matches(self, secret: str) -> bool:
        """Whether this is its secret; takes the same time whatever the answer."""
        return hmac.compare_digest(self.secret_sha256, hash_secret(secret))


def hash_secret(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def write_token(token_id: str, secret: str) -> str:
    """A token as its holder sends it."""
    return f"{TOKEN_PREFIX}_{token_id}_{secret}"


def read_token(text: str) -> tuple[str, str] | None:
    """Id and secret of a token as it was sent; None if it has another shape."""
    prefix, _, rest = text.partition("_")
    token_id, _, secret = rest.partition("_")
    return (token_id, secret) if prefix == TOKEN_PREFIX and token_id and secret else None
