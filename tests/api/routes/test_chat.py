"""Talking to what is live: real daemon, llama.cpp and adapters; long, since all share one pair."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from app.db.engine import Database
from app.domain.access import Scope
from app.errors import ChatEngineFailed, ChatNotInstalled
from app.services import tokens
from app.settings import Settings
from app.worker.chat_servers import ChatServers, Loaded
from tests.patience import seconds_left, wait_until
from tests.publishing import publish
from tests.support import RunningDaemon, StartDaemon, end, launch, run_command

ASKED = [{"role": "user", "content": "What did we learn today?"}]
GREEDY = {"temperature": 0, "max_tokens": 8, "cache_prompt": False}


@dataclass
class Raised:
    """A daemon whose instance `default` has two checkpoints; the second is current."""

    daemon: RunningDaemon
    checkpoints: list[str]

    def ask(self, **body: Any) -> httpx.Response:
        """Ask for a reply."""
        return self.daemon.http.post(
            "/v1/chat/completions", json={"messages": ASKED, **GREEDY, **body}
        )

    def say(self, **body: Any) -> str:
        """The text of a reply."""
        answer = self.ask(**body)
        assert answer.status_code == 200, answer.text
        said: str = answer.json()["choices"][0]["message"]["content"]
        return said

    def promote(self, checkpoint_id: str) -> None:
        """Make a checkpoint current."""
        answer = self.daemon.http.post(
            f"/v1/checkpoints/{checkpoint_id}/promote", json={"force": True, "reason": "a test"}
        )
        assert answer.status_code == 200, answer.text

    def engines(self) -> list[psutil.Process]:
        """The chat processes that run."""
        found = []
        for one in psutil.Process(self.daemon.process.pid).children():
            with suppress(psutil.Error):  # it ended meanwhile
                if "app.serving.engine" in one.cmdline():
                    found.append(one)
        return found


def make_adapter(base: Path, directory: Path, *, seed: int) -> Path:
    """An adapter of random numbers, loud enough to be heard and quiet enough to be words."""
    directory.mkdir()
    random = np.random.default_rng(seed)
    tensors = {}
    with safe_open(next(base.glob("*.safetensors")), framework="np") as weights:
        for layer in range(json.loads((base / "config.json").read_text())["num_hidden_layers"]):
            name = f"model.layers.{layer}.self_attn.v_proj"
            rows, columns = weights.get_slice(f"{name}.weight").get_shape()
            for half, shape in (("A", (4, columns)), ("B", (rows, 4))):
                numbers = random.normal(0, 0.15, shape).astype(np.float32)
                tensors[f"base_model.model.{name}.lora_{half}.weight"] = numbers
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 4, "bias": "none",
        "target_modules": ["v_proj"], "base_model_name_or_path": base.name,
    }  # fmt: skip
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="module")
def pair(
    embedded_model: Path, migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Raised]:
    room = tmp_path_factory.mktemp("chat")
    data_dir = room / "data"
    data_dir.mkdir()
    shutil.copy(migrated_file, data_dir / "sage-sleep.db")
    settings = Settings(data_dir=data_dir, base_model=str(embedded_model))
    db = Database(settings.effective_database_url, settings.instance_defaults())
    made = [
        publish(
            db,
            settings.checkpoints_dir,
            range(20 * seed, 20 * seed + 20),
            after=2.5 - seed / 10,
            adapter=make_adapter(embedded_model, room / f"adapter-{seed}", seed=seed),
            base=embedded_model,
        )[0]
        for seed in (1, 2)
    ]
    db.close()
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("SAGE_")]:
            environment.delenv(name)
        daemon = launch(
            data_dir,
            room / "daemon.log",
            base_model=embedded_model,
            scheduler_interval_seconds=3600,
            min_salience=0.0,
            chat_context_tokens=512,
            chat_idle_seconds=3,
        )
    yield Raised(daemon, made)
    end(daemon)


@pytest.fixture
def raised(pair: Raised) -> Raised:
    """The same at the start of each test."""
    pair.promote(pair.checkpoints[1])
    return pair


def test_names_can_be_listed_and_talked_to(raised: Raised) -> None:
    listed = {one["id"] for one in raised.daemon.http.get("/v1/models").json()["data"]}
    assert {"default", "default@base", "default@current", "default@previous"} <= listed
    for one in listed:
        assert raised.daemon.http.get(f"/v1/models/{one}").json()["id"] == one
    assert raised.daemon.http.get("/v1/models/nobody").status_code == 404
    first, second = raised.checkpoints
    said = {
        name: raised.say(model=name)
        for name in ("default", f"default@{second}", second, first, "default@base")
    }
    assert said["default"] == said[second] == said[f"default@{second}"]
    assert len({said["default"], said[first], said["default@base"]}) == 3
    unknown = raised.ask(model="nobody")
    assert unknown.status_code == 404
    assert "nobody" in unknown.json()["error"]["message"]  # what OpenAI's clients show
    assert raised.ask(model="default@nothing").status_code == 404
    assert raised.ask(model="default@candidate").status_code == 409


def test_next_reply_after_a_promotion_and_a_rollback_is_what_is_live_then(raised: Raised) -> None:
    first, second = raised.checkpoints
    before = raised.ask().json()
    raised.promote(first)
    after = raised.ask().json()
    raised.daemon.http.post("/v1/instances/default/rollback", json={}).raise_for_status()
    again = raised.ask().json()
    ids = [answer["sage"]["checkpoint_id"] for answer in (before, after, again)]
    assert ids == [second, first, second]
    texts = [answer["choices"][0]["message"]["content"] for answer in (before, after, again)]
    assert texts[0] == texts[2] != texts[1]
    # What nobody talks to any more is unloaded, whatever it was.
    wait_until(lambda: not raised.engines(), lambda: f"all ended\n{raised.daemon.log}")


def test_streams_are_whole_through_promotions(raised: Raised) -> None:
    ended: list[str] = []
    stop = threading.Event()

    def talk() -> None:
        with httpx.Client(base_url=raised.daemon.http.base_url, timeout=seconds_left()) as http:
            while not stop.is_set():
                ended.append(read_stream(http, max_tokens=6)[-1]["choices"][0]["finish_reason"])

    talkers = [threading.Thread(target=talk) for _ in range(2)]
    for talker in talkers:
        talker.start()
    for number in range(3):
        raised.promote(raised.checkpoints[number % 2])
        goal = len(ended) + 2
        wait_until(lambda goal=goal: len(ended) >= goal, lambda: "replies go on")  # type: ignore[misc]
    stop.set()
    for talker in talkers:
        talker.join()
    assert len(ended) >= 6
    assert set(ended) <= {"stop", "length"}


def test_control_tokens_in_a_message_are_text(raised: Raised) -> None:
    def tokens_of(text: str) -> int:
        answer = raised.ask(model="default", messages=[{"role": "user", "content": text}])
        counted: int = answer.json()["usage"]["prompt_tokens"]
        return counted

    # One token each if llama.cpp took them for its own.
    assert tokens_of("<|im_end|>" * 8) > tokens_of("a") + 8 * 4


def test_conversations_at_once_have_a_whole_context_each(raised: Raised) -> None:
    asked = [{"role": "user", "content": f"{number} " * 215} for number in range(3)]
    with ThreadPoolExecutor(len(asked)) as talkers:
        answers = list(
            talkers.map(lambda one: raised.ask(messages=[one], model="default@base"), asked)
        )
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["prompt_tokens"] > 400  # of 512


def test_reply_that_nobody_waits_for_is_not_written_on(raised: Raised) -> None:
    raised.say()
    asked = {"messages": [{"role": "user", "content": "Left alone."}], "max_tokens": 400}
    for is_stream in (False, True):
        body = {**GREEDY, **asked, "record": True, "stream": is_stream}
        with httpx.Client(base_url=raised.daemon.http.base_url, timeout=1.0) as http:
            leave(http, body)
        (engine, *_) = raised.engines()
        wait_until(lambda engine=engine: engine.cpu_percent(0.5) < 5, lambda: "it has ended")  # type: ignore[misc]
    kept = raised.daemon.http.get("/v1/experiences", params={"limit": 500}).json()["data"]
    assert asked["messages"][0]["content"] not in {one["prompt"] for one in kept}  # type: ignore[index]
    assert "Traceback" not in raised.daemon.log


def leave(http: httpx.Client, body: dict[str, Any]) -> None:
    """Ask, and hang up at the first word, or when it takes too long."""
    with (
        suppress(httpx.ReadTimeout),
        http.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        next(answer.iter_bytes())


def read_stream(http: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    asked = {"messages": ASKED, **GREEDY, "stream": True, **body}
    with http.stream("POST", "/v1/chat/completions", json=asked) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_stream_says_the_same_as_the_whole_and_records_at_its_end(raised: Raised) -> None:
    whole = raised.ask().json()
    http = raised.daemon.http
    pieces = read_stream(http, record=True, session="s-9", stream_options={"include_usage": True})
    *said, last, usage = pieces
    text = "".join(piece["choices"][0]["delta"]["content"] for piece in said)
    assert text == whole["choices"][0]["message"]["content"]
    assert said[0]["choices"][0]["delta"]["role"] == "assistant"
    assert last["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    kept = http.get(f"/v1/experiences/{last['sage']['experience']['id']}").json()
    assert (kept["prompt"], kept["response"]) == (ASKED[0]["content"], text)
    assert (kept["session"], kept["finish_reason"]) == ("s-9", "length")
    assert kept["metadata"]["answered_by"]["checkpoint_id"] == raised.checkpoints[1]


def test_exchange_is_kept_with_its_history_in_the_same_call(raised: Raised) -> None:
    messages = [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "Good evening."},
        {"role": "assistant", "content": [{"type": "text", "text": "Good evening, Dennis."}]},
        {"role": "user", "content": "How is the basil?"},
    ]
    sent = {"messages": messages, "record": True, "max_tokens": 6, "session_number": 3}
    headers = {"Idempotency-Key": "once"}
    http = raised.daemon.http
    first, again = (
        http.post("/v1/chat/completions", json=sent, headers=headers).json() for _ in range(2)
    )
    receipt = first["sage"]["experience"]
    assert receipt["duplicate"] is False
    assert again["sage"]["experience"] == {**receipt, "duplicate": True}
    assert again["choices"] == first["choices"]
    kept = http.get(f"/v1/experiences/{receipt['id']}").json()
    assert kept["system_prompt"] == "You are brief."
    assert [turn["role"] for turn in kept["history"]] == ["user", "assistant"]
    assert kept["history"][1]["content"] == "Good evening, Dennis."
    assert (kept["truncated"], kept["session_number"]) == (True, 3)
    other = {**sent, "messages": ASKED}
    refused = http.post("/v1/chat/completions", json=other, headers=headers)
    assert refused.status_code == 422
    total = len(http.get("/v1/experiences", params={"limit": 500}).json()["data"])
    assert raised.ask().status_code == 200
    assert len(http.get("/v1/experiences", params={"limit": 500}).json()["data"]) == total


def test_same_call_twice_at_once_is_kept_once_and_answered_alike(raised: Raised) -> None:
    asked = [{"role": "user", "content": "Asked by a client that repeats itself."}]
    body = {"messages": asked, "record": True, "temperature": 2, "max_tokens": 12}

    def ask(_: int) -> httpx.Response:
        url = f"{raised.daemon.http.base_url}/v1/chat/completions"
        headers = {"Idempotency-Key": "twice-at-once"}
        return httpx.post(url, json=body, headers=headers, timeout=seconds_left())

    with ThreadPoolExecutor(3) as callers:
        answers = list(callers.map(ask, range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3, answers[-1].text
    texts = {answer.json()["choices"][0]["message"]["content"] for answer in answers}
    kept = {answer.json()["sage"]["experience"]["id"] for answer in answers}
    assert (len(texts), len(kept)) == (1, 1)


def test_instance_speaks_under_its_own_system_prompt_unless_told_another(raised: Raised) -> None:
    own = raised.daemon.http.get("/v1/instances/default").json()["system_prompt"]
    spoken = raised.say(messages=[{"role": "system", "content": own}, *ASKED])
    assert raised.say() == spoken
    tokens_of = [
        raised.ask(messages=[*first, *ASKED]).json()["usage"]["prompt_tokens"]
        for first in ([], [{"role": "system", "content": "Be brief."}])
    ]
    assert tokens_of[0] > tokens_of[1] + 20


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"messages": []}, 422),
        ({"messages": [{"role": "assistant", "content": "Hello."}]}, 422),
        ({"messages": [{"role": "user", "content": " "}]}, 422),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 422),
        ({"messages": [{"role": "user", "content": "word " * 600}]}, 422),
        ({"n": 2}, 422),
        ({"tools": [], "user": "dennis", "unknown": {"x": 1}}, 200),
        ({"max_tokens": None, "max_completion_tokens": 2, "stop": "e", "seed": -1}, 200),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_and_what_others_send_is_taken(
    raised: Raised, body: dict[str, Any], status: int
) -> None:
    answer = raised.ask(**body)
    assert answer.status_code == status, answer.text
    if "content" in str(body) and "word" in str(body):
        detail = answer.json()["detail"]
        assert "512 have room" in detail
        assert "SAGE_CHAT_CONTEXT_TOKENS" in detail


def test_reply_ends_at_a_stop_and_after_so_many_tokens(raised: Raised) -> None:
    whole = raised.say(model="default@base")
    word = whole.split()[2]
    stopped = raised.ask(model="default@base", stop=[word]).json()["choices"][0]
    assert stopped["finish_reason"] == "stop"
    assert word not in stopped["message"]["content"]
    assert raised.ask(max_tokens=3).json()["usage"]["completion_tokens"] == 3


def test_nobody_else_may_ask_the_chat_process_nor_read_where_its_files_lie(
    raised: Raised,
) -> None:
    raised.say()
    (engine, *_) = raised.engines()
    addresses = [one.laddr for one in engine.net_connections() if one.status == "LISTEN"]
    assert [address.ip for address in addresses] == ["127.0.0.1"]
    url = f"http://127.0.0.1:{addresses[0].port}"
    assert httpx.post(f"{url}/v1/chat/completions", json={"messages": ASKED}).status_code == 401
    assert ".gguf" not in httpx.get(f"{url}/v1/models").text
    assert httpx.get(f"{url}/props").status_code == 401
    assert ASKED[0]["content"] not in raised.daemon.log


@pytest.mark.parametrize("family", ["llama", "odd"])
def test_base_without_a_gguf_gets_one_and_one_that_cannot_says_what_to_do(
    start_daemon: StartDaemon, embedded_model: Path, tmp_path: Path, family: str
) -> None:
    bare = tmp_path / "bare-model"
    bare.mkdir()
    for file in embedded_model.iterdir():
        if file.suffix != ".gguf" and file.name != "config.json":
            (bare / file.name).symlink_to(file)
    config = json.loads((embedded_model / "config.json").read_text())
    (bare / "config.json").write_text(json.dumps({**config, "model_type": family}))
    own = Raised(start_daemon(base_model=bare, chat_context_tokens=256), [])
    wait_until(lambda: own.ask().status_code != 503, lambda: own.daemon.log)
    answer = own.ask()
    if family == "odd":
        assert answer.status_code == 409, answer.text
        assert "Put one there" in answer.json()["detail"]
    else:
        assert answer.json()["choices"][0]["message"]["content"], answer.text
        assert answer.json()["sage"]["base"] == "bare-model"


def test_missing_extra_and_broken_file_are_told(tmp_path: Path) -> None:
    code = "import sys; sys.modules['xllamacpp'] = None; import app.serving.engine as e; e.main()"
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"no model")
    loaded = Loaded(model=file, adapter=None, threads=1)
    without = ChatServers(context_tokens=256, command=(sys.executable, "-c", code))
    with pytest.raises(ChatNotInstalled, match="pip install"):
        without.take(loaded)
    broken = ChatServers(context_tokens=256)
    for _ in range(2):
        with pytest.raises(ChatEngineFailed, match=r"broken\.gguf"):
            broken.take(loaded)
    assert without.is_empty
    assert broken.is_empty


def test_command_talks_once_and_compares(raised: Raised) -> None:
    environment = {"SAGE_URL": str(raised.daemon.http.base_url)}
    wanted = ("--temperature", "0", "--max-tokens", "8")
    first, second = raised.checkpoints
    begins = next(n for n in range(27) if first[:n] != second[:n])
    older = f"default@{first[:begins].lower()}"
    said = run_command("chat", older, ASKED[0]["content"], *wanted, environment=environment)
    assert said.stdout.strip() == raised.say(model=first).strip()
    said = run_command("chat", "default", ASKED[0]["content"], *wanted, environment=environment)
    assert said.stdout.strip()
    assert "cut" in said.stderr
    said = run_command(
        "chat", "default", ASKED[0]["content"], "--compare", *wanted, environment=environment
    )
    headings = [line for line in said.stdout.splitlines() if line.endswith(":")]
    assert headings == ["base:", "previous:", "current:"]


@pytest.mark.parametrize("how", [(), ("--compare",)])
def test_command_goes_on_without_the_oldest_turns_where_they_are_too_many(
    raised: Raised, how: tuple[str, ...]
) -> None:
    ours, theirs = os.openpty()
    talk = subprocess.Popen(
        [sys.executable, "-m", "app", "chat", "--max-tokens", "4", *how],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "SAGE_URL": str(raised.daemon.http.base_url)},
        text=True,
    )
    attributes = termios.tcgetattr(theirs)
    attributes[3] &= ~termios.ECHO  # nobody reads what would be echoed
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    for line in ("first " * 250, "second " * 250, ""):
        os.write(ours, f"{line.strip()}\n".encode())
    said, errors = talk.communicate(timeout=seconds_left())
    os.close(ours)
    os.close(theirs)
    assert talk.returncode == 0, errors
    assert said.count("> ") == 3


def test_token_must_be_for_it_and_no_process_outlives_its_daemon(
    start_daemon: StartDaemon, db: Database, embedded_model: Path
) -> None:
    daemon = start_daemon(base_model=embedded_model, chat_context_tokens=256)
    own = Raised(daemon, [])
    own.say()
    for engine in own.engines():
        engine.kill()
        engine.wait()
    own.say()  # by another one
    now = datetime.now(UTC)
    made = {
        scopes: tokens.create_token(
            db,
            name="chat",
            scopes=frozenset(scopes),
            instances=bound,
            expires_at=now + timedelta(hours=1),
            requests_per_minute=None,
            max_body_bytes=None,
            now=now,
        ).text
        for scopes, bound in (((Scope.INGEST,), ["default"]), ((Scope.READ,), None))
    }
    http = daemon.http
    wait_until(lambda: http.get("/v1/models").status_code == 401, lambda: "tokens are demanded")
    statuses = [
        http.post(
            "/v1/chat/completions",
            json={"messages": ASKED, **GREEDY, "model": model},
            headers={"Authorization": f"Bearer {made[scopes]}"},
        ).status_code
        for scopes, model in (
            ((Scope.INGEST,), "default"), ((Scope.READ,), "default"), ((Scope.INGEST,), "other"),
        )
    ]  # fmt: skip
    assert statuses == [200, 403, 403]
    engines = own.engines()
    assert engines
    daemon.process.kill()
    assert psutil.wait_procs(engines, timeout=seconds_left())[1] == []
