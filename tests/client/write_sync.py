"""Write the client's blocking half from its asyncio half: `python -m tests.client.write_sync`.

By unasync, which turns coroutines into functions token by token; then Ruff sets the shorter lines.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tokenize_rt
from unasync import Rule

CLIENT = Path(__file__).parents[2] / "app" / "client"

FIRST_LINES = {
    "client": "`SleepClient`: every operation, a method each; long since the API is.",
    "connection": "A connection to one daemon: requests until they are answered, and events.",
}
"""Of each module that is written; `sync_client.py` from `async_client.py`, and so on."""

NAMES = {
    "AsyncClient": "Client",
    "AsyncConnection": "Connection",
    "AsyncEvents": "Events",
    "AsyncSleepClient": "SleepClient",
    "aclose": "close",
    "aiter_bytes": "iter_bytes",
    "anext": "next",
    "aread": "read",
    "asleep": "sleep",
    "async_connection": "sync_connection",
    "awork": "work",
}
"""What has another name where nothing is awaited, beside the names that unasync knows."""


def path_of(name: str) -> Path:
    """Where a module is written."""
    return CLIENT / f"sync_{name}.py"


def write(name: str) -> str:
    """Return the text of a module."""
    source = (CLIENT / f"async_{name}.py").read_text()
    _, _, code = source.partition('"""')[2].partition('"""')
    first = (
        f"{FIRST_LINES[name]}\n\n"
        f"Written from `async_{name}.py` by `make client`: change that file, not this one.\n"
    )
    tokens = tokenize_rt.src_to_tokens(f'"""{first}"""{code}')
    rule = Rule("async", "sync", additional_replacements=NAMES)
    text: str = tokenize_rt.tokens_to_src(rule._unasync_tokens(tokens))
    for command in (["check", "--select", "I,UP028", "--fix", "--unsafe-fixes"], ["format"]):
        text = subprocess.run(
            [
                sys.executable,
                "-m",
                "ruff",
                *command,
                "--quiet",
                "--stdin-filename",
                path_of(name),
                "-",
            ],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


if __name__ == "__main__":
    for each in FIRST_LINES:
        path_of(each).write_text(write(each))
