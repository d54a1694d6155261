"""Starting again from the base: when it is due, so that small updates' errors do not pile up."""

from __future__ import annotations

from app.domain.policy import SleepPolicy


def is_rebuild_due(
    stacked_updates: int, cycles_since_rejected: int | None, policy: SleepPolicy
) -> bool:
    """Whether the next cycle starts from the base instead of the current adapter.

    Args:
        stacked_updates: Cycles that went on from an adapter since the current one's line last
            started from the base.
        cycles_since_rejected: Cycles since the newest new start that the gate rejected; None where
            it rejected none. As many must pass before the next, or what is new would be held up
            behind one refusal after the other.
        policy: Its `rebuild_every_cycles` of 0 means never.
    """
    every = policy.rebuild_every_cycles
    if every == 0 or stacked_updates < every:
        return False
    return cycles_since_rejected is None or cycles_since_rejected >= every
