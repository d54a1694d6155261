"""Which texts are near copies of each other: the estimated Jaccard similarity of their shingles.

    J(A, B) = |A & B| / |A | B|,  A and B the sets of three words in a row  (Broder 1997)

A MinHash sketch of `SKETCH_SIZE` values estimates it with a standard error of
`sqrt(J (1 - J) / SKETCH_SIZE)`, 0.035 at J = 0.8. The seed is fixed and the hashing the library's
own, so the same words give the same sketch in every process. The library is Rust without NumPy, and
loaded with the first text.

Of a short text one word is many of its shingles, and one letter the whole of a word. So what
differs from a text by one sign alone is a near copy of it besides: `differs_by_a_sign`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rensa import RMinHash

SHINGLE_WORDS = 3
SKETCH_SIZE = 128
SKETCH_SEED = 42

BANDS = SKETCH_SIZE // 2
"""Two texts are compared where one of so many bands of their sketches is equal. Two values make a
band, so a pair of which more than half of the values agree has such a band for certain."""

MIN_JACCARD = 0.5
"""Below it two values of a sketch may differ in every band, and copies would be missed."""


def differs_by_a_sign(first: str, second: str) -> bool:
    """Whether two texts are equal but for one sign, put in, left out or another; or equal.

    A digit is a number's own: "station 3" and "station 4" are two.
    """
    if len(first) < len(second):
        first, second = second, first
    if len(first) > len(second) + 1:
        return False
    start = _common_start(first, second)
    more = len(first) - len(second)
    if first[start + 1 :] != second[start + 1 - more :]:
        return False
    return not (first[start : start + 1] + second[start : start + 1 - more]).isdecimal()


def _common_start(first: str, second: str) -> int:
    """How many signs at their beginning two texts have in common; by halving, at memory's speed."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def sketch(words: Sequence[str]) -> RMinHash:
    """The sketch of a text's words; of fewer than `SHINGLE_WORDS` as of one shingle."""
    from rensa import RMinHash  # noqa: PLC0415  # see the module's docstring

    made = RMinHash(num_perm=SKETCH_SIZE, seed=SKETCH_SEED)
    runs = zip(*(words[first:] for first in range(SHINGLE_WORDS)), strict=False)
    shingles = list(map(" ".join, runs))
    made.update(shingles or [" ".join(words)])
    return made


class TakenTexts:
    """The texts that were taken so far, by a number each; finds the near copies among them."""

    def __init__(self, jaccard: float) -> None:
        from rensa import RMinHashDeduplicator  # noqa: PLC0415  # see the module's docstring

        self._index = RMinHashDeduplicator(
            threshold=jaccard, num_perm=SKETCH_SIZE, use_lsh=True, num_bands=BANDS, seed=SKETCH_SEED
        )
        self._signs: dict[int, str] = {}
        self._of_length: defaultdict[int, set[int]] = defaultdict(set)

    def find_near(self, made: RMinHash, signs: str = "") -> int | None:
        """The first number whose text is near, or None.

        Its sketch agrees in at least that share of its values, or its signs differ in one.
        """
        near = list(map(int, self._index.get_duplicates(made)))
        if signs:
            near += (
                number
                for length in range(len(signs) - 1, len(signs) + 2)
                for number in self._of_length.get(length, ())
                if differs_by_a_sign(signs, self._signs[number])
            )
        return min(near, default=None)

    def add(self, number: int, made: RMinHash, signs: str = "") -> None:
        """Take a text that is near none of those taken."""
        self._index.add(str(number), made)
        if signs:
            self._signs[number] = signs
            self._of_length[len(signs)].add(number)

    def remove(self, number: int) -> None:
        """Forget a text that was taken."""
        self._index.remove(str(number))
        signs = self._signs.pop(number, "")
        self._of_length[len(signs)].discard(number)
