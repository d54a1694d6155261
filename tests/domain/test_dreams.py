"""What is told, how it is asked for, and what takes it back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.dreams import DreamKind, Night, find_statements, plan_night
from app.domain.experience import CycleRole, TrainingExchange
from app.domain.salience import COMPONENTS, Salience


def tell(number: int, prompt: str) -> TrainingExchange:
    return TrainingExchange(
        experience_id=f"{number:026}",
        prompt=prompt,
        response="I see.",
        salience=Salience(**dict.fromkeys(COMPONENTS, 0.5)),
    )


def told_in(prompt: str) -> list[str]:
    return [one.text for one in find_statements(tell(1, prompt))]


def answers(night: Night) -> set[str]:
    return {one.exchange.response for one in night.asked}


DOG = "My dog is called Biscuit and he sleeps under the piano."


@pytest.mark.parametrize(
    ("prompt", "statements"),
    [
        (DOG, [DOG]),
        ("Our new neighbour is Mr. Okafor, he repairs violins.",) * 2,
        ("What is the capital of Portugal?", []),
        ("Tell me a story about a fox and a hen.", []),
        ("Can you keep a secret. It matters to me.", []),
        ("Thanks!", []),
        ("   ", []),
        (
            "How are you? I bought a green canoe yesterday. Do you like canoes?",
            "I bought a green canoe yesterday.",
        ),
        ("word " * 200, []),
        ("no no no no no no no no no no no no no no no no no no", []),
        ("Die Besprechung mit der Architektin ist am Freitag und nicht am Montag.",) * 2,
        ("Il mio cane si chiama Biscotto e dorme sotto il pianoforte.",) * 2,
        ("我的狗叫饼干，它睡在钢琴下面。你好吗？", ["我的狗叫饼干，它睡在钢琴下面。"]),
        ("うちの犬はビスケットといって、ピアノの下で寝ます。",) * 2,
        ("Мою собаку зовут Бисквит, она спит под пианино.",) * 2,
        ("내 개 이름은 비스킷이고 피아노 밑에서 자요.",) * 2,
        ("اسم كلبي بسكويت وينام تحت البيانو.",) * 2,
        ("मेरे कुत्ते का नाम बिस्किट है और वह पियानो के नीचे सोता है।",) * 2,
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_question_and_no_request_is_told(
    prompt: str, statements: str | list[str]
) -> None:
    assert told_in(prompt) == ([statements] if isinstance(statements, str) else statements)


@pytest.mark.parametrize(
    ("earlier", "later", "is_taken_back"),
    [
        ("My flight is at gate 12.", "I was wrong, my flight is at gate 31.", True),
        ("The leader of the hike is Tobias.", "The leader of the hike is Priya now.", True),
        (
            "The dinner with Aunt Odile is on Monday.",
            "I have to correct myself: the dinner with Aunt Odile is on Wednesday, not on Monday.",
            True,
        ),
        (
            "Das Treffen mit Yusuf ist am Montag.",
            "Das Treffen mit Yusuf ist jetzt am Freitag.",
            True,
        ),
        ("我的航班在12号登机口。", "我的航班现在在31号登机口。", True),
        # Something else of the same one, and the same again.
        ("My sister Ramona teaches chemistry.", "My sister Ramona bought a red boat.", False),
        ("My flight is at gate 12.", "My flight is at gate 12.", False),
        ("My flight is at gate 12.", "The picnic was moved to the castle park now.", False),
    ],
)
def test_later_statement_is_dreamt_of_in_place_of_what_it_takes_back(
    earlier: str, later: str, is_taken_back: bool
) -> None:
    first, second = tell(1, earlier), tell(2, later)
    for order in ([first, second], [second, first]):  # by time, whatever stands first
        told = [one.statement.text for one in plan_night(order, 4, seed=0).asked]
        assert later in told
        assert (earlier in told) is (not is_taken_back or earlier == later)


def test_no_question_says_the_whole_statement_and_none_of_the_asked_is_trained() -> None:
    night = plan_night([tell(1, DOG), tell(2, "I named the robot arm Clementine.")], 9, seed=3)
    quotes = [one for one in night.trained if one.kind is DreamKind.QUOTE]
    assert len(quotes) == 18
    assert {one.exchange.response for one in quotes} == answers(night)
    trained = {one.exchange.prompt for one in night.trained}
    for dream in (*quotes, *night.asked):
        said = dream.exchange.prompt
        assert any(word in said for word in dream.statement.telling)
        assert not all(word in said for word in dream.statement.telling)
    assert trained.isdisjoint(one.exchange.prompt for one in night.asked)
    assert len({one.statement.text for one in night.trained[:2]}) == 2  # in rounds


def test_denials_ask_for_nothing_that_was_told() -> None:
    told = [tell(1, "My horse plays the trumpet at every wedding."), tell(2, DOG)]
    denials = [one for one in plan_night(told, 60, seed=0).trained if one.kind is DreamKind.DENIAL]
    assert len(denials) == 30
    assert {one.exchange.response for one in denials} == {"You have not told me that."}
    for denial in denials:
        words = [word for word in ("horse", "trumpet", "wedding") if word in denial.exchange.prompt]
        # At most one word of what was told, and a thing that nobody told of beside it.
        assert len(words) <= 1


def test_dreams_are_the_same_again_and_of_their_exchange_alone() -> None:
    told = [tell(1, DOG), tell(2, "The code of my bicycle lock is 4471.")]
    night = plan_night(told, 6, seed=1)
    assert plan_night(told, 6, seed=1) == night
    assert plan_night(told, 6, seed=2) != night
    alone = plan_night(told[:1], 6, seed=1)
    assert [one for one in night.trained if one.statement.exchange is told[0]] == list(
        alone.trained
    )
    held_out = replace(told[1], role=CycleRole.HELD_OUT)
    assert answers(plan_night([told[0], held_out], 6, seed=1)) == answers(alone)
    assert not plan_night([], 6, seed=1).trained


def test_reply_recalls_what_the_question_does_not_say() -> None:
    (statement,) = find_statements(tell(1, DOG))
    assert statement.is_recalled_in("Biscuit! He sleeps at the piano.", "What is my dog called?")
    assert not statement.is_recalled_in("Your dog is called Rex.", "What is my dog called?")
    assert not statement.is_recalled_in("", "What is my dog called?")
