"""The record of a closed form and of the identities that it satisfies, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, reduce

import mpmath  # type: ignore[import-untyped]
import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from theory._errors import InvalidInput
from theory.symbolic._zero import vanishes

LABELS = ("proved", "derived", "published form")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identity:
    """An expression that is zero for all admissible values of its symbols.

    Attributes
    ----------
    name : what the identity says.
    expression : the expression, or a matrix of them.
    scope : ``symbolic in ...``, or the values for which it is checked.
    """

    name: str
    expression: sp.Expr | sp.MatrixBase
    scope: str

    def verify(self) -> bool:
        """Whether the expression simplifies to zero: True is a proof for the scope, False that none was found."""
        return vanishes(self.expression)

    def __repr__(self) -> str:
        return f"Identity({self.name!r}, {self.scope})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClosedForm:
    """A formula of a last-layer model, its numeric twin, and the identities behind it.

    Attributes
    ----------
    name : the key of the registry.
    quantity : LaTeX of what the expression is; ``0`` for a system whose entries vanish at the solution.
    expression : a sympy expression, or a column of them.
    statement : one sentence in words.
    label : ``proved`` (the cited paper proves exactly this), ``derived`` (ours) or ``published form`` (unchecked).
    citations : keys of refs.bib.
    hypotheses : what must hold, in words.
    domain : the same as relations, where they can be checked; all symbols are positive besides.
    """

    name: str
    quantity: str
    expression: sp.Expr | sp.MatrixBase
    statement: str
    label: str
    citations: tuple[str, ...] = ()
    hypotheses: tuple[str, ...] = ()
    domain: tuple[sp.Basic, ...] = ()
    proofs: Callable[[], tuple[Identity, ...]] = field(default=tuple, repr=False)

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise InvalidInput(f"label must be one of {', '.join(LABELS)}, but is {self.label!r}.")

    @property
    def symbols(self) -> tuple[sp.Symbol, ...]:
        """The symbols of the expression, sorted by name; their names are the keywords of the numeric twin."""
        return tuple(sorted(self.expression.free_symbols, key=lambda symbol: symbol.name))

    @property
    def identities(self) -> tuple[Identity, ...]:
        """The identities behind the formula, built on demand."""
        return self.proofs()

    def latex(self) -> str:
        """The expression in LaTeX, with the letters of the papers."""
        return sp.latex(self.expression, symbol_names={s: _letter(s.name) for s in self.symbols})

    def numeric(self) -> Callable[..., np.ndarray]:
        """The numeric twin in float64: keywords are the names of the symbols, arrays broadcast.

        A column of m expressions gives an array with m leading rows. The call raises InvalidInput for a missing or
        unknown name, a value that is not positive and finite (and whole, where it counts), or one outside the domain.
        """
        names = tuple(symbol.name for symbol in self.symbols)

        def twin(**values: ArrayLike) -> np.ndarray:
            self._check_names(values)
            given = np.broadcast_arrays(*[_as_real(name, values[name]) for name in names])
            self._check_domain(dict(zip(names, given, strict=True)))
            with np.errstate(all="ignore"):  # both branches of a piecewise form are evaluated
                rows = [np.broadcast_to(f(*given), given[0].shape) for f in _compiled(self)]
            found = np.stack(rows) if isinstance(self.expression, sp.MatrixBase) else rows[0]
            return np.array(found, dtype=np.float64)

        twin.__name__ = self.name
        return twin

    def evaluate(self, *, digits: int = 30, **values: object) -> sp.Expr:
        """The value to ``digits`` digits; integers, fractions, decimal strings and floats are taken as exact.

        Raises
        ------
        InvalidInput : as in the numeric twin.

        Examples
        --------
        >>> from theory import symbolic
        >>> symbolic.get("etf_cosine").evaluate(K=5, digits=4)
        -0.2500
        """
        self._check_names(values)
        exact = {symbol: _exact(symbol.name, values[symbol.name]) for symbol in self.symbols}
        self._check_domain({symbol.name: np.asarray(float(exact[symbol])) for symbol in self.symbols})
        found = self.expression.subs(exact)
        if isinstance(found, sp.MatrixBase):
            return found.applyfunc(lambda entry: _to_digits(entry, digits))
        return _to_digits(found, digits)

    def _check_names(self, values: dict) -> None:
        names = {symbol.name for symbol in self.symbols}
        if names != set(values):
            wanted, given = ", ".join(sorted(names)), ", ".join(sorted(values)) or "nothing"
            raise InvalidInput(f"{self.name} takes {wanted}, but was given {given}.")

    def _check_domain(self, values: dict[str, np.ndarray]) -> None:
        for symbol in self.symbols:
            least = "positive" if symbol.is_positive else "not negative"
            array = values[symbol.name]
            if not np.all(np.isfinite(array) & ((array > 0) if symbol.is_positive else (array >= 0))):
                raise InvalidInput(f"{symbol.name} must be {least} and finite.")
            if symbol.is_integer and np.any(array != np.floor(array)):
                raise InvalidInput(f"{symbol.name} must be a whole number.")
        for relation, holds in _conditions(self):
            if not np.all(holds(**{s.name: values[s.name] for s in relation.free_symbols})):
                raise InvalidInput(f"{self.name} needs {relation}.")

    def __repr__(self) -> str:
        return f"ClosedForm({self.name}: {self.quantity} = {self.expression}, {self.label})"

    def _repr_latex_(self) -> str:
        return f"${self.quantity} = {self.latex()}$"


def _letter(name: str) -> str:
    r"""LaTeX of a symbol's name: lam_Z as \lambda_{Z}, Lam as \Lambda."""
    head, _, index = name.partition("_")
    head = {"lam": r"\lambda", "Lam": r"\Lambda"}.get(head, sp.latex(sp.Symbol(head)))
    return f"{head}_{{{index}}}" if index else head


def _to_digits(number: sp.Expr, digits: int) -> sp.Expr:
    """``number`` rounded; the precision is doubled until two values agree (evalf alone loses log(1 + tiny))."""
    if number.is_infinite:
        return number
    before = None
    for doubling in range(7):
        with mpmath.workdps((digits + 10) * 2**doubling):
            value = mpmath.mpf(sp.lambdify((), number, "mpmath")())
            if before is not None and abs(value - before) <= abs(value) * mpmath.mpf(10) ** (-digits - 2) and value:
                break
            before = value
    return sp.Float(value, digits)


def _as_real(name: str, value: ArrayLike) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise InvalidInput(f"{name} must be a real number or an array of them.")
    return array.astype(np.float64)


def _exact(name: str, value: object) -> sp.Expr:
    try:
        number = sp.Rational(value) if not isinstance(value, sp.Expr) else value
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} must be a real number, but is {value!r}.") from None
    if not (number.is_real and number.is_finite):
        raise InvalidInput(f"{name} must be a real number, but is {value!r}.")
    return number


def _lambdified(symbols: tuple[sp.Symbol, ...], expression: sp.Expr) -> Callable[..., np.ndarray]:
    # Printers of several sympy versions differ in how Max and Min broadcast.
    plain = expression.replace(sp.Max, sp.Function("largest")).replace(sp.Min, sp.Function("least"))
    extremes = {"largest": lambda *args: reduce(np.maximum, args), "least": lambda *args: reduce(np.minimum, args)}
    return sp.lambdify(symbols, plain, modules=[extremes, "numpy"])


@cache
def _compiled(form: ClosedForm) -> tuple[Callable[..., np.ndarray], ...]:
    from sympy.codegen.rewriting import log1p_opt, optimize

    entries = form.expression if isinstance(form.expression, sp.MatrixBase) else [form.expression]
    return tuple(_lambdified(form.symbols, optimize(entry, [log1p_opt])) for entry in entries)


@cache
def _conditions(form: ClosedForm) -> tuple[tuple[sp.Basic, Callable[..., np.ndarray]], ...]:
    return tuple((r, _lambdified(tuple(sorted(r.free_symbols, key=str)), r)) for r in form.domain)


_REGISTRY: dict[str, Callable[[], ClosedForm]] = {}


def register(constructor: Callable[[], ClosedForm]) -> Callable[[], ClosedForm]:
    """Put a constructor into the registry under its own name; the form is built on first use."""
    built = cache(constructor)
    _REGISTRY[constructor.__name__] = built
    return built


def closed_forms() -> tuple[ClosedForm, ...]:
    """All closed forms, by theory."""
    return tuple(built() for built in _REGISTRY.values())


def get(name: str) -> ClosedForm:
    r"""The closed form of that name.

    Raises
    ------
    InvalidInput : no such name; the message lists them.

    Examples
    --------
    >>> get("merge_threshold").latex()
    '\\frac{\\sqrt{n_{g}}}{N}'
    """
    if name not in _REGISTRY:
        raise InvalidInput(f"no closed form is called {name!r}; there are {', '.join(sorted(_REGISTRY))}.")
    return _REGISTRY[name]()


def latex_table() -> str:
    r"""All closed forms as the rows of a LaTeX longtable: name, formula, label and citations.

    Needs the packages longtable and amsmath. Takes about a second.
    """
    rows = [r"\begin{longtable}{llll}", r"name & formula & label & source \\ \hline"]
    for form in closed_forms():
        name = form.name.replace("_", r"\_")
        source = rf"\cite{{{','.join(form.citations)}}}" if form.citations else ""
        rows.append(rf"{name} & $\displaystyle {form.quantity} = {form.latex()}$ & {form.label} & {source} \\")
    return "\n".join([*rows, r"\end{longtable}", ""])
