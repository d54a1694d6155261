"""Whether a command that is shown, and not run in a test, could be: all that it names is there."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
import yaml

from app.cli import app
from tests.guide.documents import REPOSITORY

SAGE_SLEEP: Any = typer.main.get_command(app)


def check_command(text: str) -> None:
    """Raise where it names what is not there, or is of no known kind."""
    words = shlex.split(text)
    if is_of_sage_sleep(words[0]):
        words.insert(0, "sage-sleep")
    kind = words[0].removeprefix(".venv/bin/")
    if kind not in CHECKS:
        raise LookupError(f"{text!r}: tests/guide/commands.py does not know {kind!r}")
    CHECKS[kind](words[1:])


def is_command(text: str) -> bool:
    """Whether inline code is a command: `sage-sleep doctor`, `sleep --follow`, `make bench`."""
    first, *others = text.split() or [""]
    known = first.removeprefix(".venv/bin/") in CHECKS or is_of_sage_sleep(first)
    return known and bool(others)


def is_of_sage_sleep(word: str) -> bool:
    """Whether it is one of the program's own commands."""
    return word in SAGE_SLEEP.commands


def check_sage_sleep(words: list[str]) -> None:
    """Commands and options exist, and no more words stand beside them than the command takes."""
    command = SAGE_SLEEP
    options: set[str] = {"--help", "--install-completion"}
    while hasattr(command, "commands"):
        unnamed = getattr(command, "unnamed", None)
        if unnamed is not None and (not words or words[0] not in command.commands):
            words.insert(0, unnamed)
        if not words or words[0].startswith("-"):
            break
        command = command.commands[words.pop(0)]
    options |= {name for item in command.params for name in item.opts}
    flags = {
        name for item in command.params if getattr(item, "is_flag", False) for name in item.opts
    }
    others = list[str]()
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            assert word in options, f"{command.name} has no {word}"
            if word not in flags and words:
                words.pop(0)
        else:
            others.append(word)
    room = sum(item.param_type_name == "argument" for item in command.params)
    assert len(others) <= room, f"{command.name} takes {room} arguments, not {others}"


def check_make(words: list[str]) -> None:
    """Make knows what it would do."""
    subprocess.run(["make", "--dry-run", *words], cwd=REPOSITORY, check=True, capture_output=True)


def check_docker(words: list[str]) -> None:
    """The compose file is there and has the profiles and services."""
    assert words[0] == "compose", words
    file = yaml.safe_load((REPOSITORY / words[words.index("-f") + 1]).read_text())
    profiles = {name for service in file["services"].values() for name in service["profiles"]}
    named = {words[place + 1] for place, word in enumerate(words) if word == "--profile"}
    assert named <= profiles, named
    if "run" in words:
        service, *command = words[words.index("--rm") + 1 :]
        assert service in file["services"]
        check_sage_sleep(command)
    else:
        assert words[-1] == "up"


def check_pytest(words: list[str]) -> None:
    """The file is there."""
    (path,) = (word for word in words if not word.startswith("-"))
    assert (REPOSITORY / path).exists(), path


def check_python(words: list[str]) -> None:
    """The module is there and knows the options."""
    assert words[0] == "-m", words
    found = importlib.util.find_spec(words[1])
    assert found is not None, words
    assert found.origin is not None
    for option in words[2:]:
        assert option in Path(found.origin).read_text(), option


def check_pip(words: list[str]) -> None:
    """The project has such an extra, or the directory holds a project."""
    if words[-1].startswith("./"):
        assert words[0] in {"install", "wheel"}
        assert (REPOSITORY / words[-1] / "pyproject.toml").exists(), words
        return
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    match = re.fullmatch(r"sage-sleep\[(\w+)\]", words[-1])
    assert words[0] == "install"
    assert match is not None
    assert match[1] in project["optional-dependencies"], words


def check_apt_get(words: list[str]) -> None:
    """CI installs the same."""
    assert words[0] == "install"
    assert words[-1] in (REPOSITORY / ".ci/run").read_text(), words


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "sage-sleep": check_sage_sleep,
    "make": check_make,
    "docker": check_docker,
    "pytest": check_pytest,
    "python": check_python,
    "pip": check_pip,
    "apt-get": check_apt_get,
}
