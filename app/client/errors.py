"""What can go wrong between a session and its daemon.

SleepClientError
|-- DaemonUnavailable     no answer, or one that says "not now", until the time for retries was over
|-- RequestRefused        the daemon answered that it will not; `problem` says why
|-- AnswerNotUnderstood   the answer lacks what this client needs: the daemon is older than it
|-- AuthorityUnusable     the CA file is none, so that no certificate can be checked
|-- DownloadCorrupt       a checkpoint's bytes are not those that the registry promised
|-- SpoolFull             the spool reached its limit, or the disk did; the exchange was not kept
`-- SpoolUnusable         the spool's file cannot be opened or is no spool
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SleepClientError(Exception):
    """The daemon cannot be reached or refused a request, or the client could not do its part.

    Attributes:
        status: HTTP status; None when there was no answer.
        problem: The problem document (RFC 9457); empty when there was none.
    """

    def __init__(
        self, message: str, *, status: int | None = None, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = dict(problem or {})


class DaemonUnavailable(SleepClientError):
    """The daemon does not answer, or asks to come later; the same request may succeed then."""


class RequestRefused(SleepClientError):
    """The daemon answered with an error that waiting does not change."""


class AnswerNotUnderstood(SleepClientError):
    """An answer is not what this client needs."""


class AuthorityUnusable(SleepClientError):
    """The file of certificate authorities cannot be read, or holds none."""


class DownloadCorrupt(SleepClientError):
    """Downloaded bytes are not the checkpoint that the registry describes; nothing was kept."""


class SpoolFull(SleepClientError):
    """The spool takes no more; what it holds is safe."""


class SpoolUnusable(SleepClientError):
    """The spool's file cannot be opened."""
