"""The mutants of a module: mutmut's operators for arithmetic and logic, and three for what closed forms are made of.

Left out: strings and docstrings, messages (``raise``, f-strings), annotations, decorators, imports, ``__repr__``,
``summary`` and ``to_json``, the argument of ``gamma`` (how many roundings a bound allows for), and mutmut's ``None``
for an argument or an assignment, which any test notices.
"""

from __future__ import annotations

import difflib
import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation import mutators
from mutmut.mutation.file_mutation import MutationVisitor, deep_replace
from mutmut.mutation.pragma_handling import IgnoredCode

SEED = 20
MODULE_LEVEL = "<module>"
SILENT = {"__repr__", "_repr_html_", "_repr_latex_", "summary", "to_json", "latex", "short_repr"}
KEYWORDS = {"strict", "repr", "check_finite", "copy", "compare"}  # no effect on a number
NUMBERS = {"float", "np.ndarray", "Vector", "Matrix", "Square", "sp.Expr"}
PAIRS = (("min", "max"), ("minimum", "maximum"), ("fmin", "fmax"), ("argmin", "argmax"), ("any", "all"),
         ("floor", "ceil"), ("sqrt", "cbrt"), ("log", "log1p"), ("exp", "expm1"), ("Min", "Max"))  # fmt: skip
SWAPS = {a: b for a, b in PAIRS} | {b: a for a, b in PAIRS}
NEGATED = {
    cst.LessThan: cst.GreaterThanEqual, cst.LessThanEqual: cst.GreaterThan,
    cst.GreaterThan: cst.LessThanEqual, cst.GreaterThanEqual: cst.LessThan,
}  # fmt: skip


def number(node: cst.BaseNumber) -> Iterable[cst.BaseNumber]:
    """One more, as mutmut has it; a large number doubled, for which one more is nothing."""
    if isinstance(node, cst.Integer | cst.Float) and abs(node.evaluated_value) > 100:
        yield node.with_changes(value=repr(2 * node.evaluated_value))
    else:
        yield from mutators.operator_number(node)


def swapped_function(node: cst.Call) -> Iterable[cst.Call]:
    """One function for its neighbour: min for max, sqrt for cbrt, log for log1p, ..."""
    name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
    if isinstance(name, cst.Name) and name.value in SWAPS:
        symbolic = isinstance(node.func, cst.Attribute) and getattr(node.func.value, "value", "") == "sp"
        other = {"log": "exp", "exp": "log"}.get(name.value) if symbolic else None
        yield node.with_deep_changes(name, value=other or SWAPS[name.value])


def negated_comparison(node: cst.ComparisonTarget) -> Iterable[cst.ComparisonTarget]:
    """The opposite of an inequality."""
    other = NEGATED.get(type(node.operator))
    if other:
        yield node.with_changes(operator=other())


def scaled_return(node: cst.Return) -> Iterable[cst.Return]:
    """A returned number, off by a thousandth."""
    if node.value is not None:
        value = node.value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        scaled = cst.BinaryOperation(left=value, operator=cst.Multiply(), right=cst.Float("1.001"))
        yield node.with_changes(value=scaled, whitespace_after_return=cst.SimpleWhitespace(" "))


OPERATORS: mutators.OPERATORS_TYPE = [
    (cst.BaseNumber, number),
    (cst.Name, mutators.operator_name),
    (cst.AugAssign, mutators.operator_augmented_assignment),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.CSTNode, mutators.operator_swap_op),
    (cst.IfExp, mutators.operator_if_exp),
    (cst.Call, swapped_function),
    (cst.ComparisonTarget, negated_comparison),
    (cst.Return, scaled_return),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one module; ``key`` depends on the function and the change, not on line numbers."""

    key: str
    module: str
    function: str
    line: int
    before: str
    after: str
    source: str

    @property
    def diff(self) -> str:
        """The changed line, old and new."""
        return f"- {self.before}\n+ {self.after}"


class _Change(NamedTuple):
    function: str
    line: int
    old: cst.CSTNode
    new: cst.CSTNode


class _Visitor(MutationVisitor):
    """mutmut's visitor, with decorated functions and module level in, and words out."""

    def __init__(self) -> None:
        super().__init__(OPERATORS, IgnoredCode(set(), set(), set()))
        self.stack: list[cst.ClassDef | cst.FunctionDef] = []
        self.found: list[_Change] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        goes_on = super().on_visit(node)
        if isinstance(node, cst.ClassDef | cst.FunctionDef):
            self.stack.append(node)
        return goes_on

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.ClassDef | cst.FunctionDef):
            self.stack.pop()
        super().on_leave(original_node)

    def _create_mutations(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.Return) and not self._returns_numbers():
            return
        before = len(self.mutations)
        super()._create_mutations(node)
        line = self.get_metadata(PositionProvider, node).start.line if len(self.mutations) > before else 0
        name = ".".join(part.name.value for part in self.stack) or MODULE_LEVEL
        self.found += [_Change(name, line, made.original_node, made.mutated_node) for made in self.mutations[before:]]

    def _returns_numbers(self) -> bool:
        within = self.stack[-1] if self.stack else None
        kind = within.returns if isinstance(within, cst.FunctionDef) else None
        return kind is not None and cst.Module([]).code_for_node(kind.annotation) in NUMBERS

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef):
            return node.name.value in SILENT
        if isinstance(node, cst.Call):  # how many roundings are allowed for: some 1e-16
            return isinstance(node.func, cst.Name) and node.func.value == "gamma"
        if isinstance(node, cst.Arg):
            return node.keyword is not None and node.keyword.value in KEYWORDS
        if isinstance(node, cst.If):  # imports for the type checker alone
            return isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING"
        return isinstance(node, cst.Annotation | cst.Decorator | cst.Raise | cst.FormattedString | cst.Import
                          | cst.ImportFrom | cst.Assert)  # fmt: skip


def sample(module: str, source: str, per_function: int | None = None, seed: int = SEED) -> Iterator[Mutant]:
    """The mutants of a module, or ``per_function`` of each function: the first of a shuffle seeded by its name."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor()
    wrapper.visit(visitor)
    by_function: dict[str, list[_Change]] = defaultdict(list)
    for change in visitor.found:
        by_function[change.function].append(change)
    positions, lines = wrapper.resolve(PositionProvider), source.splitlines()
    for function, changes in by_function.items():
        random.Random(f"{seed}:{module}:{function}").shuffle(changes)
        for change in sorted(changes[:per_function], key=lambda change: change.line):
            mutated = _replaced(source, wrapper.module, change.old, change.new, positions[change.old])
            before, after = _changed(source, mutated)
            same = lines[: change.line - 1].count(lines[change.line - 1])
            name = "|".join((module, function, before, after, str(same)))
            yield Mutant(key=hashlib.sha256(name.encode()).hexdigest()[:10], module=module, function=function,
                         line=change.line, before=before, after=after, source=mutated)  # fmt: skip


def count(source: str) -> int:
    """How many mutants a module has."""
    visitor = _Visitor()
    MetadataWrapper(cst.parse_module(source)).visit(visitor)
    return len(visitor.found)


def _replaced(source: str, module: cst.Module, old: cst.CSTNode, new: cst.CSTNode, at: CodeRange) -> str:
    """The source with one node replaced: in the text where the node is what its position says, else in the tree."""
    lines = source.splitlines(keepends=True)
    first, last = (sum(map(len, lines[: p.line - 1])) + p.column for p in (at.start, at.end))
    if source[first:last] == module.code_for_node(old):
        return source[:first] + module.code_for_node(new) + source[last:]
    tree = deep_replace(module, old, new)
    assert isinstance(tree, cst.Module)
    return tree.code


def _changed(old: str, new: str) -> tuple[str, str]:
    one, two = old.splitlines(), new.splitlines()
    if len(one) == len(two):
        pairs = [(a, b) for a, b in zip(one, two, strict=True) if a != b]
    else:  # an expression over several lines came back as one
        lines = list(difflib.unified_diff(one, two, lineterm="", n=0))[3:]
        gone, come = ([line[1:].strip() for line in lines if line[0] == sign] for sign in "-+")
        pairs = [(" ".join(gone), " ".join(come))]
    return " ".join(a.strip() for a, _ in pairs), " ".join(b.strip() for _, b in pairs)
