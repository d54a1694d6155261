"""Brings what is live of an instance into a running vLLM, and into the directory it reads from."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from app.artifacts.disk import translated_file_errors
from app.clock import utc_now
from app.db.engine import Database
from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE
from app.errors import RuntimeUnavailable
from app.log import get_logger
from app.services.bringing import Brought, LiveModel, bring_live
from app.services.file_guard import FileGuard

_log = get_logger(__name__)


class VllmPush:
    """Brings instances' live checkpoints into one vLLM.

    Args:
        url: Where it listens; None where there is none.
        directory: That it reads adapters from.
        root: Where checkpoints lie.
        guard: Looks at their files first.
    """

    def __init__(
        self, db: Database, *, url: str | None, directory: Path, root: Path, guard: FileGuard
    ) -> None:
        self._db = db
        self._url = url
        self._directory = directory
        self._root = root
        self._guard = guard

    def push(self, slug: str) -> Brought:
        """Let vLLM serve what is live of an instance, as `<instance>@<cycle>`.

        At the bare base there is nothing to serve but the base, which vLLM has.

        Raises: InstanceNotFound; RuntimeUnavailable, RuntimeRefuses; DiskFull, DirectoryReadOnly;
            what is wrong with the checkpoint's files.
        """
        if self._url is None:
            raise RuntimeUnavailable("No vLLM is named: SAGE_VLLM_URL is off.")
        return bring_live(self._db, slug, partial(self._bring, self._url))

    def _bring(self, url: str, live: LiveModel) -> Brought:
        from app.runtimes.vllm import Vllm, make_live  # noqa: PLC0415  # httpx, for who has a vLLM

        view = live.checkpoint
        if view is None:
            return Brought(model=None, checkpoint_id=None)
        self._guard.require_intact(view.row, now=utc_now())
        files = [self._root / view.row.name / name for name in (CONFIG_FILE, ADAPTER_FILE)]
        with Vllm(url) as vllm, translated_file_errors():
            name, is_new = make_live(
                vllm, live.instance, view.cycle_number, files, directory=self._directory.resolve()
            )
        if is_new:
            _log.info("vllm.pushed", instance=live.instance, model=name)
        return Brought(model=name, checkpoint_id=view.row.id)
