"""What a reply says in other languages: terms, what English finds by chance, and the mean."""

from __future__ import annotations

import math

import pytest

from app.domain.salience import score
from app.domain.wording import Wording, read

TERMS = frozenset({"we", "us", "our", "feel", "together", "mistake"})


def said(text: str) -> Wording:
    return read(text, TERMS)


def test_english_counts_letters_wherever_they_stand() -> None:
    wording = said("Because we felt your feelings? A bus")
    assert wording.terms == {"we", "us", "our", "feel"}
    assert (wording.words, wording.questions) == (7, 1)
    assert wording.assumed.partnership == wording.assumed.emotions == wording.assumed.conflict == 0


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Das ist wirklich Kunst, und nicht mehr.", set()),
        ("Das ist nicht, was wir sind.", {"we"}),
        ("Das ist es, was Gefühle und Gemeinsames sind.", {"feel", "together"}),
        ("Hemos visto el mar y es muy bonito.", {"we"}),
        ("Es un error que nos une a todos.", {"us", "mistake"}),
        ("Мы видели это вместе.", {"we", "together"}),
        ("Мыло это не ошибка", {"mistake"}),
        ("我们今天在一起。", {"we", "together"}),
        ("我今天在这里。", set()),
        ("私たちは一緒に学びます。", {"we", "together"}),
        ("今日は雨です。", set()),
        ("هذا خطأ كبير", {"mistake"}),
        ("نحن هنا معًا اليوم", {"we", "together"}),
    ],
)
def test_terms_of_a_language_begin_words_or_are_whole(text: str, terms: set[str]) -> None:
    assert said(text).terms & {"we", "us", "feel", "together", "mistake"} == terms


@pytest.mark.parametrize("times", [1, 30])
def test_of_short_pronouns_those_not_said_count_as_english_has_them_by_chance(times: int) -> None:
    text = "Das ist nicht der Weg, und das Haus ist nicht hier." * times
    wording = said(text)
    words = len("".join(text.split())) / 5.0
    assert wording.words == pytest.approx(words)
    chances = [1 - math.exp(-rate * words) for rate in (0.025, 0.007, 0.003)]
    assert wording.assumed.partnership == pytest.approx(sum(chances))
    assert (wording.assumed.emotions, wording.assumed.conflict) == (0, 0)
    both = said("Das ist nicht der Weg, wir und unser Haus und uns")
    assert both.terms == {"we", "us", "our"}
    assert both.assumed.partnership == 0


@pytest.mark.parametrize("times", [1, 30])
def test_of_an_unknown_language_the_mean_is_assumed(times: int) -> None:
    text = "Non è questo che il mare ti ha detto." * times
    words = len("".join(text.split())) / 4.8
    share = 1 - math.exp(-words / 25)
    wording = said(text)
    assert wording.language == "und"
    assert wording.terms == frozenset()
    assert wording.assumed.emotions == pytest.approx(1.35 * share)
    assert wording.assumed.partnership == pytest.approx(1.3 * share)
    assert wording.assumed.conflict == pytest.approx(1.0 * share)


def test_questions_of_other_languages_count_by_their_marks() -> None:
    assert said("为什么？怎么样？").questions == 2
    assert said("Why？").questions == 0  # English counts its own


def test_assumed_terms_enter_each_component() -> None:
    def scored(text: str) -> tuple[float, float, float]:
        found = score(text, recent_responses=["y"], new_word_share=0.0)
        return found.arousal, found.reward, found.conflict

    text = "Non è questo che il mare ti ha detto."
    share = 1 - math.exp(-len("".join(text.split())) / 4.8 / 25)
    arousal, reward, conflict = scored(text)
    assert arousal == pytest.approx((0.3 + 1.35 * share / 3) / 3)
    assert reward == pytest.approx(0.3 + 0.7 * 1.3 * share / 2)
    assert conflict == pytest.approx(share / 6)
