"""A server that speaks Ollama's documented routes, with its refusals, and keeps what it is told.

https://github.com/ollama/ollama/blob/main/docs/api.md; what releases since v0.34.1 say of adapters.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeOllama:
    """What it holds: blobs by digest, models by name; `calls` is what it was asked, in order."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.url = ""
        self.blobs: dict[str, bytes] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.on_create: Callable[[], object] = bool

    def digest(self, name: str) -> str:
        """What two names of one model have in common."""
        told = json.dumps({**self.models[name], "model": ""}, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Make a model, or refuse it: status and answer."""
        is_old = tuple(map(int, self.version.split("."))) < (0, 34, 1)
        if body.get("adapters") and not is_old:
            return 400, {"error": "LoRA adapters are no longer supported"}
        files = {**(body.get("files") or {}), **(body.get("adapters") or {})}
        if not files and "from" not in body:
            return 400, {"error": "neither 'from' or 'files' was specified"}
        if missing := [digest for digest in files.values() if digest not in self.blobs]:
            return 400, {"error": f"blob {missing[0]} not found"}
        if "from" in body and body["from"] not in self.models:
            return 404, {"error": f"model '{body['from']}' not found"}
        self.models[body["model"]] = body
        return 200, {"status": "success"}


class _Handler(BaseHTTPRequestHandler):
    ollama: FakeOllama
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._note()
        if self.path == "/api/version":
            self._answer(200, {"version": self.ollama.version})
        else:
            names = self.ollama.models
            models = [{"name": name, "digest": self.ollama.digest(name)} for name in names]
            self._answer(200, {"models": models})

    def do_HEAD(self) -> None:
        self._note()
        is_there = self.path.rpartition("/")[2] in self.ollama.blobs
        self._answer(200 if is_there else 404, None)

    def do_DELETE(self) -> None:
        self._note()
        name = self._body()["model"]
        self._answer(200 if self.ollama.models.pop(name, None) else 404, None)

    def do_POST(self) -> None:
        self._note()
        if self.path.startswith("/api/blobs/"):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            digest = self.path.rpartition("/")[2]
            if digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
                self._answer(400, {"error": "digest mismatch"})
                return
            self.ollama.blobs[digest] = content
            self._answer(201, None)
        elif self.path == "/api/show":
            model = self.ollama.models.get(self._body()["model"])
            told = {"system": (model or {}).get("system"), "template": ""}
            self._answer(200, told) if model else self._answer(404, {"error": "model not found"})
        elif self.path == "/api/copy":
            body = self._body()
            source = self.ollama.models.get(body["source"])
            if source is not None:
                self.ollama.models[body["destination"]] = source
            self._answer(200 if source else 404, None)
        else:
            made = self.ollama.create(self._body())
            self.ollama.on_create()
            self._answer(*made)

    def log_message(self, *_: Any) -> None:
        pass

    def _note(self) -> None:
        self.ollama.calls.append(f"{self.command} {self.path.partition(':')[0]}")

    def _body(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return read

    def _answer(self, status: int, body: dict[str, Any] | None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def fake_ollama(version: str = "0.35.0") -> Iterator[FakeOllama]:
    """One that listens on a free port of loopback."""
    ollama = FakeOllama(version)
    handler = type("Handler", (_Handler,), {"ollama": ollama})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        ollama.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ollama
        server.shutdown()
