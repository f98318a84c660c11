"""The kernels of infinitely wide ReLU perceptrons: the Gaussian process at the start, and the tangent kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive, as_real
from theory._errors import InvalidInput
from theory.kernels._angles import inputs

PARAMETRISATIONS = ("ntk", "standard")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReluKernels:
    """The kernels of one output.

    Attributes
    ----------
    nngp : (n, m) covariance of the outputs over random weights (the limit; two layers or fewer: any width).
    tangent : (n, m) inner products of the gradients.
    on_both : (n, m) for each hidden layer, the probability that a unit is on for both inputs.
    depth, weight_variance, bias_variance, parametrisation : as given.
    """

    nngp: np.ndarray
    tangent: np.ndarray
    on_both: tuple[np.ndarray, ...]
    depth: int
    weight_variance: float
    bias_variance: float
    parametrisation: str

    def __repr__(self) -> str:
        return f"ReluKernels(depth={self.depth}, {self.parametrisation}, shape={self.nngp.shape})"

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists."""
        return {
            "nngp": self.nngp.tolist(), "tangent": self.tangent.tolist(), "depth": self.depth,
            "weight_variance": self.weight_variance, "bias_variance": self.bias_variance,
            "parametrisation": self.parametrisation,
        }  # fmt: skip


def relu_kernels(
    X: ArrayLike,
    X_other: ArrayLike | None = None,
    *,
    depth: int,
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
    parametrisation: str = "ntk",
    widths: Sequence[int] | None = None,
) -> ReluKernels:
    r"""Gaussian-process and tangent kernels of a fully connected ReLU network with ``depth`` layers of weights.

    .. math:: \Sigma_1 = s_w \langle x, x' \rangle / d + s_b, \quad
        \Sigma_{l+1} = s_w E[\sigma(u) \sigma(u')] + s_b, \quad
        \Theta_1 = \Sigma_1, \quad \Theta_{l+1} = \Sigma_{l+1} + s_w E[\sigma'(u) \sigma'(u')]\, \Theta_l

    with ``(u, u')`` Gaussian of covariance Sigma_l, for the ``ntk`` parametrisation ``z = sqrt(s_w / n_in) W a +
    sqrt(s_b) b``, all parameters standard normal and trained (*published form*: jacot2018neural; the moments are
    *proved*: cho2009kernel). No bias: s_b = 0.

    ``standard`` is ``z = W a + b`` with variances s_w / n_in and s_b at the start, as in PyTorch. Its gradients grow
    with the width; what is returned is the leading order at the hidden ``widths`` n_1 .. n_{L-1} given,
    ``Theta_1 = <x, x'> + 1``, ``Theta_{l+1} = n_l E[sigma sigma'] + 1 + s_w E[sigma' sigma'] Theta_l``, the ones only
    with biases (s_b > 0). *derived*: a layer's weights contribute ``<a, a'>`` times the squared back-propagated
    signal, whose limits are these. Exact in expectation, at every width, for one hidden layer.

    Parameters
    ----------
    X, X_other : (n, d) and (m, d); X_other defaults to X.
    depth : layers of weights, at least 1 (1 is a linear model).
    weight_variance, bias_variance : s_w > 0 (2 keeps the size of activations), s_b >= 0.
    parametrisation : ``ntk`` or ``standard``.
    widths : hidden widths (depth - 1), for ``standard`` only.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN, numbers out of range, widths missing or in excess.

    Cost: O(n m (d + depth)). Accuracy: relative 1e-14 or so for parallel and opposite inputs too.

    When not to trust it: at finite width the kernel of a network differs by O(1/sqrt(width)) at the start and moves
    while it is trained; nothing here speaks of that (see ``lazy_certificate``).

    Examples
    --------
    >>> K = relu_kernels([[1.0, 0.0], [0.0, 1.0]], depth=2)
    >>> bool(np.isclose(K.nngp[0, 1], 1 / np.pi)), K.tangent.diagonal().round(12)
    (True, array([2., 2.]))
    """
    x = as_floats("X", X, ndim=2)
    z = x if X_other is None else as_floats("X_other", X_other, ndim=2)
    if 0 in x.shape or 0 in z.shape or x.shape[1] != z.shape[1]:
        raise InvalidInput(f"inputs must be (n, d) and (m, d), none empty, but are {x.shape} and {z.shape}.")
    L, s_w = as_count("depth", depth), as_positive("weight_variance", weight_variance)
    s_b = as_real("bias_variance", bias_variance)
    if s_b < 0:
        raise InvalidInput(f"bias_variance must be at least 0, but is {s_b:g}.")
    if parametrisation not in PARAMETRISATIONS:
        raise InvalidInput(f"parametrisation must be one of {', '.join(PARAMETRISATIONS)}, but is {parametrisation!r}.")
    sizes = _sizes(parametrisation, widths, L, x.shape[1])

    with np.errstate(over="ignore", invalid="ignore"):
        layer, on_both = inputs(x, z), list[np.ndarray]()
        tangent = np.zeros((len(x), len(z)))
        for index in range(L):
            own = sizes[index] * layer.covariance + (s_b > 0) if sizes else None
            pre = layer.affine(s_w, s_b)
            below = s_w * on_both[-1] * tangent if on_both else tangent
            tangent = below + (pre.covariance if own is None else own)
            if index + 1 < L:
                on_both.append(pre.both_on)
                layer = pre.relu()
    _require_finite(tangent)
    return ReluKernels(
        nngp=pre.covariance, tangent=tangent, on_both=tuple(on_both), depth=L, weight_variance=s_w, bias_variance=s_b,
        parametrisation=parametrisation,
    )  # fmt: skip


def _sizes(parametrisation: str, widths: Sequence[int] | None, depth: int, d: int) -> list[int]:
    """Fan-in of each layer, for the standard parametrisation."""
    if parametrisation == "ntk":
        if widths is not None:
            raise InvalidInput("widths belong to the standard parametrisation: the ntk limit has none.")
        return []
    if widths is None:
        raise InvalidInput("the standard parametrisation needs the hidden widths, with which its kernel grows.")
    if not isinstance(widths, Iterable):
        raise InvalidInput(f"widths must be a sequence of whole numbers, but are {widths!r:.60}.")
    sizes = [as_count("widths", n) for n in widths]
    if len(sizes) != depth - 1:
        raise InvalidInput(f"widths must name {depth - 1} hidden layers for depth {depth}, but name {len(sizes)}.")
    return [d, *sizes]


def first_layer_kernel(X: ArrayLike, X_other: ArrayLike | None = None) -> np.ndarray:
    r"""Tangent kernel of two-layer ReLU networks whose first layer alone is trained.

    .. math:: H(x, x') = \langle x, x' \rangle\, \frac{\pi - \angle(x, x')}{2\pi}

    for ``f(x) = (1/sqrt m) sum_r a_r relu(<w_r, x>)``, a_r = +-1 fixed, w_r standard normal: the mean of the kernel at
    every width (*proved*: arora2019fine, for unit inputs; *derived* for others, since it is homogeneous of degree one).

    Parameters
    ----------
    X, X_other : (n, d) and (m, d); X_other defaults to X.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN.

    Examples
    --------
    >>> first_layer_kernel([[1.0, 0.0], [0.0, 2.0]]) + 0.0
    array([[0.5, 0. ],
           [0. , 2. ]])
    """
    x = as_floats("X", X, ndim=2)
    z = x if X_other is None else as_floats("X_other", X_other, ndim=2)
    if 0 in x.shape or 0 in z.shape or x.shape[1] != z.shape[1]:
        raise InvalidInput(f"inputs must be (n, d) and (m, d), none empty, but are {x.shape} and {z.shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        pair = inputs(x, z)
        K = x.shape[1] * pair.covariance * pair.both_on
    _require_finite(K)
    return K


def _require_finite(K: np.ndarray) -> None:
    if not np.isfinite(K).all():
        raise InvalidInput("the kernel overflows: rescale the inputs or the variances.")
