"""What comes from a daemon is shown, and never steers the terminal that it is shown on."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.live import Live
from rich.panel import Panel
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from app.cli.terminal import PlainConsole
from app.db.engine import Database
from app.log import escaped_json, plain_text
from tests.cli.conftest import Command
from tests.publishing import publish
from tests.support import RunningDaemon, make_exchange

HOSTILE = (
    "a\x1b[2Jb\x1b]8;;http://evil\x07c\x9b31md\re\x08f\x7fg"
    "\u202eh\u2066i\u200fj\u2028k\ufeffl\U000e0041m [link=http://evil]n[/link] [/b] :smile:"
)
LETTERS = "abcdefghijklmn"


def is_harmless(text: str) -> bool:
    """Whether no character of it is one that a terminal obeys."""
    return all(
        unicodedata.category(char) not in {"Cc", "Cs", "Zl", "Zp"}
        and unicodedata.bidirectional(char)
        not in {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
        for char in text
        if char not in "\n\t"
    )


def show(shown: object) -> str:
    """What a console that is no terminal gets: without Rich's own styles and moves."""
    console = PlainConsole(file=io.StringIO(), width=400)
    console.print(shown)
    printed: str = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
    return printed


def test_no_text_steers_the_terminal_however_it_is_shown() -> None:
    table = Table(HOSTILE)
    table.add_row(HOSTILE)
    for shown in (HOSTILE, Text(HOSTILE), table, Panel(Text(HOSTILE), title=Text(HOSTILE))):
        printed = show(shown)
        assert is_harmless(printed)
        assert all(letter in printed for letter in LETTERS)
        assert "[link=http://evil]n[/link]" in printed


def test_live_views_are_as_harmless_and_keep_their_own_moves() -> None:
    def run(words: str) -> str:
        console = PlainConsole(
            file=io.StringIO(), width=400, height=9, force_terminal=True, color_system=None
        )
        with Live(console=console, auto_refresh=False, screen=True) as live:
            live.update(Text(words), refresh=True)
        column = TextColumn("{task.fields[words]}", markup=False)
        with Progress(column, console=console, auto_refresh=False) as progress:
            progress.add_task("x", words=words)
        return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]  # as above

    assert run(HOSTILE).count("\x1b") == run("plain").count("\x1b") > 0


@given(st.text())
def test_any_text_is_harmless_and_plain_text_is_itself(text: str) -> None:
    shown = plain_text(text)
    assert is_harmless(shown)
    assert len(shown) == len(text)
    if text.isascii() and text.isprintable():
        assert shown == text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_harmless_and_reads_back_the_same(value: object) -> None:
    written = escaped_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert is_harmless(written)
    assert json.loads(written) == value


@pytest.mark.parametrize("word", ["naïve", "日本語", "עברית", "👩\u200d🔬", "x\ty\n"])
def test_words_of_every_language_stay(word: str) -> None:
    assert plain_text(word) == word


def test_commands_print_a_hostile_text_as_a_text(
    db: Database, data_dir: Path, daemon: RunningDaemon, command: Command
) -> None:
    for numbers in (range(100, 120), range(120, 140)):
        publish(db, data_dir / "checkpoints", numbers)
    command("rollback", "--reason", HOSTILE.replace("\x00", ""))
    hostile = make_exchange(1, prompt=HOSTILE, session=HOSTILE, source_id="hostile")
    assert daemon.http.post("/v1/experiences", json=hostile).status_code == 201
    for arguments in (
        ("watch", "--once"), ("stats",), ("stats", "--json"), ("cycles",), ("checkpoints",),
        ("export", "-"), ("instances",),
    ):  # fmt: skip
        assert is_harmless(command(*arguments)), arguments
    rows = [json.loads(line) for line in command("export", "-").splitlines()]
    assert HOSTILE in [row["prompt"] for row in rows]
    refused = command("promote", HOSTILE.replace("/", ""), code=1, stream="stderr")
    assert is_harmless(refused)
