"""OpenTelemetry traces, where the packages are there (extra `otel`) and OTEL_ variables ask.

`OTEL_EXPORTER_OTLP_ENDPOINT`, or `OTEL_TRACES_EXPORTER=console`, turns them on; every other
standard variable holds, too. Otherwise nothing of it is imported. A span names route, method,
status and time; what a client sent, the query included, may be conversation and stays out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI

from app.log import get_logger

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
UNTRACED = "healthz,readyz,metrics"
QUERY_ATTRIBUTES = ("url.query", "url.full", "http.url", "http.target")

_log = get_logger(__name__)


def exporter_asked_for(environment: Mapping[str, str]) -> str | None:
    """`otlp` or `console`, as the standard variables say; None for no traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    named = environment.get("OTEL_TRACES_EXPORTER")
    if named is None and any(environment.get(name) for name in ENDPOINT_VARIABLES):
        named = "otlp"
    return named if named in {"otlp", "console"} else None


def install_tracing(app: FastAPI) -> Callable[[], None]:
    """Trace requests if that is asked for and possible; what lacks is logged, never an error.

    Returns:
        What sends the last spans on; to be called when the application ends.
    """
    exporter = exporter_asked_for(os.environ)
    if exporter is None:
        return _do_nothing
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
            BatchSpanProcessor,
            ConsoleSpanExporter,
        )

        if exporter == "otlp":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter as Exporter,
            )
        else:
            Exporter = ConsoleSpanExporter  # noqa: N806  # a class
    except ImportError as error:
        _log.warning("tracing.packages_missing", missing=error.name, install="sage-sleep[otel]")
        return _do_nothing
    provider = TracerProvider(resource=Resource.create({"service.name": "sage-sleep"}))
    provider.add_span_processor(BatchSpanProcessor(Exporter()))
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=UNTRACED,
        server_request_hook=_drop_query,
        exclude_spans=["receive", "send"],
    )

    def end() -> None:
        FastAPIInstrumentor.uninstrument_app(app)
        provider.shutdown()

    return end


def _do_nothing() -> None:
    """Where nothing is traced."""


def _drop_query(span: Any, scope: Mapping[str, Any]) -> None:
    """A search holds text of the conversation."""
    if span is not None and span.is_recording() and scope.get("query_string"):
        for name in QUERY_ATTRIBUTES:
            if name in (span.attributes or {}):
                span.set_attribute(name, scope["path"])
