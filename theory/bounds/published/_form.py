r"""What published forms share: a margin, a sample term, a complexity in norms, and the confidence of the textbooks.

A form that prints an empirical Rademacher complexity R of one score becomes a number about the error as programs use
it,

.. math:: \frac1n \sum_i \phi_\gamma(M_i) + \frac{2 K}{\gamma} R + 3 \sqrt{\frac{\ln(2/\delta)}{2 n}}

with K scores (1 for a single one, or two classes, whose difference is one score), phi the ramp; for a complexity R of
the ramp losses themselves, 2 R in the middle. No union over the norms or the margin is paid, so this holds only for a
class that was fixed before the sample: not a certificate for a trained network.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from theory.bounds._bound import Bound, Found, found
from theory.bounds._frame import Margins
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import PUBLISHED

if TYPE_CHECKING:
    import sympy as sp

    from theory.bounds._symbolic import SymbolicBound

DEFAULT = "margin: the 10th percentile of the sample's margins where positive, else the least positive one, else 1"
FIXED = "margin: as given"
NO_UNION = "norms and margin are taken as if fixed before the sample: no union over them is paid"


def default_margin(margins: Margins) -> float:
    """The 10th percentile where it is positive, else the least positive margin, else 1."""
    tenth = float(np.quantile(margins.values, 0.1))
    positive = margins.values[margins.values > 0]
    return tenth if tenth > 0 else float(positive[0]) if len(positive) else 1.0


class PublishedForm(Bound):
    """A bound for a class of networks, evaluated at the norms of one network.

    Attributes
    ----------
    hard : whether the sample term is the share of margins at most gamma in place of the ramp.
    """

    status = PUBLISHED
    hard = False
    meaning: tuple[tuple[str, str], ...] = ()

    @abstractmethod
    def norms(self, problem: Problem) -> dict[str, float]:
        """Values of the symbols of ``complexity`` other than n and gamma."""

    @abstractmethod
    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """Logarithm of the complexity term of the risk."""

    @abstractmethod
    def complexity(self, network: Network) -> sp.Expr:
        """The complexity term in named norms, n and gamma."""

    def confidence(self, norms: dict[str, float], n: int, delta: float, gamma: float) -> tuple[float, float]:
        """``3 sqrt(ln(2/delta) / (2n))``, and what a printed union adds."""
        return 3 * math.sqrt(math.log(2 / delta) / (2 * n)), 0.0

    def confidence_form(self, network: Network) -> sp.Expr:
        """The same as an expression, both together."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        return 3 * sp.sqrt(sp.log(2 / s.delta) / (2 * s.n))

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """``R`` (the sample term), complexity and confidence."""
        from theory.bounds import _symbolic as s

        complexity = self.complexity(network)
        return s.SymbolicBound(
            name=self.name, expression=s.R + complexity + self.confidence_form(network), complexity=complexity,
            meaning={"R": "share of margins at most gamma" if self.hard else "mean ramp loss", **dict(self.meaning)},
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """At the given margin, or at the default one."""
        gamma = default_margin(problem.margins) if margin is None else margin
        norms, n = self.norms(problem), problem.n
        empirical = problem.margins.share(gamma) if self.hard else problem.margins.ramp(gamma)
        confidence, union = self.confidence(norms, n, delta, gamma)
        return found(
            empirical=empirical, log_complexity=self.log_complexity(problem, norms, n, gamma),
            confidence=confidence, union=union, margin=gamma,
            quantities={**norms, "n": n, "delta": delta, "gamma": gamma, "R": empirical},
            notes=(DEFAULT if margin is None else FIXED, NO_UNION),
        )  # fmt: skip


def scores(network: Network) -> int:
    """Scores that enter: 1 for a single output or two classes."""
    return network.chain.outputs


def log(value: float) -> float:
    """Natural logarithm, -inf at zero."""
    return math.log(value) if value > 0 else -math.inf


def log_sum(logs: Iterable[float]) -> float:
    """Logarithm of a sum of exponentials."""
    return float(np.logaddexp.reduce(list(logs)))


def replaced_logs(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """``ln(a_l prod_{j != l} b_j)`` for each l: no division by a norm that may be zero."""
    logs = [log(v) for v in b]
    return [log(v) + math.fsum(logs[:i] + logs[i + 1 :]) for i, v in enumerate(a)]


def replaced(a: Sequence[sp.Expr], b: Sequence[sp.Expr]) -> list[sp.Expr]:
    """``a_l prod_{j != l} b_j`` for each l."""
    import sympy as sp

    return [v * sp.prod([*b[:i], *b[i + 1 :]]) for i, v in enumerate(a)]


def two_thirds_log(logs: Iterable[float]) -> float:
    """``ln (sum_l c_l^{2/3})^{3/2}`` from ln c_l."""
    return 1.5 * log_sum(2 / 3 * v for v in logs)


def numbered(letter: str, values: Iterable[float]) -> dict[str, float]:
    """``{letter_1: ..., letter_2: ...}``."""
    return {f"{letter}_{i}": float(v) for i, v in enumerate(values, start=1)}


def listed(norms: dict[str, float], letter: str, count: int) -> list[float]:
    """Values of ``letter_1`` to ``letter_count``."""
    return [norms[f"{letter}_{i}"] for i in range(1, count + 1)]
