"""The commands. With `__main__.py` and `main.py` the composition root: nothing imports it.

A command's file is imported when the command is asked for, and what needs torch within the command,
so that each starts with no more than it uses. Exit codes: 0 done, 1 refused or failed (the message
says what to do), 2 wrong usage, 3 no daemon answers.

One file per noun; each holds a Typer whose commands stand side by side here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperGroup

from app.cli.terminal import EXIT_CODES

PRIVATE_UMASK = 0o077

COMMANDS = {
    "serve": "daemon",
    "healthcheck": "daemon",
    "run-cycle": "daemon",
    "check-fit": "daemon",
    "migrate": "daemon",
    "import": "exchanges",
    "export": "export",
    "sleep": "cycles",
    "cancel": "cycles",
    "cycles": "cycles",
    "checkpoints": "checkpoints",
    "promote": "checkpoints",
    "rollback": "checkpoints",
    "dismiss": "checkpoints",
    "reproduce": "experiments",
    "calibrate": "experiments",
    "stats": "instances",
    "watch": "watch",
    "demo": "models",
    "instances": "instances:instances_app",
    "model": "models:model_app",
    "tokens": "tokens:app",
    "backup": "upkeep",
    "restore": "upkeep",
    "doctor": "upkeep",
    "prune": "upkeep",
    "pair": "upkeep",
}
"""Every command with its file, and the Typer in it where that is not `app`."""


class _Files(Mapping[str, Any]):
    """The commands by name; one that is looked up is imported."""

    def __getitem__(self, name: str) -> Any:
        file, _, typers_name = COMMANDS[name].partition(":")
        group = typer.main.get_group(
            getattr(import_module(f"app.cli.{file}"), typers_name or "app")
        )
        group.name = name
        return group if typers_name else group.commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Commands(TyperGroup):
    """All commands, none of them imported yet; Typer only looks them up."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("dict[str, Any]", _Files())


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    help="SAGE Sleep: sleep for small language models.",
    epilog=EXIT_CODES,
)


@app.callback()
def _all() -> None:
    """Before any command: what it writes is for its owner alone, since it may be conversation.

    Directories get 0700 and files 0600; children inherit it. What is there already stays as it is.
    What it logs goes to stderr, away from its answer; those that serve set up their own.
    """
    from app.log import configure_logging  # noqa: PLC0415

    configure_logging(level="warning")
    os.umask(os.umask(PRIVATE_UMASK) | PRIVATE_UMASK)
