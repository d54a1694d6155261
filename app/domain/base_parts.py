"""What a base model is made of, part by part, so that a change of it can be named.

A part's key is its kind and, where there are several, the file: `weights model.safetensors`,
`config`, `tokenizer tokenizer.json`, `chat_template`, `generation_config`; its value is a SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping

BaseParts = Mapping[str, str]

WEIGHTS = "weights"


def changed_parts(then: BaseParts, now: BaseParts) -> tuple[str, ...]:
    """The parts that are gone, new or different, in words; none where one side is not known."""
    if not then or not now:
        return ()
    found = []
    for key in sorted({*then, *now}):
        if then.get(key) == now.get(key):
            continue
        how = "is gone" if key not in now else "is new" if key not in then else "is another"
        found.append(f"{key} {how}")
    return tuple(found)
