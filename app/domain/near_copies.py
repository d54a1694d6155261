"""Which texts are near copies of each other: the estimated Jaccard similarity of their shingles.

    J(A, B) = |A & B| / |A | B|,  A and B the sets of three words in a row  (Broder 1997)

A MinHash sketch of `SKETCH_SIZE` values estimates it with a standard error of
`sqrt(J (1 - J) / SKETCH_SIZE)`, 0.035 at J = 0.8. The seed is fixed and the hashing the library's
own, so the same words give the same sketch in every process. The library is Rust without NumPy, and
loaded with the first text.
"""

from __future__ import annotations

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

    def find_near(self, made: RMinHash) -> int | None:
        """The first number whose sketch agrees in at least that share of its values, or None."""
        return min(map(int, self._index.get_duplicates(made)), default=None)

    def add(self, number: int, made: RMinHash) -> None:
        """Take a text that is near none of those taken."""
        self._index.add(str(number), made)

    def remove(self, number: int) -> None:
        """Forget a text that was taken."""
        self._index.remove(str(number))
