"""Every public object of the toolkit, with the label and the sources that its docstring states."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEYS = re.findall(r"^@\w+\{([^,]+),", (ROOT / "refs.bib").read_text(encoding="utf-8"), re.M)
KEY = re.compile(r"\b(?:" + "|".join(KEYS) + r")\b")
LABEL = re.compile(r"\*(proved|derived|published\s+form|measure)\b")
LABELS = ("proved", "derived", "published form", "measure")

# A face is a module whose `__all__` (or, without one, whose public definitions) people import from.
ROOMS = (
    "theory", "theory.peeled", "theory.frames", "theory.collapse", "theory.flow", "theory.flow.exact",
    "theory.square_loss", "theory.norms", "theory.bounds", "theory.bounds.measures", "theory.kernels",
    "theory.complexity", "theory.connectivity", "theory.architecture", "theory.symbolic", "theory.plots",
)  # fmt: skip
BOUNDS = (
    "kernel", "nearest_neighbour", "neighbour_features", "certified_radius", "adversarial", "finite_class",
    "sparse_growth", "definable", "sparse_dense",
)  # fmt: skip
SIMULATIONS = (
    "simulations.bridge", "simulations.data", "simulations.train", "simulations.networks", "simulations.store",
    "simulations.sweep", "simulations.experiments.registry", "simulations.experiments.result",
)  # fmt: skip
# Statements of a problem or recipes for data: a formula, but no claim that could be proved.
DEFINITIONS = {
    "theory.peeled.LayerPeeledModel", "theory.peeled.UnconstrainedFeaturesModel", "theory.peeled.SoftmaxCodeModel",
    "theory.peeled.RegressionModel", "theory.flow.steepest_descend", "simulations.train.TrainingPlan",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """A class or function at the place where it is imported from.

    Attributes
    ----------
    name : the full public name; ``real`` : where it is defined; ``face`` : the module that lists it.
    summary : first paragraph of the docstring (``cell``: as reStructuredText for a table).
    labels : the words it states, in order; ``keys`` : its citations.
    """

    name: str
    real: str
    face: str
    kind: str
    cell: str
    summary: str
    labels: tuple[str, ...]
    keys: tuple[str, ...]
    formula: bool

    @property
    def short(self) -> str:
        """The name without its module."""
        return self.name.rpartition(".")[2]


def faces() -> tuple[str, ...]:
    """All faces, those that exist."""
    found = (*ROOMS, *(f"theory.bounds.{name}" for name in BOUNDS), *bound_modules(), *SIMULATIONS)
    return tuple(dict.fromkeys(name for name in found if importlib.util.find_spec(name)))


def bound_modules() -> tuple[str, ...]:
    """Where the registered bounds are defined."""
    from theory.bounds import all_bounds

    return tuple(dict.fromkeys(type(bound).__module__ for bound in all_bounds()))


@cache
def bound_sources() -> dict[str, str]:
    """Label and source of the first bound of each module."""
    from theory.bounds import all_bounds

    return {type(bound).__module__: bound.source for bound in reversed(all_bounds())}


def names_of(face: str) -> list[str]:
    """The public names of a face: its ``__all__``, or what it defines."""
    module = importlib.import_module(face)
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [n for n, value in vars(module).items() if not n.startswith("_") and offered(value, face)]
    return sorted(n for n in listed if inspect.isclass(getattr(module, n)) or inspect.isfunction(getattr(module, n)))


def offered(value: object, face: str) -> bool:
    """Whether a module without ``__all__`` defines this class, or this function and tells how to call it."""
    told = inspect.isclass(value) or (inspect.isfunction(value) and "\n---" in (inspect.getdoc(value) or ""))
    return told and getattr(value, "__module__", "") == face


@cache
def public() -> dict[str, Public]:
    """All public objects by public name; one that several faces share belongs to the longest that contains it."""
    homes: dict[str, list[str]] = {}
    for face in faces():
        module = importlib.import_module(face)
        for name in names_of(face):
            value = getattr(module, name)
            homes.setdefault(f"{value.__module__}.{value.__qualname__}", []).append(f"{face}.{name}")
    found = {}
    for real, names in homes.items():
        inside = [name for name in names if real.startswith(name.rpartition(".")[0] + ".")] or names
        name = min(inside, key=lambda n: (n.count("."), names.index(n)))
        found[name] = describe(name, real, name.rpartition(".")[0])
    return found | returned(found)


def returned(known: dict[str, Public]) -> dict[str, Public]:
    """Records that public functions return and no face lists: named where they are defined."""
    reals = {item.real for item in known.values()}
    found = {}
    for item in known.values():
        module, _, short = item.name.rpartition(".")
        try:
            kind = typing.get_type_hints(getattr(importlib.import_module(module), short)).get("return")
        except (NameError, TypeError, AttributeError):  # names imported for type checkers alone
            continue
        real = f"{kind.__module__}.{kind.__qualname__}" if inspect.isclass(kind) else ""
        if real.startswith(("theory.", "simulations.")) and real not in reals:
            found[real] = describe(real, real, item.face)
    return found


def describe(name: str, real: str, face: str) -> Public:
    """Read the docstring of one object."""
    from _generate.docstrings import summary

    module, _, short = name.rpartition(".")
    value = getattr(importlib.import_module(module), short)
    text = inspect.getdoc(value) or ""
    labels = tuple(dict.fromkeys(re.sub(r"\s+", " ", word) for word in LABEL.findall(text)))
    keys = tuple(dict.fromkeys(KEY.findall(text)))
    if not labels and value.__module__ in bound_sources():  # formulas beside a bound are parts of it
        source = bound_sources()[value.__module__]
        labels = tuple(word for word in LABELS if word in source)[:1]
        keys = keys or tuple(KEY.findall(source))
    if labels and not keys:  # the module may name the source for all it holds
        keys = tuple(dict.fromkeys(KEY.findall(inspect.getdoc(sys.modules[value.__module__]) or "")))[:3]
    return Public(
        name=name, real=real, face=face, kind="class" if inspect.isclass(value) else "function", cell=summary(text),
        summary=re.sub(r"\s+", " ", text.split("\n\n")[0]).strip(), labels=labels, keys=keys, formula="math::" in text,
    )  # fmt: skip


def unlabelled() -> list[str]:
    """Public formulas without a label, which there should not be."""
    return [
        name for name, item in public().items()
        if item.formula and not item.labels and name not in DEFINITIONS and not name.startswith("simulations.data.")
    ]  # fmt: skip


def markdown(text: str) -> str:
    """A line of a docstring as Markdown for a cell of a table."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    text = re.sub(r":(?:func|class|mod|meth):`([^`]*)`", lambda m: f"{{py:obj}}`~{full_name(m[1])}`", text)
    text = re.sub(r"``([^`]*)``", r"`\1`", text)
    text = KEY.sub(r"{cite:t}`\g<0>`", text)
    return text.replace("|", r"\|").replace("<", "&lt;") if "`" not in text else text.replace("|", r"\|")


def full_name(name: str) -> str:
    """The public name of which this is the end; the name itself where there is no such."""
    return next((known for known in public() if known.endswith("." + name)), name)


def cite(keys: tuple[str, ...]) -> str:
    """The citations of a cell."""
    return f"{{cite:t}}`{','.join(keys)}`" if keys else ""


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"
