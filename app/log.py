"""Structured logging: one event per fact, as JSON, or pretty on a terminal.

Events carry ids, lengths and hashes; never conversation text. Library logs take the same way out.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback

import structlog

_UNSHOWN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # C0, DEL and C1 without tab and line feed
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u206f"  # direction of what follows
    "\\u2028\\u2029\\ufeff\\ufff9-\\ufffb"  # further ends of a line, and marks without a width
    "\\ud800-\\udfff"  # halves of a character, which no terminal can be sent
    "\\U000e0000-\\U000e007f]"
)
"""Characters that tell a terminal to do something instead of showing something: escape sequences
begin with them, CR writes over what stands there, bidi marks turn around what is read."""

INSTEAD = "\N{REPLACEMENT CHARACTER}"


def plain_text(text: str) -> str:
    """The text as a terminal can only show it: what would steer the terminal is replaced."""
    return _UNSHOWN.sub(INSTEAD, text)


def escaped_json(text: str) -> str:
    """The same JSON, with escapes for what would steer a terminal; it is read back unchanged."""
    return _UNSHOWN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


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
        *([_show_plainly] if is_pretty(log_format) else []),
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


def _show_plainly(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {
        name: plain_text(value) if isinstance(value, str) else value
        for name, value in event.items()
    }


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; the name is its dotted path."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
