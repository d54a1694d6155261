"""No module is long without saying why where its reader begins."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.conftest import REPOSITORY

MOST_LINES = 400


def first_line(module: Path) -> str:
    """Of its docstring."""
    return (ast.get_docstring(ast.parse(module.read_text("utf-8"))) or "").partition("\n")[0]


def test_long_module_says_in_its_first_line_why() -> None:
    modules = [path for room in ("app", "tests") for path in (REPOSITORY / room).rglob("*.py")]
    long = [path for path in modules if path.read_text("utf-8").count("\n") > MOST_LINES]
    assert len(modules) > len(long) > 0
    silent = [path for path in long if not re.search(r"\blong\b.* \w+", first_line(path))]
    assert not silent, "over 400 lines: split it at a seam, or say in its first line why it is long"
