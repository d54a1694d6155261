"""Pieces of a reply found in earlier ones: the same as when each is looked for by itself."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import surprise
from app.domain.salience import find_surprise
from app.domain.surprise import Pieces

TEXTS = st.text(alphabet="ab. \n", max_size=60)


def plainly(response: str, recent: Sequence[str]) -> float:
    """Scorer `snarc-1`, word for word."""
    joined = ".".join(recent[-5:])
    pieces = response.split(".")
    known = [piece for piece in map(str.strip, pieces) if piece and piece in joined]
    return 1.0 - len(known) / len(pieces)


@pytest.mark.parametrize("searches", [0, 2, 256])
def test_pieces_are_found_however_they_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, searches: int
) -> None:
    monkeypatch.setattr(surprise, "MAX_SEARCHES", searches)

    @given(TEXTS, st.lists(TEXTS, min_size=1, max_size=7))
    def agrees(response: str, recent: list[str]) -> None:
        assert find_surprise(response, recent) == plainly(response, recent)

    agrees()


def test_many_pieces_are_told_apart() -> None:
    response = ".".join(f"number {number}" for number in range(1000))
    found = Pieces(response).find_in("a number 7 here. number 99, number 500")
    told = {number for number, is_known in enumerate(found) if is_known}
    assert told == {5, 7, 9, 50, 99, 500}


@pytest.mark.parametrize(
    ("response", "earlier", "surprise"),
    [
        ("今日は雨です。明日は晴れです", "昨日は雪でした。明日は晴れです", 0.5),
        ("نحن نتعلم معا۔ نحن نشعر بالفضول", "نحن نشعر بالفضول", 0.5),
        ("We learned it together。 We were curious", "We were curious", 1.0),  # as `snarc-1`
    ],
)
def test_full_stop_of_another_script_divides_replies_in_other_languages_than_english(
    response: str, earlier: str, surprise: float
) -> None:
    pieces = Pieces(response)
    assert pieces.surprise(pieces.find_in(earlier)) == surprise


@pytest.mark.parametrize(
    ("response", "earlier", "known"),
    [
        ("aaab", "x aaaab", ["aaab"]),  # goes back by one, and no further
        ("abcd.bc", "xabcdx", ["abcd", "bc"]),  # one within another
        ("abcd.bcd.cd.d", "xabcdx", ["abcd", "bcd", "cd", "d"]),
        ("abce.bcd", "xabcdx", ["bcd"]),
        ("ab.b", "xbx", ["b"]),
        ("ab", "a b", []),
    ],
)
def test_many_pieces_are_found_within_each_other(
    monkeypatch: pytest.MonkeyPatch, response: str, earlier: str, known: list[str]
) -> None:
    monkeypatch.setattr(surprise, "MAX_SEARCHES", 0)
    pieces = response.split(".")
    assert list(Pieces(response).find_in(earlier)) == [piece in known for piece in pieces]


def test_many_random_pieces_are_those_that_stand_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surprise, "MAX_SEARCHES", 0)
    draw = random.Random(3)  # noqa: S311  # no secret

    def word(most: int) -> str:
        return "".join(draw.choices("ab", k=draw.randint(1, most)))

    for _ in range(200):
        response = ".".join(word(6) for _ in range(8))
        earlier = word(12)
        assert find_surprise(response, [earlier]) == plainly(response, [earlier])


def test_findings_of_every_recent_reply_count_and_are_as_many_as_the_pieces() -> None:
    pieces = Pieces("one.two.three")
    first, second = pieces.find_in("one"), pieces.find_in("three")
    assert pieces.surprise(first, second) == pytest.approx(1 / 3)
    assert pieces.surprise() == 1.0
    with pytest.raises(ValueError, match="shorter"):
        pieces.surprise(first, b"\0")
