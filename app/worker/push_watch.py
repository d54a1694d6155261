"""Brings what is live into another runtime by itself, for the instances whose policy asks for it.

It looks again and again: a promotion, a rollback, a runtime that was away or was emptied are all
found the same way, and nothing has to be remembered.
"""

from __future__ import annotations

from collections.abc import Callable

from app.db.engine import Database
from app.errors import ExportNotReady, RuntimeUnavailable, SageSleepError
from app.log import get_logger
from app.services.bringing import Brought, list_pushed

_log = get_logger(__name__)


class PushWatch:
    """One runtime's.

    Args:
        flag: The policy's field that asks for it.
        push: Brings one instance's; changes nothing where all is as it should be.
    """

    def __init__(self, db: Database, *, flag: str, push: Callable[[str], Brought]) -> None:
        self._db = db
        self._flag = flag
        self._push = push
        self._said: dict[str, str] = {}

    def look(self) -> None:
        """Bring every instance up to date; what fails is tried again at the next look."""
        try:
            slugs = list_pushed(self._db, self._flag)
        except SageSleepError as error:
            _log.warning("push.storage_unavailable", error=error.message)
            return
        for slug in slugs:
            try:
                self._push(slug)
            except ExportNotReady:  # it is being made, and is there at one of the next looks
                continue
            except RuntimeUnavailable as error:  # nor would it answer for the others
                self._say(slug, error)
                return
            except SageSleepError as error:
                self._say(slug, error)
            except Exception as error:  # noqa: BLE001  # one instance must not keep the others back
                _log.error("push.broken", instance=slug, error=type(error).__name__)
            else:
                self._said.pop(slug, None)

    def _say(self, slug: str, error: SageSleepError) -> None:
        """Say what is wrong once, and not at every look."""
        if self._said.get(slug) != error.message:
            _log.warning("push.failed", policy=self._flag, instance=slug, error=error.message)
        self._said[slug] = error.message
