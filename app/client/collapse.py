"""Whether a model repeats itself, told from its newest replies alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

SIMILARITY_THRESHOLD = 0.85
RECENT_WINDOW = 10
FEWEST_REPLIES = 3
COLLAPSE_RATIO = 0.5


def collapse_status(responses: Sequence[str]) -> dict[str, Any]:
    """Judge the newest replies of a model, at most `RECENT_WINDOW` of them.

    Two replies are alike from a Jaccard index of 0.85 on: `|A & B| / |A | B|` over their sets of
    lower-cased words. More than half of all pairs alike means collapse.
    """
    words = [frozenset(response.lower().split()) for response in responses[:RECENT_WINDOW]]
    similarities = [_jaccard(first, second) for first, second in itertools.combinations(words, 2)]
    alike = sum(similarity >= SIMILARITY_THRESHOLD for similarity in similarities)
    ratio = alike / len(similarities) if similarities else 0.0
    is_known = len(words) >= FEWEST_REPLIES
    is_collapsed = is_known and ratio > COLLAPSE_RATIO
    return {
        "collapse_detected": is_collapsed,
        "repetition_ratio": ratio,
        "high_similarity_pairs": alike,
        "total_pairs": len(similarities),
        "recent_responses": len(words),
        "recommendation": "disable_lora_and_investigate" if is_collapsed else "normal_operation",
        "reason": None if is_known else "insufficient_data",
    }


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    union = len(first | second)
    return len(first & second) / union if union else 0.0
