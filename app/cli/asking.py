"""What the commands that ask a running daemon share: where it is, its errors, its answers.

Must not know any one command.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from app.cli.terminal import address_of, err, fail, out, print_json, read_settings
from app.client import (
    Aliases,
    CycleMetrics,
    DaemonUnavailable,
    Decision,
    Page,
    Result,
    SleepClient,
    SleepClientError,
)

NO_DAEMON = 3
ID_LENGTH = 26
SHORT_ID = 10
"""Characters of an id in a list, at least: they hold the millisecond it was made in."""

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


CheckpointId = Annotated[
    str, typer.Argument(help="Id of the checkpoint, or its beginning.", show_default=False)
]


class _ListById(Protocol):
    def __call__(self, *, id_prefix: str, limit: int) -> Page[Any]: ...


def whole_id(list_by: _ListById, beginning: str, noun: str) -> str:
    """The id that begins so; ends the command where none does, or several do.

    Args:
        list_by: The client's list of what is meant.
        noun: What that is, for the message.
    """
    if len(beginning) >= ID_LENGTH or not beginning.isalnum():
        return beginning
    found = list_by(id_prefix=beginning, limit=2).data
    return only_id((one.id for one in found), beginning, noun, f"{noun.rpartition(' ')[2]}s")


def only_id(ids: Iterable[str], beginning: str, noun: str, command: str) -> str:
    """The one of some ids that begins so; ends the command where none does, or several do.

    Args:
        command: That lists them.
    """
    found = [one for one in ids if one.startswith(beginning.upper())]
    if len(found) != 1:
        many = f"More than one {noun} begins with" if found else f"There is no {noun}"
        fail(f"{many} {beginning!r}; `sage-sleep {command}` lists them.")
    return found[0]


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """As much of each id as tells it from the others, and `SHORT_ID` characters at least."""
    whole = list(ids)
    length = SHORT_ID
    while length < ID_LENGTH and len({one[:length] for one in whole}) < len(set(whole)):
        length += 1
    return {one: one[:length] for one in whole}


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
