"""Runs a rule's tests against a mutant, in a fork of a process that has everything else loaded.

A fork costs a fifth of a second where a new interpreter costs two. Must not know how mutants are
made.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pytest

CPU_SECONDS = 15
MEMORY_BYTES = 8 * 1024**3
"""What a mutant may take before it counts as killed: a loop without an end is noticed, too. Of the
processor, so that a busy machine kills none."""

OWN = ("app", "tests", "migrations")


class Judged(Protocol):
    """A source in place of a module's own."""

    @property
    def path(self) -> Path:
        """The module's file."""

    @property
    def source(self) -> str:
        """What is run in place of that file."""


def preload(tests: Sequence[Path]) -> None:
    """Import here what these tests import that is not ours. Raises: RuntimeError, if one fails."""
    with tempfile.NamedTemporaryFile("r") as names:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = _run_tests(tests)
                loaded = [name for name in sys.modules if name.split(".")[0] not in OWN]
                Path(names.name).write_text("\n".join(loaded))
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if status:
            raise RuntimeError(f"tests fail without any change: {', '.join(map(str, tests))}")
        for name in names.read().splitlines():
            if name not in sys.modules and "conftest" not in name:
                try:
                    importlib.import_module(name)
                except Exception:  # noqa: BLE001, S112  # what cannot be imported so is loaded there
                    continue


def judge_all(
    work: Iterable[tuple[Judged, Sequence[Path]]], *, jobs: int
) -> Iterator[tuple[Judged, bool]]:
    """Each mutant and whether its tests killed it, as they end; `jobs` at a time."""
    running: dict[int, Judged] = {}
    for mutant, tests in work:
        while len(running) >= jobs:
            yield _wait(running)
        running[_start(mutant, tests)] = mutant
    while running:
        yield _wait(running)


def _wait(running: dict[int, Judged]) -> tuple[Judged, bool]:
    child, status = os.wait()
    return running.pop(child), status != 0


def _start(mutant: Judged, tests: Sequence[Path]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            sys.meta_path.insert(0, _Finder(mutant))
            status = _run_tests(tests)
        finally:
            os._exit(status)
    return child


def _run_tests(tests: Sequence[Path]) -> int:
    """Exit status of pytest; it stops at the first failure, and looks for no smaller example."""
    import pytest  # the fork's own
    from hypothesis import HealthCheck, Phase, settings

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    settings.register_profile(
        "mutants",
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutants")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = [
        "-x", "-q", "--assert=plain", "--override-ini=addopts=", "--confcutdir=tests/domain",
        "-pno:cacheprovider", "-pno:unraisableexception", "-pno:threadexception",
        "-Wignore::pytest.PytestWarning",
    ]  # fmt: skip
    return int(pytest.main([*options, *map(str, tests)], plugins=[_ExamplesFirst()]))


class _ExamplesFirst:
    """Examples take a thousandth of a property's time, and most mutants fail one."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort in place; pytest calls it."""
        items.sort(key=lambda item: hasattr(getattr(item, "obj", None), "hypothesis"))


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the mutant where its module is imported."""

    def __init__(self, mutant: Judged) -> None:
        self._name = ".".join(mutant.path.with_suffix("").parts)
        with warnings.catch_warnings(action="ignore"):
            self._code = compile(mutant.source, str(mutant.path), "exec")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Its own spec for that one module."""
        del path, target
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        exec(self._code, module.__dict__)  # noqa: S102  # that is what a loader does
