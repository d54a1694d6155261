"""A cycle that dreams asks its teacher about what is new, once, and goes on without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import sqlalchemy as sa

from app.db import experiences
from app.db.tables import ExperienceRow
from app.domain.experience import Lesson
from app.runtimes.teacher import Teacher
from app.services.erasure import erase_experience
from tests.publishing import NOW
from tests.runtimes.fake_teacher import FakeTeacher, fake_teacher
from tests.support import free_port
from tests.worker.conftest import Place

TOLD = "The key of locker {} hangs behind the mirror."


@pytest.fixture
def teacher() -> Iterator[FakeTeacher]:
    with fake_teacher(lambda told: f"Q: Where is it?\nA: Behind the mirror.\n\n{told}") as fake:
        yield fake


@pytest.fixture
def place(make_place: Callable[[], Place]) -> Place:
    place = make_place()
    place.fill(range(6))
    for number in range(6):
        place.fill(range(6 + number, 7 + number), prompt=TOLD.format(number))
    return place


def rows(place: Place) -> dict[str, ExperienceRow]:
    """By what the person said."""
    with place.db.read() as session:
        return {row.prompt: row for row in session.scalars(sa.select(ExperienceRow))}


def sleep(place: Place, teacher: FakeTeacher, **recipe: object) -> str:
    place.teacher = partial(Teacher, teacher.url, model="large", key=None)
    return place.sleep(recipe={"dreams": 2, **recipe}).status


def test_told_is_asked_about_once_and_kept_until_it_is_erased(
    place: Place, teacher: FakeTeacher, capfd: pytest.CaptureFixture[str]
) -> None:
    assert sleep(place, teacher) == "succeeded"
    asked = [body["messages"][-1]["content"] for body in teacher.asked]
    assert asked
    assert set(asked) <= {TOLD.format(number) for number in range(6)}
    expected = Lesson(
        question="Where is it?", answer="Behind the mirror.", teacher="large", cycle=1
    )
    kept = {told for told, row in rows(place).items() if row.lessons == (expected,)}
    assert kept == set(asked)
    assert "mirror" not in "".join(capfd.readouterr())

    place.fill(range(40, 50))
    assert sleep(place, teacher) == "succeeded"  # rehearses what was asked about
    assert len(teacher.asked) == len(asked)

    row = rows(place)[asked[0]]
    erase_experience(place.db, row.id, now=NOW)
    with place.db.read() as session:
        assert experiences.get_experience(session, row.id).lessons == ()


def test_cycle_without_dreams_asks_nothing(place: Place, teacher: FakeTeacher) -> None:
    assert sleep(place, teacher, dreams=0) == "succeeded"
    assert teacher.asked == []


def test_cycle_goes_on_where_no_teacher_answers(place: Place, teacher: FakeTeacher) -> None:
    teacher.status = 404
    assert sleep(place, teacher) == "succeeded"
    assert len(teacher.asked) == 1  # and is not bothered again
    assert not any(row.lessons for row in rows(place).values())
    place.fill(range(40, 50))
    teacher.url = f"http://127.0.0.1:{free_port()}/v1"
    assert sleep(place, teacher) == "succeeded"
