"""Brings what is live of an instance into a running Ollama.

What Ollama holds is asked of it each time, so that one that was away, was emptied or was told
something else by a person is brought up to date. Must not know what else wants a checkpoint's
files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.artifacts.bases import find_base_model
from app.artifacts.exports import MadeExport
from app.clock import utc_now
from app.db.engine import Database
from app.domain.export import Export, ExportOrder
from app.errors import RuntimeUnavailable
from app.log import get_logger
from app.services.bringing import Brought, LiveModel, bring_live
from app.services.exporting import order_export
from app.services.file_guard import FileGuard
from app.services.registry import CheckpointView

if TYPE_CHECKING:
    from app.runtimes.ollama import Ollama, PushedModel

_log = get_logger(__name__)


class OllamaPush:
    """Brings instances' live checkpoints into one Ollama.

    Args:
        url: Where it listens; None where there is none.
        root: Where checkpoints lie.
        guard: Looks at their files first.
        get_export: Makes of a checkpoint what Ollama reads.
    """

    def __init__(
        self,
        db: Database,
        *,
        url: str | None,
        root: Path,
        guard: FileGuard,
        get_export: Callable[[ExportOrder], MadeExport],
    ) -> None:
        self._db = db
        self._url = url
        self._root = root
        self._guard = guard
        self._get_export = get_export

    def push(self, slug: str) -> Brought:
        """Let Ollama's `<slug>:latest` be what is live of an instance.

        Raises: InstanceNotFound; RuntimeUnavailable, RuntimeRefuses; TemplateNotTranslatable,
            ChatTemplateMissing; what is wrong with the checkpoint's files, or keeps Ollama's from
            being made; ExportNotReady.
        """
        if self._url is None:
            raise RuntimeUnavailable("No Ollama is named: SAGE_OLLAMA_URL is off.")
        return bring_live(self._db, slug, partial(self._bring, self._url))

    def _bring(self, url: str, live: LiveModel) -> Brought:
        from app.runtimes import ollama as runtime  # noqa: PLC0415  # httpx, for who has an Ollama

        slug = live.instance
        with runtime.Ollama(url) as ollama:
            if live.checkpoint is None:
                runtime.withdraw(ollama, slug)
                return Brought(model=None, checkpoint_id=None)
            view = live.checkpoint
            name = runtime.model_name(slug, view.cycle_number, view.row.id)
            if not runtime.is_live(ollama, slug, name, system=live.system_prompt):
                make = partial(self._model, ollama, live, view, name)
                runtime.make_live(
                    ollama, slug, name, make, system=live.system_prompt, keep=live.keep
                )
                _log.info("ollama.pushed", instance=slug, model=name)
        return Brought(model=name, checkpoint_id=view.row.id)

    def _model(
        self, ollama: Ollama, live: LiveModel, view: CheckpointView, name: str
    ) -> PushedModel:
        """All that Ollama needs to make the model."""
        from app.runtimes.chat_form import read_chat_form  # noqa: PLC0415
        from app.runtimes.ollama import PushedModel  # noqa: PLC0415
        from app.runtimes.ollama_template import translate  # noqa: PLC0415

        self._guard.require_intact(view.row, now=utc_now())
        base = self._base_in(ollama, live)
        export = Export.MERGED_Q8_0 if base is None else Export.ADAPTER_GGUF
        order = order_export(self._db, view, export, root=self._root)
        translated = translate(read_chat_form(find_base_model(order.base_model)))
        made = self._get_export(order)
        return PushedModel(
            name=name,
            file=_only_file(made),
            sha256=made.file.sha256,
            system=live.system_prompt,
            template=translated.template,
            stops=translated.stops,
            base=base,
        )

    @staticmethod
    def _base_in(ollama: Ollama, live: LiveModel) -> str | None:
        """Ollama's name of the base, where it still takes an adapter over it."""
        name = (live.model_name or "").removeprefix("ollama:")
        return name if name and ollama.takes_adapters() and name in ollama.list_digests() else None


def _only_file(made: MadeExport) -> Path:
    """The file of an export that is one, and no archive of several."""
    (file,) = made.content.parts
    if not isinstance(file, Path):
        raise TypeError("an archive is no model's file")
    return file
