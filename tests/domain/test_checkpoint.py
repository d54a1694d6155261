"""The promotion line: rollback retraces promotions, again and again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.checkpoint import (
    AliasAction,
    checkpoint_name,
    promotion_line,
    rollback_targets,
)

P, R = AliasAction.PROMOTE, AliasAction.ROLLBACK


def test_line_starts_at_the_bare_base() -> None:
    assert promotion_line([]) == [None]


def test_rollback_goes_one_back_and_promotion_branches_from_there() -> None:
    moves = [(P, "a"), (P, "b"), (R, "a"), (P, "c")]
    assert promotion_line(moves) == [None, "a", "c"]


def test_checkpoint_promoted_twice_stands_twice() -> None:
    assert promotion_line([(P, "a"), (P, "b"), (P, "a")]) == [None, "a", "b", "a"]
    assert promotion_line([(P, "a"), (P, "b"), (P, "a"), (R, "b")]) == [None, "a", "b"]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=10))
def test_rolling_back_once_per_promotion_ends_at_the_base(targets: list[str]) -> None:
    moves = [(P, target) for target in targets]
    line = promotion_line(moves)
    while len(line) > 1:
        moves.append((R, line[-2]))  # type: ignore[arg-type]  # None ends the loop
        line = promotion_line(moves)
    assert line == [None]


def test_name_holds_instance_number_and_id() -> None:
    assert checkpoint_name("sprout-qwen", 3, "01J") == "sprout-qwen/3-01J"


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=10),
    st.sets(st.sampled_from("abc")),
)
def test_rollback_moves_every_time_never_to_what_is_unfit_and_ends_at_the_base(
    targets: list[str], unfit: set[str]
) -> None:
    moves: list[tuple[AliasAction, str | None]] = [(P, target) for target in targets]
    for _ in range(len(targets)):
        line = promotion_line(moves)
        found = rollback_targets(line, unfit)
        if found is None:
            break
        target, previous = found
        assert target != line[-1]
        assert target not in unfit
        assert previous is None or (previous != target and previous not in unfit)
        moves.append((R, target))
    assert promotion_line(moves) == [None]
    assert rollback_targets([None], unfit) is None
