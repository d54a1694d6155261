"""Selection: time orders, held-out is never trained, equal data has an equal hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.experience import content_hash, is_held_out
from app.domain.selection import MAX_HELD_OUT, REHEARSAL_POOL_FACTOR, Selectable, Selection, select


def experiences(count: int, start: int = 0) -> list[Selectable]:
    return [
        Selectable(seq=n, id=f"e{n}", content_sha256=f"h{n}", total=1 - n / 1000)
        for n in range(start, start + count)
    ]


@given(st.integers(0, 200), st.integers(0, 60), st.integers(0, 50), st.floats(0, 1))
def test_no_experience_is_trained_and_measured_in_one_cycle(
    free: int, held: int, pool: int, share: float
) -> None:
    selection = select(
        experiences(free),
        held_out=experiences(held, 1000),
        rehearsal_pool=experiences(pool, 2000),
        rehearsal_share=share,
        seed=1,
    )
    trained = {c.seq for c in (*selection.train, *selection.rehearsal)}
    assert trained.isdisjoint(c.seq for c in selection.held_out)
    assert len(selection.held_out) <= MAX_HELD_OUT


def test_what_was_chosen_is_trained_in_the_order_of_time() -> None:
    chosen = [*experiences(5, 10), *experiences(5)]
    selection = select(chosen, held_out=[], rehearsal_pool=[], rehearsal_share=0, seed=0)
    assert [c.seq for c in selection.train] == [0, 1, 2, 3, 4, 10, 11, 12, 13]
    assert [c.seq for c in selection.held_out] == [14]


def test_young_instance_keeps_a_tenth_of_the_cycle_back() -> None:
    selection = select(experiences(25), held_out=[], rehearsal_pool=[], rehearsal_share=0.0, seed=0)
    assert [c.seq for c in selection.held_out] == [9, 19]
    assert len(selection.train) == 23


@pytest.mark.parametrize(
    ("free", "trained", "kept_back"),
    [(0, [], []), (1, [0], []), (2, [0], [1]), (3, [0, 1], [2]), (9, [*range(8)], [8])],
)
def test_of_fewer_than_ten_the_last_is_kept_back_and_never_the_only_one(
    free: int, trained: list[int], kept_back: list[int]
) -> None:
    selection = select(experiences(free), held_out=[], rehearsal_pool=[], rehearsal_share=0, seed=0)
    assert [c.seq for c in selection.train] == trained
    assert [c.seq for c in selection.held_out] == kept_back


def test_no_more_is_kept_back_than_is_measured() -> None:
    selection = select(experiences(400), held_out=[], rehearsal_pool=[], rehearsal_share=0, seed=0)
    assert (len(selection.train), len(selection.held_out)) == (368, 32)


def test_same_data_same_hash_and_another_order_another() -> None:
    def hash_of(items: list[Selectable]) -> str:
        return Selection(train=tuple(items), rehearsal=(), held_out=()).data_sha256

    items = experiences(5)
    assert hash_of(items) == hash_of(list(items))
    assert hash_of(items) != hash_of(items[::-1])


@pytest.mark.parametrize(
    ("trained", "measured"), [(3, 4), (16, 4), (19, 4), (20, 5), (40, 10), (400, 32)]
)
def test_yardstick_grows_with_the_cycle_and_not_with_history(trained: int, measured: int) -> None:
    held = experiences(1000, 5000)
    selection = select(
        experiences(trained), held_out=held, rehearsal_pool=[], rehearsal_share=0, seed=0
    )
    assert selection.held_out == tuple(held[:measured])


def test_an_experience_counts_towards_the_mass_unless_it_is_said_not_to() -> None:
    assert all(item.is_counted for item in experiences(2))


def test_rehearsal_is_drawn_from_four_times_as_many() -> None:
    assert REHEARSAL_POOL_FACTOR == 4


def test_more_is_drawn_for_rehearsal_than_is_rehearsed() -> None:
    selection = select(
        experiences(20),
        held_out=experiences(4, 500),
        rehearsal_pool=experiences(50, 1000),
        rehearsal_share=0.25,
        seed=0,
    )
    assert (len(selection.rehearsal), selection.rehearsal_count) == (10, 5)


def test_about_one_in_ten_is_held_out() -> None:
    held = sum(is_held_out(content_hash("p", str(n))) for n in range(5000))
    assert 400 < held < 600


def test_prompt_and_response_do_not_run_together_in_the_hash() -> None:
    assert content_hash("a", "bc") != content_hash("ab", "c")
