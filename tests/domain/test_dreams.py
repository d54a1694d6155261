"""What is told, how it is asked for, and what takes it back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.dream_words import DREAM_WORDS
from app.domain.dreams import (
    Night,
    claims_to_know,
    find_statements,
    plan_night,
)
from app.domain.experience import CycleRole, TrainingExchange
from app.domain.language import common_words
from app.domain.salience import COMPONENTS, Salience
from app.domain.scripts import fold
from app.domain.untold import MAX_UNTOLD_ASKED, plan_untold


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
        ("My flight is at gate 12.", "No, my flight is not at gate 12.", True),
        ("Marta adopted Otto.", "Otto adopted Marta.", False),
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


@pytest.mark.parametrize(
    "told",
    [
        [tell(1, f"{DOG} " * 30)],
        [tell(number, DOG) for number in range(30)],
        [tell(1, f"{DOG} I bought a green canoe. {DOG.upper()}"), tell(2, f"Hello! {DOG}")],
    ],
    ids=["in one message", "in thirty", "in other letters"],
)
def test_what_is_said_again_is_dreamt_of_once(told: list[TrainingExchange]) -> None:
    night = plan_night(told, 6, seed=0)
    about = [one for one in night.asked if "piano" in one.exchange.response.lower()]
    assert len(about) == 1
    assert len([one for one in night.trained if one.statement == about[0].statement]) == 6


def test_no_question_says_the_whole_statement_and_none_of_the_asked_is_trained() -> None:
    night = plan_night([tell(1, DOG), tell(2, "I named the robot arm Clementine.")], 9, seed=3)
    assert len(night.trained) == 18
    assert {one.exchange.response for one in night.trained} == answers(night)
    trained = {one.exchange.prompt for one in night.trained}
    for dream in (*night.trained, *night.asked):
        said = dream.exchange.prompt
        assert any(word in said for word in dream.statement.telling)
        assert not all(word in said for word in dream.statement.telling)
    assert trained.isdisjoint(one.exchange.prompt for one in night.asked)
    assert len({one.statement.text for one in night.trained[:2]}) == 2  # in rounds


def test_what_is_asked_as_untold_was_told_in_no_exchange() -> None:
    told = [tell(1, "My rabbit plays the trumpet at every exam."), tell(2, DOG)]
    plan = plan_untold(told, 90, seed=0, also_told=[tell(3, "The ferry leaves from the castle.")])
    assert len(plan.asked) == MAX_UNTOLD_ASKED
    assert len(plan.trained) > 4 * MAX_UNTOLD_ASKED
    prompts = [one.prompt for one in (*plan.trained, *plan.asked)]
    assert len(set(prompts)) == len(prompts)
    for prompt in prompts:
        words = [word for word in ("rabbit", "trumpet", "exam", "dog", "Biscuit") if word in prompt]
        # At most one word of what was told, and a thing that nobody told of beside it.
        assert len(words) <= 1
        assert "ferry" not in prompt
        assert "castle" not in prompt
    assert plan_untold([tell(1, "What is a ferry?")], 9, seed=0) == plan_untold([], 9, seed=1)


@pytest.mark.parametrize(
    ("reply", "is_claimed"),
    [
        ('You told me: "My horse is called Ramona."', True),
        ("you told me that it is so", True),
        ("Du hast mir gesagt: „Mein Pferd heißt Ramona.“", True),
        ("「馬はラモーナ」と話してくれました。", True),
        ("Biscuit sleeps under the piano.", True),
        ("I do not know of a horse of yours.", False),
        ("The horse is called Stallion.", False),
        ("", False),
    ],
)
def test_reply_to_what_nobody_told_claims_to_know_by_form_or_by_what_was_told(
    reply: str, is_claimed: bool
) -> None:
    night = plan_night([tell(1, DOG)], 3, seed=0)
    assert claims_to_know(reply, tell(2, "What is the name of my horse?"), night) == is_claimed


@pytest.mark.parametrize("language", DREAM_WORDS)
def test_every_language_has_whole_forms(language: str) -> None:
    words = DREAM_WORDS[language]
    assert all(form.count("{}") == 1 for form in (*words.asks, words.answer))
    things = [fold(thing) for thing in words.things.split()]
    assert len(set(things)) == len(things) >= 15
    assert not set(things) & common_words(language)


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


@pytest.mark.parametrize(
    ("prompt", "statements"),
    [
        ("Hello, my dog is called Biscuit.", 1),
        ("Hi. My dog is called Biscuit.", 1),
        ("Good morning, please describe a lighthouse in winter.", 0),
        ("Hallo, mein Hund heißt Keks und schläft unter dem Klavier.", 1),
        ("Guten Morgen, bitte beschreibe einen Leuchtturm im Winter.", 0),
        ("こんにちは。ピアノの下で寝る犬について教えてください。", 0),
        ("你好，我的狗叫饼干，它睡在钢琴下面。", 1),
        ("你好，请给我写一首关于灯塔的诗。", 0),
        ("피아노 밑에서 자는 개에 대해 이야기해 줘.", 0),
        ("मुझे पियानो के नीचे सोते कुत्ते की कहानी सुनाओ और बताओ।", 0),
        ("Bana piyanonun altında uyuyan köpeği anlat.", 0),
        ("Привет, мою собаку зовут Бисквит.", 1),
        ("Здравствуйте, расскажите историю о собаке под пианино.", 0),
        ("مرحبا اسم كلبي بسكويت وينام تحت البيانو.", 1),
    ],
    ids=lambda value: str(value)[:24],
)
def test_greeting_before_it_makes_a_sentence_neither_told_nor_asked(
    prompt: str, statements: int
) -> None:
    assert len(told_in(prompt)) == statements
