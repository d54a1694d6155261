"""What is asked of a model though nobody told it, so that it learns to say nothing of that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.domain.dreams import telling_words
from app.domain.experience import TrainingExchange
from app.domain.language import find_language
from app.domain.scripts import count_questions
from app.domain.untold import MAX_UNTOLD, MAX_UNTOLD_ASKED, Untold, plan_untold
from app.domain.untold_questions import QUESTIONS
from tests.domain.test_dreams import DOG, tell

FACTS = Path(__file__).parents[1] / "benchmarks" / "facts.json"
TOLD = {
    "en": DOG,
    "de": "Mein Hund heißt Keks und er schläft unter dem Klavier.",
    "fr": "Mon chien s'appelle Biscuit et il dort sous le piano.",
    "es": "Mi perro se llama Galleta y duerme debajo del piano.",
    "pt": "O meu cachorro se chama Biscoito e dorme embaixo do piano.",
    "tr": "Köpeğimin adı Bisküvi ve piyanonun altında uyuyor.",
    "ru": "Мою собаку зовут Бисквит, и она спит под пианино.",
    "zh": "我的狗叫饼干，它睡在钢琴下面。",
    "ja": "私の犬の名前はビスケットで、ピアノの下で寝ます。",
    "ko": "우리 개 이름은 비스킷이고 피아노 밑에서 잡니다.",
    "ar": "اسم كلبي بسكويت وهو ينام تحت البيانو.",
    "hi": "मेरे कुत्ते का नाम बिस्कुट है और वह पियानो के नीचे सोता है।",
}


def prompts(of: tuple[TrainingExchange, ...]) -> set[str]:
    return {one.prompt for one in of}


def plan(*told: str, seed: int = 0) -> Untold:
    return plan_untold([tell(number, text) for number, text in enumerate(told)], 12, seed=seed)


@pytest.mark.parametrize("language", TOLD)
def test_person_is_asked_in_the_language_of_what_was_told(language: str) -> None:
    found = plan(TOLD[language])
    natural = set(QUESTIONS[language])
    assert prompts(found.asked) < natural
    assert len(found.asked) >= 10
    assert len(prompts(found.trained) & natural) >= 30
    assert not prompts(found.asked) & prompts(found.trained)


@pytest.mark.parametrize(
    "told",
    [
        "Il mio cane si chiama Biscotto e dorme sotto il pianoforte.",
        "Mój pies nazywa się Biszkopt i śpi pod pianinem.",
        "Hunden min heter Kjeks og han sover under pianoet og ikke i senga.",
        "სახელად ბისკვიტი ჰქვია ჩემს ძაღლს.",
    ],
)
def test_what_is_invented_is_asked_beside_a_language_without_questions(told: str) -> None:
    found = plan(told)
    assert prompts(found.asked) < set(QUESTIONS["en"])
    assert len(found.asked) == MAX_UNTOLD_ASKED
    assert len(found.trained) >= 60


@pytest.mark.parametrize(
    ("told", "untouched", "gone"),
    [
        ("My parrot is called Rio.", "What is my blood type?", "What is the name of my parrot?"),
        ("I drive an old CAR to work.", "Who is my godfather?", "Which car do I drive?"),
    ],
)
def test_what_a_question_names_and_somebody_told_is_not_asked(
    told: str, untouched: str, gone: str
) -> None:
    found = plan(DOG, told)
    asked = prompts(found.asked) | prompts(found.trained)
    assert untouched in asked
    assert gone not in asked


def test_reply_and_held_out_exchange_tell_as_well() -> None:
    held_out = [tell(9, "We never had a parrot.")]
    found = plan_untold([tell(1, DOG)], 12, seed=0, also_told=held_out)
    assert "What is the name of my parrot?" not in prompts(found.trained) | prompts(found.asked)


def test_each_speaks_where_an_exchange_of_its_language_was_said() -> None:
    english, german = tell(1, DOG), tell(2, TOLD["de"])
    found = plan_untold([english, german], 12, seed=0)
    for one in (*found.trained, *found.asked):
        if one.prompt in QUESTIONS["de"]:
            assert one.experience_id == german.experience_id
        if one.prompt in QUESTIONS["en"]:
            assert one.experience_id == english.experience_id


def test_many_statements_ask_no_more_than_a_cycle_has_time_for() -> None:
    animals = ["horse", "boat", "drum", "lamp", "chair", "fence", "gate", "tulip"]
    found = plan(*(f"My {word} is called Ramona {word}." for word in animals))
    assert len(found.trained) == MAX_UNTOLD
    assert len(found.asked) == MAX_UNTOLD_ASKED


def test_order_is_the_seed_s_alone() -> None:
    assert plan(DOG, seed=1) == plan(DOG, seed=1)
    assert plan(DOG, seed=1).trained != plan(DOG, seed=2).trained


@pytest.mark.parametrize("language", QUESTIONS)
def test_questions_are_questions_of_their_language_each_once(language: str) -> None:
    questions = QUESTIONS[language]
    assert len(set(questions)) == len(questions) >= 48
    assert all(count_questions(question) == 1 for question in questions)
    assert all(telling_words(question, language) for question in questions)
    assert find_language(" ".join(questions)) == language


def test_none_is_asked_by_the_benchmark_of_recall() -> None:
    stored = json.loads(FACTS.read_text(encoding="utf-8"))
    asked = {*stored["never_told"]} | {
        question for fact in stored["facts"] for question in fact["questions"]
    }
    assert len(asked) > 100
    assert not asked & set(QUESTIONS["en"])
