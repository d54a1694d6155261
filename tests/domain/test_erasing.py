"""What else goes with an erased exchange: copies do, what others say by themselves stays."""

from __future__ import annotations

from typing import Any

from app.domain.erasing import ErasedWords, Quoting, Said, what_is_left
from app.domain.verbatim import REMOVED

ASKED = "What would you want to remember from today?"
TOLD = "The heron at the weir, since it stood still for as long as we talked."


def said(seq: int, prompt: str, response: str, session: str | None = None) -> Said:
    return Said(seq=seq, prompt=prompt, response=response, session=session)


def turns(*contents: str) -> list[dict[str, Any]]:
    roles = ["user", "assistant"] * len(contents)
    return [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]


def quoting(*contents: str, session: str | None = None, **values: Any) -> Quoting:
    fields = {"system_prompt": None, "tool_calls": [], "metadata": {}, **values}
    return Quoting(session=session, history=turns(*contents), **fields)


def contents_left(words: ErasedWords, carried: Quoting) -> list[str]:
    left = words.strip(carried) or carried
    return [turn["content"] for turn in left.history]


def test_question_that_others_ask_too_is_theirs_and_stays_where_they_were_answered() -> None:
    words = ErasedWords()
    other = said(2, ASKED, "How quiet the harbour was this morning before the boats.")
    assert words.look([said(1, ASKED, TOLD)], [other]) == []
    assert words.repeated_by == {2}
    carried = quoting(ASKED, other.response, ASKED, TOLD)
    assert contents_left(words, carried) == [ASKED, other.response, REMOVED, REMOVED]


def test_same_exchange_after_another_history_goes_and_so_does_what_repeats_its_reply() -> None:
    words = ErasedWords()
    same, parrot = said(2, ASKED, TOLD), said(3, "Again?", f"As I said: {TOLD}")
    alike = said(4, "And?", "The heron stood still, as we talked, at the weir.")
    assert words.look([said(1, ASKED, TOLD)], [same, parrot, alike]) == [same, parrot]
    assert words.repeated_by == set()


def test_short_words_are_known_by_standing_together_or_by_their_session() -> None:
    words = ErasedWords()
    words.look([said(1, "Hm?", "Yes.", session="s-1")], [])
    assert contents_left(words, quoting("Hm?", "Yes.")) == [REMOVED, REMOVED]
    assert contents_left(words, quoting("Hm?", "No.", "Well?", "Yes.")) == [
        "Hm?",
        "No.",
        "Well?",
        "Yes.",
    ]
    own = quoting("Hm?", "No.", "Well?", "Yes.", session="s-1")
    assert contents_left(words, own) == [REMOVED, "No.", "Well?", REMOVED]


def test_words_without_letters_are_compared_as_they_stand() -> None:
    words = ErasedWords()
    words.look([said(1, "🙂", "🙃")], [])
    assert contents_left(words, quoting("🙂", "🙃", "🙂", "🙂")) == [REMOVED, REMOVED, "🙂", "🙂"]


def test_scripts_without_spaces_are_sought_letter_by_letter() -> None:
    words = ErasedWords()
    words.look([said(1, "我的银行卡密码是四七一一请你记住", "好的,我会一直记住你的秘密。")], [])
    left = contents_left(words, quoting("他说:我的银行卡密码是四七一一请你记住。", "天气很好。"))
    assert left == [REMOVED, "天气很好。"]


def test_system_prompt_that_stood_there_before_stays() -> None:
    identity = "You are SAGE, a small model that learns from its conversations every night."
    words = ErasedWords()
    parrot = Said(seq=1, prompt="Who?", response=f"I know: {identity}", system_prompt=identity)
    words.look([parrot], [])
    assert words.strip(quoting(system_prompt=identity)) is None
    left = words.strip(quoting(system_prompt=f"{identity} I know: {identity}"))
    assert left is not None
    assert left.system_prompt is None


def test_training_sees_only_what_came_after_the_removed_turns() -> None:
    assert what_is_left(turns("a", "b")) == turns("a", "b")
    assert what_is_left(turns("a", REMOVED, "c", "d")) == turns("c", "d")
    assert what_is_left(turns("a", "b", REMOVED, "d", "e", "f")) == turns("e", "f")
    assert what_is_left(turns("a", REMOVED)) == ()
