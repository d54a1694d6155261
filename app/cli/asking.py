"""What the commands that ask a running daemon share: where it is, its errors, its answers.

Must not know any one command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.terminal import address_of, err, out, print_json, read_settings
from app.client import (
    Aliases,
    CycleMetrics,
    DaemonUnavailable,
    Decision,
    Result,
    SleepClient,
    SleepClientError,
)

NO_DAEMON = 3
BASE = "the bare base model"

Url = Annotated[
    str | None,
    typer.Option(
        envvar="SAGE_URL",
        show_default=False,
        help="Daemon to talk to; default from SAGE_HOST, SAGE_PORT.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="SAGE_TOKEN",
        show_default=False,
        help="Access token, where the daemon demands one; rather in SAGE_TOKEN, since others "
        "see a command line.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        envvar="SAGE_CA_FILE",
        show_default=False,
        help="PEM file of the authorities to trust, where the daemon's certificate is a private "
        "CA's.",
    ),
]


@contextmanager
def daemon(
    url: str | None, token: str | None = None, ca_file: Path | None = None
) -> Iterator[SleepClient]:
    """Talk to the daemon; exit code 3 where none answers, 1 where it refuses.

    Nothing is tried again: a person at a terminal is told at once.
    """
    settings = read_settings()
    try:
        with SleepClient(
            url or address_of(settings), token=token, retry_seconds=0, verify=ca_file or True
        ) as client:
            yield client
    except SleepClientError as error:
        err.print(str(error), style="red", markup=False, soft_wrap=True)
        is_away = isinstance(error, DaemonUnavailable) and error.status is None
        raise typer.Exit(NO_DAEMON if is_away else 1) from error


def print_answer(answer: Any) -> None:
    """Print for programs: an answer as it came, with what this version does not know of it."""
    print_json(answer.raw if isinstance(answer, Result) else answer)


def print_reasons(decision: Decision) -> None:
    """Print a sleep decision with every rule behind it."""
    out.print(f"  sleep is {'due' if decision.due else 'not due'}:")
    for reason in decision.reasons:
        out.print(f"    {'+' if reason.met else '-'} {reason.text}", markup=False)


def print_aliases(aliases: Aliases, *, as_json: bool, next_step: str) -> None:
    """Print what the aliases name after a move of them, and what can be done next."""
    if as_json:
        print_answer(aliases)
        return
    out.print(f"{aliases.instance}: current is {aliases.current or BASE}.", soft_wrap=True)
    for name in ("previous", "candidate"):
        if target := getattr(aliases, name):
            out.print(f"  {name} is {target}", soft_wrap=True)
    err.print(next_step, markup=False, soft_wrap=True)


def losses(metrics: CycleMetrics | None) -> str:
    """Held-out loss before and after a cycle, nats per token; empty while there is none."""
    if metrics is None:
        return ""
    before = metrics.held_out_before.nats_per_token
    after = metrics.held_out_reloaded.nats_per_token
    return "" if before is None or after is None else f"{before:.3f} -> {after:.3f}"
