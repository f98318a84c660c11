r"""Two layers, unit by unit: the width enters through norms of units only, or through a count of their shares.

Network V sigma(U x) with h hidden units, rows u_j of U and columns v_j of V, sigma 1-Lipschitz and positively
homogeneous; biases as an input of value 1 and a hidden unit that carries it. X_F^2 = sum_i ||x_i||^2, K classes (1
for a single score), c = 4 (2 for a single score). With probability at least 1 - delta, for all weights and margins,

.. math:: \mathrm{err} \le \frac1n \sum_i \phi_\gamma(M_i) + \frac{c \sqrt{2 K}}{n} X_F\, a^j
          + 3 \sqrt{\frac{\ln(1/(\delta w_j))}{2 n}}, \qquad a^j \ge \frac1\gamma \sum_j \|v_j\| \|u_j\|

and, with the initial U_0 independent of the sample and eps > 0 fixed before it,

.. math:: \mathrm{err} \le \frac1n \sum_i \phi_\gamma(M_i) + \frac{c\, a^i}{n} \bigl[\sqrt{2 K} (1 + \epsilon) X_F\, a^j
          + \sqrt{K (1 + \epsilon)}\, \|U_0 X\|_F\bigr]
          + 3 \sqrt{\frac{\ln(1/(\delta w_i w_j)) + 2 \ln \binom Nh}{2 n}}

where a^i >= ||V||_F / gamma, a^j >= ||U - U_0||_F, N = floor(h (1 + 1/eps)).

*derived*, in the manner of neyshabur2019role, whose printed constants use a grid that depends on the sample. Fix
alpha_j >= ||v_j|| / gamma and beta_j >= ||u_j - u_{0j}||. Vector contraction (maurer2016vector) bounds 2 R by (c/n)
sum_j alpha_j E sup ||sum_i e_i sigma(u_j . x_i)||_2 with e_i in {-1, 1}^K. The part at u_{0j} has norm at most
sqrt(K) ||u_{0j} X|| in expectation. In the rest, with g_i = sigma(u x_i) - sigma(u_0 x_i), E sup (sum e_i g_i)^2 is
at most twice the expectation of the squared positive part, which contracts (ledoux1991probability, t -> t_+^2) to
beta_j^2 X_F^2: sqrt(2 K) beta_j X_F for K signs. Without U_0 put beta_j = 1, by homogeneity: the sum of alpha_j is
the only scalar. With it, raise alpha_j^2 and beta_j^2 to multiples of eps a^2i / h and eps a^2j / h: their sums grow
by at most 1 + eps, there are binom(N, h) patterns of each, and Cauchy-Schwarz bounds the sums of alpha_j beta_j and
alpha_j ||u_{0j} X||.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

from theory._arrays import as_positive
from theory.bounds._bound import Bound, Found, found
from theory.bounds._frame import GridPoint, choose_margin, mcdiarmid, round_up, safe_exp
from theory.bounds._homogenised import dense, homogenised
from theory.bounds._hypotheses import homogeneous, layered
from theory.bounds._layered import carries_one
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


def unit_norm(U: np.ndarray, V: np.ndarray) -> float:
    """``sum_j ||v_j|| ||u_j||`` over hidden units, from above."""
    total = float(np.linalg.norm(V, axis=0) @ np.linalg.norm(U, axis=1))
    return total * (1 + (U.shape[1] + V.size + 8) * 2.0**-52)


def patterns_log(h: int, eps: float) -> float:
    """``ln binom(floor(h (1 + 1/eps)), h)``: rounded shares of h units."""
    N = math.floor(h * (1 + 1 / eps))
    return max(0.0, float(gammaln(N + 1) - gammaln(h + 1) - gammaln(N - h + 1)))


@dataclass(frozen=True, eq=False, repr=False)
class TwoLayer(Bound):
    """Capacity of a two-layer network unit by unit; around a reference where one is given.

    *derived*: see the module; biases of the reference are part of U_0.

    Parameters
    ----------
    eps : rounding of the units' shares with a reference; larger means a larger complexity and fewer patterns.

    Raises
    ------
    InvalidInput : eps that is not positive.
    PreconditionError : not two dense layers, another activation.

    Cost: one pass. When not to trust it: a reference that was trained on the sample.

    Examples
    --------
    Rescaling a unit, up in one layer and down in the other, changes nothing.

    >>> from theory.architecture import Activation, Architecture, Linear
    >>> net = Architecture.sequential([Linear(3), Activation("relu"), Linear(2)], input_shape=2)
    >>> W, X = net.random_weights(rng=0), np.random.default_rng(1).standard_normal((50, 2))
    >>> V = {**W, "linear1.weight": 2 * W["linear1.weight"], "linear2.weight": W["linear2.weight"] / 2}
    >>> a, b = (TwoLayer().evaluate(net, w, (X, [0, 1] * 25)).value for w in (W, V))
    >>> abs(a - b) < 1e-9 * a
    True
    """

    eps: float = 0.5
    name = "two-layer"
    title = "two layers, norms unit by unit"
    status = CERTIFICATE
    source = "derived; neyshabur2019role, maurer2016vector"

    def __post_init__(self) -> None:
        as_positive("eps", self.eps)

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Two dense layers and a homogeneous activation between them."""
        first = layered(network)
        if not first.holds:
            return (first,)
        L = len(network.chain)
        two = Assumption(name="two weight layers", holds=L == 2, reason=f"there are {L}")
        return (first, two, dense(network), homogeneous(network), carries_one(network))

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """The first formula, or with a reference the second."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        chain, j, i = network.chain, s.index(), s.index("i")
        K, c = (1, 2) if chain.scalar else (chain.outputs, 4)
        if network.reference is None:
            norm = sp.Symbol("V_U", positive=True)
            return s.SymbolicBound(
                name=self.name, complexity=c * sp.sqrt(2 * K) * s.x_rms * norm / (s.gamma * sp.sqrt(s.n)),
                expression=s.R + c * sp.sqrt(2 * K) * s.x_rms * s.a**j / sp.sqrt(s.n) + s.confidence(s.grid_cost(j)),
                meaning={"V_U": "sum over hidden units of ||v_j|| ||u_j||", "R": "mean ramp loss at margin gamma"},
            )  # fmt: skip
        eps, u0, V, D = sp.symbols("epsilon u0x_rms V D", positive=True)
        N, h = sp.symbols("N h", integer=True, positive=True)

        def complexity(kappa: sp.Expr, distance: sp.Expr) -> sp.Expr:
            moved = sp.sqrt(2 * K) * (1 + eps) * s.x_rms * distance
            return c * kappa / sp.sqrt(s.n) * (moved + sp.sqrt(K * (1 + eps)) * u0)

        cost = s.grid_cost(i) + s.grid_cost(j) + 2 * (sp.loggamma(N + 1) - sp.loggamma(h + 1) - sp.loggamma(N - h + 1))
        return s.SymbolicBound(
            name=self.name, complexity=complexity(V / s.gamma, D),
            expression=s.R + complexity(s.a**i, s.a**j) + s.confidence(cost),
            meaning={"V": "||V||_F", "D": "||U - U_0||_F", "u0x_rms": "||U_0 X||_F / sqrt(n)", "h": "hidden units",
                     "N": "floor(h (1 + 1/eps))", "R": "mean ramp loss at margin gamma"},
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The least value over the margins of the grid."""
        chain, n = problem.chain, problem.n
        U, V = homogenised(chain)
        X = problem.inputs.reshape(n, -1)
        X = np.column_stack([X, np.ones(n)]) if chain.has_bias else X
        x_rms = math.sqrt(float((X**2).sum()) / n)
        K, c = (1, 2) if chain.scalar else (chain.outputs, 4)
        quantities: dict[str, float] = {"n": n, "delta": delta, "x_rms": x_rms}
        if problem.reference is None:
            log_norm = _log(unit_norm(U, V))
            quantities["V_U"] = safe_exp(log_norm)
            factor, cost, names = c * math.sqrt(2 * K / n) * x_rms, 0.0, ("j",)
        else:
            U0 = homogenised(chain, reference=True)[0]
            distance = round_up(_log(float(np.linalg.norm(U - U0)) * (1 + U.size * 2.0**-52)))
            u0x_rms, h = float(np.linalg.norm(X @ U0.T)) / math.sqrt(n), len(U)
            moved = math.sqrt(2 * K) * (1 + self.eps) * x_rms * distance.value
            factor = c / math.sqrt(n) * (moved + math.sqrt(K * (1 + self.eps)) * u0x_rms)
            log_norm, names = _log(float(np.linalg.norm(V)) * (1 + V.size * 2.0**-52)), ("i",)
            cost = distance.log_cost + 2 * patterns_log(h, self.eps)
            quantities |= {"u0x_rms": u0x_rms, "epsilon": self.eps, "h": h, "j": distance.index}
            quantities |= {"V": safe_exp(log_norm), "D": distance.value}  # D to within its grid
            quantities["N"] = math.floor(h * (1 + 1 / self.eps))

        def parts(gamma: float, point: GridPoint) -> tuple[float, float, float, float]:
            return (problem.margins.ramp(gamma), point.log + _log(factor), *mcdiarmid(n, delta, point.log_cost + cost))

        choice = choose_margin(problem.margins, log_norm, parts, margin)
        quantities |= {"R": choice.terms["empirical"], "gamma": choice.gamma, names[0]: choice.point.index}
        return found(
            empirical=choice.terms["empirical"], log_complexity=choice.point.log + _log(factor),
            confidence=choice.terms["confidence"], union=choice.terms["union"],
            quantities=quantities, margin=choice.gamma,
            notes=() if problem.reference is None else ("around the reference, which must not depend on the sample",),
        )  # fmt: skip


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
