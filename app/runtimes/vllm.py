"""vLLM's routes for adapters, and the directory that it reads them from.

An adapter gets a name of its own each time, `<instance>@<cycle>`: loaded again under an old name it
would be read from the disk at every step, as is reported, and kept answers would mix. vLLM reads
files on its own machine, so they lie as real files in a directory that it may also look names up
in by itself (`lora_filesystem_resolver`); a configuration names the base as vLLM was told it, to
the letter. Must not know the database.

https://docs.vllm.ai/en/latest/features/lora.html
"""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.domain.checkpoint import CONFIG_FILE
from app.errors import RuntimeRefuses
from app.runtimes.connection import MAX_SAID, Connection, read_object

TIMEOUT_SECONDS = 120.0
"""vLLM answers when an adapter is on the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a vLLM serves.

    Attributes:
        base: Its `--model`, to the letter.
        adapters: Names of the adapters that are loaded.
    """

    base: str
    adapters: tuple[str, ...]


class Vllm(Connection):
    """One running vLLM.

    Every method raises RuntimeUnavailable where none answers, RuntimeRefuses where it refuses.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, name="vLLM", setting="SAGE_VLLM_URL", timeout_seconds=TIMEOUT_SECONDS)

    def look(self) -> Served:
        """What it serves now."""
        response = self.send("GET", "/v1/models")
        try:
            models: list[Mapping[str, Any]] = response.json()["data"]
            base = next(one for one in models if not one.get("parent"))
            return Served(
                base=str(base.get("root") or base["id"]),
                adapters=tuple(str(one["id"]) for one in models if one.get("parent")),
            )
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise RuntimeRefuses(f"What answers at {self.url} lists no models as vLLM.") from error

    def load(self, name: str, path: Path) -> None:
        """Load an adapter under a new name."""
        self._change("load", {"lora_name": name, "lora_path": str(path)})

    def unload(self, name: str) -> None:
        """Let an adapter go."""
        self._change("unload", {"lora_name": name})

    def _change(self, verb: str, body: Mapping[str, str]) -> None:
        response = self.send("POST", f"/v1/{verb}_lora_adapter", json=dict(body))
        if response.status_code == httpx.codes.NOT_FOUND and "detail" in read_object(response):
            raise RuntimeRefuses(
                f"vLLM at {self.url} has no route to {verb} adapters: start it with "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora."
            )
        if response.is_error:
            told = read_object(response)
            said = told.get("message") or told.get("error") or response.reason_phrase
            words = said.get("message") if isinstance(said, dict) else said
            raise RuntimeRefuses(f"vLLM does not {verb} the adapter: {str(words)[:MAX_SAID]}")


def make_live(
    vllm: Vllm, slug: str, number: int, files: Sequence[Path], *, directory: Path
) -> tuple[str, bool]:
    """Let vLLM serve an adapter beside the one before it; its name, and whether anything was done.

    Args:
        number: Of the cycle that made it.
        files: The adapter's, `adapter_config.json` among them.
        directory: That vLLM reads adapters from.
    """
    served = vllm.look()
    name = adapter_name(slug, number)
    is_placed = place(files, directory / name, base=served.base)
    if name in served.adapters and is_placed:  # by another data directory, of other weights
        vllm.unload(name)
    is_new = is_placed or name not in served.adapters
    if is_new:
        vllm.load(name, directory / name)
    known = {*served.adapters, *(path.name for path in directory.iterdir())}
    ours = {one: n for one in known if (n := number_in(one, slug)) is not None}
    others = sorted(ours.keys() - {name}, key=lambda one: -ours[one])
    for old in others[1:]:  # sessions that still talk to the one before go on
        if old in served.adapters:
            vllm.unload(old)
        shutil.rmtree(directory / old, ignore_errors=True)
    return name, is_new


def place(files: Sequence[Path], target: Path, *, base: str) -> bool:
    """Copy an adapter's files, whole or not at all, unless they are there; whether they were not.

    Its configuration names the base as vLLM was told it.
    """
    wanted = {file.name: file for file in files}
    config = json.loads(wanted.pop(CONFIG_FILE).read_text(encoding="utf-8"))
    text = json.dumps({**config, "base_model_name_or_path": base}, indent=2) + "\n"
    if _holds(target, wanted, text):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".placing-", dir=target.parent) as room:
        staged = Path(room) / target.name
        staged.mkdir()
        (staged / CONFIG_FILE).write_text(text, encoding="utf-8")
        for file in wanted.values():
            shutil.copyfile(file, staged / file.name)
        if target.exists():
            target.rename(Path(room) / "replaced")
        staged.rename(target)
    return True


def _holds(target: Path, files: Mapping[str, Path], config: str) -> bool:
    """Whether a directory has these files and this configuration already, to the byte."""
    try:
        return (target / CONFIG_FILE).read_text(encoding="utf-8") == config and all(
            filecmp.cmp(file, target / name, shallow=False) for name, file in files.items()
        )
    except (OSError, UnicodeDecodeError):
        return False


def adapter_name(slug: str, number: int) -> str:
    """What a cycle's adapter is called in vLLM."""
    return f"{slug}@{number}"


def number_in(name: str, slug: str) -> int | None:
    """The cycle's number in an adapter's name; None of one that is not this instance's."""
    found = re.fullmatch(rf"{re.escape(slug)}@(\d{{1,9}})", name, re.ASCII)
    return int(found[1]) if found else None
