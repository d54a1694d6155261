"""Traces: only where they are asked for, and never with what a client sent."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from app.api.tracing import exporter_asked_for
from tests.support import StartDaemon, make_exchange

has_packages = importlib.util.find_spec("opentelemetry.instrumentation") is not None


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, None),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"}, None),
    ],
)
def test_standard_variables_ask_for_traces(
    environment: dict[str, str], exporter: str | None
) -> None:
    assert exporter_asked_for(environment) == exporter


@pytest.mark.skipif(has_packages, reason="the extra `otel` is installed")
def test_daemon_without_the_packages_starts_and_says_so(
    start_daemon: StartDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    daemon = start_daemon(base_model=tmp_path / "none")
    assert daemon.http.get("/healthz").status_code == 200
    assert "tracing.packages_missing" in daemon.log


@pytest.mark.skipif(not has_packages, reason="the extra `otel` is not installed")
def test_spans_name_routes_and_no_text(
    start_daemon: StartDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    daemon = start_daemon(base_model=tmp_path / "none")
    daemon.http.post("/v1/experiences", json=make_exchange(1))
    assert daemon.http.get("/v1/experiences?q=basil-is-secret").status_code == 200
    daemon.http.get("/metrics")
    daemon.stop()
    assert "POST /v1/experiences" in daemon.log
    assert "GET /v1/experiences" in daemon.log
    assert "GET /metrics" not in daemon.log
    assert "basil" not in daemon.log
