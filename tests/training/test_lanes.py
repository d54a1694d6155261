"""Work side by side: its order, its errors, its share of the cores."""

from __future__ import annotations

import threading

import pytest
import torch

from app.training.lanes import even_ranges, even_shares, open_lanes
from tests.patience import seconds_left


def test_results_come_in_the_order_of_the_shares() -> None:
    with open_lanes(2) as lanes:
        assert lanes.run(lambda share: share * 10, [1, 2, 3]) == [10, 20, 30]


def test_shares_are_under_way_at_once() -> None:
    barrier = threading.Barrier(2)
    with open_lanes(2) as lanes:
        lanes.run(lambda _share: barrier.wait(seconds_left()), [0, 1])


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_is_raised_after_all_have_ended(bad: int) -> None:
    ended: list[int] = []

    def work(share: int) -> None:
        if share == bad:
            raise ValueError(str(share))
        ended.append(share)

    with open_lanes(2) as lanes, pytest.raises(ValueError, match=str(bad)):
        lanes.run(work, [0, 1])
    assert ended == [1 - bad]


def test_the_cores_come_back() -> None:
    cores = torch.get_num_threads()
    with open_lanes(2):
        assert torch.get_num_threads() == max(cores // 2, 1)
    assert torch.get_num_threads() == cores


def test_shares_are_about_equal_and_whole() -> None:
    assert even_shares([5, 9, 4, 2], 2) == [[1, 3], [0, 2]]


@pytest.mark.parametrize(("length", "multiple"), [(0, 1), (7, 1), (100, 16), (5, 16)])
def test_ranges_cover_everything_once(length: int, multiple: int) -> None:
    ranges = even_ranges(length, 3, multiple=multiple)
    assert [i for part in ranges for i in range(part.start, part.stop)] == list(range(length))
    assert all(part.start % multiple == 0 or part.start == length for part in ranges)
