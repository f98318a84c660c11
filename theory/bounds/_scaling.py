"""How the complexity term of a bound grows with depth, width, sample size and kernel size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from theory._arrays import as_count
from theory._errors import InvalidInput
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear, Operation
from theory.bounds._bound import Bound
from theory.bounds._problem import Problem, Sample
from theory.bounds._symbolic import SymbolicBound

VARIABLES = {
    "n": (1_000, 4_000, 16_000, 64_000), "depth": (2, 3, 4, 6, 8), "width": (32, 64, 128, 256),
    "kernel_size": (1, 3, 5, 7),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Complexity terms along one size of a family of networks.

    Attributes
    ----------
    name : of the bound.
    variable, values : what varies, and its values.
    log10 : log10 of the complexity term at each value, at margin 1 and inputs of length 1.
    family : the other sizes, in words.
    """

    name: str
    variable: str
    values: tuple[int, ...]
    log10: tuple[float, ...]
    family: str

    @property
    def exponents(self) -> tuple[float, ...]:
        """Slopes of log complexity against log of the variable, between neighbouring values."""
        return tuple((np.diff(self.log10) / np.diff(np.log10(self.values))).tolist())

    @property
    def ratios(self) -> tuple[float, ...]:
        """Growth factors for each unit added to the variable: what exponential growth (in depth) keeps constant."""
        return tuple((10 ** (np.diff(self.log10) / np.diff(self.values))).tolist())

    @property
    def said(self) -> str:
        """The law at the largest values, in words."""
        if self.variable == "depth":
            return f"x {self.ratios[-1]:.3g} per layer"
        return f"{self.variable}^{self.exponents[-1]:.2f}"

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "name": self.name, "variable": self.variable, "values": list(self.values), "log10": list(self.log10),
            "exponents": list(self.exponents), "ratios": list(self.ratios), "family": self.family,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Networks without biases: ``depth`` weight layers of one width, or convolutions of one width and a dense layer."""

    kind: str = "dense"
    depth: int = 4
    width: int = 64
    kernel_size: int = 3
    side: int = 8
    classes: int = 10
    n: int = 10_000
    rng: int = field(default=0)

    def architecture(self) -> Architecture:
        """The network of these sizes; inputs have ``width`` entries, or one channel of ``side`` x ``side``."""
        operations: list[Operation] = []
        for _ in range(self.depth - 1):
            conv = Conv(self.width, self.kernel_size, padding=self.kernel_size // 2, bias=False)
            operations += [conv if self.kind == "convolutional" else Linear(self.width, bias=False), Activation("relu")]
        shape = (1, self.side, self.side) if self.kind == "convolutional" else (self.width,)
        flat: list[Operation] = [Flatten()] if self.kind == "convolutional" else []
        return Architecture.sequential([*operations, *flat, Linear(self.classes, bias=False)], input_shape=shape)

    def said(self, variable: str) -> str:
        """The sizes in words, all but the one that varies."""
        sizes = {"depth": f"depth {self.depth}", "width": f"width {self.width}", "n": f"n = {self.n}"}
        if self.kind == "convolutional":
            sizes |= {"kernel_size": f"kernel {self.kernel_size}", "side": f"{self.side} x {self.side} inputs"}
        return ", ".join([self.kind, *(words for name, words in sizes.items() if name != variable)])


def scaling(
    bound: Bound, variable: str, values: Sequence[int] | None = None, *, family: Family | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Scaling:  # fmt: skip
    """Evaluate the symbolic complexity term of a bound on networks of growing size.

    The networks are random (Gaussian weights of variance 2 / fan-in: what training starts from), inputs have length 1
    and every margin is 1, so that only the architecture speaks. For ``n`` the norms do not change and the exponent is
    that of the formula.

    Parameters
    ----------
    variable : ``n``, ``depth``, ``width`` or ``kernel_size`` (convolutional families).
    values : at least two, increasing; a default for each variable.
    family : the other sizes.

    Raises
    ------
    InvalidInput : an unknown variable, values that do not increase, kernel sizes of a dense family.
    PreconditionError : a hypothesis of the bound fails.

    Examples
    --------
    >>> from theory.bounds import get
    >>> scaling(get("group-norm"), "n").said
    'n^-0.50'
    """
    if variable not in VARIABLES:
        raise InvalidInput(f"variable must be one of {', '.join(VARIABLES)}, but is {variable!r}.")
    base = family or Family(kind="convolutional" if variable == "kernel_size" else "dense")
    if variable == "kernel_size" and base.kind != "convolutional":
        raise InvalidInput("a dense family has no kernels.")
    sizes = tuple(as_count("values", v) for v in (VARIABLES[variable] if values is None else values))
    if len(sizes) < 2 or any(b <= a for a, b in pairwise(sizes)):
        raise InvalidInput(f"values must be at least two, increasing, but are {sizes}.")
    found = []
    for done, size in enumerate(sizes):
        sized = replace(base, **{variable: size})  # type: ignore[arg-type]
        found.append(_log10_complexity(bound, sized))
        if callback is not None:
            callback(done + 1, len(sizes))
    return Scaling(name=bound.name, variable=variable, values=sizes, log10=tuple(found), family=base.said(variable))


def _log10_complexity(bound: Bound, family: Family) -> float:
    net = family.architecture()
    shown = min(family.n, 200)  # inputs whose statistics stand for all n
    rng = np.random.default_rng(family.rng)
    X = rng.standard_normal((shown, *net.input_shape))
    X /= np.linalg.norm(X.reshape(shown, -1), axis=1).reshape(-1, *(1,) * len(net.input_shape))
    y = np.arange(shown) % family.classes
    sample = Sample(X=X, y=y, outputs=np.eye(family.classes)[y])
    problem = Problem(net, net.random_weights(rng=family.rng), sample)
    report = bound.report(problem, 0.01, 1.0)
    form = bound.symbolic_form(problem)
    term = SymbolicBound(name=bound.name, expression=form.complexity, complexity=form.complexity)
    value = term.evaluate({"gamma": 1.0, **report.quantities, "n": family.n})
    import mpmath as mp  # type: ignore[import-untyped]

    return float(mp.log10(value)) if value > 0 else -math.inf
