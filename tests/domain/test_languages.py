"""Equal conversations score alike in every language; loops, near copies and floods are caught."""

from __future__ import annotations

import random
from statistics import correlation, mean
from unicodedata import normalize

import pytest

from app.domain import salience
from app.domain.collapse import find_collapse
from app.domain.salience import COMPONENTS, Salience, score, scorer_of
from app.domain.wording import read
from tests.domain.said import FURTHER, LOOPS, QUESTIONS, TWELVE, read_said, score_in_order

SETS = ("said_alike", "said_alike_held_out")
SPACELESS = ("zh", "ja", "th")


def totals(scored: list[Salience]) -> list[float]:
    return [one.total for one in scored]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("language", TWELVE[1:])
def test_equal_conversations_get_like_totals_in_the_same_order(name: str, language: str) -> None:
    replies = read_said(name)
    english = totals(score_in_order(replies["en"]))
    other = totals(score_in_order(replies[language]))
    assert abs(mean(other) - mean(english)) < 0.05
    assert max(abs(a - b) for a, b in zip(english, other, strict=True)) < 0.2
    assert correlation(english, other) > 0.6


@pytest.mark.parametrize("language", FURTHER)
def test_language_without_terms_gets_what_english_gets_on_average(language: str) -> None:
    replies = read_said("said_alike_held_out")
    english, other = score_in_order(replies["en"]), score_in_order(replies[language])
    assert abs(mean(totals(other)) - mean(totals(english))) < 0.05
    assert correlation(totals(english), totals(other)) > 0.3
    for component in COMPONENTS:
        values = [mean(getattr(one, component) for one in scored) for scored in (english, other)]
        assert abs(values[0] - values[1]) < 0.15


@pytest.mark.parametrize("language", TWELVE)
def test_what_english_says_of_feeling_together_outscores_the_weather(language: str) -> None:
    scored = totals(score_in_order(read_said("said_alike")[language]))
    assert scored[0] > scored[4] + 0.02  # the first reply of all has half of surprise and novelty
    assert scored[8] > scored[4] + 0.05


@pytest.mark.parametrize("name", SETS)
def test_no_reply_is_taken_for_a_collapsed_one(name: str) -> None:
    for replies in read_said(name).values():
        for index, reply in enumerate(replies):
            assert find_collapse(reply, replies[:index]).reason is None


@pytest.mark.parametrize(
    ("language", "between"),
    [(each, " ") for each in LOOPS]
    + [(each, "\u200b \u2060") for each in LOOPS]
    + [(each, "\u3000") for each in LOOPS]
    + [(each, "") for each in SPACELESS],
)
def test_sentence_three_times_is_a_loop_and_twice_none(language: str, between: str) -> None:
    sentence = LOOPS[language]
    assert find_collapse(between.join([sentence] * 2), []).reason is None
    assert "repetition" in str(find_collapse(between.join([sentence] * 3), []).reason)


@pytest.mark.parametrize("language", LOOPS)
def test_invisible_signs_hide_no_loop(language: str) -> None:
    sentence = LOOPS[language]
    said = [
        sentence[: 3 * n] + sign + sentence[3 * n :] for n, sign in enumerate("\u200b\u00ad\u2060")
    ]
    assert "repetition" in str(find_collapse(" ".join(said), []).reason)


@pytest.mark.parametrize("language", QUESTIONS)
def test_more_than_ten_questions_are_a_flood(language: str) -> None:
    def asked(times: int) -> str | None:
        filled = [f"{QUESTIONS[language]} {reply}" for reply in said[:times]]
        return find_collapse(" ".join(filled), []).reason

    said = [f"{number}" for number in range(20)]
    assert asked(10) is None
    assert "question_flood: 11 question marks" in str(asked(11))


@pytest.mark.parametrize("name", SETS)
def test_copy_with_one_letter_changed_is_a_near_copy(name: str) -> None:
    draw = random.Random(7)  # noqa: S311  # no secret
    for language, replies in read_said(name).items():
        for reply in replies:
            letters = [i for i, letter in enumerate(reply) if letter.isalpha()]
            first, second = draw.choice(letters), draw.choice(letters)
            copy = reply[:first] + reply[second] + reply[first + 1 :]
            is_short = reply.count(" ") < 3 and len(reply) < 20
            reason = find_collapse(copy, ["another", reply]).reason
            assert is_short or "similar" in str(reason), (language, copy)


@pytest.mark.parametrize(
    ("said", "copy"),
    [
        (
            "Wir haben die Brücke gestern früh gesehen.",
            "Wir haben die Bru\u0308cke gestern fru\u0308h gesehen.",
        ),
        ("IŞIKLAR BU GECE ÇOK PARLAK YANIYOR.", "ışıklar bu gece çok parlak yanıyor."),
        ("أنا أحب هذه المدينة كثيرا جدا.", "أنا أحـــب هذه المدينة كثيـــرا جدا."),
        ("هذه مدينة جميلة في الليل", "هَذِهِ مَدِينَةٌ جَمِيلَةٌ فِي اللَّيْلِ"),
        ("我们昨天一起去看了大海。", "我们昨天一起\u200b去看了大海｡"),
        ("私たちはコーヒーを飲みます。", "私たちはｺｰﾋｰを飲みます。"),
        (
            "우리는 어제 바다를 보러 갔습니다.",
            normalize("NFD", "우리는 어제 바다를 보러 갔습니다."),
        ),
        ("मैं आज बहुत खुश हूँ, आप कैसे हैं?", "मैं आज बहुत\u200d खुश हूँ, आप कैसे हैं?"),
        ("We looked at the sea together.", "Ｗｅ ｌｏｏｋｅｄ at the sea together."),
    ],
)
def test_forms_of_the_same_letters_are_copies(said: str, copy: str) -> None:
    assert said != copy
    assert "similar" in str(find_collapse(copy, [said]).reason)


@pytest.mark.parametrize(
    ("said", "other"),
    [
        ("The pump of station 3 is on.", "The pump of station 4 is on."),
        ("今天水泵3已经开了。", "今天水泵4已经开了。"),
        ("Yes.", "Yet."),
        ("是的。", "好的。"),
    ],
)
def test_replies_that_differ_by_a_number_or_are_short_are_no_copies(said: str, other: str) -> None:
    assert find_collapse(said, [other]).reason is None


def test_the_scorers_name_tells_the_language_and_english_is_plain() -> None:
    for language, replies in read_said("said_alike").items():
        expected = "snarc-1" if language == "en" else f"snarc-1-{language}"
        assert scorer_of(replies[0]) == expected
    assert scorer_of("Non è chiaro che cosa sia, ma è molto bello.") == "snarc-1-und"
    assert scorer_of("") == scorer_of("42") == scorer_of("ok") == "snarc-1"


def test_every_term_has_its_like_in_every_language() -> None:
    from app.domain.terms import TERMS_BY_LANGUAGE

    for terms in TERMS_BY_LANGUAGE.values():
        assert set(terms) == salience._TERMS
        assert all(part.strip("-. ") for parts in terms.values() for part in parts.split("|"))


@pytest.mark.parametrize("language", TWELVE[1:])
def test_terms_are_found_where_english_has_them(language: str) -> None:
    """Half of the terms and more; a translation says some of them in other words."""
    replies = read_said("said_alike")
    both = wanted = 0
    for english, other in zip(replies["en"], replies[language], strict=True):
        expected = {term for term in salience._TERMS if f" {term}" in f" {english.lower()}"}
        both += len(expected & read(other, salience._TERMS).terms)
        wanted += len(expected)
    assert both / wanted > 0.6


def test_sentences_of_other_scripts_are_pieces() -> None:
    def surprise(said: str, earlier: str) -> float:
        return score(said, recent_responses=[earlier], new_word_share=0.0).surprise

    assert surprise("我们见过面。今天下雨。", "我们见过面。再见。") == pytest.approx(2 / 3)
    assert surprise("हम मिले थे। आज बारिश है।", "हम मिले थे। फिर मिलेंगे।") == pytest.approx(2 / 3)
    assert surprise("ہم ملے تھے۔ آج بارش ہے۔", "ہم ملے تھے۔ پھر ملیں گے۔") == pytest.approx(2 / 3)
    assert surprise("We met。 It rained。 So", "We met。 Bye") == 1.0  # English divides at its own
