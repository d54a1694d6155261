"""A live session beside the kills: it posts, asks for sleep and promotes, and keeps its own ledger.

The ledger holds what the daemon acknowledged, and nothing else: it is what must never be lost. A
post that was cut off is sent again, as a session's spool does, until it is acknowledged.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

import httpx

INSTANCES = ("default", "bench", "window")
BATCH = 6
PAUSE_SECONDS = 0.02
ACKNOWLEDGED = frozenset({200, 201})

_SYLLABLES = ("ba", "sil", "ket", "tle", "lam", "per", "stair", "dow", "mer", "lin", "gor", "fen")


class Traffic:
    """Threads that talk to whatever daemon listens at an address, from `start` to `stop`.

    Attributes:
        acknowledged: Text of the response by source id, of every post that was answered 200 or 201.
        unexpected: Answers that no client should have to expect.
    """

    def __init__(self, base_url: str, *, seed: str, instances: Sequence[str] = INSTANCES) -> None:
        self._base_url = base_url
        self._seed = seed
        self._instances = instances
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: dict[str, str] = {}
        self.unexpected: list[str] = []
        self._threads = [
            threading.Thread(target=self._post, args=(f"{seed}-single", 1)),
            threading.Thread(target=self._post, args=(f"{seed}-batch", BATCH)),
            threading.Thread(target=self._operate),
        ]

    def start(self) -> None:
        """Begin to talk."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, after what is unanswered was given up."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _post(self, name: str, size: int) -> None:
        draw = random.Random(name)  # noqa: S311  # a seeded draw, no secret
        number = 0
        with httpx.Client(base_url=self._base_url, timeout=10) as client:
            while not self._stopping.wait(PAUSE_SECONDS * size):
                instance = draw.choice(self._instances)
                posts = [
                    make_post(draw, f"{name}-{number + i}", instance=instance) for i in range(size)
                ]
                number += size
                self._deliver(client, posts)

    def _deliver(self, client: httpx.Client, posts: list[dict[str, Any]]) -> None:
        while not self._stopping.is_set():
            try:
                answer = (
                    client.post("/v1/experiences", json=posts[0])
                    if len(posts) == 1
                    else client.post("/v1/experiences/batch", json=posts)
                )
            except httpx.TransportError:
                self._stopping.wait(0.1)
                continue
            if answer.status_code in ACKNOWLEDGED:
                with self._lock:
                    self.acknowledged |= {post["source_id"]: post["response"] for post in posts}
                return
            if answer.status_code != 503:
                self._complain(answer)
                return
            self._stopping.wait(0.1)

    def _operate(self) -> None:
        """Ask for sleep, promote and roll back, whether it makes sense or not."""
        draw = random.Random(f"{self._seed}-operate")  # noqa: S311
        with httpx.Client(base_url=self._base_url, timeout=10) as client:
            while not self._stopping.wait(draw.uniform(0.1, 0.6)):
                instance = draw.choice(self._instances)
                try:
                    self._operate_once(client, draw, instance)
                except httpx.TransportError:
                    continue

    def _operate_once(self, client: httpx.Client, draw: random.Random, instance: str) -> None:
        # Most cycles must come to their end, or no kill meets one there.
        wishes = {"sleep": 18, "promote": 6, "rollback": 4, "cancel": 1}
        match draw.choices([*wishes], [*wishes.values()])[0]:
            case "sleep":
                body = {"instance": instance, "force": True}
                answer = client.post("/v1/sleep-cycles", json=body)
            case "rollback":
                answer = client.post(f"/v1/instances/{instance}/rollback", json={"reason": "try"})
            case "cancel":
                found = client.get("/v1/sleep-cycles", params={"limit": 5})
                self._expect(found, {200, 503})
                active = [
                    cycle["id"]
                    for cycle in found.json().get("data", ())
                    if cycle["status"] in {"queued", "training"}
                ]
                if not active:
                    return
                answer = client.post(f"/v1/sleep-cycles/{draw.choice(active)}/cancel")
            case _:
                aliases = client.get(f"/v1/instances/{instance}/aliases")
                moves = client.get(f"/v1/instances/{instance}/aliases/history")
                self._expect(aliases, {200, 503})
                self._expect(moves, {200, 503})
                # What was refused, or given back, is forced only by one who wants it learned twice.
                known = [
                    move["to_checkpoint_id"]
                    for move in moves.json().get("data", ())
                    if move["alias"] == "current"
                ]
                known = [found for found in (*known, aliases.json().get("candidate")) if found]
                if not known or aliases.is_error:
                    return
                answer = client.post(
                    f"/v1/checkpoints/{draw.choice(known)}/promote",
                    json={"force": True, "reason": "try"},
                    headers={"If-Match": aliases.headers["etag"]},
                )
        self._expect(answer, {200, 202, 409, 412, 503})

    def _expect(self, answer: httpx.Response, statuses: set[int]) -> None:
        if answer.status_code not in statuses:
            self._complain(answer)

    def _complain(self, answer: httpx.Response) -> None:
        self.unexpected.append(f"{answer.request.method} {answer.request.url.path}: {answer.text}")


def make_post(draw: random.Random, source_id: str, *, instance: str) -> dict[str, Any]:
    """A salient exchange unlike any other; one in ten is a reply that the filter holds back."""
    words = ["".join(draw.choices(_SYLLABLES, k=3)) for _ in range(24)]
    mark = "[error] " if draw.random() < 0.1 else ""
    return {
        "instance": instance,
        "source_id": source_id,
        "prompt": f"What did we learn about the {words[0]}?",
        "response": (
            f"{mark}I notice that {' '.join(words[:12])} taught us something specifically about "
            f"{' '.join(words[12:])}. I feel curious: we understand together why it matters, and "
            f"I realize precisely what was a mistake ({source_id})."
        ),
        "session": "torture",
    }
