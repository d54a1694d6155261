"""The client as a session's environment has it: a wheel, built of `app/client` and installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.guide.documents import REPOSITORY

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")


def build_wheel(directory: Path) -> Path:
    """Build the client's wheel from a copy, so that nothing is left in the checkout."""
    shutil.copytree(REPOSITORY / "app/client", directory / "client", ignore=LEFT_BEHIND)
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", directory, directory / "client")
    (wheel,) = directory.glob("*.whl")
    return wheel


def install_client(directory: Path) -> None:
    """Install the client's wheel, and nothing else, where `PYTHONPATH` can name it."""
    wheel = build_wheel(directory / "built")
    run(*PIP, "install", "--no-deps", "--no-index", "--target", directory, wheel)


def make_environment(directory: Path, wheel: Path) -> Path:
    """Make an environment of its own with the wheel and what that requires; returns its Python.

    The requirements are copied from the environment of the tests, so that no network is needed.
    """
    run(sys.executable, "-m", "venv", "--without-pip", directory)
    python = directory / "bin" / "python"
    run(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel)
    (packages,) = directory.glob("lib/python*/site-packages")
    for name in closure("httpx"):
        found = distribution(name)
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(found.locate_file(file)), target)
    return python


def closure(name: str) -> set[str]:
    """A distribution and all that it requires here."""
    names, todo = set[str](), [name]
    while todo:
        current = todo.pop()
        if current in names:
            continue
        names.add(current)
        for text in distribution(current).requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return names


def run(*command: str | Path) -> None:
    """Run a command; what it said is in the error if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
