"""Base models on disk: where one lies, without any network, torch or the hub's own package.

A few looks at directories, so that the daemon may ask before it starts a cycle, and whenever it
looks at an instance. What a base is (`app.training.models`) and how one is fetched
(`app.training.fetching`) is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from app.errors import BaseModelNotFound

WEIGHT_PATTERNS = ("*.safetensors", "*.bin")
TOKENIZER_PATTERNS = ("tokenizer*", "vocab*", "*.model", "*.tiktoken")
CONFIG_FILE = "config.json"
FETCHED_MARKER = "sage_model.json"
"""Beside a base that was fetched and converted here: what its own files are."""
HINT = "run `sage-sleep model fetch` or set SAGE_BASE_MODEL to a directory or a hub id"


def find_base_model(base_model: str) -> Path:
    """The directory that holds a base model's files.

    Args:
        base_model: A directory, or a hub id whose snapshot is in the hub's cache.

    Raises:
        BaseModelNotFound: Neither is there, or it holds no configuration or no weights.
    """
    path = Path(base_model).expanduser()
    if not path.is_dir():
        if not is_hub_id(base_model):
            raise BaseModelNotFound(f"no base model at {base_model!r}: {HINT}")
        path = _find_snapshot(base_model)
    if not (path / CONFIG_FILE).is_file():
        raise BaseModelNotFound(f"{path} holds no {CONFIG_FILE}: {HINT}")
    if not weight_files(path):
        raise BaseModelNotFound(f"{path} holds no *.safetensors or *.bin weights: {HINT}")
    return path


def find_tokenizer(base_model: str) -> Path:
    """The same directory, where it holds something that may be a tokenizer.

    Raises: BaseModelNotFound.
    """
    path = find_base_model(base_model)
    if not any(found for pattern in TOKENIZER_PATTERNS for found in path.glob(pattern)):
        raise BaseModelNotFound(f"{path} holds no tokenizer: {HINT}")
    return path


def find_fault(base_model: str) -> str | None:
    """Why no cycle can start from this base, and what to do; None where it is there.

    The words hold no path: they stand where any reader of an instance may look.
    """
    try:
        find_base_model(base_model)
    except BaseModelNotFound:
        command = "sage-sleep model fetch" + (f" {base_model}" if is_hub_id(base_model) else "")
        return (
            f"the base model {base_name(base_model)} is not on this machine: run `{command}`, or "
            "name one that is: SAGE_BASE_MODEL, or `sage-sleep model use` for one instance"
        )
    return None


def base_name(base_model: str) -> str:
    """A hub id as it is, a directory by its last part: the name without this machine's paths."""
    return base_model if is_hub_id(base_model) else Path(base_model).name


def is_hub_id(base_model: str) -> bool:
    """Whether it has the form of a hub id, `owner/name`; a directory may have it, too."""
    parts = base_model.split("/")
    return len(parts) == 2 and all(parts) and parts[0] not in {".", "..", "~"}


def weight_files(path: Path) -> list[Path]:
    """The weights in order of name; safetensors alone where there are both kinds."""
    for pattern in WEIGHT_PATTERNS:
        if files := sorted(path.glob(pattern)):
            return files
    return []


def find_base_gguf(path: Path) -> Path | None:
    """The base's own GGUF file, where one alone lies beside its configuration."""
    found = sorted(path.glob("*.gguf"))
    return found[0] if len(found) == 1 else None


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Where the hub's package keeps what it downloaded, by the variables that it reads."""
    home = environment.get("HF_HOME") or str(
        Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    )
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named or str(Path(home) / "hub"))).expanduser()


def _find_snapshot(hub_id: str) -> Path:
    """The snapshot of a hub id's main branch, which the hub's package lays out so."""
    cached = hub_cache(os.environ) / f"models--{hub_id.replace('/', '--')}"
    try:
        revision = (cached / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise BaseModelNotFound(f"{hub_id} is not in the hub's cache: {HINT}") from error
    snapshot = cached / "snapshots" / revision
    if not revision or not snapshot.is_dir():
        raise BaseModelNotFound(f"{hub_id} is not in the hub's cache: {HINT}")
    return snapshot
