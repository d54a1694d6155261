"""Ollama's routes, as far as a checkpoint needs them, and the way that one takes into it.

A checkpoint becomes a model of its own, `<instance>:<checkpoint>`; what is live is a copy of one of
them under `<instance>:latest`, so that a promotion and a rollback are a copy and load nothing. What
Ollama holds is asked of it, so that nothing has to be remembered here. Must not know the database.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.errors import RuntimeRefuses
from app.runtimes.connection import MAX_SAID, Connection, read_object

ADAPTERS_GONE = (0, 34, 1)
"""From this version on `adapters` in `/api/create` is answered 400."""

TIMEOUT_SECONDS = 30.0
CREATE_SECONDS = 3600.0
"""Ollama reads a model of some GB when it makes one."""

PIECE_BYTES = 1 << 20
LATEST = "latest"

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class PushedModel:
    """What Ollama is to make of a checkpoint.

    Attributes:
        name: Such as `sprout:3-01m8ds8gy0`.
        file: The merged model, or the adapter where `base` is named.
        sha256: Of the file.
        base: Ollama's own name of the base, for an adapter over it; None for a merged model.
        template: In Ollama's language; None leaves the base's.
    """

    name: str
    file: Path
    sha256: str
    system: str
    template: str | None
    stops: Sequence[str] = ()
    base: str | None = None


class Ollama(Connection):
    """One running Ollama.

    Every method raises RuntimeUnavailable where none answers, RuntimeRefuses where it refuses.
    """

    def __init__(self, url: str) -> None:
        super().__init__(
            url, name="Ollama", setting="SAGE_OLLAMA_URL", timeout_seconds=TIMEOUT_SECONDS
        )

    def takes_adapters(self) -> bool:
        """Whether it makes a model of a base and an adapter."""
        said = self._ask("GET", "/api/version").get("version")
        found = _VERSION.match(said) if isinstance(said, str) else None
        return found is not None and tuple(map(int, found.groups())) < ADAPTERS_GONE

    def list_digests(self) -> dict[str, str]:
        """The digest of every model that it holds, by name."""
        models = self._ask("GET", "/api/tags").get("models") or []
        return {str(one["name"]): str(one.get("digest", "")) for one in models if "name" in one}

    def read_system(self, name: str) -> str | None:
        """The system prompt that a model was made with; None where it has or tells none."""
        said = self._ask("POST", "/api/show", json={"model": name}).get("system")
        return said if isinstance(said, str) and said else None

    def make(self, model: PushedModel) -> None:
        """Hand over the file, unless it is there, and make the model."""
        self._upload(model)
        files = {model.file.name: f"sha256:{model.sha256}"}
        body: dict[str, Any] = {"model": model.name, "system": model.system, "stream": False}
        body |= {"files": files} if model.base is None else {"from": model.base, "adapters": files}
        if model.template is not None:
            body["template"] = model.template
        if model.stops:
            body["parameters"] = {"stop": list(model.stops)}
        self._ask("POST", "/api/create", json=body, timeout=CREATE_SECONDS)

    def copy(self, source: str, target: str) -> None:
        """Give a model a second name; what had that name before loses it."""
        self._ask("POST", "/api/copy", json={"source": source, "destination": target})

    def remove(self, name: str) -> None:
        """Take a name away; the file goes with its last one."""
        self._ask("DELETE", "/api/delete", json={"model": name})

    def _upload(self, model: PushedModel) -> None:
        path = f"/api/blobs/sha256:{model.sha256}"
        if self.send("HEAD", path).status_code == httpx.codes.OK:
            return
        size = str(model.file.stat().st_size)
        self._ask("POST", path, content=_pieces(model.file), headers={"Content-Length": size})

    def _ask(self, method: str, path: str, **how: Any) -> Mapping[str, Any]:
        response = self.send(method, path, **how)
        said = read_object(response)
        if response.is_error or said.get("error"):
            words = str(said.get("error") or response.reason_phrase)[:MAX_SAID]
            raise RuntimeRefuses(f"Ollama answers {method} {path.partition(':')[0]}: {words}")
        return said


def is_live(ollama: Ollama, slug: str, name: str, *, system: str) -> bool:
    """Whether `<slug>:latest` is this model already, and speaks under this system prompt."""
    held = ollama.list_digests()
    is_latest = name in held and held.get(f"{slug}:{LATEST}") == held[name]
    return is_latest and ollama.read_system(name) in {None, system}


def make_live(
    ollama: Ollama,
    slug: str,
    name: str,
    model: Callable[[], PushedModel],
    *,
    system: str,
    keep: int,
) -> None:
    """Let `<slug>:latest` be the model of this name.

    Args:
        model: What it is made of; asked for only where Ollama does not hold it so.
        system: The prompt that it shall speak under.
        keep: Of the instance's models beside the live one, so many of the newest stay.
    """
    if name not in ollama.list_digests() or ollama.read_system(name) not in {None, system}:
        ollama.make(model())
    ollama.copy(name, f"{slug}:{LATEST}")
    held = ollama.list_digests()
    ours = {one: number for one in held if (number := number_in(one, slug)) is not None}
    others = sorted(ours.keys() - {name}, key=lambda one: -ours[one])
    for old in others[keep:]:
        ollama.remove(old)


def withdraw(ollama: Ollama, slug: str) -> None:
    """Take `<slug>:latest` away where it is one of ours: nobody shall talk to what was taken back.

    A model of that name which a person made stays.
    """
    held = ollama.list_digests()
    latest = held.get(f"{slug}:{LATEST}")
    if latest in {digest for name, digest in held.items() if number_in(name, slug) is not None}:
        ollama.remove(f"{slug}:{LATEST}")


def model_name(slug: str, number: int, checkpoint_id: str) -> str:
    """The name of a checkpoint's model: by its cycle's number, and what tells it apart."""
    return f"{slug}:{number}-{checkpoint_id[-8:].lower()}"


def number_in(name: str, slug: str) -> int | None:
    """The cycle's number in the name of a model of an instance; None of one that is not ours."""
    found = re.fullmatch(rf"{re.escape(slug)}:(\d{{1,9}})-[0-9a-z]{{8}}", name, re.ASCII)
    return int(found[1]) if found else None


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            yield piece
