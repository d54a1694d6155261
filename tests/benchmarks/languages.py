"""Print how equal conversations score in many languages, side by side; and what the filter catches.

    python -m tests.benchmarks.languages [said_alike | said_alike_held_out]

Mean total, its difference to English, the share over the default threshold of 0.5 and the
correlation with English, reply by reply; then loops, near copies and question floods caught, of so
many that were made.
"""

from __future__ import annotations

import random
import sys
from statistics import correlation, mean

from app.domain.collapse import find_collapse
from app.domain.salience import COMPONENTS
from tests.domain.said import LOOPS, QUESTIONS, read_said, score_in_order

THRESHOLD = 0.5
COPIES = 5
"""Of each reply, each with another letter changed."""


def print_scores(name: str) -> None:
    """One line for each language of a set."""
    replies = read_said(name)
    english = [one.total for one in score_in_order(replies["en"])]
    print(f"{name}: {len(english)} replies")
    print(f"      mean    diff  over {THRESHOLD}  corr   " + " ".join(c[:6] for c in COMPONENTS))
    for language, said in replies.items():
        scored = score_in_order(said)
        totals = [one.total for one in scored]
        components = " ".join(f"{mean(getattr(s, c) for s in scored):6.2f}" for c in COMPONENTS)
        over = mean(total >= THRESHOLD for total in totals)
        print(
            f"  {language}  {mean(totals):.3f}  {mean(totals) - mean(english):+.3f}  {over:8.2f}"
            f"  {correlation(english, totals):.2f}   {components}"
        )


def print_caught(name: str) -> None:
    """What the filter catches of loops, floods and copies with a letter changed."""
    print("      loop  flood  near copies  replies taken for collapsed")
    for language, said in read_said(name).items():
        loop = find_collapse(f"{LOOPS[language]} " * 3, []).is_filtered
        question = QUESTIONS.get(language, "?")
        flood = find_collapse(" ".join(f"{question} {n}" for n in range(11)), []).is_filtered
        copies = [find_collapse(copy, [reply]) for reply in said for copy in _copies(reply)]
        wrong = sum(
            find_collapse(reply, said[:index]).is_filtered for index, reply in enumerate(said)
        )
        caught = sum(finding.is_filtered for finding in copies)
        print(f"  {language}  {loop!s:5} {flood!s:5}  {caught:4} of {len(copies)}  {wrong:6}")


def _copies(reply: str) -> list[str]:
    draw = random.Random(reply)  # noqa: S311  # no secret
    letters = [place for place, letter in enumerate(reply) if letter.isalpha()]
    made = []
    for place in draw.sample(letters, min(COPIES, len(letters))):
        other = draw.choice([reply[at] for at in letters if reply[at] != reply[place]])
        made.append(reply[:place] + other + reply[place + 1 :])
    return made


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ["said_alike", "said_alike_held_out"]:
        print_scores(wanted)
        print_caught(wanted)
