"""Asks a running Ollama what the models are whose names no table knows.

Ollama keeps a model's origin in what it shows of it: the model that it was made from, and the
metadata of its file. Only what names the same weights is believed: the model under a Modelfile that
adds no adapter, and the repository that a file came from. What a file says of its `base_model` is
an ancestor of it, and its `name` is often still that of the model that was tuned.

Held by no transaction and by nobody's request: a post waits for none of it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from app.clock import utc_now
from app.db.engine import Database
from app.domain.model_names import HUB_ID, ModelTable
from app.errors import StorageError
from app.log import get_logger
from app.services.instances import list_unknown_models, settle_base

ASK_AGAIN_SECONDS = 600.0
"""Between two questions about one name. A guess: people pull models now and then."""

TIMEOUT_SECONDS = 2.0
MAX_ASKED = 20
"""Names in one round; the others wait for the next."""

MAX_ANSWER_BYTES = 4 << 20
"""Of an answer: a licence, a template and metadata without the vocabulary take some 100 KB."""

_FROM = re.compile(r"^FROM\s+(\S+)\s*$", re.MULTILINE)
_ADAPTER = re.compile(r"^ADAPTER\s", re.MULTILINE)
_SOURCES = (
    "general.source.huggingface.repository",
    "general.source.repo_url",
    "general.source.url",
    "general.repo_url",
)
_HUB_URL = re.compile(r"^(?:https?://(?:huggingface\.co|hf\.co)/)?([^/\s]+/[^/\s]+?)/?$")

_log = get_logger(__name__)


class ModelWatch:
    """Finds the bases of instances whose model is known by a name alone."""

    def __init__(self, db: Database, *, url: str | None) -> None:
        self._db = db
        self._url = url
        self._asked: dict[str, float] = {}

    def look(self) -> None:
        """Ask about every name that no table knows, and keep what is known then."""
        if self._url is None:
            return
        try:
            unknown = list_unknown_models(self._db)
            due = self._list_due(set(unknown.values()))
            for name in due:
                base = self._ask(name)
                for slug in (slug for slug, model in unknown.items() if model == name):
                    self._settle(slug, name, base)
        except StorageError as error:
            _log.warning("models.storage_unavailable", error=error.message)

    def _list_due(self, names: set[str]) -> list[str]:
        now = time.monotonic()
        self._asked = {name: at for name, at in self._asked.items() if name in names}
        due = [n for n in sorted(names) if now - self._asked.get(n, -1e9) >= ASK_AGAIN_SECONDS]
        self._asked |= dict.fromkeys(due[:MAX_ASKED], now)
        return due[:MAX_ASKED]

    def _settle(self, slug: str, name: str, base: str | None) -> None:
        if base is not None and settle_base(self._db, slug, name, base, now=utc_now()):
            _log.info("models.base_found", instance=slug, model=name, base_model=base)

    def _ask(self, name: str) -> str | None:
        """What Ollama knows of a name; None where none runs, or it does not know it either."""
        import httpx  # noqa: PLC0415  # only who has such a name to ask for pays for it

        try:
            shown = show_model(f"{self._url}/api/show", name.removeprefix("ollama:"))
        except (httpx.HTTPError, ValueError) as error:
            _log.debug("models.not_told", model=name, error=type(error).__name__)
            return None
        return find_base(shown, self._db.defaults.models)


def show_model(url: str, name: str) -> Mapping[str, Any]:
    """Ask for what Ollama shows of a model. Raises: httpx.HTTPError, ValueError."""
    import httpx  # noqa: PLC0415  # as above

    body = bytearray()
    with (
        httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client,
        client.stream("POST", url, json={"model": name}) as response,
    ):
        response.raise_for_status()
        for part in response.iter_bytes():
            body += part
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError("the answer has no end")
    shown = json.loads(bytes(body))
    if not isinstance(shown, dict):
        raise ValueError("the answer is no object")  # noqa: TRY004  # one kind of failure
    return shown


def find_base(shown: Mapping[str, Any], models: ModelTable) -> str | None:
    """The base of a model by what Ollama shows of it; None where that does not say."""
    modelfile = shown.get("modelfile")
    if isinstance(modelfile, str) and _ADAPTER.search(modelfile):
        return None
    return next((base for name in _names_of(shown) if (base := models.find(name))), None)


def _names_of(shown: Mapping[str, Any]) -> Iterator[str]:
    """What names the same weights, the surest first."""
    details, info = shown.get("details"), shown.get("model_info")
    if isinstance(details, dict) and isinstance(details.get("parent_model"), str):
        parent = details["parent_model"].strip()
        if parent and not parent.startswith("/"):
            yield parent
    modelfile = shown.get("modelfile")
    for origin in _FROM.findall(modelfile) if isinstance(modelfile, str) else ():
        if not origin.startswith(("/", ".", "~")) and "\\" not in origin and "sha256" not in origin:
            yield origin
    sources = [info.get(key) for key in _SOURCES] if isinstance(info, dict) else []
    for source in sources:
        found = _HUB_URL.match(source) if isinstance(source, str) else None
        if found and HUB_ID.fullmatch(found.group(1)):
            yield f"hf.co/{found.group(1)}"  # the model of a file that another has made of it
            if not found.group(1).lower().endswith("gguf"):
                yield found.group(1)
