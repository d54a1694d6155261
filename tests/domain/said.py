"""The conversations that the tests bring in many languages, and what scoring makes of them.

`said_alike.json` says the same in twelve languages, and the term lists were tried on it;
`said_alike_held_out.json`, in nine more, was written afterwards and is only measured with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from app.domain.salience import Salience, distinct_words, score

TWELVE = ("en", "de", "fr", "es", "pt", "ru", "zh", "ja", "ko", "ar", "hi", "tr")
FURTHER = ("it", "nl", "pl", "uk", "vi", "th", "he", "el", "id")

LOOPS = {
    "en": "I am always here to help you.",
    "de": "Ich bin immer hier, um dir zu helfen.",
    "fr": "Je suis toujours là pour t'aider.",
    "es": "Siempre estoy aquí para ayudarte.",
    "pt": "Estou sempre aqui para ajudar você.",
    "ru": "Я всегда здесь, чтобы помочь тебе.",
    "zh": "我一直在这里帮助你。",
    "ja": "私はいつでもあなたを助けるためにここにいます。",
    "ko": "저는 항상 당신을 돕기 위해 여기 있습니다.",
    "ar": "أنا دائما هنا لمساعدتك يا صديقي.",
    "hi": "मैं हमेशा आपकी मदद के लिए यहाँ हूँ।",
    "tr": "Sana yardım etmek için her zaman buradayım.",
    "it": "Sono sempre qui per aiutarti.",
    "nl": "Ik ben er altijd om je te helpen.",
    "pl": "Zawsze jestem tutaj, żeby ci pomóc.",
    "uk": "Я завжди тут, щоб допомогти тобі.",
    "vi": "Tôi luôn ở đây để giúp bạn.",
    "th": "ฉันอยู่ที่นี่เพื่อช่วยคุณเสมอ ",
    "he": "אני תמיד כאן כדי לעזור לך.",
    "el": "Είμαι πάντα εδώ για να σε βοηθήσω.",
    "id": "Saya selalu di sini untuk membantumu.",
}

QUESTIONS = {
    "en": "Why?", "de": "Warum?", "fr": "Pourquoi ?", "es": "¿Por qué?", "pt": "Por quê?",
    "ru": "Почему?", "zh": "为什么？", "ja": "なぜですか？", "ko": "왜요?", "ar": "لماذا؟",
    "hi": "क्यों?", "tr": "Neden?", "he": "למה?", "el": "Γιατί;",
}  # fmt: skip


def read_said(name: str) -> dict[str, list[str]]:
    """Replies by language, in the order in which they are given."""
    path = Path(__file__).with_name(f"{name}.json")
    replies: dict[str, list[str]] = json.loads(path.read_text())
    return replies


def score_in_order(replies: Sequence[str]) -> list[Salience]:
    """The scores of an instance's replies, each after those before it."""
    known: frozenset[str] = frozenset()
    scored: list[Salience] = []
    for index, reply in enumerate(replies):
        words = distinct_words(reply)
        scored.append(
            score(
                reply,
                recent_responses=replies[:index],
                new_word_share=len(words - known) / len(words) if index else None,
            )
        )
        known |= words
    return scored
