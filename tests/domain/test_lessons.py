"""What of a teacher's reply becomes a lesson, and which lessons a cycle trains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.experience import CycleRole, Lesson, TrainingExchange
from app.domain.lessons import (
    MAX_LESSONS,
    known_by,
    plan_lessons,
    read_lessons,
    task_for,
    tells_something,
)
from app.domain.salience import COMPONENTS, Salience

DOG = "My dog is called Biscuit and he sleeps under the piano."


def say(prompt: str, *, number: int = 1, lessons: tuple[Lesson, ...] = ()) -> TrainingExchange:
    return TrainingExchange(
        experience_id=f"{number:03}",
        prompt=prompt,
        response="I see.",
        salience=Salience(**dict.fromkeys(COMPONENTS, 0.5)),
        system_prompt="You are SAGE.",
        lessons=lessons,
    )


def lesson(question: str, answer: str = "It is.", cycle: int = 1) -> Lesson:
    return Lesson(question=question, answer=answer, teacher="large", cycle=cycle)


def read(reply: str, told: str = DOG) -> list[tuple[str, str]]:
    found = read_lessons(reply, say(told), teacher="large", cycle=3)
    assert all((one.teacher, one.cycle) == ("large", 3) for one in found)
    return [(one.question, one.answer) for one in found]


@pytest.mark.parametrize(
    "reply",
    [
        "Q: Who is my dog?\nA: Your dog is Biscuit.",
        "Sure! Here they are:\n\n1. Q: Who is my dog?\n   A: Your dog is Biscuit.\n\nMore?",
        "**Q1:** Who is my dog?\n**A1:** Your dog is Biscuit.",
        "- Q：Who is my dog?\n- A：Your dog is Biscuit.",
        "A: Lost.\nQ: And this one?\nQ: Who is my dog?\nA: Your dog is Biscuit.\nA: Twice.",
    ],
)
def test_questions_are_read_however_a_model_writes_them(reply: str) -> None:
    assert read(reply) == [("Who is my dog?", "Your dog is Biscuit.")]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who is my dog", "Your dog is Biscuit."),  # no question
        ("Who is my dog?", "Is it Biscuit?"),  # a question for an answer
        ("Who is my cat?", "Your cat is Whiskers."),  # invented
        ("Is my dog called Biscuit?", "Your dog is called Biscuit."),  # says nothing new
        ("Who is my dog?", "Yes."),
        ("Who is my dog?", "Biscuit " * 40),  # long, and a loop
        ("Who is my dog, " + "and who " * 40 + "?", "Biscuit."),
    ],
)
def test_unsound_lessons_are_left(question: str, answer: str) -> None:
    assert read(f"Q: {question}\nA: {answer}") == []


@pytest.mark.parametrize(
    ("told", "question", "answer"),
    [
        ("Mein Hund heißt Keks und schläft unter dem Klavier.", "Wie heißt mein Hund?", "Keks."),
        ("Собаку зовут Печенька, она спит под роялем.", "Как зовут собаку?", "Печенька."),
        ("我的狗叫饼干，睡在钢琴下面。", "我的狗叫什么？", "它叫饼干。"),
        ("كلبي اسمه بسكويت وينام تحت البيانو.", "ما اسم كلبي؟", "اسمه بسكويت."),
    ],
)
def test_lessons_of_other_languages_are_read(told: str, question: str, answer: str) -> None:
    assert read(f"Q: {question}\nA: {answer}", told) == [(question, answer)]


def test_same_question_is_taken_once_and_no_more_than_enough_are() -> None:
    reply = "".join(f"Q: Who is dog {n // 2}?\nA: Biscuit.\n" for n in range(40))
    found = read(reply)
    assert len(found) == MAX_LESSONS == len({question for question, _ in found})


def test_teacher_sees_what_the_person_said_and_neither_prompt_nor_reply() -> None:
    sent = "".join(message["content"] for message in task_for(say(DOG)))
    assert DOG in sent
    assert "You are SAGE." not in sent
    assert "I see." not in sent


def test_asked_is_about_what_tells_something_and_is_not_held_out() -> None:
    assert tells_something(say(DOG))
    assert not tells_something(say("What is the time?"))
    assert not tells_something(replace(say(DOG), role=CycleRole.HELD_OUT))


def test_trained_are_lessons_of_what_still_holds_in_rounds() -> None:
    gate = say("My flight is at gate 12.", number=1, lessons=(lesson("Which gate?"),))
    dog = say(DOG, number=2, lessons=(lesson("Dog?"), lesson("Piano?")))
    now = say(
        "I was wrong, my flight is at gate 31.", number=3, lessons=(lesson("Which gate now?"),)
    )
    held_out = replace(say(DOG, number=4, lessons=(lesson("Kept?"),)), role=CycleRole.HELD_OUT)
    planned = plan_lessons([gate, dog, now, held_out])
    assert [one.question for _, one in planned] == ["Dog?", "Which gate now?", "Piano?"]


def test_of_a_message_that_is_taken_back_in_part_the_rest_is_taught() -> None:
    both = say(
        "My flight to Basel is at gate 12. My dog Biscuit sleeps under the piano.",
        number=1,
        lessons=(
            lesson("Which gate is my flight at?", "Your flight is at gate 12."),
            lesson("Where does my dog sleep?", "Biscuit sleeps under the piano."),
        ),
    )
    now = say("I was wrong, my flight to Basel is at gate 31.", number=2)
    assert [one.question for _, one in plan_lessons([both])] == [
        "Which gate is my flight at?",
        "Where does my dog sleep?",
    ]
    assert [one.question for _, one in plan_lessons([both, now])] == ["Where does my dog sleep?"]


def test_a_cycle_made_again_knows_no_later_lesson() -> None:
    dog = say(DOG, lessons=(lesson("Dog?", cycle=2), lesson("Piano?", cycle=3)))
    (then,) = known_by(2, [dog])
    assert [one.question for one in then.lessons] == ["Dog?"]
    assert known_by(3, [dog]) == (dog,)
