"""Product of largest row sums: no factor of width, nor of positions in a convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from theory.bounds import _layered as lay
from theory.bounds._bound import Bound, Found
from theory.bounds._chain import Layer
from theory.bounds._frame import ROUNDING
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption
from theory.bounds.group_norm import named
from theory.norms import norm_1_inf

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


def row_norm_rademacher(m: Sequence[float], V: float, d: int, n: int, *, K: int = 1) -> float:
    r"""Rademacher complexity of all networks whose rows have at most these sums of absolute values.

    .. math:: \hat R \le \tfrac1n \prod_l m_l\, \sqrt V\, \theta\bigl((L-1) \ln 2 + \ln(d K)\bigr)

    Parameters
    ----------
    m : largest row sums of the L layers; with K > 1 outputs the last one is the sum over all rows.
    V : ``max_j sum_i x_ij^2`` over the d input coordinates.
    K : outputs, each with its own signs.

    Examples
    --------
    >>> abs(row_norm_rademacher([1.0, 1.0], 4.0, 8, 10) - math.sqrt(2 * 4 * math.log(32)) / 10) < 1e-15
    True
    """
    return math.prod(m) * math.sqrt(V) * lay.cosh_factor((len(m) - 1) * lay.LN2 + math.log(d * K)) / n


class RowNorm(Bound):
    r"""Error from the product of (1, infinity) norms (*derived*; golowich2018size prints ``4 (L + 1 + ln d)``).

    .. math:: \mathrm{err} \le \hat R_\gamma + \frac{m\, \theta\, \bar x_\infty}{\sqrt n}\, a^j
        + 3 \sqrt{\frac{\ln(1/\delta) + \ln(1/w_j)}{2n}}, \qquad a^j \ge \frac{\prod_l m_l}{\gamma}

    ``theta = cosh_factor((L-1) ln 2 + ln(d K))``, d input coordinates of root mean square at most x_inf; m = 4, or 2
    with K = 1 for a single score. Peeling as in ``_layered`` with the largest coordinate in place of the length:
    ``sup sum e_i sigma(w . z_i) <= ||w||_1 sup ||sum e_i z_i||_inf``, and at the bottom a sum over d coordinates and K
    sign vectors. For K scores the last norm is ``sum_k ||w_k||_1``, rows counted from a common one.

    A row of a convolution's matrix has at most the sum of a filter; an average pool has rows that sum to at most 1.
    Biases read a constant that starts as 1 and is multiplied in layer l by m_l itself:
    ``m_l = max_o (sum |w_o| + |b_o| / (m_1 ... m_(l-1)))``; any multiples may be chosen after training, since only the
    product of the norms of the homogeneous network enters. Then d counts the constant and x_inf is at least 1.
    """

    name = "row-norm"
    title = "product of largest row sums"
    status = CERTIFICATE
    source = "derived (cosh moments); golowich2018size, theorem for (1, infinity) norms, has a larger constant"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Layers in order, homogeneous activations, no max-pooling."""
        return lay.peeling_hypotheses(network, ordered_pools=False)

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """Logarithms of norms are added, so that nothing overflows."""
        chain, n = problem.chain, problem.n
        m, x = row_norms(problem), coordinate_root_mean_square(problem)
        c = (len(chain) - 1) * lay.LN2 + math.log(coordinates(problem) * chain.outputs)
        factor = lay.risk_factor(chain.scalar) * lay.cosh_factor(c) / math.sqrt(n)
        form = lay.Form(
            log_norm=math.fsum(map(lay.log, m)), log_factor=math.log(factor) + lay.log(x),
            quantities={"x_inf": x, **named("m", m)},
        )  # fmt: skip
        return lay.least(problem, [form], delta, margin)

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """In the row norms m_1, ..., m_L."""
        import sympy as sp

        from theory.bounds import _layered_symbolic as ls
        from theory.bounds import _symbolic as sym

        chain = network.chain
        theta = ls.cosh_symbol((len(chain) - 1) * sp.log(2) + sp.log(coordinates(network) * chain.outputs))
        x = sp.Symbol("x_inf", positive=True)
        m = sym.layer_symbols("m", len(chain))
        form = ls.SymbolicForm(norm=sp.Mul(*m), factor=(2 if chain.scalar else 4) * theta * x / sp.sqrt(sym.n))
        meaning = {s.name: "largest sum of absolute values in a row, bias included" for s in m}
        meaning[m[-1].name] = "sum of all absolute values in the last layer, rows counted from a common one"
        return ls.symbolic(self.name, [form], {**meaning, "x_inf": "largest root mean square of an input coordinate"})


def coordinates(network: Network) -> int:
    """Input coordinates of the first layer, the constant included where there are biases."""
    return math.prod(network.chain.layers[0].input_shape) + network.chain.has_bias


def coordinate_root_mean_square(problem: Problem) -> float:
    """``max_j sqrt(mean_i x_ij^2)`` from above, at least 1 where the constant is a coordinate."""
    inputs = problem.inputs.reshape(problem.n, -1)
    scale = float(np.abs(inputs).max(initial=0.0))
    if scale == 0:
        return float(problem.chain.has_bias)
    squares = ((inputs / scale) ** 2).sum(axis=0)
    top = scale * math.sqrt(float(squares.max()) / problem.n) * (1 + ROUNDING)
    return max(top, 1.0) if problem.chain.has_bias else top


def row_norms(network: Network) -> list[float]:
    """m_1, ..., m_L from above; a layer of zeros hands the constant on as it is."""
    m: list[float] = []
    constant = 1.0
    layers, scalar = network.chain.layers, network.chain.scalar
    for layer in layers[:-1]:
        m.append(norm_1_inf(_with_bias(layer, constant)))
        if network.chain.has_bias:
            m[-1], constant = lay.hand_on(m[-1], constant)
    W = _with_bias(layers[-1], constant)
    return [*m, min(norm_1_inf(V.reshape(1, -1)) for V in ((W,) if scalar else lay.shifts(W)))]


def _with_bias(layer: Layer, constant: float) -> np.ndarray:
    """One row for each output channel, its bias as the weight of the constant."""
    W = layer.weight.reshape(len(layer.weight), -1)
    if layer.bias is None:
        return W
    with np.errstate(over="ignore"):
        return np.column_stack([W, layer.bias / constant])
