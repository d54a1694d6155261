"""Makes mutants of a module's source: one operator, bound, factor or term changed in each.

Cosmic Ray's operators do it, and three of our own. Its numbers move by 1, which any test of a share
in 0..1 notices; ours also move by a hundredth. Must not know which tests judge a mutant.
"""

from __future__ import annotations

import ast
import pickle
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cosmic_ray.ast import Visitor, ast_nodes, get_ast
from cosmic_ray.operators.provider import OperatorProvider
from parso.python.tree import Number

SWAPPED_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
NUDGES = (1.01, 0.99)

LEFT_ALONE = (
    # They need arguments, and change neither an operator nor a number.
    "VariableReplacer",
    "VariableInserter",
    # Of values that compare equal, which are one object is the interpreter's affair.
    "ReplaceComparisonOperator_Eq_Is",
    "ReplaceComparisonOperator_NotEq_IsNot",
    # The members of an enumeration have no order, and are equal where they are one.
    *(
        f"ReplaceComparisonOperator_{given}_{other}"
        for given in ("Is", "IsNot")
        for other in ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE")
    ),
)

Span = tuple[tuple[int, int], tuple[int, int]]


class MutationOperator(Protocol):
    """What an operator of Cosmic Ray does to a node of a parso tree."""

    def mutation_positions(self, node: Any) -> Iterable[Span]:
        """Where a node may be changed, once for each way."""

    def mutate(self, node: Any, index: int) -> Any:
        """The node, changed in one of these ways."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """One changed source.

    Attributes:
        place: Name of the function, class or constant that the change is in.
        line: Where the change begins, counted from 1.
        before: The changed line without the change, stripped.
        after: The same line with it.
    """

    path: Path
    operator: str
    place: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from others, also after lines have moved."""
        return (self.path.stem, self.place, self.before, self.after)


class NumberNudger:
    """Moves a number that is no whole number by a hundredth of itself, up and down."""

    def mutation_positions(self, node: Any) -> Iterator[Span]:
        """Twice where a float stands that is not 0."""
        if isinstance(node, Number) and float(ast.literal_eval(node.value)) % 1:
            for _ in NUDGES:
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The number, moved."""
        node.value = repr(float(ast.literal_eval(node.value)) * NUDGES[index])
        return node


class NameSwapper:
    """Calls max for min, all for any, and the other way round."""

    def mutation_positions(self, node: Any) -> Iterator[Span]:
        """Where one of these names is called."""
        if node.type == "name" and node.value in SWAPPED_NAMES:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The other name."""
        del index
        node.value = SWAPPED_NAMES[node.value]
        return node


class TermChanger:
    """Makes another term of one that stands in a set."""

    def mutation_positions(self, node: Any) -> Iterator[Span]:
        """Where a string stands between braces, and no colon makes them a dictionary's."""
        parent = node.parent
        if node.type != "string" or parent is None or parent.type != "dictorsetmaker":
            return
        if not any(getattr(child, "value", "") == ":" for child in parent.children):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """A term that no text holds."""
        del index
        node.value = node.value[:-1] + "\\0" + node.value[-1]
        return node


class _Mutation(Visitor):  # type: ignore[misc]  # the library has no types
    """Applies one occurrence of an operator while it walks a tree."""

    def __init__(self, operator: MutationOperator, occurrence: int) -> None:
        self._operator = operator
        self._left = occurrence

    def visit(self, node: Any) -> Any:
        """The node, changed where it is its turn."""
        for index, _ in enumerate(list(self._operator.mutation_positions(node))):
            if self._left == 0:
                node = self._operator.mutate(node, index)
            self._left -= 1
        return node


def make_mutants(path: Path, places: frozenset[str] | None = None) -> Iterator[Mutant]:
    """Every mutant of a module, or of the named places of it alone, each source once."""
    source = path.read_text()
    tree = ast.parse(source)
    left_alone = _spans_left_alone(tree)
    seen = {source}
    parsed = get_ast(source)
    # A copy of a tree takes a tenth of the time that parsing takes.
    pickled = pickle.dumps(parsed)
    nodes = list(ast_nodes(parsed))
    for name, operator in _operators():
        positions = [
            None if _is_parameter_mark(node) else start
            for node in nodes
            for start, _ in operator.mutation_positions(node)
        ]
        for occurrence, start in enumerate(positions):
            if start is None:
                continue
            place = _place_of(tree, start[0])
            if any(first <= start < last for first, last in left_alone):
                continue
            if places is not None and place.split(".")[0] not in places:
                continue
            mutated = _Mutation(operator, occurrence).walk(pickle.loads(pickled)).get_code()  # noqa: S301  # our own
            if mutated in seen or not _compiles(mutated):
                continue
            seen.add(mutated)
            before, after = (text.splitlines()[start[0] - 1].strip() for text in (source, mutated))
            yield Mutant(
                path=path, operator=name, place=place, line=start[0],
                before=before, after=after, source=mutated,
            )  # fmt: skip


def _operators() -> Iterator[tuple[str, MutationOperator]]:
    provider = OperatorProvider()
    for name in provider:
        if name not in LEFT_ALONE:
            yield name, provider[name]()
    for own in (NumberNudger, NameSwapper, TermChanger):
        yield own.__name__, own()


def _spans_left_alone(tree: ast.Module) -> list[Span]:
    """Decorators, which hold options of classes and caches, and annotations nobody evaluates."""
    spans: list[Span] = []
    for node in ast.walk(tree):
        found: list[ast.expr | None] = []
        match node:
            case ast.FunctionDef():
                found = [*node.decorator_list, node.returns]
            case ast.ClassDef():
                found = list(node.decorator_list)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                found = [node.test]
            case ast.arg():
                found = [node.annotation]
            case ast.BinOp(op=ast.BitOr()) if _is_type(node.left) or _is_type(node.right):
                found = [node]
        spans += [
            ((item.lineno, item.col_offset), (item.end_lineno or 0, item.end_col_offset or 0))
            for item in found
            if item is not None
        ]
    return spans


def _is_parameter_mark(node: Any) -> bool:
    """Whether it is the `*` or `/` of a signature, which has another meaning."""
    return node.parent is not None and node.parent.type in {"parameters", "param"}


def _is_type(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _place_of(tree: ast.Module, line: int) -> str:
    """The dotted name of the innermost function, class or constant that holds a line."""
    names: list[str] = []
    body: list[ast.stmt] = tree.body
    while True:
        for node in body:
            if node.lineno <= line <= (node.end_lineno or node.lineno):
                break
        else:
            return ".".join(names)
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                names.append(node.name)
                body = node.body
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                return ".".join([*names, name])
            case _:
                return ".".join(names)


def _compiles(source: str) -> bool:
    with warnings.catch_warnings(action="ignore"):
        try:
            compile(source, "mutant", "exec")
        except SyntaxError:
            return False
    return True
