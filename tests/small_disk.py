"""A disk of a few megabytes of its own, for tests that fill it or make it read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, *, megabytes: int, inodes: int = 1000) -> Iterator[Path]:
    """Mount a disk at an empty directory; only root may, so that others skip and say so."""
    if not mount_disk(path, megabytes=megabytes, inodes=inodes):
        pytest.skip(f"only root may mount a small disk (uid {os.geteuid()})")
    try:
        yield path
    finally:
        unmount_disk(path)


def mount_disk(path: Path, *, megabytes: int, inodes: int) -> bool:
    """Mount a disk at an empty directory; returns whether this user may."""
    path.mkdir()
    size = f"size={megabytes}m,nr_inodes={inodes}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)], capture_output=True, check=False
    )
    return mounted.returncode == 0


def unmount_disk(path: Path) -> None:
    """Take a mounted disk away, whoever still uses it."""
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def make_read_only(path: Path) -> None:
    """Make a mounted disk read-only, for root too."""
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)


def fill_up(path: Path) -> Path:
    """Leave no byte free; deleting the file that is returned frees all. May be called again."""
    filler = path / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    if file.write(b"\0" * size) < size:
                        break
            except OSError:
                continue
    return filler
