"""A server that speaks OpenAI's streamed chat completions and says what it is told to say."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeTeacher:
    """Answers what `answer` makes of the person's words; `asked` is what came, in order."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer = answer
        self.url = ""
        self.status = 200
        self.only_lives = False
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []


class _Handler(BaseHTTPRequestHandler):
    teacher: FakeTeacher

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.teacher.asked.append(body)
        self.teacher.keys.append(self.headers["Authorization"])
        is_right = self.path == "/v1/chat/completions"
        self.send_response(self.teacher.status if is_right else 404)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if not is_right or self.teacher.status != 200:
            self.wfile.write(b'{"error": {"message": "no such model"}}')
            return
        while self.teacher.only_lives:
            self.wfile.write(b": still here\n\n")
            time.sleep(0.01)
        for word in self.teacher.answer(body["messages"][-1]["content"]).split(" "):
            piece = {"choices": [{"index": 0, "delta": {"content": f"{word} "}}]}
            self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b": a comment\n\ndata: {}\n\ndata: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def fake_teacher(answer: Callable[[str], str]) -> Iterator[FakeTeacher]:
    """One that listens on a free port of loopback."""
    teacher = FakeTeacher(answer)
    handler = type("Handler", (_Handler,), {"teacher": teacher})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        teacher.url = f"http://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield teacher
        server.shutdown()
