"""A thread that looks again and again for something to do, and outlives what fails.

Must not know what it looks for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.errors import StorageError
from app.log import get_logger

FAILED_SECONDS = 60.0
"""After a fault of ours, such as a full disk: what cannot be noted must not be done each second."""

_log = get_logger(__name__)


class Looker:
    """Looks until it is stopped; says what is wrong once, and not at every look.

    Args:
        look: Does what there is to do, and returns how much that was; after something it is
            asked again at once.
        name: Of the thread, and of what is said in the log.
        look_seconds: Between looks that find nothing.
    """

    def __init__(self, look: Callable[[], int], *, name: str, look_seconds: float) -> None:
        self._look = look
        self._name = name
        self._look_seconds = look_seconds
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._fault: str | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float) -> None:
        """Look no more; wait so long for a look under way."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=timeout_seconds)

    def _run(self) -> None:
        while not self.stopping.is_set():
            fault, count = None, 0
            try:
                count = self._look()
            except StorageError as error:
                fault = error.code
            except Exception as error:  # noqa: BLE001  # the thread must outlive a defect
                fault = type(error).__name__
            if fault is not None and fault != self._fault:
                _log.warning(f"{self._name}.failed", error=fault)
            self._fault = fault
            if fault is not None:
                self.stopping.wait(FAILED_SECONDS)
            elif not count:
                self.stopping.wait(self._look_seconds)
