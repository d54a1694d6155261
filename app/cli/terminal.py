"""What the commands share: options, settings, the two streams, and errors as sentences.

Must not know any one command.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.table import Table

from app.client import Aliases, DaemonUnavailable, Decision, Result, SleepClient, SleepClientError
from app.errors import SageSleepError
from app.settings import CONFIG_FILE_VARIABLE, Settings

EXIT_CODES = (
    "Exit codes: 0 done; 1 refused or failed, and the message says what to do; "
    "2 wrong usage; 3 no daemon answers."
)
NO_DAEMON = 3
BASE = "the bare base model"

out = Console()
err = Console(stderr=True)

Url = Annotated[
    str | None, typer.Option(help="Daemon to talk to; default from SAGE_HOST, SAGE_PORT.")
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
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Instance = Annotated[str, typer.Option("--instance", "-i", help="Slug of the instance.")]
AnyInstance = Annotated[str | None, typer.Option("--instance", "-i", help="Only this instance.")]


def read_settings() -> Settings:
    """Read the settings once, or say which one cannot be used and end."""
    config_file = os.environ.get(CONFIG_FILE_VARIABLE)
    if config_file and not Path(config_file).is_file():
        fail(f"{CONFIG_FILE_VARIABLE} names {config_file}, and there is no such file.")
    try:
        return Settings()
    except tomllib.TOMLDecodeError as error:
        fail(f"{config_file} is not valid TOML: {error}")
    except SettingsError as error:
        fail(f"These settings cannot be used: {error}")
    except ValidationError as error:
        lines = [
            f"SAGE_{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            if item["loc"]
            else item["msg"].removeprefix("Value error, ")
            for item in error.errors()
        ]
        fail("These settings cannot be used:\n  " + "\n  ".join(lines))


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


def address_of(settings: Settings) -> str:
    """Where a daemon with these settings answers on this machine."""
    scheme = "http" if settings.tls_certificate is None else "https"
    host = settings.host
    if settings.is_any_address:
        host = "::1" if host == "::" else "127.0.0.1"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


@contextmanager
def explained() -> Iterator[None]:
    """Turn our own errors into a sentence and exit code 1."""
    try:
        yield
    except (SageSleepError, SleepClientError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Say what is wrong and end with exit code 1."""
    err.print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1)


def print_json(answer: Any) -> None:
    """Print for programs; an answer of the daemon as it came, with what this version lacks."""
    if isinstance(answer, Result):
        answer = answer.raw
    sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def make_table(*names: str) -> Table:
    """A table that folds what is too wide: an id must be there whole."""
    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def print_table(table: Table, when_empty: str) -> None:
    """Print a table, or what to do where it has no row."""
    out.print(table if table.row_count else when_empty)


def print_reasons(decision: Decision) -> None:
    """Print a sleep decision with every rule behind it."""
    out.print(f"  sleep is {'due' if decision.due else 'not due'}:")
    for reason in decision.reasons:
        out.print(f"    {'+' if reason.met else '-'} {reason.text}", markup=False)


def print_aliases(aliases: Aliases, *, as_json: bool, next_step: str) -> None:
    """Print what the aliases name after a move of them, and what can be done next."""
    if as_json:
        print_json(aliases)
        return
    out.print(f"{aliases.instance}: current is {aliases.current or BASE}.", soft_wrap=True)
    for name in ("previous", "candidate"):
        if target := getattr(aliases, name):
            out.print(f"  {name} is {target}", soft_wrap=True)
    err.print(next_step, markup=False, soft_wrap=True)


def losses(metrics: Mapping[str, Any] | None) -> str:
    """Held-out loss before and after a cycle, nats per token; empty while there is none."""
    if not metrics:
        return ""
    before = metrics["held_out_before"]["nats_per_token"]
    after = metrics["held_out_reloaded"]["nats_per_token"]
    return f"{before:.3f} -> {after:.3f}"
