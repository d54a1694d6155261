"""Which language a reply is in: English unless shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.domain.language import (
    SAMPLE_CHARACTERS,
    TOLD,
    UNKNOWN,
    english_words,
    find_language,
    signs_per_word,
)
from tests.domain.said import FURTHER, TWELVE, read_said

ENGLISH = [
    "", "42", "ok", "...", "Yes.", "No, me?", "Die hard.", "Ink is kind.", "x x x", "w0 w1 w2",
    "specifically precisely exactly particular", "feel / sense / realize / understand",
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho",
    "def f(x): return x + 1", "The café on the Champs-Élysées is closed, said José Muñoz.",
    "She said “Ich weiß nicht”, which is the German for it.", "→ ✓ 3 × 4 = 12", "😀😀😀",
    "The word 你好 is how they say hello.", "We looked at the sign: 出口 was all that it said.",
]  # fmt: skip


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_what_nothing_speaks_against(text: str) -> None:
    assert find_language(text) == "en"


@pytest.mark.parametrize(
    "text",
    [
        "Main aapke sawaal ke baare mein soch raha tha, aur mujhe yakeen nahin hai.",
        "Kont bafakkar fi so2alak w lahazt enni mesh mota2aked.",
        "Skeftomoun tin erotisi sou kai paratiro oti den eimai sigouros.",
        "Ya dumal o tvoyom voprose i zamechayu, chto ne uveren.",
        "Wo yizhi zai sikao ni de wenti, women keyi yiqi kankan.",
        "Watashi wa anata no shitsumon ni tsuite kangaete imasu.",
        "Ya dumayu, shcho tse duzhe tsikavo, i my mozhemo rozibratysia razom.",
        "Ani hoshev she ze meanyen, ve anachnu yecholim lachshov al ze beyachad.",
        "Jeoneun i jilmuni jeongmal jaemiitdago saenggakhaeyo, gachi saenggakhae bopsida.",
    ],
)
def test_other_scripts_in_latin_letters_are_unknown(text: str) -> None:
    assert find_language(text) == UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "Women rule. My net worth grew.",
        "my $fh = shift; net->open;",
        "Wi-Fi mesh routers extend coverage.",
        "Sore ego? No way.",
    ],
)
def test_words_that_english_has_too_are_no_signs_of_those(text: str) -> None:
    assert find_language(text) == "en"


@pytest.mark.parametrize("name", ["said_alike", "said_alike_held_out"])
def test_languages_are_told(name: str) -> None:
    said = read_said(name)
    for language in TWELVE:
        told = [find_language(reply) for reply in said[language]]
        assert told.count(language) >= len(told) - 1, (language, told)


def test_what_has_no_terms_is_unknown() -> None:
    said = read_said("said_alike_held_out")
    for language in FURTHER:
        told = [find_language(reply) for reply in said[language]]
        assert told.count(UNKNOWN) >= len(told) - 3, (language, told)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Това е хубав ден и ще отидем на плажа.", "und"),
        ("Це дуже гарний день.", "und"),
        ("Это хороший день.", "ru"),
        ("این یک روز خوب است، چه می‌گویی؟", "und"),
        ("یہ ایک اچھا دن ہے۔", "und"),
        ("هذا يوم جميل", "ar"),
        ("हा एक चांगला दिवस आहे आणि आम्ही जाऊ.", "und"),
        ("आज का दिन अच्छा है।", "hi"),
        ("今日はいい日です。", "ja"),
        ("日本語文法", "zh"),
        ("カタカナ", "ja"),
        ("我們今天去看海", "zh"),
        ("좋은 날이에요", "ko"),
        ("ძალიან კარგი დღეა", "und"),
        ("Bu gün çox gözəl bir gündür və mən gedirəm.", "und"),
        ("Bugün hava çok güzel.", "tr"),
        ("¿Vamos?", "es"),
        ("Ça va très bien, merci.", "fr"),
        ("Šodien ļoti jauks rīts, draugs.", "und"),
        ("API を 使って JSON を 読みます、 そして 書きます。", "ja"),
    ],
)
def test_neighbours_in_one_script_are_told_apart(text: str, language: str) -> None:
    assert find_language(text) == language


def test_the_beginning_tells_the_language() -> None:
    german = "Das ist nicht der Weg, den wir gehen. "
    assert find_language(german * 300) == "de"
    assert find_language("the and of to " * SAMPLE_CHARACTERS + german * 4000) == "en"


def test_every_language_that_is_told_has_its_length_of_words() -> None:
    assert all(signs_per_word("", language) != 4.8 for language in TOLD)
    assert signs_per_word("xin chào", "und") == 4.8
    assert signs_per_word("שלום", "und") == 3.2


@pytest.mark.parametrize("language", TWELVE)
def test_a_reply_is_as_long_as_in_english(language: str) -> None:
    for name in ("said_alike", "said_alike_held_out"):
        said = read_said(name)
        english = sum(len(reply.split()) for reply in said["en"])
        words = sum(english_words(reply, language) for reply in said[language])
        assert words == pytest.approx(english, rel=0.1)


@pytest.mark.parametrize("name", ["exchanges-gemma3-12b.json", "exchanges-qwen2.5-0.5b.json"])
def test_every_real_exchange_is_english(shared_data: Path, name: str) -> None:
    for exchange in json.loads((shared_data / name).read_text()):
        assert find_language(exchange["response"]) == "en"
