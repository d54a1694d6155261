"""Who answers a chat now: from a `model`'s name to a running llama.cpp with what is live.

Each request asks anew what its name means, so that the first after a promotion or a rollback is
answered by what is live then; replies that are being written end where they began. A look every
half second, while something is loaded, has the next process ready before it is asked for, and ends
those that nobody needs: unused for long, or beside a cycle on a machine that is short of memory.
While a cycle trains, one thread writes replies: two beside a busy core spin, and cost sixteen times
the processor's time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from app.artifacts.bases import base_name, find_base_gguf, find_base_model
from app.artifacts.exports import MadeExport
from app.clock import utc_now
from app.db.engine import Database
from app.domain.chat import ModelName
from app.domain.export import Export, ExportOrder, order_base
from app.errors import (
    BaseGgufAbsent,
    BaseModelAbsent,
    BaseModelNotFound,
    BaseNotExportable,
    SageSleepError,
)
from app.log import get_logger
from app.runtimes.chat_form import read_special_tokens
from app.services.chatting import Answering, Spoken, find_spoken
from app.services.exporting import order_export
from app.services.file_guard import FileGuard
from app.worker.chat_servers import ChatServers, Loaded
from app.worker.memory import is_memory_short

LOOK_SECONDS = 0.5
TALKING_SECONDS = 60.0
"""Who was talked to so lately is talked to still: what replaces it is loaded before it is asked."""

_log = get_logger(__name__)


@dataclass(kw_only=True, slots=True)
class _Talk:
    """What a name meant when it was last asked for."""

    loaded: Loaded
    asked_at: float


class ChatDesk:
    """The daemon's one, alive from `start` to `stop`.

    Args:
        root: Where checkpoints lie.
        guard: Looks at their files before they are loaded.
        get_export: Makes of a checkpoint what llama.cpp reads.
        is_training: Whether a cycle's process runs now.
        is_memory_short: Whether that process may want for memory: what owes no reply then goes.
        idle_seconds: After which what nobody talks to is unloaded.
    """

    def __init__(
        self,
        db: Database,
        *,
        root: Path,
        guard: FileGuard,
        get_export: Callable[[ExportOrder], MadeExport],
        servers: ChatServers,
        is_training: Callable[[], bool],
        is_memory_short: Callable[[], bool] = is_memory_short,
        idle_seconds: float,
    ) -> None:
        self._db = db
        self._root = root
        self._guard = guard
        self._get_export = get_export
        self._servers = servers
        self._is_training = is_training
        self._is_memory_short = is_memory_short
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._talks: dict[ModelName, _Talk] = {}
        self._filled = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chat-desk", daemon=True)

    def start(self) -> None:
        """Begin to look after what is loaded."""
        self._thread.start()

    def stop(self) -> None:
        """End all chat processes."""
        self._stopping.set()
        self._filled.set()
        self._servers.stop()
        self._thread.join()

    def take(self, name: ModelName) -> Answering:
        """Who answers now; release it when the reply is whole or given up.

        Raises: as `find_spoken`; BaseModelAbsent, BaseGgufAbsent; what is wrong with the
            checkpoint's files, or keeps its adapter from being made; ExportNotReady;
            ChatNotInstalled, ChatEngineFailed, ChatOverloaded.
        """
        spoken = find_spoken(self._db, name)
        base_model, loaded = self._find_files(spoken)
        server = self._servers.take(loaded)
        with self._lock:
            self._talks[name] = _Talk(loaded=loaded, asked_at=time.monotonic())
        self._filled.set()
        return Answering(
            spoken=spoken,
            base=base_name(base_model),
            control_tokens=find_control_tokens(find_base_model(base_model)),
            url=server.url,
            key=server.key,
            release=partial(self._servers.give_back, server),
        )

    def _find_files(self, spoken: Spoken) -> tuple[str, Loaded]:
        """What must be loaded for somebody to answer, with the base model."""
        threads = 1 if self._is_training() else count_cores()
        if spoken.checkpoint is None:
            model = self._find_gguf(spoken.base_model)
            return spoken.base_model, Loaded(model=model, adapter=None, threads=threads)
        view = spoken.checkpoint
        order = order_export(self._db, view, Export.ADAPTER_GGUF, root=self._root)
        model = self._find_gguf(order.base_model)
        self._guard.require_intact(view.row, now=utc_now())
        loaded = Loaded(model=model, adapter=self._make(order), threads=threads)
        return order.base_model, loaded

    def _find_gguf(self, base_model: str) -> Path:
        """The base's own GGUF file, or one made of its weights.

        Raises: BaseModelAbsent; BaseGgufAbsent; ExportNotReady.
        """
        try:
            directory = find_base_model(base_model)
        except BaseModelNotFound as error:
            raise BaseModelAbsent(
                f"The base {base_name(base_model)} is not on this machine; fetch it "
                "(`sage-sleep model fetch`), then ask again."
            ) from error
        try:
            return find_base_gguf(directory) or self._make(order_base(self._root, base_model))
        except (BaseNotExportable, BaseModelNotFound) as error:
            raise BaseGgufAbsent(
                f"llama.cpp reads GGUF. Beside the configuration of {base_name(base_model)} lies "
                f"none, or more than one, and none can be made: {error} Put one there, of any "
                "precision."
            ) from error

    def _make(self, order: ExportOrder) -> Path:
        (file,) = self._get_export(order).content.parts
        if not isinstance(file, Path):
            raise TypeError("an archive is no adapter's file")
        return file

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._filled.wait()
            if self._stopping.wait(LOOK_SECONDS):
                return
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  # chat must go on being looked after
                _log.error("chat.look_broken", error=type(error).__name__)
            if self._servers.is_empty:
                self._filled.clear()

    def _look(self) -> None:
        """Follow what is live, and end what nobody needs, or what a cycle needs more."""
        if self._is_training() and self._is_memory_short():
            with self._lock:
                self._talks.clear()
        with self._lock:
            talks = dict(self._talks)
        for name, talk in talks.items():
            self._follow(name, talk)
        with self._lock:
            if self._servers.is_empty:
                self._talks.clear()
            wanted = {talk.loaded for talk in self._talks.values()}
        self._servers.end_unless(wanted, idle_seconds=self._idle_seconds)

    def _follow(self, name: ModelName, talk: _Talk) -> None:
        """Have ready what a name means now, or forget the name where nobody uses it."""
        quiet_seconds = time.monotonic() - talk.asked_at
        if quiet_seconds > self._idle_seconds:
            self._forget(name, talk)
            return
        try:
            loaded = self._find_files(find_spoken(self._db, name))[1]
            if loaded == talk.loaded:
                return
            if quiet_seconds > TALKING_SECONDS or self._is_training():
                # Loaded when it is asked for; until then the memory is another's.
                self._forget(name, talk)
                return
            self._servers.give_back(self._servers.take(loaded))
        except SageSleepError as error:  # whoever asks is told; what was loaded answers no more
            _log.debug("chat.not_followed", code=error.code)
            self._forget(name, talk)
            return
        with self._lock:
            if self._talks.get(name) is talk:
                self._talks[name] = _Talk(loaded=loaded, asked_at=talk.asked_at)

    def _forget(self, name: ModelName, talk: _Talk) -> None:
        with self._lock:
            if self._talks.get(name) is talk:
                del self._talks[name]


def count_cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_control_tokens(base: Path) -> tuple[str, ...]:
    """Those of a base's tokenizer, whose file is read once: it may be 10 MB."""
    file = base / "tokenizer.json"
    return _read_control_tokens(base, file.stat().st_mtime_ns if file.is_file() else 0)


@lru_cache(maxsize=8)
def _read_control_tokens(base: Path, _written_at: int) -> tuple[str, ...]:
    return read_special_tokens(base)
