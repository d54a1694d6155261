"""Server-sent events, whatever the pieces they come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.client.streams import EventParser, ServerSentEvent

STREAM = (
    "\ufeffid: 4\n\n: a comment\n\n"
    'id: 5\r\nevent: sleep_cycle.started\r\ndata: {"a":\r\ndata: 1}\r\n\r\n'
    "data:no space\rdata\r\r"
    "event: lost\n\n"
    "id: 6\ndata: grüße 🌙\n\n"
    "data: never ended"
).encode()

EVENTS = [
    ServerSentEvent(type="sleep_cycle.started", data='{"a":\n1}', id="5"),
    ServerSentEvent(type="message", data="no space\n", id="5"),
    ServerSentEvent(type="message", data="grüße 🌙", id="6"),
]


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM))))
def test_events_do_not_depend_on_where_the_stream_is_cut(cuts: list[int]) -> None:
    parser = EventParser()
    ends = [*sorted(cuts), len(STREAM)]
    starts = [0, *ends[:-1]]
    pieces = [STREAM[start:end] for start, end in zip(starts, ends, strict=True)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS
    assert parser.last_id == "6"


def test_number_without_an_event_says_where_to_resume() -> None:
    parser = EventParser()
    assert parser.feed(b"id: 41\n\n") == []
    assert parser.last_id == "41"
