"""What the dearest texts cost that a search found, against prose of their length.

`python -m tests.benchmarks.worst_texts` looks for others.
"""

from __future__ import annotations

import pytest

from tests.benchmarks.worst_texts import WORKS, Recipe, cost, dearest_of, prose, search

MAX_RATIO = 10

KNOWN = (
    Recipe(shape="repeated", pieces=("ab.",), seed=0),
    Recipe(shape="repeated", pieces=("a",), seed=0),
    Recipe(shape="repeated", pieces=("1",), seed=0),
    Recipe(shape="repeated", pieces=("<",), seed=0),
    Recipe(shape="repeated", pieces=("<think>", "</think>"), seed=0),
    Recipe(shape="counted", pieces=(".",), seed=0),
    Recipe(shape="counted", pieces=(" ",), seed=0),
    Recipe(shape="counted", pieces=("\0",), seed=0),
    Recipe(shape="counted", pieces=("<|", "."), seed=0),
    Recipe(shape="scattered", pieces=("<|", "."), seed=0),
    Recipe(shape="scattered", pieces=("\t", "İ"), seed=0),
    Recipe(shape="scattered", pieces=("a", "ab", "."), seed=0),
    Recipe(shape="counted", pieces=("",), seed=0),
    Recipe(shape="counted", pieces=("1",), seed=0),
    Recipe(shape="repeated", pieces=("ﷺ",), seed=0),
    Recipe(shape="repeated", pieces=("है ", "।"), seed=0),
    Recipe(shape="scattered", pieces=("\u0315", "\u0300"), seed=0),
    Recipe(shape="scattered", pieces=("か。", "語", "สวัส"), seed=0),
    Recipe(shape="scattered", pieces=("der die ", "ß"), seed=0),
    Recipe(shape="framed", pieces=("\n", "a", "12"), seed=0),
    Recipe(shape="framed", pieces=(" ", "[x"), seed=0),
    Recipe(shape="framed", pieces=("!", "x"), seed=0),
)


@pytest.mark.parametrize("name", WORKS)
def test_no_known_text_costs_ten_times_what_prose_does(name: str) -> None:
    recent = [prose(number) for number in range(5)]
    of_prose = cost(WORKS[name], prose(5), recent)
    ratios = {recipe: dearest_of(WORKS[name], recipe.make(), recent) / of_prose for recipe in KNOWN}
    dearest = max(ratios, key=ratios.__getitem__)
    print(f"\n{name}: {ratios[dearest]:.2f} x prose ({1000 * of_prose:.0f} ms) {dearest}")
    assert ratios[dearest] < MAX_RATIO


def test_a_search_finds_none() -> None:
    for name, ranked in search(40, seed=7).items():
        ratio, recipe = ranked[0]
        print(f"\n{name}: {ratio:.2f} x prose, the dearest of {len(ranked)}: {recipe}")
        assert ratio < MAX_RATIO
