"""Which of two shapes of an answer a client would rather have."""

from __future__ import annotations


def prefers_html(accept: str) -> bool:
    """Whether an Accept header ranks text/html above application/json; a tie is JSON's."""
    return _quality(accept, "text", "html") > _quality(accept, "application", "json")


def _quality(accept: str, family: str, kind: str) -> float:
    """What the most specific range of the header gives a media type (RFC 9110 12.5.1)."""
    ranks = {f"{family}/{kind}": 3, f"{family}/*": 2, "*/*": 1}
    best, quality = 0, 0.0
    for item in (accept or "*/*").split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        rank = ranks.get(name, 0)
        if rank > best:
            best, quality = rank, _weight(parameters)
    return quality


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter.removeprefix("q="))
            except ValueError:
                return 0.0
    return 1.0
