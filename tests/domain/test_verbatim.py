"""Word-for-word copies are found and removed; what only resembles stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.verbatim import COPY_WORDS, REMOVED, holds_copy, without_copies

SECRET = "My sister keeps her letters in the blue tin under the staircase at home."
WORDS = st.lists(st.sampled_from(list("abcdefg")), min_size=COPY_WORDS, max_size=20)


def test_eight_words_in_a_row_are_a_copy_whatever_their_case_and_signs() -> None:
    assert holds_copy("I heard: her letters, in the BLUE tin under the stairs", SECRET)


def test_fewer_words_or_another_order_are_no_copy() -> None:
    assert not holds_copy("her letters in the blue tin, under a bench", SECRET)
    assert not holds_copy("under the staircase at home my sister keeps a tin", SECRET)


def test_short_source_is_looked_for_whole_and_a_phrase_not_at_all() -> None:
    assert holds_copy("Well: the code is 4711, as I said.", "the code is 4711")
    assert not holds_copy("the code was 4711", "the code is 4711")
    assert not holds_copy("Who are you? I am SAGE.", "Who are you?")
    assert not holds_copy("anything", "")


@given(WORDS, WORDS, WORDS)
def test_text_that_embeds_the_source_is_always_found(
    before: list[str], source: list[str], after: list[str]
) -> None:
    assert holds_copy(" ".join([*before, *source, *after]), " ".join(source))


def test_only_what_holds_a_copy_is_replaced_and_probe_prompts_stay() -> None:
    metrics = {
        "loss_curve": [3.0, None],
        "replies": [{"prompt": SECRET, "before": "I do not know.", "after": f"Yes. {SECRET}"}],
    }
    assert without_copies(metrics, [SECRET]) == {
        "loss_curve": [3.0, None],
        "replies": [{"prompt": SECRET, "before": "I do not know.", "after": REMOVED}],
    }
