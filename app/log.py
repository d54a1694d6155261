"""Structured logging: one event per fact, as JSON, or pretty on a terminal.

Events carry ids, lengths and hashes; never conversation text. Library logs take the same way out.
"""

from __future__ import annotations

import logging
import sys
import traceback

import structlog


def configure_logging(*, level: str = "info", log_format: str = "auto") -> None:
    """Send structlog and the standard library's loggers to stderr in one format.

    Args:
        level: debug, info, warning or error.
        log_format: `pretty`, `json`, or `auto`: pretty when stderr is a terminal.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if is_pretty(log_format)
        else structlog.processors.JSONRenderer()
    )
    final: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        frames_only,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[*final, renderer]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def is_pretty(log_format: str) -> bool:
    """Whether the log is for a person: `pretty`, or `auto` on a terminal."""
    return log_format == "pretty" or (log_format == "auto" and sys.stderr.isatty())


def frames_only(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Reduce an exception to its type and frames: its message may quote the conversation."""
    exc_info = event.pop("exc_info", None)
    if isinstance(exc_info, tuple) and exc_info[0] is not None:
        event["error"] = exc_info[0].__name__
        event["frames"] = traceback.format_tb(exc_info[2])
    return event


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; the name is its dotted path."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
