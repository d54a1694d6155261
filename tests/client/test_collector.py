"""The older scripts' class: same calls, same keys, the daemon behind them."""

from __future__ import annotations

import math
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.client import ExperienceCollector, SleepClient, SleepClientError
from app.client.collector import collapse_status
from tests.patience import pace, wait_until
from tests.support import StartDaemon, free_port, make_exchange

ADDED_KEYS = {
    "salience", "stored", "filtered", "filter_reason", "similarity", "experience_id",
}  # fmt: skip
DIMENSIONS = {"surprise", "novelty", "arousal", "reward", "conflict"}
STATS_KEYS = {
    "total_experiences", "avg_salience", "high_salience_count", "dimension_averages",
    "oldest_experience", "newest_experience",
}  # fmt: skip
COLLAPSE_KEYS = {
    "collapse_detected", "repetition_ratio", "high_similarity_pairs", "total_pairs",
    "recommendation",
}  # fmt: skip

Collect = Callable[..., ExperienceCollector]


@pytest.fixture
def collect(tmp_path: Path) -> Iterator[Collect]:
    """Make collectors with a spool of their own; closed after the test."""
    made: list[ExperienceCollector] = []

    def make(url: str | None, **arguments: Any) -> ExperienceCollector:
        arguments.setdefault("buffer_path", tmp_path / "experience_buffer.json")
        made.append(ExperienceCollector(url=url, **arguments))
        return made[-1]

    yield make
    for collector in made:
        collector.close()


def add(collector: ExperienceCollector, number: int, **values: Any) -> dict[str, Any]:
    exchange = make_exchange(number)
    return collector.add_exchange(exchange["prompt"], exchange["response"], **values)


def test_exchange_is_scored_stored_and_named(collect: Collect, url: str) -> None:
    collector = collect(url)
    added = add(collector, 1, session_number=22, phase="relating", metadata={"turn": 1})
    assert set(added) >= ADDED_KEYS
    assert set(added["salience"]) == DIMENSIONS | {"total"}
    assert (added["stored"], added["filtered"], added["spooled"]) == (True, False, False)
    assert 0 < added["salience"]["total"] <= 1
    again = add(collector, 1)
    assert (again["experience_id"], again["duplicate"]) == (added["experience_id"], True)


def test_collapsed_reply_is_filtered_with_a_reason(collect: Collect, url: str) -> None:
    collector = collect(url)
    reply = make_exchange(3)["response"]
    collector.add_exchange("p", reply)
    added = collector.add_exchange("another", reply + " Yes.")
    assert (added["stored"], added["filtered"]) == (False, True)
    assert "similar" in added["filter_reason"]
    assert added["similarity"] > 0.85


def test_tool_calls_of_the_older_scripts_are_taken(collect: Collect, url: str) -> None:
    collector = collect(url)
    calls = [
        {"name": "clock", "arguments": {"zone": "UTC"}, "success": True, "result": "12:00"},
        {"name": "search", "arguments": "basil", "success": False, "error": "no network"},
    ]
    plain = add(collector, 1)
    added = add(collector, 2, tool_calls=calls)
    assert added["salience"]["conflict"] > plain["salience"]["conflict"]
    kept = collector.get_high_salience_experiences(min_salience=0)
    assert [call["name"] for call in kept[0]["tool_calls"]] == ["clock", "search"]


def test_what_the_model_had_in_view_is_handed_on(collect: Collect, url: str) -> None:
    history = [{"role": "user", "content": "It rained."}]
    added = collect(url).add_exchange(
        "And then?",
        "We went home and",
        history=history,
        system_prompt="",
        finish_reason="stop",
    )
    with SleepClient(url) as client:
        kept = client.get_experience(added["experience_id"])
    assert [(turn.role, turn.content) for turn in kept.history] == [("user", "It rained.")]
    assert kept.system_prompt == ""
    assert not kept.truncated


def test_statistics_and_lists_have_the_older_keys(collect: Collect, url: str) -> None:
    collector = collect(url)
    assert collector.get_stats()["total_experiences"] == 0
    added = [add(collector, number, session_number=number) for number in range(12)]
    collector.add_exchange("p", "Okay.")
    stats = collector.get_stats()
    assert set(stats) >= STATS_KEYS
    totals = [item["salience"]["total"] for item in added]
    assert stats["total_experiences"] == 12
    assert stats["avg_salience"] == pytest.approx(sum(totals) / 12)
    assert stats["high_salience_count"] == sum(total >= 0.7 for total in totals)
    assert set(stats["dimension_averages"]) == DIMENSIONS
    assert stats["oldest_experience"] < stats["newest_experience"]
    salient = collector.get_high_salience_experiences(min_salience=0.5, limit=5)
    assert [item["salience"]["total"] for item in salient] == sorted(
        (total for total in totals if total >= 0.5), reverse=True
    )[:5]
    assert set(salient[0]) >= {
        "id", "prompt", "response", "salience", "session", "phase", "timestamp", "metadata",
    }  # fmt: skip
    assert isinstance(salient[0]["session"], int)
    every = collector.consolidate_for_sleep(min_salience=0.0)
    assert len(every) == 12


def test_collapse_is_seen_across_restarts(collect: Collect, url: str, tmp_path: Path) -> None:
    first = collect(url)
    assert first.get_collapse_status()["reason"] == "insufficient_data"
    for number in range(5):
        first.add_exchange(f"p{number}", "We learn together, and I notice it again today.")
    first.close()
    status = collect(url, spool_path=tmp_path / "other.db").get_collapse_status()
    assert set(status) >= COLLAPSE_KEYS
    assert (status["collapse_detected"], status["repetition_ratio"]) == (True, 1.0)
    assert status["recommendation"] == "disable_lora_and_investigate"


def test_different_replies_are_no_collapse() -> None:
    status = collapse_status([make_exchange(n)["response"] for n in range(10)])
    assert (status["collapse_detected"], status["total_pairs"]) == (False, 45)
    assert status["recommendation"] == "normal_operation"


def test_machine_and_model_name_an_instance_that_is_made_with_the_threshold(
    collect: Collect, url: str, client: SleepClient
) -> None:
    collector = collect(
        url, machine_name="Sprout", model_name="Qwen/Qwen2.5-0.5B", salience_threshold=0.1
    )
    added = collector.add_exchange("p", "We noticed something.")
    assert added["stored"]
    assert collector.instance == "sprout-qwen2.5-0.5b"
    instance = client.get_instance(collector.instance)
    assert instance.policy.min_salience == 0.1
    assert instance.base_model == instance.model_name == "Qwen/Qwen2.5-0.5B"
    kept = client.list_experiences(instance=collector.instance).data[0]
    assert kept.metadata == {"machine": "Sprout", "model": "Qwen/Qwen2.5-0.5B"}


def test_model_of_another_runtime_is_never_trained_into_the_base_of_the_settings(
    collect: Collect, url: str, client: SleepClient, tmp_path: Path
) -> None:
    default = client.get_instance("default").base_model
    for model, base in (("phi4:14b", "microsoft/phi-4"), ("my-own:3b", None)):
        spool = tmp_path / f"{len(model)}.db"
        collector = collect(url, machine_name="legion", model_name=model, spool_path=spool)
        add(collector, 1)
        instance = client.get_instance(collector.instance)
        assert instance.base_model == base != default
        assert instance.model_name == model
    decision = client.get_sleep_decision("legion-my-own-3b")
    assert not decision.due
    assert any("model use legion-my-own-3b" in reason.text for reason in decision.reasons)


def test_without_a_daemon_a_session_runs_on_and_its_exchanges_arrive_later(
    collect: Collect, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    port = free_port()
    collector = collect(f"http://127.0.0.1:{port}", machine_name="sprout", model_name="q")
    for number in range(4):
        added = add(collector, number)
        assert set(added) >= ADDED_KEYS
        assert (added["stored"], added["spooled"], added["filtered"]) == (False, True, False)
        assert f"{added['salience']['total']:.2f}" == "nan"
    stats, collapse = collector.get_stats(), collector.get_collapse_status()
    assert set(stats) >= STATS_KEYS
    assert (stats["spooled"], math.isnan(stats["avg_salience"])) == (4, True)
    assert set(collapse) >= COLLAPSE_KEYS
    assert collapse["total_pairs"] == 6
    with pytest.raises(SleepClientError):
        collector.consolidate_for_sleep()
    start_daemon(port=port, base_model=tmp_path / "none", scheduler_interval_seconds=3600)
    assert collector.flush()
    assert collector.get_stats()["total_experiences"] == 4
    assert not add(collector, 9)["spooled"]


class _Hanging(socketserver.BaseRequestHandler):
    """Takes a request and never ends its answer; a byte now and then if the server says so."""

    def handle(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        while not self.server.is_over.wait(0.1):  # type: ignore[attr-defined]
            if self.server.trickles:  # type: ignore[attr-defined]
                self.request.sendall(b"H")


@pytest.mark.parametrize("trickles", [False, True])
def test_daemon_that_hangs_costs_one_bounded_wait(collect: Collect, trickles: bool) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Hanging) as server:
        server.trickles, server.is_over = trickles, threading.Event()  # type: ignore[attr-defined]
        server.asked = 0  # type: ignore[attr-defined]
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            collector = collect(f"http://127.0.0.1:{server.server_address[1]}", wait_seconds=1.0)
            started = time.monotonic()
            for number in range(6):
                assert add(collector, number)["spooled"]
            assert collector.get_stats()["reason"]
            assert collector.get_collapse_status()["recent_responses"] == 6
            with pytest.raises(SleepClientError):
                collector.consolidate_for_sleep()
            collector.close()
            # Of nine calls one waits; a second one would take it to two seconds.
            assert server.asked <= 2  # type: ignore[attr-defined]
            assert time.monotonic() - started < 1.9 * pace()
        finally:
            server.is_over.set()  # type: ignore[attr-defined]
            server.shutdown()


def test_daemon_that_is_back_is_asked_again(
    collect: Collect, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    port = free_port()
    collector = collect(f"http://127.0.0.1:{port}")
    assert collector.get_stats()["reason"]
    start_daemon(port=port, base_model=tmp_path / "none", scheduler_interval_seconds=3600)
    wait_until(lambda: collector.get_stats()["reason"] is None, "the daemon is found again")
    assert not add(collector, 1)["spooled"]


def test_address_token_and_instance_come_from_the_environment(
    collect: Collect, url: str, monkeypatch: pytest.MonkeyPatch, client: SleepClient
) -> None:
    monkeypatch.setenv("SAGE_URL", url)
    monkeypatch.setenv("SAGE_INSTANCE", "from-the-environment")
    collector = collect(None)
    assert add(collector, 1)["experience_id"]
    assert len(client.list_experiences(instance="from-the-environment").data) == 1


@pytest.mark.parametrize(
    ("machine", "model", "slug"),
    [
        ("thor", "ollama:qwen2.5:14b", "thor-qwen2.5-14b"),
        ("Thor", "qwen2.5:14b", "thor-qwen2.5-14b"),
        ("legion", "Ollama:phi4:14b", "legion-phi4-14b"),
        ("sprout", "Qwen/Qwen2.5-0.5B", "sprout-qwen2.5-0.5b"),
        ("a", "ollama", "a-ollama"),
        (None, "ollama:x", "default"),
    ],
)
def test_slugs_are_those_of_the_older_scripts(
    collect: Collect, url: str, machine: str | None, model: str, slug: str
) -> None:
    assert collect(url, machine_name=machine, model_name=model).instance == slug


def test_exchange_of_another_instance_that_is_missing_holds_nothing_up(
    collect: Collect, url: str
) -> None:
    collector = collect(url)
    collector.spool.add(make_exchange(5, instance="nobody-yet"))
    assert [add(collector, number)["stored"] for number in range(3)] == [True] * 3
    assert not collector.flush(30)
    assert len(collector.spool) == 1


def test_refused_exchange_says_why_and_is_set_aside(collect: Collect, url: str) -> None:
    collector = collect(url)
    added = collector.add_exchange("p", "r" * 70_000)
    assert (added["stored"], added["spooled"]) == (False, False)
    assert "65536" in added["reason"]
    assert len(collector.spool.list_rejected()) == 1
    assert add(collector, 1)["stored"]
