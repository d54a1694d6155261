"""Which checkpoints' files may go."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.domain.retention import StoredCheckpoint, choose_expired


def stored(number: int, **values: object) -> StoredCheckpoint:
    item = StoredCheckpoint(
        id=str(number),
        parent_id=None,
        is_accepted=True,
        is_pinned=False,
        is_ready=True,
        gain=0.1,
        size_bytes=1,
    )
    return replace(item, **values)  # type: ignore[arg-type]  # names of fields


def expired(
    items: list[StoredCheckpoint], *, in_use: set[str] | None = None, retain: int = 2
) -> list[str]:
    chosen = choose_expired(items, in_use=in_use or set(), retain_checkpoints=retain)
    return [item.id for item in chosen]


def test_newest_stay_and_zero_keeps_all() -> None:
    items = [stored(n) for n in range(5)]
    items[3] = replace(items[3], gain=0.5)
    assert expired(items) == ["0", "1", "2"]
    assert expired(items, retain=0) == []


def test_used_pinned_and_best_stay() -> None:
    items = [stored(n) for n in range(8)]
    items[0] = replace(items[0], is_pinned=True)
    items[1] = replace(items[1], gain=0.9)
    items[2] = replace(items[2], gain=2.0, is_accepted=False)
    assert expired(items, in_use={"3"}) == ["2", "4", "5"]


def test_parent_of_a_kept_one_stays_and_its_own_parent_goes() -> None:
    items = [stored(n, parent_id=str(n - 1) if n else None) for n in range(6)]
    items[5] = replace(items[5], gain=0.5)
    assert expired(items, retain=1) == ["0", "1", "2", "3"]


def test_refused_ones_do_not_crowd_out_the_accepted() -> None:
    items = [stored(n, is_accepted=n < 3) for n in range(9)]
    items[2] = replace(items[2], gain=0.5)
    assert expired(items) == ["0", "3", "4", "5", "6"]


def test_damaged_one_that_nothing_needs_goes() -> None:
    items = [stored(0, gain=0.5), stored(1), stored(2, is_ready=False)]
    assert expired(items) == ["2"]


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.floats(-1, 1)), max_size=12),
    st.integers(1, 5),
    st.sets(st.integers(0, 11)),
)
def test_what_goes_is_never_used_pinned_or_among_the_newest(
    drawn: list[tuple[bool, bool, bool, float]], retain: int, used: set[int]
) -> None:
    items = [
        stored(n, is_accepted=a, is_pinned=p, is_ready=r, gain=g)
        for n, (a, p, r, g) in enumerate(drawn)
    ]
    in_use = {str(number) for number in used}
    gone = set(expired(items, in_use=in_use, retain=retain))
    newest = [item.id for item in items if item.is_ready][-retain:]
    assert not gone & (in_use | set(newest) | {item.id for item in items if item.is_pinned})
