"""What the commands share: options, settings, the two streams, and errors as sentences.

Must not know any one command, nor a running daemon: `serve` starts with what stands here.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from app.clock import utc_now
from app.domain.nearest import did_you_mean, nearest
from app.errors import SageSleepError
from app.log import escaped_json, plain_text
from app.settings import CONFIG_FILE_VARIABLE, PREFIX, Settings, setting_names

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

EXIT_CODES = (
    "Exit codes: 0 done; 1 refused or failed, and the message says what to do; "
    "2 wrong usage; 3 no daemon answers."
)


class PlainConsole(Console):
    """A console that shows texts as they are and lets none of them steer the terminal.

    Nothing in a text is markup, and control characters of any kind are replaced as it is rendered;
    what is left to the terminal are the styles and moves that Rich itself makes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Render; everything that is printed or shown live comes through here."""
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else plain_text(segment.text)
            yield segment if shown == segment.text else Segment(shown, segment.style)


out = PlainConsole()
err = PlainConsole(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Instance = Annotated[str, typer.Option("--instance", "-i", help="Slug of the instance.")]
AnyInstance = Annotated[str | None, typer.Option("--instance", "-i", help="Only this instance.")]
SomeInstances = Annotated[
    list[str] | None,
    typer.Option("--instance", "-i", help="For this one alone; may be given several times."),
]
Limit = Annotated[int, typer.Option(min=1, max=500, help="The newest so many.")]


def described(declared: type[Any], field: str) -> Any:
    """An option for a field of a declared value, in that field's own words."""
    return typer.Option(help=declared.__pydantic_fields__[field].description)


def read_settings() -> Settings:
    """Read the settings once, or say which one cannot be used and end."""
    config_file = os.environ.get(CONFIG_FILE_VARIABLE)
    if config_file and not Path(config_file).is_file():
        fail(f"{CONFIG_FILE_VARIABLE} names {config_file}, and there is no such file.")
    try:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fail(f"{config_file} is not valid TOML: {error}")
    except OSError as error:
        fail(f"{config_file} cannot be read: {error.strerror}.")
    except SettingsError as error:
        fail(f"These settings cannot be used: {error}; lists and tables are written as JSON.")
    except ValidationError as error:
        lines = [_setting_fault(item) for item in error.errors()]
        fail("These settings cannot be used:\n  " + "\n  ".join(lines))


def _setting_fault(item: ErrorDetails) -> str:
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return message
    name = PREFIX + ".".join(str(part) for part in item["loc"]).upper()
    if item["type"] == "extra_forbidden":  # of the file; the environment's are looked for by us
        meant = did_you_mean(nearest(name, setting_names()))
        return f"{name} is no setting; {meant or 'app/settings.py lists all'}"
    return f"{name}: {message}"


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
    except SageSleepError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Say what is wrong and end with exit code 1."""
    err.print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1)


def print_json(answer: Any, *, indent: int | None = 2) -> None:
    """Print for programs; without an indent on one line."""
    sys.stdout.write(escaped_json(json.dumps(answer, indent=indent, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


PIPE_WIDTH = 10_000
"""Columns where nobody looks: a table is as wide as what stands in it, and nothing is cut."""

NARROWEST = 6
"""Columns that a cell keeps where it yields to others."""


class Listing:
    """Rows of a table, one line each, without rules.

    Where the terminal is too narrow the columns in `yielding` are cut, the widest first; the others
    never are, so that an id can be copied.
    """

    def __init__(self, *names: str, yielding: Collection[str] = ()) -> None:
        self._names = names
        self._yielding = [index for index, name in enumerate(names) if name in yielding]
        self._rows: list[tuple[str, ...]] = []

    def add_row(self, *cells: str) -> None:
        """Add one; a line break in a cell becomes a space."""
        self._rows.append(tuple(" ".join(cell.split()) for cell in cells))

    def __len__(self) -> int:
        return len(self._rows)

    def table(self, width: int) -> Table:
        """The table, in so many columns."""
        widths = [
            max(map(cell_len, column)) for column in zip(self._names, *self._rows, strict=True)
        ]
        excess = sum(widths) + 2 * (len(widths) - 1) - width
        for _ in range(excess):
            index = max(self._yielding, key=lambda i: widths[i], default=None)
            if index is None or widths[index] <= NARROWEST:
                break
            widths[index] -= 1
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for name, column_width in zip(self._names, widths, strict=True):
            table.add_column(name, width=column_width, no_wrap=True, overflow="ellipsis")
        for row in self._rows:
            table.add_row(*map(Text, row))
        return table


def print_table(listing: Listing, when_empty: str) -> None:
    """Print a listing, or what to do where it has no row."""
    if not len(listing):
        out.print(when_empty)
        return
    is_seen = out.is_terminal or os.environ.get("COLUMNS")
    width = out.width if is_seen else PIPE_WIDTH
    # A console limits what it prints to its own width, and what never yields may be wider.
    PlainConsole(width=PIPE_WIDTH).print(listing.table(width))


def shown_time(at: datetime | None) -> str:
    """A day and a time of day at this place, of another year its date; empty for none."""
    if at is None:
        return ""
    here = at.astimezone()
    is_this_year = here.year == utc_now().astimezone().year
    return f"{here:%m-%d %H:%M}" if is_this_year else f"{here:%Y-%m-%d}"
