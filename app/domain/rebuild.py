"""Starting again from the base: when it is due, so that small updates' errors do not pile up."""

from __future__ import annotations

from app.domain.sleep import SleepPolicy


def is_rebuild_due(stacked_updates: int, policy: SleepPolicy) -> bool:
    """Whether the next cycle starts from the base instead of the current adapter.

    Args:
        stacked_updates: Cycles that went on from an adapter since the current one's line last
            started from the base.
        policy: Its `rebuild_every_cycles` of 0 means never.
    """
    return 0 < policy.rebuild_every_cycles <= stacked_updates
