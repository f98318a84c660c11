r"""Covering numbers at the level of kernels, for any graph: spectral norms outside, (2,1) norms inside.

Class: every layer l has operator norm at most s_l, (2,1) distance at most t_l from a reference M_l fixed before the
sample, its bias l1 distance at most u_l. *derived*, in the manner of bartlett2017spectrally and graf2022measuring:

1. Maurey. A layer's output on the sample is ``sum K[o,c,q] V_{o,c,q}(x) + sum b_o 1_o``; the atom V writes what tap q
   reads of channel c to channel o, and ``||V|| <= ||x_c||`` as a tap reads no pixel twice. By Cauchy-Schwarz over c
   the total weight of W - M is at most ``sqrt(n) A_l``, ``A_l = t_l B_l + u_l sqrt(positions)``, B_l the root mean
   square norm of the input. The mean of k random atoms is within ``sqrt(n) A_l / sqrt(k)``, and there are
   ``(2 P_l)^k`` such means; ``ceil(x) <= 2 x`` above 1, and M alone covers below: with radius e,
   ``ln N_l <= (2 n A_l^2 / e^2) ln(2 P_l)``.
2. Projection on the convex class brings the centres into it at no cost, so that B_l holds for them too.
3. Changing the layers one by one moves the scores by ``sum S_l e_l``. The margin is sqrt(2)-Lipschitz (1 for one
   score), and the best e_l give ``ln N(e) <= (K_0 / e)^2`` with
   ``K_0 = sqrt(2) (sqrt(2)/gamma) sqrt(n) [sum_l (S_l A_l sqrt(ln 2 P_l))^{2/3}]^{3/2}``.
4. Dudley with the loss centred at 1/2, so that radii end at sqrt(n)/4:
   ``R <= 4 a/sqrt(n) + (12/n) K_0 ln(sqrt(n)/4a)``, least at ``a = 3 K_0/sqrt(n)``:
   ``(12 K_0/n) (1 + ln(n / 12 K_0))`` where 12 K_0 <= n. Above, R <= 1/2 < 12 K_0/n.

The class must be fixed before the sample. One layer after the other, without biases and references and with positively
homogeneous activations, layers may be rescaled: then ``kappa = prod s / gamma`` and the ratios t_l / s_l, each on its
grid, are all that matters. Otherwise s_l, t_l, u_l and 1/gamma have a grid each. The costs of the grids add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import sympy as sp

from theory.architecture import Conv, Linear, Node, Scale
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
)  # fmt: skip
from theory.bounds._frame import GridPoint, choose_margin, mcdiarmid, round_up, safe_exp
from theory.bounds._hypotheses import lipschitz
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption
from theory.norms import filter_norm_2_1, frobenius_norm, norm_2_1

LEAST = -690.0  # ln of the least named quantity: a zero norm is raised to it


class CoveringBound(Bound):
    r"""Spectral and (2,1) norms through covering numbers, on any graph.

    .. math:: \mathrm{err} \le \hat R_\gamma + \frac{24 K_0}{n} \Bigl(1 + \ln\max\bigl(1, \tfrac{n}{12 K_0}\bigr)\Bigr)
        + 3 \sqrt{\frac{\ln(1/\delta) + \sum \ln(1/w)}{2 n}}, \qquad
        K_0 = \frac{2 \sqrt n}{\gamma} \Bigl[\sum_l \bigl(S_l A_l \sqrt{\ln 2 P_l}\bigr)^{2/3}\Bigr]^{3/2}

    S_l: Lipschitz constant from layer l to the scores; ``A_l = t_l B_l + u_l sqrt(positions)``; B_l: root mean square
    norm of what the layer reads; t_l: sum of the lengths of the rows (of the taps of a kernel, whatever the size of
    the map) of W_l - M_l; u_l: l1 norm of the bias less its reference; P_l: parameters of the layer. One score, or two
    classes: sqrt(2) for the 2 in K_0. More classes: W - 1 c^T for the last W, c the mean row. *derived* (the module's
    text; bartlett2017spectrally, graf2022measuring for the idea).

    When not to trust it: never below; a reference helps where training moved little, but costs grids.

    Examples
    --------
    >>> from theory.architecture import Activation, Architecture
    >>> net = Architecture.sequential([Linear(3), Activation("relu"), Linear(2)], input_shape=4)
    >>> report = CoveringBound().evaluate(net, net.random_weights(rng=0), (np.ones((50, 4)), np.zeros(50)))
    >>> again = CoveringBound().symbolic(net).evaluate(report.quantities)
    >>> bool(abs(float(again) / report.value - 1) < 1e-12)
    True
    """

    name = "covering"
    title = "spectral and (2,1) norms through kernel-level covers, any graph"
    status = CERTIFICATE
    source = "derived; bartlett2017spectrally, graf2022measuring"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Operations, activations and paddings."""
        return has_weights(network), lipschitz(network), known_at_zero(network), _taps_read_once(network)

    def symbolic_form(self, network: Network) -> sym.SymbolicBound:
        """With x_rms, j and the ratios' indices i_l; or S_l, B_l, j and the indices of s_l, t_l, u_l."""
        net = scored(network)
        L, j = len(net.layers), sym.index()
        s, t, u, S, B = (sym.layer_symbols(letter, L) for letter in "stuSB")
        roots = [sp.sqrt(sp.log(2 * parameters(node))) for node in net.layers]
        outside = sp.sqrt(2 * sym.n) * (1 if net.scalar else sp.sqrt(2))
        if net.one_scalar:
            i = [sym.index(f"i_{l}") for l in range(1, L + 1)]
            c = sp.Symbol("c", positive=True)
            K_0 = outside * sym.x_rms * sym.a**j * _combine([sym.a ** i[l] * roots[l] for l in range(L)])
            plain = outside * sym.x_rms * c * sp.prod(s) / sym.gamma
            plain *= _combine([t[l] / s[l] * roots[l] for l in range(L)])
            indices = [j, *i]
        else:
            A, plain_A, indices = [], [], [j]
            for l, node in enumerate(net.layers):
                i_s, i_t, i_u = (sym.index(f"{letter}_{l + 1}") for letter in "ikh")
                shift = sp.sqrt(positions(node)) if net.biased(node) else sp.Integer(0)
                A.append(sym.a**i_t * B[l] + sym.a**i_u * shift)
                plain_A.append(t[l] * B[l] + u[l] * shift)
                indices += [i_s, i_t, *([i_u] if net.biased(node) else [])]
            K_0 = outside * sym.a**j * _combine([S[l] * A[l] * roots[l] for l in range(L)])
            plain = outside / sym.gamma * _combine([S[l] * plain_A[l] * roots[l] for l in range(L)])
        cost = sum((sym.grid_cost(index) for index in indices), sp.Integer(0))
        return sym.SymbolicBound(
            name=self.name, expression=sym.R + _dudley(K_0) + sym.confidence(cost), complexity=_dudley(plain),
            meaning={
                "s_l": "operator norm", "t_l": "(2,1) norm of W - M", "u_l": "l1 norm of the bias less its reference",
                "S_l": "Lipschitz constant from layer l to the scores", "B_l": "root mean square norm of its input",
                "c": "product of the Lipschitz constants of activations and pools", "x_rms": "of the inputs",
                "i_l, k_l, h_l": "indices of the grid points of s_l (or t_l / s_l), t_l, u_l",
            },
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The best margin on the grid of prod s / gamma, or of 1 / gamma."""
        net = scored(problem)
        log_s = {name: log_of(value) for name, value in operator_norms(problem, net).items()}
        log_t = {node.name: log_of(problem.remember(("taps", node.name), _taps(net, node))) for node in net.layers}
        log_x = max(log_rms(problem.X), LEAST)
        norms = {f"s_{l}": log_s[node.name] for l, node in enumerate(net.layers, 1)}
        norms |= {f"t_{l}": log_t[node.name] for l, node in enumerate(net.layers, 1)}
        terms: list[float] = []
        grids: dict[str, GridPoint] = {}
        named: dict[str, float] = {}
        if net.one_scalar:
            log_norm, log_outside = log_fixed(net) + sum(log_s.values()), log_x
            for l, node in enumerate(net.layers, 1):
                ratio = log_t[node.name] - log_s[node.name] if log_t[node.name] > -math.inf else -math.inf
                grids[f"i_{l}"] = round_up(ratio)
                terms.append(grids[f"i_{l}"].log)
            named |= {"x_rms": math.exp(log_x), "c": safe_exp(log_fixed(net))}
        else:
            log_norm = log_outside = 0.0
            shifts = {}
            for l, node in enumerate(net.layers, 1):
                grids[f"i_{l}"], grids[f"k_{l}"] = round_up(log_s[node.name]), round_up(log_t[node.name])
                if net.biased(node):
                    norms[f"u_{l}"] = log_of(float(np.abs(net.difference(node, "bias")).sum()) * (1 + 1e-12))
                    grids[f"h_{l}"] = round_up(norms[f"u_{l}"])
                    shifts[node.name] = log_sum(grids[f"h_{l}"].log, log_of(_reference_bias(net, node)))
            rounded = {node.name: grids[f"i_{l}"].log for l, node in enumerate(net.layers, 1)}
            S, B = sensitivities(net, rounded), radii(net, rounded, shifts, log_x)
            for l, node in enumerate(net.layers, 1):
                slope, radius = max(S[node.name], LEAST), max(B[node.inputs[0]], LEAST)
                shift = grids[f"h_{l}"].log + 0.5 * math.log(positions(node)) if net.biased(node) else -math.inf
                terms.append(slope + log_sum(grids[f"k_{l}"].log + radius, shift))
                named |= {f"S_{l}": safe_exp(slope), f"B_{l}": safe_exp(radius)}
        logs = [x + 0.5 * math.log(math.log(2 * parameters(node))) for x, node in zip(terms, net.layers, strict=True)]
        log_outside += math.log(math.sqrt(2) * net.lipschitz) + 0.5 * math.log(problem.n) + log_combine(logs)
        cost = sum(point.log_cost for point in grids.values())

        def parts(gamma: float, point: GridPoint) -> tuple[float, float, float, float]:
            split = mcdiarmid(problem.n, delta, point.log_cost + cost)
            return problem.margins.ramp(gamma), log_dudley(log_outside + point.log, problem.n), *split

        best = choose_margin(problem.margins, log_norm, parts, margin)
        R, log_complexity, confidence, union = parts(best.gamma, best.point)
        return found(
            empirical=R, log_complexity=log_complexity, confidence=confidence, union=union, margin=best.gamma,
            quantities={"n": problem.n, "delta": delta, "R": R, "j": best.point.index, "gamma": best.gamma, **named,
                        **{name: safe_exp(log) for name, log in norms.items()},
                        **{name: point.index for name, point in grids.items()}},
        )  # fmt: skip


def log_combine(logs: list[float]) -> float:
    """``ln [sum_l x_l^{2/3}]^{3/2}`` from ln x_l.

    Examples
    --------
    >>> abs(log_combine([math.log(8.0), math.log(27.0)]) - 1.5 * math.log(4 + 9)) < 1e-14
    True
    """
    return 1.5 * log_sum(*(2 * x / 3 for x in logs))


def log_dudley(log_K_0: float, n: int) -> float:
    """Ln of ``2 (12 K_0 / n) (1 + ln max(1, n / 12 K_0))``, twice the Rademacher complexity.

    Examples
    --------
    >>> round(math.exp(log_dudley(math.log(50), 10_000)) / 2, 5)
    0.2288
    """
    log_ratio = math.log(12) + log_K_0 - math.log(n)
    return math.log(2) + log_ratio + math.log1p(max(0.0, -log_ratio)) if log_ratio > -math.inf else -math.inf


def parameters(node: Node) -> int:
    """Weights and biases of a layer."""
    return sum(math.prod(shape) for shape in node.parameters.values())


def _combine(terms: list[sp.Expr]) -> sp.Expr:
    return sp.Add(*(term ** sp.Rational(2, 3) for term in terms)) ** sp.Rational(3, 2)


def _dudley(K_0: sp.Expr) -> sp.Expr:
    return 24 * K_0 / sym.n * (1 + sp.log(sp.Max(1, sym.n / (12 * K_0))))


def _taps(net: Scored, node: Node) -> Callable[[], float]:
    norm = {Linear: norm_2_1, Conv: filter_norm_2_1, Scale: frobenius_norm}[type(node.operation)]
    return lambda: norm(net.difference(node))


def _reference_bias(net: Scored, node: Node) -> float:
    return 0.0 if net.reference is None else frobenius_norm(net.reference[f"{node.name}.bias"])


def _taps_read_once(network: Network) -> Assumption:
    """Zero padding; or circular where stride times output size does not exceed the map."""
    bad = []
    for node in network.graph.nodes:
        op, size = node.operation, node.input_shapes[0][1:]
        if isinstance(op, Conv) and op.padding_mode != "zeros" and any(op.paddings(len(size))):
            steps = zip(op.strides(len(size)), node.shape[1:], size, strict=True)
            if op.padding_mode != "circular" or any(s * m > n for s, m, n in steps):
                bad.append(f"{node.name!r} pads by {op.padding_mode!r}")
    return Assumption(
        name="convolutions whose taps read no pixel twice", holds=not bad, reason=bad[0] if bad else "all do"
    )
