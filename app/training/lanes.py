"""A batch's tokens side by side: each share of them on a thread of its own, with its cores.

torch cuts every single operation into pieces for all cores and waits for the last one. The blocks
of a small model are thousands of operations of 0.02 to 5 ms, and that waiting costs more than it
gains. Here the cuts are coarse: a whole phase of a block for half of the tokens, then the next. On
2 cores SmolLM2-135M trained at 386 and 440 tokens/s, and at 310 on one lane with both cores (the
contender `one_lane` of the benchmark).
Must not know models, losses or what the work is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

LANES = 2
"""Shares that are under way at once. Fixed, not the number of cores: the cut decides the order in
which gradients are added, and the same plan must give the same bytes."""

Share = TypeVar("Share")
Result = TypeVar("Result")


class Lanes:
    """Threads that work on shares side by side; made by `open_lanes`."""

    def __init__(self, count: int, threads: ThreadPoolExecutor) -> None:
        self.count = count
        self._threads = threads

    def run(self, work: Callable[[Share], Result], shares: Sequence[Share]) -> list[Result]:
        """What `work` makes of every share, in their order; the first runs on the caller's thread.

        An error in one share is raised after all have ended.
        """
        others = [self._threads.submit(work, share) for share in shares[1:]]
        try:
            first = work(shares[0])
        finally:
            # Waits for all, after an error too: they write into tensors that the caller would free.
            results = [future.exception() for future in others]
        for error in results:
            if error is not None:
                raise error
        return [first, *(future.result() for future in others)]


@contextmanager
def open_lanes(count: int = LANES) -> Iterator[Lanes]:
    """Share the cores out among `count` threads for as long as the block lasts."""
    cores = torch.get_num_threads()
    # torch gives the number to every thread that starts after this, the lanes' own among them.
    torch.set_num_threads(max(cores // count, 1))
    try:
        with ThreadPoolExecutor(max(count - 1, 1), thread_name_prefix="lane") as threads:
            yield Lanes(count, threads)
    finally:
        torch.set_num_threads(cores)


def even_shares(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Indices of the lengths in `count` shares of about the same sum; each in ascending order."""
    shares: list[list[int]] = [[] for _ in range(count)]
    sums = [0] * count
    # Longest first, each to the lightest share; the index decides among equals, never chance.
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        lightest = sums.index(min(sums))
        shares[lightest].append(index)
        sums[lightest] += lengths[index]
    return [sorted(share) for share in shares]


def even_ranges(length: int, count: int, *, multiple: int = 1) -> list[slice]:
    """`length` things in `count` ranges, cut at multiples; a range may be empty."""
    step = -(-length // (count * multiple)) * multiple
    return [slice(min(i * step, length), min((i + 1) * step, length)) for i in range(count)]
