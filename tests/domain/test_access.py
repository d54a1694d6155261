"""Tokens are read as they are written, whatever letters a secret has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.access import read_token, write_token

SECRETS = st.from_regex(r"[A-Za-z0-9_-]{1,43}", fullmatch=True)


@given(st.from_regex(r"[0-9A-Z]{26}", fullmatch=True), SECRETS)
def test_token_is_read_as_it_was_written(token_id: str, secret: str) -> None:
    assert read_token(write_token(token_id, secret)) == (token_id, secret)


@pytest.mark.parametrize("text", ["", "sage", "sage_", "sage__x", "sage_x", "sage_x_", "other_x_y"])
def test_text_of_another_shape_is_no_token(text: str) -> None:
    assert read_token(text) is None
