"""`SleepScheduler`: when a `SleepTrainingLoop` should sleep, by the rule the daemon decides by.

Mass and count are of what no cycle in the loop's directory was trained on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.clock import utc_now
from app.domain.decision import SleepDecision, SleepState, decide
from app.domain.policy import SleepPolicy
from app.older.buffer import read_experience_buffer, total_of
from app.older.loop import SleepTrainingLoop


class SleepScheduler:
    """Asks, waits, or sleeps at once.

    Args:
        training_loop: What sleeps.
        policy: When; None for the daemon's own default (mass 20, 10 experiences, 6 hours between).
        min_salience: Least `total` of what counts and is trained.
        max_experiences: Of one sleep; None for all.
    """

    def __init__(
        self,
        training_loop: SleepTrainingLoop,
        policy: SleepPolicy | None = None,
        *,
        min_salience: float = 0.6,
        max_experiences: int | None = None,
    ) -> None:
        self.training_loop = training_loop
        self.policy = policy or SleepPolicy()
        self.min_salience = min_salience
        self.max_experiences = max_experiences

    def check(self) -> dict[str, Any]:
        """Whether a sleep is due now: `due`, `mass`, `mass_threshold`, `count`, `reasons`."""
        decision = self._decide()
        return {
            "due": decision.is_due,
            "mass": decision.mass,
            "mass_threshold": decision.mass_threshold,
            "count": decision.count,
            "reasons": [reason.text for reason in decision.reasons],
        }

    def run(self, **arguments: Any) -> dict[str, Any] | None:
        """Sleep if it is due; None if it is not. The arguments are those of `run_sleep_cycle`."""
        return self.force(**arguments) if self._decide().is_due else None

    def force(self, **arguments: Any) -> dict[str, Any]:
        """Sleep now. The arguments are those of `run_sleep_cycle`."""
        chosen = {"min_salience": self.min_salience, "max_experiences": self.max_experiences}
        return self.training_loop.run_sleep_cycle(**{**chosen, **arguments})

    def _decide(self) -> SleepDecision:
        loop = self.training_loop
        trained = {
            name for cycle in loop.training_history for name in cycle.get("experience_ids", ())
        }
        waiting = [
            total_of(record)
            for record in read_experience_buffer(loop.experience_buffer_path)
            if total_of(record) >= self.min_salience and str(record.get("id")) not in trained
        ]
        now = utc_now()
        return decide(
            SleepState(
                now=now,
                local_time=now.astimezone().time(),
                mass=sum(waiting),
                count=len(waiting),
                last_cycle_ended_at=_last_sleep(loop),
                last_exchange_at=None,
                has_active_cycle=False,
            ),
            self.policy,
        )


def _last_sleep(loop: SleepTrainingLoop) -> datetime | None:
    times = [cycle["timestamp"] for cycle in loop.training_history if cycle["timestamp"]]
    if not times:
        return None
    at = datetime.fromisoformat(max(times))
    return at if at.tzinfo else at.replace(tzinfo=UTC)
