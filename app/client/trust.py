"""Whose certificates a client trusts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TypeAlias

import httpx

from app.client.errors import AuthorityUnusable

Verify: TypeAlias = ssl.SSLContext | Path | str | bool
"""A PEM file of certificate authorities, which are trusted alone; or a context of one's own; True
for the authorities that httpx trusts; False for anyone, which is no protection."""


def trusted_by(verify: Verify) -> ssl.SSLContext | bool:
    """The same as httpx takes it. Raises: AuthorityUnusable."""
    if isinstance(verify, bool | ssl.SSLContext):
        return verify
    try:
        return ssl.create_default_context(cafile=Path(verify).expanduser())
    except OSError as error:  # ssl.SSLError is one
        raise AuthorityUnusable(
            f"{verify} cannot be used as a CA file ({error.strerror or error}); name a PEM file "
            "with the certificate of the authority."
        ) from error


def is_distrust(error: httpx.TransportError) -> bool:
    """Whether a daemon was reached, and its certificate not trusted."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
