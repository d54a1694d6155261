"""A loss curve as the coordinates of a picture; what draws them is not known here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 12.0, 32.0
MAX_POINTS = 320
"""Two pixels a point; a longer curve is drawn through the means of its stretches."""

GRID_LINES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A mark on an axis: where it stands, and what is written there."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LossPicture:
    """Coordinates within `WIDTH` x `HEIGHT`, y downward.

    Attributes:
        points: The curve as an SVG polyline takes it.
        smooth: The running mean over a tenth of it on either side.
        loss_ticks: By y.
        step_ticks: By x.
    """

    points: str
    smooth: str
    loss_ticks: tuple[Tick, ...]
    step_ticks: tuple[Tick, ...]


def draw_loss(curve: Sequence[float | None]) -> LossPicture | None:
    """Draw the loss of every step, nats per token; None where there is no finite loss to draw."""
    values = [
        (step, value)
        for step, value in enumerate(curve, 1)
        if value is not None and math.isfinite(value)
    ]
    if not values:
        return None
    stretch = math.ceil(len(values) / MAX_POINTS)
    parts = [values[at : at + stretch] for at in range(0, len(values), stretch)]
    steps = [sum(step for step, _ in part) / len(part) for part in parts]
    losses = [sum(value for _, value in part) / len(part) for part in parts]
    low, high = min(losses), max(losses)
    margin = (high - low) * 0.05 or 0.5
    low, high = low - margin, high + margin
    last = max(len(curve), 2)

    def x(step: float) -> float:
        return LEFT + (step - 1) / (last - 1) * (WIDTH - LEFT - RIGHT)

    def y(loss: float) -> float:
        return TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def line(heights: Sequence[float]) -> str:
        pairs = zip(steps, heights, strict=True)
        return " ".join(f"{x(step):.1f},{y(height):.1f}" for step, height in pairs)

    grid = [low + (high - low) * n / GRID_LINES for n in range(GRID_LINES + 1)]
    marked = sorted({1, (len(curve) + 1) // 2, len(curve)})
    return LossPicture(
        points=line(losses),
        smooth=line(_running_mean(losses, max(1, len(losses) // 10))),
        loss_ticks=tuple(Tick(at=round(y(loss), 1), label=f"{loss:.2f}") for loss in grid),
        step_ticks=tuple(Tick(at=round(x(step), 1), label=str(step)) for step in marked),
    )


def _running_mean(values: Sequence[float], reach: int) -> list[float]:
    """Mean over up to `reach` neighbours on either side."""
    means = []
    for at in range(len(values)):
        near = values[max(0, at - reach) : at + reach + 1]
        means.append(sum(near) / len(near))
    return means
