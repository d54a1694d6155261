"""What is measured once and kept: files of a base model's directory, written whole or not at all.

    <directory>/<sha256 of the base>/<name>

A file that is absent or damaged is made again; nothing here is the only copy of anything. Must not
know what is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

KEPT_FILES = 64
"""Measures of one base; the oldest go first. An adapter's take about 10 KB. A guess."""

KEPT_OF_SESSIONS = 8
"""References asked as sessions ask, some 7 MB each; prompts that hold the date have new ones each
night. What is read counts as new. A guess."""


class KeptFiles:
    """The kept files of one base.

    Args:
        directory: Made when absent; None keeps nothing.
        base_sha256: The base that the files belong to.
    """

    def __init__(self, directory: Path | None, base_sha256: str) -> None:
        self._directory = None if directory is None else directory / base_sha256

    def find_json(self, name: str) -> dict[str, Any] | None:
        """What was kept under a name, or None."""
        if self._directory is None:
            return None
        try:
            found = json.loads((self._directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def keep_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep plain JSON values under a name."""
        self._keep(name, (json.dumps(value, ensure_ascii=False) + "\n").encode())

    def find_tensors(self, name: str) -> dict[str, torch.Tensor] | None:
        """What was kept under a name, or None."""
        if self._directory is None or not (self._directory / name).is_file():
            return None
        try:
            stored = load_file(str(self._directory / name))
        except (OSError, SafetensorError):
            return None
        with contextlib.suppress(OSError):
            os.utime(self._directory / name)
        # Copied: in the file they begin anywhere, and products of such rows may round differently
        # from those of the rows that were kept.
        return {key: tensor.clone() for key, tensor in stored.items()}

    def keep_tensors(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep tensors under a name."""
        if self._directory is None:
            return
        # Not by a file of safetensors' own: the temporary directory may be full.
        self._keep(name, save({key: value.contiguous().cpu() for key, value in tensors.items()}))

    def _keep(self, name: str, content: bytes) -> None:
        """Write and rename. A full disk loses the shortcut, not the cycle."""
        if self._directory is None:
            return
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            # A name of its own: a cycle and `calibrate` may keep the same file at once.
            handle, staged = tempfile.mkstemp(prefix=".part-", dir=self._directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    # Before the rename: else a power cut may leave the name with nothing in it.
                    os.fsync(file.fileno())
                Path(staged).replace(self._directory / name)
            except OSError:
                Path(staged).unlink(missing_ok=True)
                raise
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        if self._directory is None:
            return
        # Not the references that are asked bare: one file of a base, and dear to make again.
        for names, most in (("*.json", KEPT_FILES), ("session-*.safetensors", KEPT_OF_SESSIONS)):
            files = sorted(self._directory.glob(names), key=lambda file: file.stat().st_mtime_ns)
            for file in files[:-most]:
                file.unlink(missing_ok=True)
