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
from importlib.metadata import version
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from app.cli.terminal import EXIT_CODES

PRIVATE_UMASK = 0o077

GROUPS = {
    "Begin": {
        "demo": "models",
        "serve": "daemon",
        "model": "models:model_app",
        "settings": "settings",
    },
    "Look": {
        "stats": "instances",
        "watch": "watch",
        "cycles": "cycles",
        "report": "cycles",
        "checkpoints": "checkpoints",
        "search": "experiences",
        "events": "events",
    },
    "Sleep": {
        "sleep": "cycles",
        "cancel": "cycles",
        "wake": "cycles",
        "rebuild": "cycles",
    },
    "What is live": {
        "chat": "chatting",
        "promote": "checkpoints",
        "rollback": "checkpoints",
        "dismiss": "checkpoints",
        "pin": "checkpoints",
        "download": "checkpoints",
        "push": "pushing",
        "mirror": "mirror:app",
    },
    "Instances and exchanges": {
        "instances": "instances:instances_app",
        "tokens": "tokens:app",
        "webhooks": "webhooks:app",
        "import": "exchanges",
        "export": "export_checkpoint:app",
        "erase": "experiences",
    },
    "Look after it": {
        "doctor": "upkeep",
        "backup": "upkeep",
        "restore": "upkeep",
        "prune": "upkeep",
        "migrate": "daemon",
        "move-database": "moving",
        "pair": "upkeep",
        "healthcheck": "daemon",
    },
    "Question it": {
        "reproduce": "experiments",
        "calibrate": "experiments",
    },
    "For the daemon": {
        "run-cycle": "daemon",
        "check-fit": "daemon",
        "make-export": "daemon",
    },
}
"""Every command with its file, and the Typer in it where that is not `app`, as help groups them."""

COMMANDS = {name: file for commands in GROUPS.values() for name, file in commands.items()}
_GROUP_OF = {name: group for group, commands in GROUPS.items() for name in commands}


class _Files(Mapping[str, Any]):
    """The commands by name; one that is looked up is imported."""

    def __getitem__(self, name: str) -> Any:
        file, _, typers_name = COMMANDS[name].partition(":")
        group = typer.main.get_group(
            getattr(import_module(f"app.cli.{file}"), typers_name or "app")
        )
        command: Any = group if typers_name else group.commands[name]
        command.name = name
        command.rich_help_panel = _GROUP_OF[name]
        return command

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


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"sage-sleep {version('sage-sleep')}")
        raise typer.Exit


@app.callback()
def _all(
    *,
    version: Annotated[  # noqa: ARG001  # its callback prints it
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Before any command: what it writes is for its owner alone, since it may be conversation.

    Directories get 0700 and files 0600; children inherit it. What is there already stays as it is.
    What it logs goes to stderr, away from its answer; those that serve set up their own.
    """
    from app.log import configure_logging  # noqa: PLC0415

    configure_logging(level="warning")
    os.umask(os.umask(PRIVATE_UMASK) | PRIVATE_UMASK)
