r"""PAC-Bayes with spectral norms, for the network as trained: every constant explicit.

For dense layers W_1..W_L (biases as an extra coordinate of value 1), activations 1-Lipschitz and positively
homogeneous, ``||x|| <= B`` known before the sample, with probability at least 1 - delta, for all weights and all
margins gamma,

.. math:: \mathrm{err} \le \mathrm{kl}^{-1}\Bigl(\tfrac1n \#\{M_i \le \gamma\},\
          \tfrac1n\bigl[2\,\mathrm{KL} + 2 \ln 2 + \ln\tfrac{2 \sqrt n}{\delta w_j}\bigr]\Bigr), \qquad
          \mathrm{KL} = \frac{1}{2 u^2} \sum_l \tau_l^2 \frac{F_l^2}{s_l^2}, \quad
          u = \Bigl(1 + \frac{1}{2 c B P}\Bigr)^{1/L} - 1

with P = a^j the least grid point above prod s_l / gamma, tau_l = sqrt(h_l) + sqrt(h_{l-1}) + sqrt(2 ln 2L) for a
layer of h_l rows and h_{l-1} columns, c = sqrt(2) (1 for a single score), natural logarithms.

*derived*, in the manner of neyshabur2018pac. Put gamma into the last layer and rescale the layers against each other
so that all have s_l = beta, beta^L = prod s_l / gamma: the function does not change. Prior N(0, sigma_l^2) with
sigma_l = P^{1/L} u / tau_l, which depends on j alone; posterior N(W_l, sigma_l^2) restricted to the event that all
perturbations have ``||U_l|| <= sigma_l tau_l = P^{1/L} u``. A Gaussian matrix exceeds that with probability at most
1/(2L) (davidson2001local, *proved*), so the event has probability Z >= 1/2, and restriction makes the divergence at
most (KL + H(Z)) / Z <= 2 KL + 2 ln 2. On the event, layer by layer, ``||f_{W+U}(x) - f_W(x)|| <= B (prod(beta +
||U_l||) - beta^L) <= B P ((1 + u)^L - 1) = 1 / (2 c)``: every margin moves by at most 1/2. PAC-Bayes (maurer2004note)
for the loss 1{M <= 1/2}, between 1{M <= 0} and 1{M <= 1}, is the claim.

Around a reference M, independent of the sample, nothing may be rescaled (M would move with the weights). The
deviations are sigma / tau_l with sigma = a^-j the largest of its grid for which B (prod(s_l + sigma) - prod s_l) <=
gamma / (2 c), the margin is a^i (times the given one), prior and loss depend on i and j alone, and

.. math:: \mathrm{KL} = \frac{a^{2 j}}{2} \sum_l \tau_l^2 \|W_l - M_l\|_F^2, \qquad w_j \to w_i w_j.

Against the printed form (prior by the maximal width, h ln h, perturbation by e^2): the difference of products replaces
e and the condition ``||U_l|| <= s_l / L``; each layer has its own deviation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from theory._arrays import as_positive
from theory.bounds._bound import Bound, Found
from theory.bounds._frame import BASE, GridPoint, choose_margin, index_cost
from theory.bounds._homogenised import dense, homogenised
from theory.bounds._hypotheses import homogeneous, layered
from theory.bounds._kl import SLACK, kl_inverse
from theory.bounds._layered import carries_one
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


def sized(shapes: list[tuple[int, int]]) -> list[float]:
    """tau_l: the norm of a standard Gaussian matrix exceeds it with probability at most 1/(2 L)."""
    L = len(shapes)
    return [math.sqrt(rows) + math.sqrt(columns) + math.sqrt(2 * math.log(2 * L)) for rows, columns in shapes]


def divergence(log_P: float, ratios: list[float], tau: list[float], B: float, scalar: bool) -> float:
    """KL of the posterior from the prior; ``ratios`` are F_l / s_l, log_P = ln of the rounded prod s_l / gamma.

    Examples
    --------
    One layer: 2 c^2 B^2 F^2 tau^2 / gamma^2, here with c = tau = F = 1, B = 3 and gamma = 1/2.

    >>> round(divergence(np.log(2), [1.0], [1.0], 3.0, scalar=True), 10)
    72.0
    """
    c = 1.0 if scalar else math.sqrt(2)
    log_u = np.logaddexp(0.0, -math.log(2 * c * B) - log_P) / len(ratios)
    u = math.expm1(log_u) if log_u < 350 else math.inf
    total = math.fsum((t * r) ** 2 for t, r in zip(tau, ratios, strict=True))
    return total / (2 * u * u) if u * u > 0 else math.inf


def deviation_index(s: list[float], B: float, log_move: float) -> int:
    """Least j with ``B (prod(s_l + a^-j) - prod s_l) <= exp(log_move)``; zero norms are raised to 1e-30."""
    logs = np.log(np.maximum(s, 1e-30))

    def excess(log_sigma: float) -> float:
        grown = float(np.logaddexp(0.0, log_sigma - logs).sum())
        # ln(e^y - 1), which tends to ln y where the sum is tiny
        rest = grown + math.log(-math.expm1(-grown)) if grown > 0 else -math.inf
        return max(math.log(B) + float(logs.sum()) + rest, -1e4) - log_move

    step = math.log(BASE)
    j = math.ceil(-float(brentq(excess, -1500.0, 1500.0)) / step)
    while excess(-j * step) > -1e-12:
        j += 1
    return j


@dataclass(frozen=True, eq=False, repr=False)
class PacBayesSpectral(Bound):
    """PAC-Bayes with spectral and Frobenius norms, for the deterministic network.

    *derived*: see the module.

    Parameters
    ----------
    radius : B with ``||x|| <= B`` for every input that can occur, of what the first weights read; known before the
        sample (pixels in [0, 1]: the root of their number). Without it the bound refuses: the largest norm of the
        sample is not a bound of the next one.

    Raises
    ------
    InvalidInput : a radius that is not positive and finite.
    PreconditionError : no radius, a sample beyond it, a layer that is not dense.

    Cost: one factorisation for each layer. When not to trust it: a radius that was read off the sample.

    Examples
    --------
    A network that did not move from its reference pays for its grids alone.

    >>> from theory.architecture import Architecture, Linear
    >>> net, x = Architecture.sequential([Linear(1, bias=False)], input_shape=1), np.linspace(-1, 1, 1000)[:, None]
    >>> W, y = {"linear1.weight": [[1.0]]}, (x[:, 0] > 0).astype(int)
    >>> report = PacBayesSpectral(radius=1.0).evaluate(net, W, (x, y), reference=W)
    >>> report.terms["complexity"], report.value < 0.1
    (0.0, True)
    """

    radius: float | None = None
    name = "pac-bayes-spectral"
    title = "PAC-Bayes with spectral norms, deterministic network"
    status = CERTIFICATE
    source = "derived; neyshabur2018pac, maurer2004note"

    def __post_init__(self) -> None:
        if self.radius is not None:
            as_positive("radius", self.radius)

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Dense layers in a row, homogeneous activations, inputs in a ball fixed before the sample."""
        first = layered(network)
        if not first.holds:
            return (first,)
        rest = (dense(network), homogeneous(network), carries_one(network))
        return (first, *rest, self._ball(network))

    def _ball(self, network: Network) -> Assumption:
        name = "a radius of the inputs that was fixed before the sample"
        if self.radius is None:
            return Assumption(name=name, holds=False, reason="none is given: PacBayesSpectral(radius=...)")
        if isinstance(network, Problem):
            largest = float(np.sqrt((network.inputs.reshape(network.n, -1) ** 2).sum(axis=1).max()))
            if largest > self.radius * (1 + 1e-12):
                return Assumption(name=name, holds=False, reason=f"an input has norm {largest:.6g} > {self.radius:g}")
        return Assumption(name=name, holds=True, reason=f"{self.radius:g} is given")

    def _scales(self, network: Network) -> tuple[bool, float, list[float]]:
        chain = network.chain
        assert self.radius is not None
        B = math.hypot(self.radius, 1.0) if chain.has_bias else self.radius
        return chain.scalar, B, sized([W.shape for W in homogenised(chain)])

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """``kl^{-1}(R, (2 KL + 2 ln 2 + ln(2 sqrt(n) / (delta w_j))) / n)``."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        chain, j, B = network.chain, s.index(), sp.Symbol("B", positive=True)
        if network.reference is not None:
            return self._symbolic_around(network)
        F, S = s.layer_symbols("F", len(chain)), s.layer_symbols("s", len(chain))
        tau = s.layer_symbols("tau", len(chain))
        c = 1 if chain.scalar else sp.sqrt(2)

        def KL(P: sp.Expr) -> sp.Expr:
            u = (1 + 1 / (2 * c * B * P)) ** sp.Rational(1, len(chain)) - 1
            return sum((t * f / v) ** 2 for t, f, v in zip(tau, F, S, strict=True)) / (2 * u**2)

        cost = 2 * sp.log(2) + sp.log(2 * sp.sqrt(s.n) / s.delta) + s.grid_cost(j)
        return s.SymbolicBound(
            name=self.name, expression=s.kl_inverse(s.R, (2 * KL(s.a**j) + cost) / s.n),
            complexity=2 * KL(sp.prod(S) / s.gamma) / s.n,
            meaning={"R": "share of margins at most gamma", "B": "radius of the inputs, biases included",
                     "tau_l": "norm that a standard Gaussian matrix of layer l seldom exceeds"},
        )  # fmt: skip

    def _symbolic_around(self, network: Network) -> SymbolicBound:
        import sympy as sp

        from theory.bounds import _symbolic as s

        L, i, j, sigma = len(network.chain), s.index("i"), s.index(), sp.Symbol("sigma", positive=True)
        moved = sum((t * D) ** 2 for t, D in zip(s.layer_symbols("tau", L), s.layer_symbols("D", L), strict=True))
        cost = 2 * sp.log(2) + sp.log(2 * sp.sqrt(s.n) / s.delta) + s.grid_cost(i) + s.grid_cost(j)
        return s.SymbolicBound(
            name=self.name, expression=s.kl_inverse(s.R, (s.a ** (2 * j) * moved + cost) / s.n),
            complexity=moved / (sigma**2 * s.n),
            meaning={"R": "share of margins at most gamma", "D_l": "||W_l - M_l||_F",
                     "sigma": "noise that moves no margin by more than gamma / 2"},
        )  # fmt: skip

    def _around(self, problem: Problem, delta: float, margin: float | None) -> Found:
        from theory.norms import frobenius_norm, spectral_norm

        n, (scalar, B, tau) = problem.n, self._scales(problem)
        W, M = homogenised(problem.chain), homogenised(problem.chain, reference=True)
        S = [spectral_norm(A).upper for A in W]
        D = [frobenius_norm(A - C) for A, C in zip(W, M, strict=True)]
        moved = math.hypot(*(t * d for t, d in zip(tau, D, strict=True)))
        log_moved = 2 * math.log(moved) if moved > 0 else -math.inf
        step, best = math.log(BASE), None
        if margin is None:
            top = math.ceil(math.log(problem.margins.largest) / step) if problem.margins.largest > 0 else 0
            start, indices = 1.0, range(top, top - (142 if problem.margins.largest > 0 else 1), -1)
        else:
            start, indices = margin, range(1)
        for i in indices:
            gamma = start * BASE**i
            j = deviation_index(S, B, math.log(gamma / (2 if scalar else 2 * math.sqrt(2))))
            twice_KL = math.exp(min(log_moved + 2 * j * step, 690.0))
            spent = [0, twice_KL, 2 * math.log(2) + math.log(2 * math.sqrt(n) / delta), index_cost(i) + index_cost(j)]
            share = problem.margins.share(gamma)
            values = np.asarray(kl_inverse(share, np.cumsum(spent) / n * (1 + SLACK)))
            if best is None or values[-1] < best[0][-1]:
                best = values, i, j, gamma
        assert best is not None
        values, i, j, gamma = best
        quantities = {"n": n, "delta": delta, "R": float(values[0]), "i": i, "j": j, "sigma": BASE ** -float(j)}
        for l, (t, d) in enumerate(zip(tau, D, strict=True), start=1):
            quantities |= {f"tau_{l}": t, f"D_{l}": d}
        names = ("empirical", "complexity", "confidence", "union")
        return Found(
            terms=dict(zip(names, map(float, np.diff(values, prepend=0.0)), strict=True)), log10=math.log10(values[-1]),
            quantities=quantities, margin=gamma,
            notes=("around the reference; it and the radius must not depend on the sample",),
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The least value over the margins of the grid."""
        if problem.reference is not None:
            return self._around(problem, delta, margin)
        from theory.norms import frobenius_norm, spectral_norm

        n, (scalar, B, tau) = problem.n, self._scales(problem)
        matrices = homogenised(problem.chain)
        F = [frobenius_norm(W) for W in matrices]
        S = [spectral_norm(W).upper for W in matrices]
        log_norm = -math.inf if min(S) == 0 else math.fsum(map(math.log, S))
        ratios = [f / v if v > 0 else 0.0 for f, v in zip(F, S, strict=True)]

        def parts(gamma: float, point: GridPoint) -> tuple[float, float, float, float]:
            KL = min(divergence(point.log, ratios, tau, B, scalar), 1e300)
            share = problem.margins.share(gamma)
            budget = np.cumsum([0, 2 * KL, 2 * math.log(2) + math.log(2 * math.sqrt(n) / delta), point.log_cost]) / n
            values = kl_inverse(share, budget * (1 + SLACK))
            steps = np.diff(values)
            return share, math.log(steps[0]) if steps[0] > 0 else -math.inf, float(steps[1]), float(steps[2])

        choice = choose_margin(problem.margins, log_norm, parts, margin)
        quantities = {"n": n, "delta": delta, "R": choice.terms["empirical"], "j": choice.point.index, "B": B}
        for i in range(len(F)):
            # a zero layer has ratio 0: any norm will do in its place
            quantities |= {f"F_{i + 1}": F[i], f"s_{i + 1}": S[i] or 1.0, f"tau_{i + 1}": tau[i]}
        return Found(
            terms=choice.terms, log10=choice.log10, quantities=quantities, margin=choice.gamma,
            notes=("the radius must have been fixed before the sample",),
        )  # fmt: skip
