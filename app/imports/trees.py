"""The branch of a conversation's tree that its user saw last: ChatGPT and Open WebUI keep trees.

An answer made again, or a question put otherwise, begins another branch. Must not know what the
nodes hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.imports.turns import Unreadable


def branch_of(
    nodes: Mapping[str, Any], last: Any, *, parent: str, children: str
) -> list[Mapping[str, Any]]:
    """The nodes from the first to the one that is current, or to the end of the newest branch.

    Args:
        last: Id of the current node, which may be none or gone.
        parent, children: What the nodes call theirs.

    Raises: Unreadable: The nodes stand in no tree.
    """
    node_id = (
        last if isinstance(last, str) and last in nodes else _newest_leaf(nodes, parent, children)
    )
    branch: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    while node_id is not None:
        node = nodes.get(node_id)
        if node_id in seen or not isinstance(node, dict):
            raise Unreadable("its messages stand in no tree")
        seen.add(node_id)
        branch.append(node)
        above = node.get(parent)
        node_id = above if isinstance(above, str) and above in nodes else None
    return branch[::-1]


def _newest_leaf(nodes: Mapping[str, Any], parent: str, children: str) -> str | None:
    """From the root always the last child: programs add new branches at the end."""
    trees = {name: node for name, node in nodes.items() if isinstance(node, dict)}
    node_id = next((name for name, node in trees.items() if not node.get(parent)), None)
    for _ in trees:
        below = trees[node_id].get(children) if node_id is not None else None
        known = (
            [n for n in below if isinstance(n, str) and n in trees]
            if isinstance(below, list)
            else []
        )
        if not known:
            break
        node_id = known[-1]
    return node_id
