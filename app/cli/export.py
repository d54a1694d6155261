"""`sage-sleep export`: experiences out of a daemon, as JSONL or as a Hugging Face dataset.

They come over HTTP, page by page, so that a token's instances and scopes hold here too, and any
number fits into memory. What was erased has no text any more and is left out.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from typer.core import TyperGroup

from app.cli.asking import CaFile, Token, Url, daemon
from app.cli.terminal import AnyInstance, err, fail
from app.client import Experience
from app.domain.experience import ExperienceStatus
from app.log import escaped_json

EXPERIENCES = "experiences"


class _ExperiencesUnlessNamed(TyperGroup):
    """Exports experiences where no other thing is named: `sage-sleep export kept.jsonl`."""

    unnamed = EXPERIENCES

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name before the arguments where it is left out."""
        if not args or args[0] not in {*self.commands, "--help"}:
            args = [self.unnamed, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ExperiencesUnlessNamed,
    help="Write what is here for other tools: experiences, or a checkpoint for another runtime.",
)

STANDARD_OUTPUT = Path("-")
DATASET_FILE = "train.parquet"


class ExportFormat(StrEnum):
    """How experiences are written."""

    JSONL = "jsonl"
    DATASET = "dataset"


@app.command(EXPERIENCES)
def export(
    to: Annotated[
        Path, typer.Argument(help="File, or - for standard output; for a dataset a directory.")
    ] = STANDARD_OUTPUT,
    format_: Annotated[
        ExportFormat,
        typer.Option("--format", help="dataset: what `datasets.load_dataset` reads, as Parquet."),
    ] = ExportFormat.JSONL,
    instance: AnyInstance = None,
    status: Annotated[ExperienceStatus | None, typer.Option(help="Only of this status.")] = None,
    session: Annotated[str | None, typer.Option(help="Only of this session.")] = None,
    phase: Annotated[str | None, typer.Option(help="Only of this phase.")] = None,
    min_salience: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only with at least this total.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Only with this in prompt or response.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Write experiences to a file, newest first; erased ones are left out. The name may be, too."""
    is_dataset = format_ is ExportFormat.DATASET
    if is_dataset and to == STANDARD_OUTPUT:
        raise typer.BadParameter("a dataset needs a directory to go to", param_hint="TO")
    if is_dataset and importlib.util.find_spec("datasets") is None:
        fail("A dataset needs one more package: pip install 'sage-sleep[datasets]'.")
    target = to / DATASET_FILE if is_dataset else to
    if to != STANDARD_OUTPUT and target.exists() and not overwrite:
        fail(f"{target} is there already; name another, or replace it with --overwrite.")
    with daemon(url, token, ca_file) as client:
        found = client.iterate_experiences(
            instance=instance,
            status=status,
            session=session,
            phase=phase,
            min_salience=min_salience,
            text=text,
        )
        rows = (item for item in found if item.status != ExperienceStatus.ERASED)
        try:
            count = _write(rows, to, target, is_dataset=is_dataset)
        except OSError as error:
            fail(f"{target} cannot be written: {error.strerror or error}.")
    where = "" if to == STANDARD_OUTPUT else f" to {target}"
    err.print(
        f"{count} experiences written{where}. Erasing one later does not reach this copy.",
        markup=False,
        soft_wrap=True,
    )


def _write(rows: Iterable[Experience], to: Path, target: Path, *, is_dataset: bool) -> int:
    """Write to the target at once, or not at all; returns how many."""
    if to == STANDARD_OUTPUT:
        return _write_lines((item.raw for item in rows), sys.stdout)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as room:
        part = Path(room) / "rows.jsonl"
        with part.open("w", encoding="utf-8") as file:
            shown = (_dataset_row(item) if is_dataset else item.raw for item in rows)
            count = _write_lines(shown, file)
        if is_dataset and count == 0:
            fail("No experience fits, and a dataset without rows has no use; loosen the filters.")
        if is_dataset:
            part = _to_parquet(part, Path(room))
        part.replace(target)
    return count


def _write_lines(rows: Iterator[Any], file: IO[str]) -> int:
    count = 0
    for row in rows:
        file.write(escaped_json(json.dumps(row, ensure_ascii=False)) + "\n")
        count += 1
    file.flush()
    return count


def _dataset_row(item: Experience) -> dict[str, Any]:
    """An experience as trainers of chat models read it; what has no fixed shape is JSON text."""
    system = [{"role": "system", "content": item.system_prompt}] if item.system_prompt else []
    history = [{"role": turn.role, "content": turn.content} for turn in item.history]
    return {
        "id": item.id,
        "instance": item.instance,
        "status": item.status,
        "messages": [
            *system,
            *history,
            {"role": "user", "content": item.prompt},
            {"role": "assistant", "content": item.response},
        ],
        "prompt": item.prompt,
        "response": item.response,
        "session": item.session,
        "session_number": item.session_number,
        "phase": item.phase,
        "received_at": item.received_at.isoformat(),
        "truncated": item.truncated,
        "surprise": item.salience.surprise,
        "novelty": item.salience.novelty,
        "arousal": item.salience.arousal,
        "reward": item.salience.reward,
        "conflict": item.salience.conflict,
        "salience": item.salience.total,
        "tool_calls": json.dumps(item.tool_calls, ensure_ascii=False),
        "metadata": json.dumps(item.metadata, ensure_ascii=False),
    }


def _to_parquet(rows: Path, room: Path) -> Path:
    """The same rows as Parquet; its cache, which holds the texts too, goes with the room."""
    from datasets import (  # noqa: PLC0415  # an extra, and slow to import
        Dataset,
        Features,
        Value,
        disable_progress_bars,
    )

    disable_progress_bars()
    words = ("id", "instance", "status", "prompt", "response", "session", "phase")
    numbers = ("surprise", "novelty", "arousal", "reward", "conflict", "salience")
    features = Features(
        {
            **{name: Value("string") for name in (*words, "received_at", "tool_calls", "metadata")},
            **{name: Value("float64") for name in numbers},
            "messages": [{"role": Value("string"), "content": Value("string")}],
            "session_number": Value("int64"),
            "truncated": Value("bool"),
        }
    )
    made = room / DATASET_FILE
    cache = str(room / "cache")
    dataset = Dataset.from_json(str(rows), features=features, cache_dir=cache)
    dataset.to_parquet(str(made))
    return made
