"""`sage-sleep export adapter` and `merged`: a checkpoint in another runtime's files.

A daemon makes them and they come over HTTP; of a directory they are made here, without any daemon.
The commands stand in the group of `app.cli.export`.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.artifacts.bases import find_base_model
from app.artifacts.disk import translated_file_errors
from app.cli.asking import CaFile, Token, Url, daemon, whole_id
from app.cli.export import app
from app.cli.terminal import explained, fail, out, read_settings
from app.domain.export import Export, find_export

Adapter = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="Its id, or the beginning; or a directory that peft, or `sage-sleep download`, wrote.",
    ),
]
Base = Annotated[
    Path | None,
    typer.Option(help="Directory of the base, for a checkpoint in a directory; SAGE_BASE_MODEL."),
]
Overwrite = Annotated[bool, typer.Option(help="Replace what is there.")]


@app.command("adapter")
def export_adapter(
    checkpoint: Adapter,
    gguf: Annotated[Path, typer.Option(help="The file to write.")],
    base: Base = None,
    overwrite: Overwrite = False,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Write a checkpoint as the GGUF adapter that llama.cpp loads (`--lora FILE`)."""
    _refuse_to_replace(gguf, overwrite=overwrite)
    if (directory := Path(checkpoint)).is_dir():
        _write_here(Export.ADAPTER_GGUF, directory, base, gguf)
    else:
        with daemon(url, token, ca_file) as client:
            whole = whole_id(client.list_checkpoints, checkpoint, "checkpoint")
            client.download_export(whole, Export.ADAPTER_GGUF, gguf)
    out.print(str(gguf), markup=False, soft_wrap=True)


@app.command("merged")
def export_merged(
    checkpoint: Adapter,
    to: Annotated[Path, typer.Argument(help="The file to write; for safetensors a directory.")],
    format_: Annotated[
        str, typer.Option("--format", help="gguf-q8_0, gguf-f16 or safetensors.")
    ] = "gguf-q8_0",
    base: Base = None,
    base_gguf: Annotated[
        Path | None,
        typer.Option(
            help="The base's own GGUF file, for what it says of the tokenizer; by default one that "
            "lies beside the base."
        ),
    ] = None,
    overwrite: Overwrite = False,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Write base and adapter as one model: for llama.cpp and Ollama, or as safetensors."""
    with explained():
        export = _MERGED.get(format_) or find_export(f"merged-{format_}")
    if export is None:
        raise typer.BadParameter(
            f"{format_!r} is none of {', '.join(_MERGED)}", param_hint="--format"
        )
    _refuse_to_replace(to, overwrite=overwrite)
    if (directory := Path(checkpoint)).is_dir():
        _write_here(export, directory, base, to, base_gguf=base_gguf)
    elif base_gguf is not None:
        raise typer.BadParameter(
            "the daemon takes the one beside its base; put it there, or name a directory that "
            "`sage-sleep download` wrote",
            param_hint="--base-gguf",
        )
    else:
        with daemon(url, token, ca_file) as client, _room_beside(to) as room:
            whole = whole_id(client.list_checkpoints, checkpoint, "checkpoint")
            file = client.download_export(whole, export, room / export.value)
            _put(_unpacked(file) if export is Export.MERGED_SAFETENSORS else file, to)
    out.print(str(to), markup=False, soft_wrap=True)


_MERGED = {
    "gguf-q8_0": Export.MERGED_Q8_0,
    "gguf-f16": Export.MERGED_F16,
    "safetensors": Export.MERGED_SAFETENSORS,
}


def _refuse_to_replace(target: Path, *, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        fail(f"{target} is there already; name another, or replace it with --overwrite.")


def _write_here(
    export: Export, adapter: Path, base: Path | None, to: Path, *, base_gguf: Path | None = None
) -> None:
    """Make an export of a directory, without any daemon."""
    from app.exports.making import make  # noqa: PLC0415  # numpy and gguf

    with explained(), translated_file_errors(), _room_beside(to) as room:
        found = find_base_model(str(base or read_settings().effective_base_model))
        made = room / "made"
        if export is Export.MERGED_SAFETENSORS:
            made.mkdir()
        make(export, adapter.resolve(), found, made, base_gguf=base_gguf)
        _put(made, to)


@contextmanager
def _room_beside(target: Path) -> Iterator[Path]:
    """A directory on the target's own disk, gone at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as room:
        yield Path(room)


def _put(made: Path, target: Path) -> None:
    """Give what was made its place; what was there goes in one rename."""
    if target.exists() and (target.is_dir() or made.is_dir()):
        target.rename(made.with_name("replaced"))
    made.replace(target)


def _unpacked(archive: Path) -> Path:
    """The one directory that a tar of safetensors holds."""
    with tarfile.open(archive, "r:") as tar:
        tar.extractall(archive.parent, filter="data")
    return archive.with_suffix("")
