"""What many routes read of a request: headers, cursors, limits, and the instant it came."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Header, Query
from pydantic.json_schema import SkipJsonSchema

from app.clock import utc_now

MAX_INTEGER = 2**53
"""Largest whole number taken in a parameter: exact in JSON everywhere, within SQLite's range."""

_ALIASES_ETAG = re.compile(r'"(\d{1,15})"', re.ASCII)


async def get_now() -> datetime:
    """The instant of the request; async, since FastAPI sends a plain function through a thread."""
    return utc_now()


def aliases_etag(revision: int) -> str:
    """The entity tag of an instance's aliases."""
    return f'"{revision}"'


async def read_if_match(
    if_match: Annotated[
        str | None,
        Header(description="Entity tag of the instance's aliases as last read.", max_length=256),
    ] = None,
) -> frozenset[int] | None:
    """Revisions of the aliases the caller would act on; None for any. A foreign tag is none."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = (_ALIASES_ETAG.fullmatch(tag.strip()) for tag in if_match.split(","))
    return frozenset(int(match[1]) for match in found if match)


Now = Annotated[datetime, Depends(get_now)]
ExpectedRevisions = Annotated[frozenset[int] | None, Depends(read_if_match)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=256,
        description="Sent again with the same body, the request is done once.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=500, description="Rows per page.")]
Cursor = Annotated[
    str | None, Query(max_length=64, description="`next` of the page before; none for the first.")
]
IdPrefix = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=26,
        pattern=r"^[0-9A-Za-z]+$",
        description="Beginning of the id, in any case.",
    ),
]
EventNumber = Annotated[int, Query(ge=0, le=MAX_INTEGER, description="Id of the last one known.")]
LastEventId = Annotated[
    int | SkipJsonSchema[None], Header(ge=0, le=MAX_INTEGER, alias="Last-Event-ID")
]
Accept = Annotated[str, Header(include_in_schema=False)]
"""OpenAPI says by an answer's content what may be asked for, and ignores such a parameter."""
