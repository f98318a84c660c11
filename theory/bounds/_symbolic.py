"""A bound as a sympy expression in named norms, evaluated in 40 digits: the second derivation of every report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import mpmath as mp  # type: ignore[import-untyped]
import sympy as sp

from theory._errors import InvalidInput

DIGITS = 40

n, delta, gamma, R, x_rms = sp.symbols("n delta gamma R x_rms", positive=True)
a = sp.Rational(21, 20)  # ratio of the grids, _frame.BASE


class kl_inverse(sp.Function):  # noqa: N801
    """The largest p with q ln(q/p) + (1-q) ln((1-q)/(1-p)) <= c."""

    nargs = 2


def grid_cost(j: sp.Expr) -> sp.Expr:
    """ln(1/w_j) = ln(2 (|j| + 1)(|j| + 2))."""
    return sp.log(2 * (sp.Abs(j) + 1) * (sp.Abs(j) + 2))


def confidence(cost: sp.Expr, factor: int = 3) -> sp.Expr:
    """``factor sqrt((ln(1/delta) + cost) / (2 n))``; 3 for complexities of the sample, 1 for a-priori ones."""
    return factor * sp.sqrt((sp.log(1 / delta) + cost) / (2 * n))


def index(name: str = "j") -> sp.Symbol:
    """A grid index, a whole number."""
    return sp.Symbol(name, integer=True)


def layer_symbols(letter: str, count: int) -> tuple[sp.Symbol, ...]:
    """``F_1, ..., F_count``, positive."""
    return tuple(sp.Symbol(f"{letter}_{i}", positive=True) for i in range(1, count + 1))


@dataclass(frozen=True, slots=False, kw_only=True, eq=False)
class SymbolicBound:
    """The formula of a bound for one architecture.

    Attributes
    ----------
    name : of the bound.
    expression : the whole bound in its symbols; grid points as powers ``a^j`` of their index.
    complexity : its complexity term in named norms, the grids replaced by the norms they round up.
    meaning : what each symbol is, in words.

    The names of the symbols are the keys of ``BoundReport.quantities``.
    """

    name: str
    expression: sp.Expr
    complexity: sp.Expr
    meaning: Mapping[str, str] = field(default_factory=dict)

    def latex(self) -> str:
        """The whole bound in LaTeX."""
        return sp.latex(self.expression, symbol_names=_letters(self.expression))

    def evaluate(self, quantities: Mapping[str, float]) -> mp.mpf:
        """The bound in 40 digits; ``float`` of it where it does not overflow.

        Raises
        ------
        InvalidInput : a symbol without a value.
        """
        with mp.workdps(DIGITS):
            return +self._function(*self._values(quantities))

    def n_needed(self, quantities: Mapping[str, float]) -> float:
        """The least n with a bound below 1, everything per sample as it is; infinite where the limit is not below 1.

        The expression is taken to fall with n, which every bound here does; checked at the two ends.
        """
        values = self._values(quantities)
        position = self._names.index("n") if "n" in self._names else None
        if position is None:
            return math.inf

        def below(log_n: float) -> bool:
            values[position] = mp.exp(log_n)
            return bool(self._function(*values) < 1)

        with mp.workdps(DIGITS):
            low, high = 0.0, 5000.0
            if not below(high):
                return math.inf
            while high - low > 1e-6:
                middle = (low + high) / 2
                low, high = (low, middle) if below(middle) else (middle, high)
        return math.ceil(math.exp(high)) if high < 30 else (math.exp(high) if high < 709 else math.inf)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(symbol.name for symbol in self.expression.free_symbols))

    @cached_property
    def _function(self) -> Callable[..., mp.mpf]:
        symbols = sorted(self.expression.free_symbols, key=lambda s: s.name)
        return sp.lambdify(symbols, self.expression, modules=[{"kl_inverse": _kl_inverse}, "mpmath"], cse=True)

    def _values(self, quantities: Mapping[str, float]) -> list[mp.mpf]:
        missing = [name for name in self._names if name not in quantities]
        if missing:
            raise InvalidInput(f"the symbolic form of {self.name} needs a value of {missing[0]!r}.")
        return [mp.mpf(float(quantities[name])) for name in self._names]

    def __repr__(self) -> str:
        return f"SymbolicBound({self.name}: {self.expression})"


def _kl_inverse(q: mp.mpf, c: mp.mpf) -> mp.mpf:
    if q >= 1:
        return mp.mpf(1)
    if q == 0:
        return -mp.expm1(-c)

    def divergence(p: mp.mpf) -> mp.mpf:
        return q * mp.log(q / p) + (1 - q) * mp.log((1 - q) / (1 - p))

    low, high = q, mp.mpf(1)
    for _ in range(4 * DIGITS):
        middle = (low + high) / 2
        low, high = (low, middle) if middle >= 1 or divergence(middle) > c else (middle, high)
    return high


def _letters(expression: sp.Expr) -> dict[sp.Symbol, str]:
    spelled = {"x_rms": r"\bar x", "gamma": r"\gamma", "delta": r"\delta", "R": r"\hat R_\gamma"}
    return {s: spelled[s.name] for s in expression.free_symbols if s.name in spelled}
