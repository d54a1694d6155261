"""The picture of a loss curve stays within its frame, whatever the curve."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.loss_picture import HEIGHT, MAX_POINTS, WIDTH, draw_loss

LOSSES = st.lists(st.none() | st.floats(0, 20) | st.sampled_from([float("nan"), float("inf")]))


@given(LOSSES)
def test_every_point_lies_in_the_frame_and_goes_right(curve: list[float | None]) -> None:
    picture = draw_loss(curve)
    if picture is None:
        assert not any(value is not None and abs(value) <= 20 for value in curve)
        return
    points = [tuple(map(float, pair.split(","))) for pair in picture.points.split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert all(0 <= tick.at <= HEIGHT for tick in picture.loss_ticks)


def test_falling_loss_goes_down_on_the_page() -> None:
    picture = draw_loss([3.0, 2.0, 1.0])
    assert picture is not None
    heights = [float(pair.split(",")[1]) for pair in picture.points.split()]
    assert heights == sorted(heights)
    assert [tick.label for tick in picture.step_ticks] == ["1", "2", "3"]


def test_long_curve_is_drawn_with_few_points() -> None:
    picture = draw_loss([float(n % 7) for n in range(5000)])
    assert picture is not None
    assert len(picture.points.split()) <= MAX_POINTS
    assert picture.step_ticks[-1].label == "5000"
