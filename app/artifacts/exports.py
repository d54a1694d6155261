"""What was made of checkpoints for other runtimes: kept beside them, whole or not at all.

    <root>/.exports/<instance>/<number>-<ulid>/<export>/   its files, and export.json
    <root>/.exports/.bases/<place>/base-q8_0.gguf           a base alone, and export.json
    <root>/.exports/.making/<random>/                       one that is being made

All of it can be made again, so it is in no backup, and the least used goes when it is too much;
with a checkpoint goes what was made of it. Knows no SQL, torch or HTTP, nor how an export is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.artifacts.archive import Archive, build_archive
from app.artifacts.bases import find_base_gguf, find_base_model
from app.artifacts.directories import EXPORTS_DIRECTORY, describe_file
from app.artifacts.disk import sync_tree, translated_file_errors
from app.domain.checkpoint import CheckpointFile
from app.domain.export import BASES, EXPORT_VERSION, Export, ExportOrder
from app.errors import BaseModelNotFound

MAKING_DIRECTORY = ".making"
FACTS_FILE = "export.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeExport:
    """An export that is there, as it is sent."""

    content: Archive
    file: CheckpointFile


def key_of(order: ExportOrder) -> str:
    """What an export was made of, hex: another key is another file.

    Raises: OSError: The base's files went away meanwhile.
    """
    own = order.base_gguf
    if own is None and order.export is not Export.ADAPTER_GGUF:
        with contextlib.suppress(BaseModelNotFound):
            own = find_base_gguf(find_base_model(order.base_model))
    seen: object = None if own is None else (own.name, own.stat().st_size, own.stat().st_mtime_ns)
    if order.export is Export.BASE_Q8_0:  # no checkpoint tells its fingerprint
        seen = sorted(
            (file.name, file.stat().st_size, file.stat().st_mtime_ns)
            for file in find_base_model(order.base_model).iterdir()
        )
    facts = (EXPORT_VERSION, order.export, order.adapter_sha256, order.base_sha256, seen)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def find_made(order: ExportOrder, key: str) -> MadeExport | None:
    """An export that was made of the same before and is whole; None where it must be made."""
    directory = _place(order)
    facts_file = directory / FACTS_FILE
    try:
        facts = json.loads(facts_file.read_text(encoding="utf-8"))
        files = [CheckpointFile(**file) for file in facts["files"]]
        whole = CheckpointFile(**facts["whole"])
        is_whole = facts["key"] == key and all(
            (directory / file.name).stat().st_size == file.size_bytes for file in files
        )
        if not is_whole:
            return None
        os.utime(facts_file)  # used now: others go first
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return MadeExport(content=_content(directory, order.export, files), file=whole)


@contextlib.contextmanager
def making(order: ExportOrder, key: str) -> Iterator[Path]:
    """Give an empty directory to make an export's files in; at the end they have their place.

    Raises: DiskFull, DirectoryReadOnly.
    """
    with translated_file_errors():
        room = order.root / EXPORTS_DIRECTORY / MAKING_DIRECTORY
        room.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=room))
        try:
            yield staged
            files = [describe_file(path) for path in sorted(staged.iterdir())]
            content = _content(staged, order.export, files)
            whole = CheckpointFile(
                name=order.export.value, size_bytes=content.size_bytes, sha256=content.sha256
            )
            facts = {"key": key, "whole": _plain(whole), "files": [_plain(file) for file in files]}
            (staged / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            sync_tree(staged)
            target = _place(order)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(staged.with_name(f"{staged.name}.replaced"))
            staged.rename(target)
        finally:
            for left in (staged, staged.with_name(f"{staged.name}.replaced")):
                shutil.rmtree(left, ignore_errors=True)


def sweep_exports(root: Path) -> None:
    """Delete what killed processes were making, and what was made of checkpoints that are gone."""
    kept = root / EXPORTS_DIRECTORY
    shutil.rmtree(kept / MAKING_DIRECTORY, ignore_errors=True)
    for made in kept.glob("*/*/"):
        if made.parent.name != BASES and not (root / made.relative_to(kept)).exists():
            shutil.rmtree(made, ignore_errors=True)


def let_go(root: Path, *, max_bytes: int, keep: ExportOrder) -> list[str]:
    """Delete the least used exports while all are more than `max_bytes`; returns their names.

    The one that was just made stays, however large it is.
    """
    kept = _place(keep)
    found = [
        (facts.stat().st_mtime_ns, facts.parent)
        for facts in (root / EXPORTS_DIRECTORY).glob(f"*/*/*/{FACTS_FILE}")
    ]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for _, path in found}
    total, gone = sum(sizes.values()), []
    for _, path in sorted(found):
        if total <= max_bytes or path == kept:
            continue
        shutil.rmtree(path, ignore_errors=True)
        total -= sizes[path]
        gone.append(str(path.relative_to(root / EXPORTS_DIRECTORY)))
    return gone


def _place(order: ExportOrder) -> Path:
    return order.root / EXPORTS_DIRECTORY / order.checkpoint / order.export.value


def _content(directory: Path, export: Export, files: list[CheckpointFile]) -> Archive:
    if export is Export.MERGED_SAFETENSORS:
        return build_archive(directory, export.value.removesuffix(".tar"), files)
    (file,) = files
    return Archive(parts=(directory / file.name,), sizes=(file.size_bytes,))


def _plain(file: CheckpointFile) -> dict[str, str | int]:
    return {"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256}
