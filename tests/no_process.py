"""What `make test-fast` loads: a test there that starts a process fails, so that it stays fast."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec"})
"""Audit events of the interpreter itself, whoever calls."""


class _Running:
    test: str | None = None


def _refuse(event: str, _arguments: object) -> None:
    if event in STARTS and _Running.test is not None:
        raise RuntimeError(f"{_Running.test} starts a process; such tests stand in tests/cli")


def pytest_configure() -> None:
    """Listen for as long as pytest runs; pytest's own workers are started between tests."""
    sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Hold a test, with its fixtures, to it."""
    _Running.test = item.nodeid
    try:
        return (yield)
    finally:
        _Running.test = None
