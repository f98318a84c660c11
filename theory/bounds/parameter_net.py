r"""Nets of parameters: complexity grows with the number of parameters and only the logarithm of norms.

Class: every block (the weights of a layer, or its bias) within beta_b of a reference M_b fixed before the sample, in
operator norm (Euclidean norm for a bias). Changing block b by eta moves the scores by at most ``S_b eta B_b``, S_b the
Lipschitz constant from the layer to the scores, B_b the norm of what the block multiplies (for a bias the root of the
number of positions), both for the whole class. A ball of radius beta in P dimensions has a net of
``(1 + 2 beta/eta)^P`` points of itself, by volumes. *derived*, in the manner of long2020generalization:

- ``parameter-dudley``: eta_b such that each of m blocks moves the loss by e/m in root mean square, so
  ``ln N = sum_b P_b ln(1 + a_b / e)``, ``a_b = 2 sqrt(2) m beta_b S_b B_b / gamma``; Dudley with the loss centred at
  1/2 (radii up to 1/4), Jensen, and ``int_0^c ln(1 + a/u) du = c g(a/c)``, ``g(a) = ln(1 + a) + a ln(1 + 1/a)``, give
  ``R <= (3 / sqrt(n)) sqrt(sum_b P_b g(4 a_b))``.
- ``parameter-net``: one scale. ``eta_b = gamma P_b / (2 sqrt(2) P S_b B_b)`` moves every margin by at most gamma/2, on
  every input of norm at most the radius. Chernoff for the indicator {margin of a centre <= gamma/2} and the union over
  the centres; ``{M_f <= 0}`` is inside ``{M_g <= gamma/2}``, which is inside ``{M_f <= gamma}``.

One layer after the other, without biases and references and with positively homogeneous activations, all
``beta_b S_b B_b`` are ``B prod s``, and one grid for prod s / gamma suffices; otherwise every beta_b and 1/gamma has
one.
For one score, or the difference of two classes, sqrt(2) becomes 1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import sympy as sp
from sympy.codegen.cfunctions import log1p

from theory._arrays import as_positive
from theory.bounds import _symbolic as sym
from theory.bounds._bound import Bound, Found, found
from theory.bounds._calculus import (
    Scored,
    has_weights,
    known_at_zero,
    log_fixed,
    log_of,
    log_rms,
    log_sum,
    operator_norms,
    positions,
    radii,
    scored,
    sensitivities,
)
from theory.bounds._frame import GridPoint, choose_margin, mcdiarmid, round_up, safe_exp
from theory.bounds._hypotheses import lipschitz
from theory.bounds._kl import kl_inverse
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption
from theory.norms import frobenius_norm

LEAST = -690.0  # ln of the least named quantity: a zero norm is raised to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Parameters that are covered together: weights (``key`` is weight) or the bias of layer ``layer`` (from 1)."""

    layer: int
    key: str
    size: int


def blocks(net: Scored) -> list[Block]:
    """All blocks in the order of the layers."""
    return [
        Block(layer=l, key=key.rsplit(".", 1)[1], size=math.prod(shape))
        for l, node in enumerate(net.layers, 1)
        for key, shape in node.parameters.items()
    ]


class _ParameterBound(Bound):
    """What the two have in common: grids, and ``beta_b S_b B_b / gamma`` of every block."""

    status = CERTIFICATE
    source = "derived; long2020generalization"

    @abstractmethod
    def formula(self, net: Scored, sizes: list[int], products: list[sp.Expr], cost: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        """Value and complexity from the ``beta_b S_b B_b / gamma``."""

    @abstractmethod
    def log_input(self, problem: Problem) -> float:
        """Ln of the norm of the inputs."""

    @property
    @abstractmethod
    def input_symbol(self) -> sp.Symbol:
        """The norm of the inputs."""

    @abstractmethod
    def parts(
        self, problem: Problem, net: Scored, gamma: float, logs: np.ndarray, delta: float, cost: float, quick: bool
    ) -> tuple[float, float, float, float]:
        """Empirical term, ln complexity, confidence, union; ``quick``: to a few digits, to choose the margin by."""

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Operations and activations."""
        return has_weights(network), lipschitz(network), known_at_zero(network)

    def symbolic_form(self, network: Network) -> sym.SymbolicBound:
        """With j and the norm of the inputs; or S_l, B_l, j and the indices i_b of the beta_b."""
        net = scored(network)
        found, L, j = blocks(net), len(net.layers), sym.index()
        s, S, B, beta = (sym.layer_symbols(x, m) for x, m in (("s", L), ("S", L), ("B", L), ("beta", len(found))))
        indices = [j]
        if net.one_scalar:
            products = [self.input_symbol * sym.a**j] * L
            plain = [self.input_symbol * sp.Symbol("c", positive=True) * sp.prod(s) / sym.gamma] * L
        else:
            products, plain = [], []
            for b, block in enumerate(found):
                i = sym.index(f"i_{b + 1}")
                bias = block.key == "bias"
                moved = S[block.layer - 1] * (
                    sp.sqrt(positions(net.layers[block.layer - 1])) if bias else B[block.layer - 1]
                )
                products.append(sym.a ** (i + j) * moved)
                plain.append(beta[b] * moved / sym.gamma)
                indices.append(i)
        sizes = [block.size for block in found]
        cost = sp.Add(*(sym.grid_cost(index) for index in indices))
        return sym.SymbolicBound(
            name=self.name, expression=self.formula(net, sizes, products, cost)[0],
            complexity=self.formula(net, sizes, plain, sp.Integer(0))[1].replace(log1p, lambda x: sp.log(1 + x)),
            meaning={
                "beta_b": "distance of a block from its reference", "s_l": "operator norm",
                "S_l": "Lipschitz constant from layer l to the scores", "B_l": "norm of its input",
                "c": "product of the Lipschitz constants of activations and pools",
                "R": "mean ramp loss, or share of margins at most gamma",
            },
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The best margin on the grid of prod s / gamma, or of 1 / gamma."""
        net = scored(problem)
        log_x = max(self.log_input(problem), LEAST)
        named, grids, log_norm = self._products(problem, net, log_x)
        logs = np.array(named.pop("logs"))
        cost = sum(point.log_cost for point in grids.values())

        def parts(gamma: float, point: GridPoint, quick: bool = True) -> tuple[float, float, float, float]:
            return self.parts(problem, net, gamma, logs + point.log, delta, point.log_cost + cost, quick)

        best = choose_margin(problem.margins, log_norm, parts, margin)
        empirical, log_complexity, confidence, union = parts(best.gamma, best.point, quick=False)
        return found(
            empirical=empirical, log_complexity=log_complexity, confidence=confidence, union=union, margin=best.gamma,
            quantities={"n": problem.n, "delta": delta, "R": empirical, "j": best.point.index, "gamma": best.gamma,
                        **named, str(self.input_symbol): math.exp(log_x),
                        **{k: point.index for k, point in grids.items()}},
        )  # fmt: skip

    def _products(self, problem: Problem, net: Scored, log_x: float) -> tuple[dict, dict[str, GridPoint], float]:
        """ln(beta_b S_b B_b) under ``logs`` with the named S_l, B_l; the grids; ln of the norm over gamma."""
        if net.one_scalar:
            log_norm = log_fixed(net) + sum(log_of(s) for s in operator_norms(problem, net).values())
            s = {f"s_{l}": value for l, value in enumerate(operator_norms(problem, net).values(), 1)}
            return {"logs": [log_x] * len(net.layers), "c": safe_exp(log_fixed(net)), **s}, {}, log_norm
        distance, reference = (operator_norms(problem, net, what) for what in ("distance", "reference"))
        grids: dict[str, GridPoint] = {}
        log_s: dict[str, float] = {}
        shifts: dict[str, float] = {}
        for b, block in enumerate(blocks(net), 1):
            node = net.layers[block.layer - 1]
            if block.key == "weight":
                point, kept, into = round_up(log_of(distance[node.name])), log_of(reference[node.name]), log_s
            else:
                point, into = round_up(log_of(frobenius_norm(net.difference(node, "bias")))), shifts
                b_0 = None if net.reference is None else net.reference[f"{node.name}.bias"]
                kept = -math.inf if b_0 is None else log_of(frobenius_norm(b_0))
            grids[f"i_{b}"], into[node.name] = point, log_sum(point.log, kept)
        S, B = sensitivities(net, log_s), radii(net, log_s, shifts, log_x)
        logs: list[float] = []
        # to within the grid
        named: dict[str, float] = {f"beta_{b}": grids[f"i_{b}"].value for b in range(1, len(blocks(net)) + 1)}
        for b, block in enumerate(blocks(net), 1):
            node = net.layers[block.layer - 1]
            slope, radius = max(S[node.name], LEAST), max(B[node.inputs[0]], LEAST)
            named |= {f"S_{block.layer}": safe_exp(slope), f"B_{block.layer}": safe_exp(radius)}
            of_one = 0.5 * math.log(positions(node)) if block.key == "bias" else radius
            logs.append(grids[f"i_{b}"].log + slope + of_one)
        return {"logs": logs, **named}, grids, 0.0


class ParameterDudley(_ParameterBound):
    r"""Number of parameters through Dudley's integral.

    .. math:: \mathrm{err} \le \hat R_\gamma + \frac{6}{\sqrt n} \Bigl[\sum_b P_b\, g(4 a_b)\Bigr]^{1/2}
        + 3 \sqrt{\frac{\ln(1/\delta) + \sum \ln(1/w)}{2 n}}, \qquad a_b = \frac{2\sqrt2\, m\, \beta_b S_b B_b}{\gamma}

    ``g(a) = ln(1 + a) + a ln(1 + 1/a)``, m blocks of P_b parameters; norms of inputs are root mean squares over the
    sample. *derived* (the module's text; long2020generalization for the idea, its constants being unspecified).

    When not to trust it: never below 1 unless there are far more samples than parameters.

    Examples
    --------
    >>> from theory.architecture import Activation, Architecture, Linear
    >>> net = Architecture.sequential([Linear(3), Activation("tanh"), Linear(2)], input_shape=4)
    >>> report = ParameterDudley().evaluate(net, net.random_weights(rng=0), (np.ones((50, 4)), np.zeros(50)))
    >>> again = ParameterDudley().symbolic(net).evaluate(report.quantities)
    >>> bool(abs(float(again) / report.value - 1) < 1e-12)
    True
    """

    name = "parameter-dudley"
    title = "number of parameters through Dudley's integral"
    input_symbol = sym.x_rms

    def log_input(self, problem: Problem) -> float:
        """Root mean square."""
        return log_rms(problem.X)

    def formula(self, net: Scored, sizes: list[int], products: list[sp.Expr], cost: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        """Ramp loss, Rademacher complexity, McDiarmid."""
        scale = 8 * len(sizes) * (1 if net.scalar else sp.sqrt(2))
        entropy = sum(P * _g(scale * product) for P, product in zip(sizes, products, strict=True))
        complexity = 6 * sp.sqrt(entropy / sym.n)
        return sym.R + complexity + sym.confidence(cost), complexity

    def parts(
        self, problem: Problem, net: Scored, gamma: float, logs: np.ndarray, delta: float, cost: float, quick: bool
    ) -> tuple[float, float, float, float]:
        """Ramp loss, Rademacher complexity, McDiarmid."""
        sizes = np.array([block.size for block in blocks(net)])
        entropy = float(sizes @ log_integral(logs + math.log(8 * len(sizes) * net.lipschitz)))
        log_complexity = math.log(6) + 0.5 * (log_of(entropy) - math.log(problem.n))
        return problem.margins.ramp(gamma), log_complexity, *mcdiarmid(problem.n, delta, cost)


class ParameterNet(_ParameterBound):
    r"""Number of parameters through one net, with the relative entropy of the errors.

    .. math:: \mathrm{err} \le \mathrm{kl}^{-1}\Bigl(\hat R_\gamma,\ \tfrac1n \bigl[\ln N + \ln(1/\delta)
        + \textstyle\sum \ln(1/w)\bigr]\Bigr), \qquad
        \ln N = \sum_b P_b \ln\Bigl(1 + \frac{4 \sqrt2\, P\, \beta_b S_b B_b}{P_b\, \gamma}\Bigr)

    R_gamma is the share of margins at most gamma; P all parameters, P_b those of a block; inputs have norm at most
    ``radius`` wherever they come from. *derived* (the module's text; long2020generalization for the idea).

    Parameters
    ----------
    radius : bound of the Euclidean norm of every input, known before the sample (from the range of pixels, say);
        without it the bound refuses.

    When not to trust it: a radius read off the sample.

    Examples
    --------
    >>> from theory.architecture import Activation, Architecture, Linear
    >>> net = Architecture.sequential([Linear(3), Activation("relu"), Linear(2)], input_shape=4)
    >>> bound = ParameterNet(radius=2.0)
    >>> report = bound.evaluate(net, net.random_weights(rng=0), (np.ones((5000, 4)), np.zeros(5000)))
    >>> bool(abs(float(bound.symbolic(net).evaluate(report.quantities)) / report.value - 1) < 1e-12)
    True
    """

    name = "parameter-net"
    title = "number of parameters through one net"
    input_symbol = sp.Symbol("r", positive=True)

    def __init__(self, radius: float | None = None) -> None:
        self.radius = None if radius is None else as_positive("radius", radius)

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Operations, activations, and the radius."""
        reason, holds = "none is given", False
        if self.radius is not None:
            reason, holds = f"it is {self.radius:g}", True
            if isinstance(network, Problem):
                largest = float(np.linalg.norm(network.X.reshape(network.n, -1), axis=1).max())
                reason, holds = f"it is {self.radius:g}, the largest norm {largest:.6g}", largest <= self.radius
        radius = Assumption(name="a radius of the inputs known before the sample", holds=holds, reason=reason)
        return *super().hypotheses(network), radius

    def log_input(self, problem: Problem) -> float:
        """The radius."""
        assert self.radius is not None
        return math.log(self.radius)

    def formula(self, net: Scored, sizes: list[int], products: list[sp.Expr], cost: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        """Kl inverse; the complexity is its second argument without delta."""
        scale, P = 4 * (1 if net.scalar else sp.sqrt(2)), sum(sizes)
        entropy = sp.Add(
            *(P_b * sp.log(1 + sp.Rational(P, P_b) * scale * x) for P_b, x in zip(sizes, products, strict=True))
        )
        return sym.kl_inverse(sym.R, (entropy + sp.log(1 / sym.delta) + cost) / sym.n), entropy / sym.n

    def parts(
        self, problem: Problem, net: Scored, gamma: float, logs: np.ndarray, delta: float, cost: float, quick: bool
    ) -> tuple[float, float, float, float]:
        """Share of small margins, and what the entropy, delta and the grids add to it."""
        sizes = np.array([block.size for block in blocks(net)])
        entropy = float(sizes @ np.logaddexp(0, logs + np.log(4 * net.lipschitz * sizes.sum() / sizes)))
        R, level = problem.margins.share(gamma), math.log(1 / delta)
        budgets = np.array([entropy, entropy + level, entropy + level + cost]) / problem.n
        if quick:
            return R, log_of(_near_kl_inverse(R, float(budgets[2])) - R), 0.0, 0.0
        steps = np.maximum.accumulate(np.asarray(kl_inverse(np.full(3, R), budgets)))
        return R, log_of(float(steps[0] - R)), float(steps[1] - steps[0]), float(steps[2] - steps[1])


def _near_kl_inverse(q: float, c: float) -> float:
    """The kl inverse to about 1e-9: whichever margin is chosen, the bound holds there."""
    low, high = q, 1.0
    for _ in range(30):
        p = (low + high) / 2
        found = (q * math.log(q / p) if q > 0 else 0.0) + ((1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0)
        low, high = (p, high) if found < c else (low, p)
    return high


def log_integral(log_a: np.ndarray) -> np.ndarray:
    """``ln(1 + a) + a ln(1 + 1/a)``, which is ``int_0^1 ln(1 + a/u) du``, from ln a.

    Examples
    --------
    >>> bool(abs(log_integral(np.array([0.0]))[0] - 2 * math.log(2)) < 1e-15)
    True
    """
    low = np.minimum(log_a, 40.0)  # above, a ln(1 + 1/a) is 1 to the last digit
    return np.logaddexp(0, log_a) + np.where(log_a > 40, 1.0, np.exp(low) * np.logaddexp(0, -low))


def _g(a: sp.Expr) -> sp.Expr:
    # a may exceed 1e40, where 1 + 1/a is 1 in the digits of the symbolic form
    return sp.log(1 + a) + a * log1p(1 / a)
