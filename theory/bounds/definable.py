r"""Sample complexity of networks whose activations are definable: the cases with explicit constants.

A network whose operations are definable in an o-minimal structure has a finite VC dimension; a number needs a count of
the sign patterns of its pieces. For W parameters, k units (the output's among them), L layers, one threshold output:

- piecewise polynomials of p pieces and degree at most l:
  ``VC <= 2 W L log2(4 W L p k / ln 2) + 2 W L^2 log2(l + 1) + 2 L`` (*published form*, anthony1999learning); and
  ``piecewise_polynomial_growth``, *derived* as in ``growth_function`` with degrees D_1 = 1, D_(i+1) = l D_i + 1;
- the logistic sigmoid (Pfaffian): ``Pi(m) <= 2^((W k)^2 / 2) (18 W k^2)^(5 W k) (e m / W)^W`` for m >= W, and
  ``VC <= (W k)^2 + 11 W k log2(18 W k^2)`` (*published form*, anthony1999learning after karpinski1997polynomial);
- tanh: ``tanh z = 2 sigmoid(2 z) - 1``, so with biases in every layer the same class of functions (*derived*).

Other Pfaffian activations (gelu, silu, softplus) have finite bounds whose constants depend on their chain; they are
refused here rather than given a constant that was not checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from theory._arrays import as_count, as_positive
from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Dropout, Flatten, Linear
from theory.bounds._growth import Stage, log_growth
from theory.bounds._kl import as_delta
from theory.bounds._report import PUBLISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinableDimension:
    """VC dimension of the sign of a network with one output, from above.

    Attributes
    ----------
    kind : ``"piecewise polynomial"`` or ``"sigmoid"``.
    parameters, units, layers : W, k, L.
    vc : the printed bound.
    status : ``published form``.
    """

    kind: str
    parameters: int
    units: int
    layers: int
    vc: float
    status: str = PUBLISHED

    def samples(self, eps: float, delta: float = 0.01) -> int:
        """Samples from which, with probability 1 - delta, no error is above the training error by more than eps."""
        return samples_needed(self.vc, eps, delta)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "kind": self.kind, "parameters": self.parameters, "units": self.units, "layers": self.layers,
            "vc": self.vc, "status": self.status,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"DefinableDimension({self.kind}, W = {self.parameters}: VC <= {self.vc:.4g}, {self.status})"


def vc_piecewise_polynomial(W: int, k: int, L: int, *, pieces: int = 2, degree: int = 1) -> float:
    """The first form of the module (*published form*, anthony1999learning).

    Parameters
    ----------
    W, k, L : parameters, units with the output's, layers.
    pieces, degree : p and l of the activation; ReLU has 2 and 1.

    Raises
    ------
    InvalidInput : counts that are not positive whole numbers (a degree may be 0).

    Examples
    --------
    >>> round(vc_piecewise_polynomial(10, 3, 2), 3)
    461.426
    """
    W, k, L, p = (as_count(n, v) for n, v in (("W", W), ("k", k), ("L", L), ("pieces", pieces)))
    l = as_count("degree", degree, minimum=0)
    return 2 * W * L * math.log2(4 * W * L * p * k / math.log(2)) + 2 * W * L**2 * math.log2(l + 1) + 2 * L


def vc_sigmoid(W: int, k: int) -> float:
    """The second form of the module (*published form*, anthony1999learning after karpinski1997polynomial).

    Raises
    ------
    InvalidInput : counts that are not positive whole numbers.

    Examples
    --------
    >>> round(vc_sigmoid(10, 3), 3)
    4418.387
    """
    W, k = as_count("W", W), as_count("k", k)
    try:
        return float((W * k) ** 2 + 11 * W * k * math.log2(18 * W * k**2))
    except OverflowError:
        raise InvalidInput("W k is so large that the bound exceeds float64.") from None


def sigmoid_log_growth(W: int, k: int, m: int) -> float:
    """``ln Pi(m)`` of sigmoid networks, at most m ln 2 (*published form*, as ``vc_sigmoid``).

    Raises
    ------
    InvalidInput : counts that are not positive whole numbers.

    Examples
    --------
    >>> sigmoid_log_growth(10, 3, 100) == 100 * math.log(2)
    True
    """
    W, k, m = as_count("W", W), as_count("k", k), as_count("m", m)
    trivial = m * math.log(2)
    if m < W:
        return trivial
    printed = (W * k) ** 2 / 2 * math.log(2) + 5 * W * k * math.log(18 * W * k**2) + W * (1 + math.log(m / W))
    return min(printed, trivial)


def piecewise_polynomial_growth(
    widths: Sequence[int], m: int, *, pieces: int = 2, degree: int = 1, classes: int = 2, bias: bool = True
) -> float:
    r"""``ln Pi(m)``: loss patterns of a dense network with piecewise-polynomial activations, on m labelled samples.

    .. math:: \ln \Pi \le \sum_i \ln \min\Bigl\{2 \Bigl(\frac{2 e\, q_i D_i}{W_i}\Bigr)^{W_i}, 2^{q_i}\Bigr\}, \qquad
        D_1 = 1, \ D_{i+1} = l D_i + 1

    *derived* as ``growth_function``: within a cell where all earlier signs are fixed every unit is one polynomial of
    what it reads, so layer i's pre-activations have degree D_i in the W_i parameters up to it, and p - 1 breakpoints
    each; the last stage has the K - 1 signs of ``f_y - f_j``.

    Parameters
    ----------
    widths : inputs, hidden widths, outputs: (d, h_1, ..., h_(L-1), K), or 1 for one score of two classes.
    pieces, degree : p and l.
    classes : K; with 2 the output may be one score.

    Raises
    ------
    InvalidInput : fewer than two widths, counts that are not positive, outputs that are not those of K classes.

    Examples
    --------
    >>> from theory.bounds._growth import warren_log
    >>> abs(piecewise_polynomial_growth([2, 1], 50) - warren_log(50, 1, 3)) < 1e-9
    True
    """
    if not isinstance(widths, Iterable):
        raise InvalidInput(f"widths must be a sequence of whole numbers, but are {widths!r:.60}.")
    sizes = [as_count("widths", w) for w in widths]
    m, p, K = as_count("m", m), as_count("pieces", pieces), as_count("classes", classes, minimum=2)
    l = as_count("degree", degree, minimum=0)
    if len(sizes) < 2 or (sizes[-1] != K and (K, sizes[-1]) != (2, 1)):
        raise InvalidInput(f"widths must be at least inputs and {K} outputs (1 for two classes), but are {sizes}.")
    stages, W, D = [], 0, 1
    for i, (read, units) in enumerate(pairwise(sizes)):
        W, last = W + (read + bias) * units, i == len(sizes) - 2
        if last or p > 1:
            # the last stage decides between classes, the others between pieces
            units, breaks = (K - 1, 1) if last else (units, p - 1)
            stages.append(Stage(units=units, breakpoints=breaks, parameters=W, degree=D))
        D = l * D + 1
    return log_growth(stages, m)


def samples_needed(vc: float, eps: float, delta: float = 0.01) -> int:
    r"""The least n >= d from which, with probability 1 - delta, training error plus eps bounds every network's error.

    .. math:: \sqrt{\frac{2 d \ln(e n / d)}{n}} + \sqrt{\frac{\ln(1/\delta)}{2 n}} \le \epsilon

    *derived*: ``growth_function`` with Sauer's ``Pi(n) <= (e n / d)^d`` for n >= d; the left side falls in n >= d, so
    bisection finds the least whole n.

    Parameters
    ----------
    vc : d, or an upper bound of it.
    eps, delta : positive; delta below 1.

    Raises
    ------
    InvalidInput : numbers outside their domain.

    Cost: about 60 evaluations.

    Examples
    --------
    >>> samples_needed(1, 0.1, 0.01) < samples_needed(10, 0.1, 0.01) < samples_needed(10, 0.05, 0.01)
    True
    """
    d, eps, level = as_positive("vc", vc), as_positive("eps", eps), as_delta(delta)

    def excess(n: int) -> float:
        return math.sqrt(2 * d * (1 + math.log(n / d)) / n) + math.sqrt(math.log(1 / level) / (2 * n)) - eps

    low = high = max(1, math.ceil(d))
    try:
        while excess(high) > 0:
            low, high = high, 2 * high
    except OverflowError:
        raise InvalidInput(f"eps = {eps:g} asks for more samples than float64 can count.") from None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return low if excess(low) <= 0 else high


def definable_dimension(architecture: Architecture) -> DefinableDimension:
    """The printed VC bound that fits a dense network with one output.

    *published form*: see the module. Piecewise-linear activations (the most pieces of any of them), or all of them
    sigmoid or tanh with a bias in every layer.

    Raises
    ------
    PreconditionError : layers that are not dense, more than one output, activations without explicit constants; the
        message names the hypothesis.

    Cost: none.

    Examples
    --------
    >>> net = Architecture.sequential([Linear(3), Activation("tanh"), Linear(1)], input_shape=2)
    >>> definable_dimension(net)
    DefinableDimension(sigmoid, W = 13: VC <= 9494, published form)
    """
    nodes = [node for node in architecture.nodes if not isinstance(node.operation, Flatten | Dropout)]
    odd = [node for node in nodes if not isinstance(node.operation, Linear | Activation) or len(node.shape) > 1]
    layers = [node for node in nodes if isinstance(node.operation, Linear)]
    acts = [node.operation for node in nodes if isinstance(node.operation, Activation)]
    after = architecture.nodes[-1].operation
    if odd or not layers or any(len(node.inputs) != 1 for node in nodes) or isinstance(after, Activation):
        what = "it does not end in a dense layer"
        if odd:
            what = f"{odd[0].name!r} is a {odd[0].operation.kind} of shape {odd[0].shape}"
        raise PreconditionError(f"a dense network with a linear output is wanted: {what}.")
    if architecture.output_shape != (1,):
        raise PreconditionError(f"one output is wanted, but there are scores of shape {architecture.output_shape}.")
    W, L = architecture.n_parameters, len(layers)
    k = sum(math.prod(node.shape) for node in layers)
    pieces = [op.facts.breakpoints for op in acts]
    if all(b is not None for b in pieces):
        most = 1 + max((b for b in pieces if b is not None), default=0)
        vc = vc_piecewise_polynomial(W, k, L, pieces=most, degree=1)
        return DefinableDimension(kind="piecewise polynomial", parameters=W, units=k, layers=L, vc=vc)
    names = {op.name for op in acts}
    if not names <= {"sigmoid", "tanh"}:
        bad = sorted(names - {"sigmoid", "tanh"})[0]
        raise PreconditionError(
            f"activations with explicit constants are wanted, piecewise linear or sigmoid and tanh: {bad} is not."
        )
    if not all(isinstance(node.operation, Linear) and node.operation.bias for node in layers):
        raise PreconditionError("a bias in every layer is wanted for sigmoid and tanh.")
    return DefinableDimension(kind="sigmoid", parameters=W, units=k, layers=L, vc=vc_sigmoid(W, k))
