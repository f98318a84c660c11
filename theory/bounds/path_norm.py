r"""Path norms: one scalar for any graph of ReLU-like units, with biases, skips and pools.

Normalise every unit so that its incoming weights have l1 norm 1 (positive homogeneity); what is left over gathers in
the weights of the scores, whose l1 norm is then the L1 path norm r. With W_k the largest ``|sum_i e_i u(x_i)|`` over
units u of level at most k (steps, that is activations and maxima, on the longest path to it), w_k = E exp(lam W_k):

- Raw inputs and the constant 1 of the biases, each with both signs: ``w_0 <= 2 d' exp(lam^2 n v / 2)``.
- A unit sigma(sum of units): both signs of the absolute value, then the one-sided contraction (sigma(0) = 0, slope at
  most 1): ``E exp(lam Z) <= 2 w_k(lam)``. Several kinds of activation at one level add up.
- A maximum over m entries, ``max_s c_s u_s`` with ``sum_s c_s = 1``, c >= 0: vector contraction under a convex
  function, ``E exp(lam Z) <= 2 E exp(sqrt(2) lam sum_s c_s W(e_s)) <= 2 m w_k(sqrt(2) lam)``; sizes add up.
- Hence with c_k the sum of these numbers at level k: w_{k+1} <= (1 + c_k) w_k, the 1 for the units of lower levels. It
  is not needed where all paths take equally many steps (the constant being reproduced: sigma(1) = 1), and with one
  idempotent activation (a unit is the unit of itself) and no maxima w_D <= (2^{D+1} - 1) w_0.
- K sign vectors: factor K. So ``T <= r sqrt(2^{M+1} v (ln C + ln(2 d' K)) / n)``, M levels with maxima.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory.architecture import INPUT, Activation, Architecture, GlobalMaxPool, Linear, MaxPool, Node, Scale
from theory.architecture.operations import Conv
from theory.bounds import _symbolic as sym
from theory.bounds._bound import Bound, Found, found
from theory.bounds._calculus import scored
from theory.bounds._frame import GridPoint, choose_margin, mcdiarmid, safe_exp
from theory.bounds._hypotheses import homogeneous, lipschitz
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, PUBLISHED, Assumption
from theory.norms.path import folded_path_norm, window_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Steps (activations and maxima) of a graph, counted.

    Attributes
    ----------
    factors : c_k for each level: 2 for each kind of activation, 2 m for each size m of a maximum.
    pooled : M, levels that hold a maximum.
    layered : whether all paths from the input take equally many steps, up to any node.
    idempotent : whether there is one activation, sigma(sigma) = sigma, and no maximum.
    keeps_one : whether sigma(1) = 1 for every activation.
    """

    factors: tuple[int, ...]
    pooled: int
    layered: bool
    idempotent: bool
    keeps_one: bool

    def count(self, biased: bool) -> int:
        """C, the number of cases by which all levels together multiply."""
        if self.layered and (self.keeps_one or not biased):
            return math.prod(self.factors)
        if self.idempotent:
            return int(2 ** (len(self.factors) + 1)) - 1
        return math.prod(1 + c for c in self.factors)


def levels(graph: Architecture) -> Levels:
    """The steps of a folded graph."""
    depth, layered = {INPUT: 0}, True
    kinds: dict[int, set[object]] = {}
    for node in graph.nodes:
        reads = [depth[name] for name in node.inputs]
        layered &= len(set(reads)) == 1
        depth[node.name] = max(reads) + bool(_steps(node))
        kinds.setdefault(depth[node.name], set()).update(_steps(node))
    found = [kinds[k] for k in sorted(kinds) if k > 0]
    activations = {a for level in found for a in level if isinstance(a, Activation)}
    pooled = sum(any(isinstance(kind, int) for kind in level) for level in found)
    return Levels(
        factors=tuple(sum(2 * kind if isinstance(kind, int) else 2 for kind in level) for level in found),
        pooled=pooled, layered=layered,
        idempotent=not pooled and len(activations) == 1 and all(a.name in ("relu", "abs") for a in activations),
        keeps_one=all(a.facts.at_one == 1 for a in activations),
    )  # fmt: skip


def _steps(node: Node) -> list[object]:
    """The activation of a node, or the sizes of the windows of its maximum; nothing for a linear map."""
    op, size = node.operation, node.input_shapes[0][1:]
    if isinstance(op, Activation):
        return [] if op.name == "identity" else [op]
    if isinstance(op, MaxPool):
        sizes: list[object] = [int(m) for m in np.unique(window_counts(op, size))]
        return [] if sizes == [1] else sizes
    return [math.prod(size)] if isinstance(op, GlobalMaxPool) and math.prod(size) > 1 else []


def _biased(graph: Architecture) -> bool:
    return any(key.endswith(".bias") for key in graph.parameters)


def _spread(problem: Problem) -> float:
    """Largest mean square of an input coordinate."""
    with np.errstate(over="ignore"):
        return float((problem.X.reshape(problem.n, -1) ** 2).mean(axis=0).max())


class PathNormBound(Bound):
    r"""L1 path norm of a graph of ReLU-like units.

    .. math:: \mathrm{err} \le \hat R_\gamma + \frac{4 r}{\gamma} \sqrt{\frac{2^{M+1} v (\ln C + \ln(2 d' K))}{n}}
        + 3 \sqrt{\frac{\ln(1/\delta) + \ln(1/w_j)}{2 n}}

    r is the L1 path norm (rounded up so that r / gamma = 1.05^j), v the largest mean square of an input coordinate,
    at least 1 where there are biases, d' the number of input coordinates, one more with biases. For one score, or two
    classes (their difference), 2 stands for 4 and 1 for K. With more classes r is that of W - 1 c^T, which has the same
    margins, c the median of each column. Natural logarithms. *derived* (see the module's text; maurer2016vector,
    neyshabur2015norm; gonon2024path for the idea of a graph).

    When not to trust it: never below, but a maximum costs sqrt(2) outside the root, and r grows fast with depth.

    Examples
    --------
    >>> net = Architecture.sequential([Linear(3), Activation("relu"), Linear(2)], input_shape=4)
    >>> data = (np.ones((50, 4)), np.zeros(50))
    >>> report = PathNormBound().evaluate(net, net.random_weights(rng=0), data)
    >>> again = PathNormBound().symbolic(net).evaluate(report.quantities)
    >>> bool(abs(float(again) / report.value - 1) < 1e-12)
    True
    """

    name = "path-norm"
    title = "L1 path norm, any graph"
    status = CERTIFICATE
    source = "derived; maurer2016vector, neyshabur2015norm, gonon2024path"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Operations and activations."""
        return lipschitz(network), homogeneous(network)

    def symbolic_form(self, network: Network) -> sym.SymbolicBound:
        """With symbols j, v."""
        net = scored(network, "median")
        steps, biased = levels(net.graph), _biased(net.graph)
        j, v, norm = sym.index(), sp.Symbol("v", positive=True), sp.Symbol("r", positive=True)
        inputs = math.prod(net.graph.input_shape) + biased
        K = 1 if net.scalar else network.n_scores
        logarithm = sp.log(sp.Integer(steps.count(biased)) * 2 * inputs * K)
        top = sp.Max(1, v) if biased else v
        root = sp.sqrt(2 ** sp.Integer(steps.pooled + 1) * top * logarithm / sym.n) * (2 if net.scalar else 4)
        return sym.SymbolicBound(
            name=self.name,
            expression=sym.R + root * sym.a**j + sym.confidence(sym.grid_cost(j)),
            complexity=root * norm / sym.gamma,
            meaning={
                "r": "L1 path norm", "v": "largest mean square of an input coordinate", "gamma": "margin",
                "R": "mean ramp loss", "j": "index of the grid point of r / gamma",
            },
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The best margin on the grid of r / gamma."""
        net = scored(problem, "median")
        steps, biased, v = levels(net.graph), _biased(net.graph), _spread(problem)
        log_norm = problem.remember("L1 path norm, scored", lambda: folded_path_norm(net.graph, net.named)).log
        K = 1 if net.scalar else problem.n_scores
        cases = math.log(steps.count(biased)) + math.log(2 * (math.prod(net.graph.input_shape) + biased) * K)
        square = 2.0 ** (steps.pooled + 1) * max(v, 1.0 if biased else 0.0) * cases / problem.n
        log_root = math.log(2 if net.scalar else 4) + (0.5 * math.log(square) if square > 0 else -math.inf)
        return _additive(problem, delta, margin, log_norm, log_root, v)


class PathNormPublished(Bound):
    r"""L1 path norm, as printed for ReLU graphs with maxima.

    .. math:: \frac4n\, C\, \sigma\, \frac{\sqrt2}{\gamma}\, r, \qquad
        C^2 = D \ln((3 + 2P) k) + \ln\Bigl(\frac{3 + 2P}{1 + P} (d + 1) K\Bigr), \quad \sigma^2 = n \max(1, v)

    bounds the expected gap for a fixed r; *published form*: gonon2024path, its text not at hand. D is the most weight
    layers on a path (which reproduces the printed table), k the largest window of a maximum (1 without), P its
    number of sizes. To it we add the mean ramp loss, the grid of r / gamma and 3 sqrt(ln(1/delta) / 2n).

    When not to trust it: sigma is taken from the sample; with maxima we could not derive it.
    """

    name = "path-norm-published"
    title = "L1 path norm, as printed"
    status = PUBLISHED
    source = "published form; gonon2024path"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """ReLU and operations."""
        ops = [node.operation for node in network.graph.nodes]
        bad = [a.name for a in ops if isinstance(a, Activation) and a.name not in ("relu", "identity")]
        relu = Assumption(name="ReLU activations", holds=not bad, reason=f"{bad[0]} is not" if bad else "all are")
        return lipschitz(network), relu

    def symbolic_form(self, network: Network) -> sym.SymbolicBound:
        """With symbols j, v."""
        j, v, norm = sym.index(), sp.Symbol("v", positive=True), sp.Symbol("r", positive=True)
        D, k, P = _published_counts(network.graph)
        ends = sp.Rational(3 + 2 * P, 1 + P) * (math.prod(network.graph.input_shape) + 1) * network.n_scores
        C = sp.sqrt(D * sp.log((3 + 2 * P) * k) + sp.log(ends))
        root = 4 * sp.sqrt(2) * C * sp.sqrt(sp.Max(1, v) / sym.n)
        return sym.SymbolicBound(
            name=self.name, expression=sym.R + root * sym.a**j + sym.confidence(sym.grid_cost(j)),
            complexity=root * norm / sym.gamma,
            meaning={"r": "L1 path norm", "v": "largest mean square of an input coordinate"},
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The best margin on the grid of r / gamma."""
        graph, v = problem.graph, _spread(problem)
        log_norm = problem.remember("L1 path norm", lambda: folded_path_norm(graph, problem.named)).log
        D, k, P = _published_counts(graph)
        C = published_constant(D=D, k=k, P=P, d=math.prod(graph.input_shape), K=problem.n_scores)
        log_root = math.log(4 * math.sqrt(2) * C * math.sqrt(max(1.0, v) / problem.n))
        return _additive(problem, delta, margin, log_norm, log_root, v)


def published_constant(*, D: int, k: int, P: int, d: int, K: int) -> float:
    """``sqrt(D ln((3 + 2P) k) + ln((3 + 2P) / (1 + P) (d + 1) K))``, as printed (gonon2024path).

    Examples
    --------
    >>> abs(published_constant(D=1, k=1, P=0, d=2, K=1) - math.sqrt(math.log(3) + math.log(9))) < 1e-14
    True
    """
    return math.sqrt(D * math.log((3 + 2 * P) * k) + math.log((3 + 2 * P) / (1 + P) * (d + 1) * K))


def _published_counts(graph: Architecture) -> tuple[int, int, int]:
    depth = {INPUT: 0}
    sizes = set()
    for node in graph.nodes:
        weights = isinstance(node.operation, Linear | Conv | Scale)
        depth[node.name] = max(depth[name] for name in node.inputs) + weights
        if isinstance(node.operation, MaxPool | GlobalMaxPool):
            sizes.add(max(m for m in (*_steps(node), 1) if isinstance(m, int)))
    return depth[graph.output], max(sizes, default=1), len(sizes)


def _additive(
    problem: Problem, delta: float, margin: float | None, log_norm: float, log_root: float, v: float
) -> Found:
    def parts(gamma: float, point: GridPoint) -> tuple[float, float, float, float]:
        return problem.margins.ramp(gamma), log_root + point.log, *mcdiarmid(problem.n, delta, point.log_cost)

    best = choose_margin(problem.margins, log_norm, parts, margin)
    R, (confidence, union) = best.terms["empirical"], mcdiarmid(problem.n, delta, best.point.log_cost)
    return found(
        empirical=R, log_complexity=log_root + best.point.log, confidence=confidence, union=union, margin=best.gamma,
        quantities={"n": problem.n, "delta": delta, "R": R, "v": v, "j": best.point.index, "gamma": best.gamma,
                    "r": safe_exp(log_norm)},
    )  # fmt: skip
