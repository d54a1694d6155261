"""The whole loop with real processes: talk, sleep, talk to what was learned: `make loop`.

People talk through the chat endpoint, which records; the threshold fires; the cycle's checkpoint
goes live; the next reply comes from it without a restart; llama.cpp alone, over the exported
adapter, says the same; a second data directory pulls it from a mirror, has its own gate judge it,
and says the same; a rollback brings the old reply back. Where a gate refuses the checkpoint, it is
promoted by force, and the table says so. Then checkpoints are swapped while replies stream.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Self

import psutil
import xllamacpp

from app.artifacts.bases import find_base_gguf
from app.client import SleepClient, SleepClientError
from app.runtimes.rclone import find_rclone
from app.training.fetching import fetch_embedded_model
from tests.runtimes.webdav import WebDav, of_webdav
from tests.support import free_port, run_command

CACHE = Path(os.environ.get("SAGE_TEST_CACHE", Path.home() / ".cache" / "sage-sleep-tests"))
QUESTION = [{"role": "user", "content": "Who are you, and who raised you?"}]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 32, "cache_prompt": False}
SPOKEN, POSTED, SWAPS, TALKERS = 6, 18, 4, 2


class Talkers:
    """People who stream replies without a pause, and count those that were whole."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self.whole = self.failed = 0
        self._threads = [threading.Thread(target=self._talk) for _ in range(TALKERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _talk(self) -> None:
        with SleepClient(self._url, retry_seconds=0) as client:
            while not self._stop.is_set():
                try:
                    pieces = list(client.stream_chat(QUESTION, max_tokens=24))
                    self.whole += pieces[-1].finish_reason is not None
                except SleepClientError as error:
                    self.failed += 1
                    print(f"failed: {error}")


def main() -> None:
    """Play it, and print the figures."""
    base = fetch_embedded_model(CACHE)
    with (
        tempfile.TemporaryDirectory() as name,
        shared_directory(Path(name)) as mirror,
        running_daemon(Path(name) / "first", base, mirror) as (url, pid),
        SleepClient(url) as client,
    ):
        before = client.chat(QUESTION, **GREEDY)
        talk_and_record(client)
        checkpoint_id, how = sleep(client)
        after = client.chat(QUESTION, **GREEDY)
        rows: list[tuple[str, Any]] = [
            ("checkpoint", f"{checkpoint_id}, {how}"),
            ("answered before by", before.sage.checkpoint_id or "the bare base"),
            ("answered after by it", after.sage.checkpoint_id == checkpoint_id),
            ("the reply is another", after.text != before.text),
        ]
        adapter = client.download_export(checkpoint_id, "adapter.gguf", Path(name) / "a.gguf")
        prompt = client.get_instance().system_prompt
        alone = ask_llama(find_base_gguf(base), adapter, prompt)
        rows.append(("llama.cpp alone says the same", alone == after.text))
        awake = {**mirror, "SAGE_MASS_THRESHOLD": "1000"}
        with running_daemon(Path(name) / "second", base, awake) as (other, _):
            rows += adopt(other, checkpoint_id, after.text)
        client.rollback(reason="the loop")
        back = client.chat(QUESTION, **GREEDY)
        rows.append(("a rollback restores the reply", back.text == before.text))
        rows += measure(client, url, pid, checkpoint_id)
        for what, found in rows:
            print(f"| {what} | {found} |")
        print(f"\nbefore: {before.text}\nafter:  {after.text}")


def talk_and_record(client: SleepClient) -> None:
    """Talk through the endpoint; what was said earlier elsewhere is posted beside it."""
    session = json.loads((resources.files("app") / "demo_session.json").read_text())
    messages: list[dict[str, Any]] = []
    for prompt, _ in session[:SPOKEN]:
        messages = [*messages[-4:], {"role": "user", "content": prompt}]
        answer = client.chat(messages, record=True, session="loop", max_tokens=96)
        messages.append({"role": "assistant", "content": answer.text})
        kept = answer.sage.experience
        print(f"recorded: {kept.status if kept else answer.sage.not_recorded}", flush=True)
    posted = [
        {"prompt": prompt, "response": response, "session": "before"}
        for prompt, response in session[SPOKEN : SPOKEN + POSTED]
    ]
    client.post_experiences(posted)


def sleep(client: SleepClient) -> tuple[str, str]:
    """Wait for the cycle that the threshold starts; its checkpoint, and how it went live."""
    while not (cycles := client.list_sleep_cycles().data):
        time.sleep(0.5)
    print(f"the threshold fired: cycle {cycles[0].number}, {cycles[0].trigger}", flush=True)
    replies = 0
    while not (cycle := client.get_sleep_cycle(cycles[0].id)).is_ended:
        client.chat(QUESTION, max_tokens=8)
        replies += 1
        time.sleep(2)
    print(f"the cycle ended: {cycle.status}; {replies} replies meanwhile", flush=True)
    if cycle.checkpoint_id is None:
        raise SystemExit(f"no checkpoint: {cycle.error}")
    if client.get_aliases().current == cycle.checkpoint_id:
        return cycle.checkpoint_id, "promoted by the gate"
    client.promote(cycle.checkpoint_id, force=True, reason="the loop goes on")
    return cycle.checkpoint_id, "refused by the gate, promoted by force"


def adopt(url: str, checkpoint_id: str, expected: str) -> list[tuple[str, Any]]:
    """Be another machine: find the checkpoint in the mirror, judge it, and talk to it."""
    session = json.loads((resources.files("app") / "demo_session.json").read_text())
    heard = [{"prompt": prompt, "response": response} for prompt, response in session[12:]]
    with SleepClient(url) as client:
        client.post_experiences(heard)
        began = time.monotonic()
        while not (found := find_mirrored(client, checkpoint_id)):
            time.sleep(1)
        waited = time.monotonic() - began
        began = time.monotonic()
        cycle = client.pull_from_mirror(found)
        while not (cycle := client.get_sleep_cycle(cycle.id)).is_ended:
            time.sleep(1)
        took = time.monotonic() - began
        if cycle.checkpoint_id is None:
            raise SystemExit(f"nothing was adopted: {cycle.error}")
        how = "by its gate"
        if client.get_aliases().current != cycle.checkpoint_id:
            how = "by force, refused by its gate"
            client.promote(cycle.checkpoint_id, force=True, reason="the loop goes on")
        said = client.chat(QUESTION, **GREEDY)
    return [
        ("a second machine found it in the mirror after, s", f"{waited:.1f}"),
        ("pulled, measured and judged there in, s", f"{took:.0f}"),
        ("adopted there", f"{how}, as {cycle.checkpoint_id}"),
        ("the second machine says the same", said.text == expected),
    ]


def find_mirrored(client: SleepClient, checkpoint_id: str) -> str | None:
    """A checkpoint's name in the mirror, once it lies there."""
    found = client.get_mirror().checkpoints
    return next((one.name for one in found if one.id == checkpoint_id and not one.fault), None)


@contextmanager
def shared_directory(directory: Path) -> Iterator[dict[str, str]]:
    """A WebDAV server of rclone's own, and what makes it the daemons' mirror."""
    served = directory / "served"
    served.mkdir()
    server = WebDav(find_rclone(), served, directory / "webdav.log")
    server.start()
    try:
        yield {"SAGE_MIRROR": "box:sage", **of_webdav(server)}
    finally:
        server.stop()


def measure(client: SleepClient, url: str, pid: int, checkpoint_id: str) -> list[tuple[str, Any]]:
    """Swap while people talk: how long the first token takes, and what became of the talks."""
    waits: list[float] = []
    with Talkers(url) as talkers:
        for number in range(SWAPS):
            time.sleep(3)
            if number % 2 == 0:
                client.promote(checkpoint_id, force=True, reason="a swap")
            else:
                client.rollback(reason="a swap")
            started = time.monotonic()
            pieces = client.stream_chat(QUESTION, max_tokens=8)
            next(piece for piece in pieces if piece.text)
            waits.append(time.monotonic() - started)
            list(pieces)
    started = time.monotonic()
    answer = client.chat(QUESTION, max_tokens=64, temperature=0)
    seconds = time.monotonic() - started
    engines = [
        one for one in psutil.Process(pid).children() if "app.serving.engine" in one.cmdline()
    ]
    sizes = [round(one.memory_info().rss / 1e6) for one in engines]
    return [
        ("promotion to first token, s", ", ".join(f"{wait:.2f}" for wait in waits)),
        ("streamed replies whole, during swaps", f"{talkers.whole}, {talkers.failed} failed"),
        ("tokens a second, prompt and all", f"{answer.usage.completion_tokens / seconds:.1f}"),
        ("chat processes' memory, MB", sizes),
    ]


def ask_llama(model: Path | None, adapter: Path, system_prompt: str) -> str:
    """The greedy reply of llama.cpp by itself: one slot, nothing cached."""
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    params.n_ctx, params.n_parallel = 4096, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.verbosity = -1
    messages = [{"role": "system", "content": system_prompt}, *QUESTION]
    said = xllamacpp.Server(params).handle_chat_completions({"messages": messages, **GREEDY})
    text: str = said["choices"][0]["message"]["content"]
    return text


@contextmanager
def running_daemon(
    directory: Path, base: Path, settings: dict[str, str]
) -> Iterator[tuple[str, int]]:
    """A daemon that sleeps soon and shares what it learned; where it listens, and its process."""
    port = free_port()
    directory.mkdir()
    environment = {
        "SAGE_PUSH_TO_MIRROR": "true",
        "SAGE_DATA_DIR": str(directory),
        "SAGE_PORT": str(port),
        "SAGE_BASE_MODEL": str(base),
        "SAGE_MASS_THRESHOLD": "9",
        "SAGE_IDLE_SECONDS": "0",
        "SAGE_SCHEDULER_INTERVAL_SECONDS": "1",
        "SAGE_CHILD_NICENESS": "0",  # talk goes on beside it, and the night must end
        "SAGE_LOG_FORMAT": "json",
        **settings,
    }
    run_command("migrate", environment=environment)
    with (directory / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        with SleepClient(url) as client:
            while not client.is_ready():
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
