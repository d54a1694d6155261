"""Waiting once for a daemon that hangs, and not again until it was seen to answer.

No timeout of a request bounds an answer that comes byte by byte, so each question is asked in a
thread of its own, which is left alone where it takes too long. Must not know what is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from .background import SpoolSender
from .errors import DaemonUnavailable

T = TypeVar("T")


class OneWait:
    """Asks the daemon of a spool's sender, whose thread says when it is back."""

    def __init__(self, sender: SpoolSender, *, url: str, wait_seconds: float) -> None:
        self._sender = sender
        self._url = url
        self._wait_seconds = wait_seconds

    def ask(self, question: Callable[[], T], *, max_seconds: float | None = None) -> T:
        """Ask; a daemon that does not answer in time is away from then on.

        Args:
            max_seconds: How long it may take; None for `wait_seconds`.

        Raises: SleepClientError; DaemonUnavailable at once while the daemon is away.
        """
        if self._sender.is_away:
            raise DaemonUnavailable(self._sender.last_error or "The daemon does not answer.")
        max_seconds = self._wait_seconds if max_seconds is None else max_seconds
        answer: Future[T] = Future()

        def ask() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                answer.set_exception(error)

        # A daemon thread: nobody waits for it at the end of the program.
        threading.Thread(target=ask, name="sage-sleep-ask", daemon=True).start()
        try:
            return answer.result(max_seconds)
        except FutureTimeoutError:
            if answer.done():
                raise
            reason = f"No answer from {self._url} within {max_seconds:g} s."
            self._sender.note_away(reason)
            raise DaemonUnavailable(reason) from None
        except DaemonUnavailable as error:
            self._sender.note_away(str(error))
            raise
