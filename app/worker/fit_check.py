"""Asks a short process of its own what a cycle would set aside: only that one imports tokenizers.

Both ends stand here: what the daemon asks with, and what the process answers with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from app.domain.fit import FitAnswer, FitQuestion
from app.domain.progress import CycleError
from app.domain.stored import from_json, to_json
from app.errors import FitUnknown, NothingFits, SageSleepError
from app.log import get_logger

FIT_COMMAND = (sys.executable, "-P", "-m", "app", "check-fit")
"""Reads a question on its standard input and writes an answer."""

TIMEOUT_SECONDS = 60.0
"""For the answer; 3 to 6 s for 256 exchanges on 2 cores."""

MAX_WAITING = 4
"""Dry runs at a time, the one that is looked at among them. Each holds a thread, and one of the few
places for changes: more would keep people from changing anything."""

_log = get_logger(__name__)


class FitCheck:
    """Asks one question at a time: each is a process of 0.4 GB.

    Args:
        command: What answers.
        environment: What it gets beside this process's own.
    """

    def __init__(
        self, *, environment: Mapping[str, str], command: Sequence[str] = FIT_COMMAND
    ) -> None:
        self._command = command
        self._environment = environment
        self._places = threading.BoundedSemaphore(MAX_WAITING)
        self._turn = threading.Lock()

    def ask(self, question: FitQuestion) -> FitAnswer:
        """Ask, and wait for the answer; what keeps it from coming is the answer, too."""
        if not self._places.acquire(blocking=False):
            return _unknown("other dry runs are being looked at; ask again")
        try:
            with self._turn:
                return self._ask(question)
        finally:
            self._places.release()

    def _ask(self, question: FitQuestion) -> FitAnswer:
        try:
            child = subprocess.run(  # noqa: S603  # our own module, nothing of a client's in it
                self._command,
                input=json.dumps(to_json(question)).encode(),
                stdout=subprocess.PIPE,
                env={**os.environ, **self._environment},
                timeout=TIMEOUT_SECONDS,
                check=True,
                start_new_session=True,
            )
            return from_json(FitAnswer, json.loads(child.stdout))
        except subprocess.TimeoutExpired:
            return _unknown(f"the tokenizer gave no answer within {TIMEOUT_SECONDS:.0f} s")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            _log.warning("fit_check.failed", error=type(error).__name__)
            return _unknown(f"the process that asks the tokenizer ended ({type(error).__name__})")


def answer(question: FitQuestion, look: Callable[[FitQuestion], FitAnswer]) -> FitAnswer:
    """Be that process: say what would be set aside, or what the cycle would fail with."""
    try:
        return look(question)
    except NothingFits as error:
        return FitAnswer(
            set_aside=tuple(error.facts["unfit"]),
            error=CycleError(code=error.code, message=error.message),
        )
    except SageSleepError as error:
        return FitAnswer(error=CycleError(code=error.code, message=error.message))


def _unknown(why: str) -> FitAnswer:
    error = FitUnknown(f"What would be set aside is unknown: {why}.")
    return FitAnswer(error=CycleError(code=error.code, message=error.message))
