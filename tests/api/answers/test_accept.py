"""Which shape a client would rather have."""

from __future__ import annotations

import pytest

from app.api.answers.accept import prefers_html


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html;q=0.2, application/json;q=0.3", False),
        ("text/*, */*;q=0.1", True),
        ("text/html;q=x", False),
    ],
)
def test_the_more_specific_and_weightier_range_wins(accept: str, is_html: bool) -> None:
    assert prefers_html(accept) is is_html
