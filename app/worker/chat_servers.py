"""The chat processes: one for each model that is talked to, started when asked for, ended when not.

A process serves one file with one adapter at one number of threads, since llama.cpp can change none
of them: switched, its own server goes on with what it kept of the adapter before. So whoever talks
to something else gets another process; the one before ends with the last reply that it owes.
Each is an `app.serving.engine` on loopback, which answers to a key of its own. Must not know
checkpoints or the database.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import ChatEngineFailed, ChatNotInstalled, ChatOverloaded
from app.log import get_logger
from app.serving.engine import NOT_INSTALLED

ENGINE_COMMAND = (sys.executable, "-P", "-m", "app.serving.engine")

MOST_SERVERS = 4
"""At once, those that owe a reply among them. A person compares three; a fourth is what follows one
of them at a promotion."""

SLOTS = 2
"""Replies that one process writes at a time; others wait for their turn. Each takes a context's
memory from the start: the embedded model holds 238 MB with one of 4,096 tokens, 327 with two."""

ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",  # else each thread keeps memory of its own
    # Else a thread that waits for another spins: beside two busy processes on 2 cores the embedded
    # model wrote 7 to 10 tokens a second at 94 to 117 ms of CPU each; so 26 to 28 at 24 to 29 ms.
    "GOMP_SPINCOUNT": "0",
}

WAIT_SECONDS = 20.0
"""For a place, where all processes owe replies."""

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What a process serves."""

    model: Path
    adapter: Path | None
    threads: int


class ChatServer:
    """One process; its counts are the pool's to change."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.key = secrets.token_urlsafe(32)
        self.url = ""
        self.owed = 0
        self.used_at = time.monotonic()
        self.fault: Exception | None = None
        self.is_up = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def is_dead(self) -> bool:
        """Whether it ended, or never began."""
        return self.fault is not None or (
            self.process is not None and self.process.poll() is not None
        )

    def start(self, command: Sequence[str], context_tokens: int) -> None:
        """Load it and learn where it listens. Raises: ChatNotInstalled, ChatEngineFailed."""
        order = {
            "model": str(self.loaded.model),
            "adapter": None if self.loaded.adapter is None else str(self.loaded.adapter),
            "key": self.key,
            "threads": self.loaded.threads,
            "context_tokens": context_tokens,
            "slots": SLOTS,
        }
        self.process = process = subprocess.Popen(  # noqa: S603  # our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # llama.cpp's words may hold what was said
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise ChatEngineFailed("The chat process has no pipes.")
        try:
            # Its input stays open: that closes when this process is gone, and so ends that one.
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            said = json.loads(process.stdout.readline() or b"{}")
        except (OSError, ValueError):
            said = {}
        if said.get("fault") == NOT_INSTALLED:
            raise ChatNotInstalled(
                "llama.cpp is not installed here, and chat runs on it: "
                "pip install 'sage-sleep[chat]', or xllamacpp."
            )
        if "url" not in said:
            words = said.get("words") or f"it ended with code {process.poll()}"
            raise ChatEngineFailed(f"llama.cpp does not load {self.loaded.model.name}: {words}")
        self.url = said["url"]

    def end(self) -> None:
        """End the process and wait for it."""
        if self.process is None:
            return
        self.process.kill()
        with self.process:
            self.process.wait()


class ChatServers:
    """The pool.

    Args:
        context_tokens: Of each conversation, its reply among them.
    """

    def __init__(self, *, context_tokens: int, command: Sequence[str] = ENGINE_COMMAND) -> None:
        self._context_tokens = context_tokens
        self._command = command
        self._changed = threading.Condition()
        self._servers: dict[Loaded, ChatServer] = {}
        self._is_stopping = False

    @property
    def is_empty(self) -> bool:
        """Whether none runs."""
        return not self._servers

    def holds(self, loaded: Loaded) -> bool:
        """Whether a process serves it already."""
        server = self._servers.get(loaded)
        return server is not None and server.is_up.is_set() and not server.is_dead

    def take(self, loaded: Loaded) -> ChatServer:
        """A server that owes one reply more; give it back when it is given.

        Raises: ChatNotInstalled, ChatEngineFailed, ChatOverloaded.
        """
        server, is_new = self._find_or_add(loaded)
        if is_new:
            self._start(server)
        server.is_up.wait()
        if server.fault is not None:
            self.give_back(server)
            raise server.fault
        return server

    def give_back(self, server: ChatServer) -> None:
        """It owes one reply less."""
        with self._changed:
            server.owed -= 1
            server.used_at = time.monotonic()
            self._changed.notify_all()

    def end_unless(self, wanted: set[Loaded], *, idle_seconds: float) -> None:
        """End what owes nothing and is not wanted, or was not used for so long."""
        now = time.monotonic()
        with self._changed:
            over = [
                server
                for loaded, server in self._servers.items()
                if not server.owed
                and (loaded not in wanted or now - server.used_at > idle_seconds or server.is_dead)
            ]
            self._forget(over)
        for server in over:
            server.end()
            _log.info("chat.unloaded", model=server.loaded.model.name)

    def stop(self) -> None:
        """End all, whatever they owe, and start no other."""
        with self._changed:
            self._is_stopping = True
            over = list(self._servers.values())
            self._servers = {}
            self._changed.notify_all()
        for server in over:
            server.end()

    def _find_or_add(self, loaded: Loaded) -> tuple[ChatServer, bool]:
        gives_up_at = time.monotonic() + WAIT_SECONDS
        gone: list[ChatServer] = []
        try:
            with self._changed:
                while True:
                    if self._is_stopping:
                        raise ChatOverloaded("The daemon is stopping; ask again when it is back.")
                    server = self._servers.get(loaded)
                    if server is not None and server.is_dead:
                        self._forget([server])
                        gone.append(server)
                        server = None
                    if server is not None:
                        server.owed += 1
                        return server, False
                    if len(self._servers) >= MOST_SERVERS:
                        idle = [one for one in self._servers.values() if not one.owed]
                        oldest = sorted(idle, key=lambda one: one.used_at)[:1]
                        self._forget(oldest)
                        gone += oldest
                    if len(self._servers) < MOST_SERVERS:
                        server = self._servers[loaded] = ChatServer(loaded)
                        server.owed = 1
                        return server, True
                    left = gives_up_at - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        raise ChatOverloaded(
                            f"{MOST_SERVERS} models are talked to at once, and more are not "
                            "loaded; try again shortly."
                        )
        finally:
            for old in gone:
                old.end()

    def _start(self, server: ChatServer) -> None:
        started = time.monotonic()
        try:
            server.start(self._command, self._context_tokens)
        except (ChatNotInstalled, ChatEngineFailed) as error:
            server.fault = error
        except OSError as error:  # no memory or no process slot for it
            server.fault = ChatEngineFailed(f"No chat process can be started: {error.strerror}.")
        if server.fault is None:
            _log.info(
                "chat.loaded",
                model=server.loaded.model.name,
                has_adapter=server.loaded.adapter is not None,
                threads=server.loaded.threads,
                seconds=round(time.monotonic() - started, 3),
            )
        else:
            _log.warning("chat.not_loaded", model=server.loaded.model.name)
            server.end()
            with self._changed:
                self._forget([server])
        server.is_up.set()
        with self._changed:
            is_late = self._is_stopping
        if is_late:
            server.end()

    def _forget(self, servers: Sequence[ChatServer]) -> None:
        for server in servers:
            if self._servers.get(server.loaded) is server:
                del self._servers[server.loaded]
