"""Lessons of a teacher, kept with the exchange that they are about."""

from __future__ import annotations

from collections.abc import Sequence

from app.db import experiences
from app.db.engine import Database
from app.domain.experience import ExperienceStatus, Lesson


def keep_lessons(db: Database, experience_id: str, lessons: Sequence[Lesson]) -> bool:
    """Keep them; returns whether the exchange's text is still there to learn from.

    Raises: ExperienceNotFound.
    """
    with db.write() as session:
        row = experiences.get_experience(session, experience_id)
        if row.status == ExperienceStatus.ERASED:
            return False
        row.lessons = tuple(lessons)
        return True
