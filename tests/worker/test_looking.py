"""A thread that looks again and again: it says a fault once, goes on, and ends when told."""

from __future__ import annotations

import pytest

from app.errors import DiskFull
from app.worker import looking
from app.worker.looking import Looker
from tests.patience import wait_until


def test_fault_is_said_once_and_looked_past(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(looking, "FAILED_SECONDS", 0.0)
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        if looks < 5:
            raise ValueError("a text that may quote")
        return 0

    looker = Looker(look, name="watch", look_seconds=0.01)
    looker.start()
    wait_until(lambda: looks > 7, "that it goes on")
    looker.stop(timeout_seconds=5)
    said = capsys.readouterr()
    assert (said.out + said.err).count("watch.failed") == 1
    assert "quote" not in said.out + said.err


def test_what_never_began_can_be_stopped() -> None:
    def refuse() -> int:
        raise DiskFull("no room")

    Looker(refuse, name="watch", look_seconds=1).stop(timeout_seconds=1)
