"""`sage-sleep chat`: talk to what is live, or hear base, previous and current side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

import typer

from app.cli.asking import CaFile, Token, Url, daemon, whole_id
from app.cli.terminal import err, out
from app.client import AnsweredBy, SleepClient, SleepClientError
from app.domain.chat import BASE
from app.domain.checkpoint import Alias
from app.log import plain_text

app = typer.Typer()

MIN_COLUMN = 24
"""Characters of a reply beside others; on a narrower terminal they stand below one another."""

MAX_TOKENS = 1024
FEW_TURNS = 2

_REFUSED_LENGTH = "urn:sage-sleep:problem:chat-refused"

Messages = list[dict[str, Any]]

T = TypeVar("T")


@app.command()
def chat(
    instance: Annotated[
        str, typer.Argument(help="Instance, or INSTANCE@base, @previous, @candidate, @CHECKPOINT.")
    ] = "default",
    message: Annotated[
        str | None, typer.Argument(help="Ask this and end.", show_default=False)
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Keep each exchange as an experience.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Base, previous and current answer beside one another."),
    ] = False,
    session: Annotated[
        str | None, typer.Option(help="The session's name, for --record.", show_default=False)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=5, help="0: always the likeliest word.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of a reply.")] = MAX_TOKENS,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Talk to what is live of an instance; an empty line, or Ctrl-D, ends it.

    What comes in a pipe is one message.
    """
    if compare and record:
        raise typer.BadParameter("--record keeps one reply, and --compare gives three.")
    if compare and "@" in instance:
        raise typer.BadParameter("--compare hears base, previous and current: name the instance.")
    wishes: dict[str, Any] = {"max_tokens": max_tokens}
    wishes |= {} if temperature is None else {"temperature": temperature}
    wishes |= {} if session is None else {"session": session}
    if message is None and not sys.stdin.isatty():
        message = sys.stdin.read().strip()
        if not message:
            raise typer.BadParameter("There is no message in the pipe.")
    with daemon(url, token, ca_file) as client:
        instance = _whole_name(client, instance)
        if compare:
            names = _names_of(client, instance)
            _talk(lambda said: _compare(client, names, said, wishes), message)
        else:
            _talk(lambda said: _say(client, instance, said, record=record, wishes=wishes), message)


def _whole_name(client: SleepClient, name: str) -> str:
    """The name of what is talked to, with a checkpoint's id in full."""
    instance, at, which = name.partition("@")
    if not which or which in {*Alias, BASE}:
        return name
    return f"{instance}{at}{whole_id(client.list_checkpoints, which, 'checkpoint')}"


def _talk(answer: Callable[[Messages], str], message: str | None) -> None:
    """Ask once, or until nothing more is asked."""
    messages: Messages = []
    if message is not None:
        messages.append({"role": "user", "content": message})
        answer(messages)
        return
    err.print("An empty line ends it.", style="dim")
    while True:
        try:
            text = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            text = ""
        if not text:
            return
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": answer(messages)})


def _say(
    client: SleepClient, model: str, messages: Messages, *, record: bool, wishes: dict[str, Any]
) -> str:
    """Write a reply as it comes; what was said."""
    said: list[str] = []
    sage, is_cut = None, False

    def write() -> None:
        nonlocal sage, is_cut
        for piece in client.stream_chat(messages, model=model, record=record, **wishes):
            said.append(piece.text)
            out.file.write(plain_text(piece.text))
            out.file.flush()
            sage = piece.sage or sage
            is_cut = piece.finish_reason == "length"

    _fitting(messages, write)
    out.file.write("\n")
    words = (["cut at its longest"] if is_cut else []) + _kept_words(sage)
    if words:
        err.print(f"({', '.join(words)})", style="dim", markup=False, soft_wrap=True)
    return "".join(said)


def _fitting(messages: Messages, ask: Callable[[], T]) -> T:
    """Ask, without the oldest exchanges where the conversation does not fit any more."""
    while True:
        try:
            return ask()
        except SleepClientError as error:
            if error.problem.get("type") != _REFUSED_LENGTH or len(messages) <= FEW_TURNS:
                raise
            del messages[:FEW_TURNS]


def _kept_words(sage: AnsweredBy | None) -> list[str]:
    if sage is None or (sage.experience is None and sage.not_recorded is None):
        return []
    if sage.experience is None:
        return [f"not kept: {sage.not_recorded}"]
    kept = sage.experience
    words = f"salience {kept.salience.total:.2f}"
    return [f"kept, {words}" if kept.stored else f"kept for audit alone: {kept.reason or words}"]


def _names_of(client: SleepClient, instance: str) -> dict[str, str]:
    """What is compared: heading and name."""
    aliases = client.get_aliases(instance)
    names = {"base": f"{instance}@base"}
    if aliases.previous:
        names["previous"] = f"{instance}@previous"
    if aliases.current:
        names["current"] = f"{instance}@current"
    return names


def _compare(
    client: SleepClient, names: dict[str, str], messages: Messages, wishes: dict[str, Any]
) -> str:
    """Let each answer the same; what the last one, which is live, said."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    said = {
        heading: _fitting(messages, partial(client.chat, messages, model=name, **wishes)).text
        for heading, name in names.items()
    }
    if out.width >= len(said) * MIN_COLUMN and out.is_terminal:
        table = Table(*said, expand=True)
        table.add_row(*(Text(plain_text(text)) for text in said.values()))
        out.print(table)
    else:
        for heading, text in said.items():
            out.print(f"{heading}:", style="bold")
            out.print(plain_text(text), markup=False, highlight=False, soft_wrap=True)
    return list(said.values())[-1]
