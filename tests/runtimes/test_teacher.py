"""A teacher is asked as OpenAI's clients ask, and its refusals say what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.errors import RuntimeRefuses, RuntimeUnavailable
from app.runtimes.teacher import MAX_REPLY_SIGNS, Teacher
from tests.runtimes.fake_teacher import fake_teacher
from tests.support import free_port

MESSAGES = [{"role": "user", "content": "My dog is called Biscuit."}]


def ask(teacher: Teacher, on_piece: Callable[[], None] = lambda: None) -> str:
    with teacher:
        return teacher.reply(MESSAGES, on_piece=on_piece)


def test_reply_is_what_is_streamed_and_the_key_is_sent() -> None:
    signs: list[None] = []
    with fake_teacher(lambda told: f"Q: {told}") as fake:
        said = ask(Teacher(fake.url, model="large", key="secret"), lambda: signs.append(None))
    assert said.strip() == "Q: My dog is called Biscuit."
    assert len(signs) > len(said.split())
    (asked,) = fake.asked
    assert (asked["model"], asked["messages"], asked["temperature"]) == ("large", MESSAGES, 0)
    assert fake.keys == ["Bearer secret"]


def test_endless_reply_is_not_read_to_its_end() -> None:
    with fake_teacher(lambda _: "word " * MAX_REPLY_SIGNS) as fake:
        said = ask(Teacher(fake.url, model="large", key=None))
    assert MAX_REPLY_SIGNS < len(said) < MAX_REPLY_SIGNS + 100
    assert fake.keys == [None]


def test_server_that_only_says_that_it_lives_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.runtimes.teacher.REPLY_SECONDS", 0.2)
    with fake_teacher(lambda _: "") as fake:
        fake.only_lives = True
        with pytest.raises(RuntimeUnavailable, match="ReadTimeout"):
            ask(Teacher(fake.url, model="large", key=None))
        fake.only_lives = False


def test_what_on_piece_raises_ends_the_reply() -> None:
    def stop() -> None:
        raise InterruptedError

    with fake_teacher(lambda _: "word") as fake, pytest.raises(InterruptedError):
        ask(Teacher(fake.url, model="large", key=None), stop)
    assert not fake.asked


def test_one_that_refuses_or_is_away_is_named_with_its_setting() -> None:
    with fake_teacher(lambda _: "") as fake:
        fake.status = 404
        with pytest.raises(RuntimeRefuses, match=r"no such model.*SAGE_TEACHER_MODEL") as refused:
            ask(Teacher(fake.url, model="large", key="secret"))
    assert "secret" not in refused.value.message
    with pytest.raises(RuntimeUnavailable, match="SAGE_TEACHER_URL"):
        ask(Teacher(f"http://127.0.0.1:{free_port()}/v1", model="large", key=None))
