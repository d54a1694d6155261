"""What README and guide name is there: commands, settings, files, routes, errors, pages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from app import errors
from app.api.guards.access import NEEDED
from app.settings import CLIENT_VARIABLES, Settings
from tests.guide.commands import check_command, is_command
from tests.guide.documents import DOCUMENTS, REPOSITORY, list_inline_code

EVERYTHING = "\n".join(DOCUMENTS.values())


def leaves(root: type[errors.SageSleepError]) -> set[type[errors.SageSleepError]]:
    below = root.__subclasses__()
    return {root}.union(*(leaves(error) for error in below))


@pytest.mark.parametrize(
    "text", sorted({text for _, text in list_inline_code() if is_command(text)})
)
def test_command_between_backticks_could_be_run(text: str) -> None:
    check_command(text.replace("[ID]", "ID"))


def test_commands_are_found_at_all() -> None:
    found = [text for _, text in list_inline_code() if is_command(text)]
    assert len(found) > 25
    assert {text.split()[0] for text in found} >= {"make", "sage-sleep", "python", "pip", "apt-get"}


@pytest.mark.parametrize(
    "wrong",
    [
        "make nothing",
        "sage-sleep sleep --never",
        "sage-sleep dream",
        "sage-sleep doctor ID",
        "pip install 'sage-sleep[nothing]'",
        "docker compose -f docker/compose.yaml --profile none up",
        "pytest tests/nothing.py",
        "python -m tests.nothing",
        "rm -rf /",
    ],
)
def test_command_that_could_not_be_run_is_told(wrong: str) -> None:
    with pytest.raises((AssertionError, LookupError, subprocess.CalledProcessError)):
        check_command(wrong)


def test_every_route_it_names_is_there() -> None:
    rows = {re.sub(r"\{\w+\}", "X", row) for row in NEEDED}
    named = {
        (method, path)
        for _, text in list_inline_code()
        for method, path in re.findall(r"^(GET|POST|PUT|PATCH|DELETE) (/[\w/.-]*)", text)
    }
    assert len(named) > 10
    for method, path in named:
        assert f"{method} {re.sub(r'(?<=/)[A-Z]+(?=/|$)', 'X', path)}" in rows, (method, path)


def test_every_setting_it_names_exists() -> None:
    named = {name.lower() for name in re.findall(r"`SAGE_([A-Z_]+)`", EVERYTHING)}
    fields = set(Settings.model_fields)
    of_others = {name.removeprefix("SAGE_").lower() for name in CLIENT_VARIABLES}
    assert named - fields <= {"config_file", "test_cache", "shared_data", *of_others}


def test_every_path_it_names_exists() -> None:
    named = re.findall(r"`(?:app|docker|tests)/[\w./]+`", EVERYTHING)
    named += re.findall(r"\]\(((?:app/)[\w./-]+)\)", DOCUMENTS["README.md"])
    assert named
    for name in named:
        assert (REPOSITORY / name.strip("`")).exists(), name


def test_readme_names_every_page() -> None:
    for name in DOCUMENTS:
        if name != "README.md":
            assert f"(app/web/guide/{name})" in DOCUMENTS["README.md"], name


def test_every_fault_it_names_is_an_error() -> None:
    section = DOCUMENTS["operate.md"].partition("## When something is wrong")[2]
    rows = section.partition("\n## ")[0].splitlines()
    named = {
        name
        for row in rows
        if row.startswith("| `")
        for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])
    }
    codes = {error("").code for error in leaves(errors.SageSleepError)}
    assert len(named) > 20
    assert named <= codes, named - codes


def test_benchmarks_named_are_there() -> None:
    for name in re.findall(r"`(test_\w+\.py)`", EVERYTHING):
        assert (REPOSITORY / "tests/benchmarks" / name).exists() or list(
            Path(REPOSITORY / "tests").rglob(name)
        ), name
