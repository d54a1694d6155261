"""How much of a reply stood in earlier ones: which of its pieces between full stops, verbatim.

    surprise = 1 - known / pieces

A reply in another language than English is divided at what stands for a full stop in any script.

A search of its own for each piece is quadratic: a reply of 65 kB may hold 20,000 pieces. Many are
looked for together, by the automaton of Aho and Corasick (1975, doi:10.1145/360825.360855), in time
linear in both texts. Pure: the caller passes the earlier replies in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from app.domain.language import ENGLISH, find_language
from app.domain.scripts import with_full_stops

MAX_SEARCHES = 256
"""So few pieces are looked for one by one, each in time linear in the earlier reply: the automaton
costs as much as that before it has found one."""

_ROOT = 0


class Pieces:
    """A reply's pieces between full stops, which are looked for in earlier replies."""

    def __init__(self, response: str) -> None:
        self._is_english = find_language(response) == ENGLISH
        pieces = self._with_stops(response).split(".")
        self._count = len(pieces)
        self._times = Counter(filter(None, map(str.strip, pieces)))
        self._automaton: _Automaton | None = None

    def find_in(self, earlier: str) -> bytes:
        """Which of the distinct pieces stand in an earlier reply: 1 or 0 for each, in order.

        No piece reaches across a full stop of the earlier reply, for it holds none.
        """
        segments = set(self._with_stops(earlier).split("."))
        found = self._times.keys() & set(map(str.strip, segments))
        sought = self._times.keys() - found
        text = ".".join(segments)
        if len(sought) <= MAX_SEARCHES:
            found.update(piece for piece in sought if piece in text)
        else:
            self._automaton = self._automaton or _Automaton(self._times)
            found.update(self._automaton.find_in(text))
        return bytes(piece in found for piece in self._times)

    def _with_stops(self, text: str) -> str:
        return text if self._is_english else with_full_stops(text)

    def surprise(self, *findings: bytes) -> float:
        """The share that is new, 0..1, given what `find_in` found; empty pieces are new, too."""
        counted = zip(self._times.values(), *findings, strict=True)
        known: int = sum(times for times, *found in counted if any(found))
        return 1.0 - known / self._count


class _Automaton:
    """A trie of words, each node with a link to the longest of its suffixes that is a node."""

    def __init__(self, words: Iterable[str]) -> None:
        self._children: list[dict[str, int]] = [{}]
        self._ends = {self._add(word): word for word in words}
        self._links, self._order = self._link()

    def _add(self, word: str) -> int:
        children, node = self._children, _ROOT
        for character in word:
            child = children[node].get(character)
            if child is None:
                child = children[node][character] = len(children)
                children.append({})
            node = child
        return node

    def _link(self) -> tuple[list[int], list[int]]:
        """The links, and all nodes but the root, the shallow ones first."""
        children = self._children
        links = [_ROOT] * len(children)
        order = list(children[_ROOT].values())
        for node in order:  # grows meanwhile
            for character, child in children[node].items():
                link = links[node]
                while character not in children[link] and link != _ROOT:
                    link = links[link]
                links[child] = children[link].get(character, _ROOT)
                order.append(child)
        return links, order

    def find_in(self, text: str) -> list[str]:
        """Those of the words that stand in a text."""
        children, links, node = self._children, self._links, _ROOT
        is_reached = bytearray(len(children))
        for character in text:
            child = children[node].get(character)
            while child is None and node != _ROOT:
                node = links[node]
                child = children[node].get(character)
            node = child or _ROOT
            is_reached[node] = True
        for deep in reversed(self._order):
            if is_reached[deep]:
                is_reached[links[deep]] = True
        return [word for node, word in self._ends.items() if is_reached[node]]
