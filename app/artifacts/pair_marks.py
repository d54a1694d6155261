"""The marks by which a data directory knows its database, and a checkpoints' directory too.

    <data directory>/pair-id           the id that the database holds as well
    <checkpoints>/.pair-id             the same, since checkpoints may lie on a disk of their own

Knows no SQL: whoever asks says which id belongs there.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from app.artifacts.disk import sync, translated_file_errors
from app.errors import CheckpointsNotThere

DIRECTORY_MARK = "pair-id"
CHECKPOINTS_MARK = ".pair-id"


def read_directory_mark(data_dir: Path) -> str | None:
    """The id that a data directory holds; None for none. Raises: CheckpointsNotThere."""
    return _read(data_dir / DIRECTORY_MARK)


def read_checkpoints_mark(root: Path) -> str | None:
    """The id that a checkpoints' directory holds; None for none, or without the directory.

    Raises: CheckpointsNotThere where it cannot be looked at.
    """
    return _read(root / CHECKPOINTS_MARK)


def write_marks(data_dir: Path, root: Path, pair_id: str) -> None:
    """Mark both directories, durably; the checkpoints' is made where there is none.

    Raises: CheckpointsNotThere, DiskFull, DirectoryReadOnly.
    """
    if root.is_symlink() and not root.exists():
        raise CheckpointsNotThere(f"{root} leads to {root.readlink()}, which is not there.")
    with translated_file_errors():
        root.mkdir(parents=True, exist_ok=True)
        _write(root / CHECKPOINTS_MARK, pair_id)
        _write(data_dir / DIRECTORY_MARK, pair_id)


def remove_marks(data_dir: Path, root: Path) -> None:
    """Let both directories belong to no database. Raises: DirectoryReadOnly."""
    with translated_file_errors():
        (data_dir / DIRECTORY_MARK).unlink(missing_ok=True)
        with contextlib.suppress(NotADirectoryError):
            (root / CHECKPOINTS_MARK).unlink(missing_ok=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise CheckpointsNotThere(f"{path} cannot be read now: {error.strerror}.") from error


def _write(path: Path, pair_id: str) -> None:
    staged = path.with_name(f"{path.name}.part")
    staged.write_text(f"{pair_id}\n", encoding="utf-8")
    sync(staged)
    staged.replace(path)
    sync(path.parent)
