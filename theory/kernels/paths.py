r"""Paths through a gated network: features, values and their kernel, by products of layers.

A path p runs from an input through one unit of each hidden layer to an output. Its feature on x is ``phi_x(p) =
x_{p_0} prod_l G_l(x)_{p_l}`` with the slopes G_l of the units it meets (0 or 1 for ReLU), its value ``v(p)`` the
product of its weights. Paths are exponentially many in the depth; every number here is a product of layers instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_real
from theory._errors import InvalidInput
from theory.norms._rounding import exponent


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFeatures:
    """The features of all paths on n inputs, kept as inputs and gates.

    Attributes
    ----------
    X : (n, d) inputs. gates : the slopes of each hidden layer, (n, n_l).
    """

    X: np.ndarray = field(repr=False)
    gates: tuple[np.ndarray, ...] = field(repr=False)

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs and hidden widths."""
        return (self.X.shape[1], *(gate.shape[1] for gate in self.gates))

    @property
    def log_count(self) -> float:
        """Logarithm of the number of paths to one output."""
        return float(np.log(self.widths).sum())

    def product(self, weights: Sequence[ArrayLike]) -> np.ndarray:
        r"""``<phi_x, v>`` for each output k, of any weights: those that made the gates, or others.

        .. math:: \langle \phi_x, v \rangle = W_L\, G_{L-1}(x)\, W_{L-1} \cdots G_1(x)\, W_1\, x

        *derived*: expand the matrix products over their inner indices. With the weights that made the gates it is the
        network's output (*proved*: lakshminarayanan2020neural); with others, a network with gates of its own choice.

        Parameters
        ----------
        weights : (n_1, d), (n_2, n_1), ..., (K, n_{L-1}).

        Returns
        -------
        (n, K).
        """
        layers = _weights(weights, self.widths)
        signal = self.X
        for W, gate in zip(layers[:-1], self.gates, strict=True):
            signal = (signal @ W.T) * gate
        return signal @ layers[-1].T

    def kernel(self, other: PathFeatures | None = None) -> np.ndarray:
        r"""The neural path kernel ``<phi_x, phi_x'>``, one output.

        .. math:: H(x, x') = \langle x, x' \rangle \prod_{l=1}^{L-1} \langle G_l(x), G_l(x') \rangle

        for ReLU the inner product times the number of paths from one input that are on for both (*proved*:
        lakshminarayanan2020neural). Positive semidefinite (a product of Gram matrices).

        With gates fixed and independent weights of mean 0 and variance s, the empirical tangent kernel has the mean
        ``L s^{L-1} H`` at every width (*derived*: the gradient's product is ``sum_w sum_{p, p' through w}
        phi(p) phi'(p') v(p) v(p') / w^2``, whose terms with p != p' have mean 0, and each path has L weights; the
        paper takes the limit).

        Parameters
        ----------
        other : features (m) of the same widths; default this.

        Returns
        -------
        (n, m). Cost: O(n m) times all widths.
        """
        right = self if other is None else other
        if right.widths != self.widths:
            raise InvalidInput(f"path features have widths {self.widths} and {right.widths}, which do not meet.")
        H = self.X @ right.X.T
        for a, b in zip(self.gates, right.gates, strict=True):
            H = H * (a @ b.T)
        return H

    def __repr__(self) -> str:
        return f"PathFeatures({len(self.X)} inputs, widths {self.widths})"

    def to_json(self) -> dict[str, object]:
        """Sizes and the kernel."""
        return {"widths": list(self.widths), "log_count": self.log_count, "kernel": self.kernel().tolist()}


def path_features(weights: Sequence[ArrayLike], X: ArrayLike, *, slope: float = 0.0) -> PathFeatures:
    r"""The path features of a fully connected ReLU (or leaky) network without biases.

    Parameters
    ----------
    weights : W_1 (n_1, d), ..., W_L (K, n_{L-1}). X : (n, d).
    slope : of an activation that is off; 0 for ReLU. A pre-activation of exactly 0 counts as off.

    Raises
    ------
    InvalidInput : no weights, shapes that do not meet, NaN, a slope outside [0, 1].

    Examples
    --------
    >>> W, X = [np.array([[1.0, -1.0], [0.5, 2.0]]), np.array([[1.0, -3.0]])], np.array([[2.0, 1.0]])
    >>> phi = path_features(W, X)
    >>> phi.product(W), np.array([[1.0, -3.0]]) @ np.maximum(W[0] @ X[0], 0)
    (array([[-8.]]), array([-8.]))
    >>> phi.kernel()  # |x|^2 = 5 and two units are on
    array([[10.]])
    """
    x, off = as_floats("X", X, ndim=2), as_real("slope", slope)
    if not 0 <= off <= 1:
        raise InvalidInput(f"slope must be in [0, 1], but is {off:g}.")
    if 0 in x.shape:
        raise InvalidInput(f"X must have at least one sample and one input, but has shape {x.shape}.")
    layers = _weights(weights, (x.shape[1],))
    gates, signal = [], x
    for W in layers[:-1]:
        z = signal @ W.T
        gate = np.where(z > 0, 1.0, off)
        gates.append(gate)
        signal = gate * z
    return PathFeatures(X=x, gates=tuple(gates))


def path_value_norm(weights: Sequence[ArrayLike]) -> np.ndarray:
    r"""``||v||`` over the paths to each output: ``sqrt(W_L^2 ... W_1^2 1)`` with squares entry by entry (*derived*).

    ``|f_k(x)| <= ||phi_x|| ||v||_k`` by Cauchy-Schwarz, with ``||phi_x||^2 = H(x, x)``.

    Parameters
    ----------
    weights : as in ``path_features``.

    Returns
    -------
    (K).

    Raises
    ------
    InvalidInput : no weights, shapes that do not meet, NaN.

    Examples
    --------
    >>> path_value_norm([[[1.0, 2.0]], [[3.0]]]) == 3 * np.sqrt(5)
    array([ True])
    """
    layers = _weights(weights, ())
    sums, total = np.ones(layers[0].shape[1]), 0
    for W in layers:
        e = exponent(W)  # so that squares neither overflow nor vanish
        sums, total = np.ldexp(W, -e) ** 2 @ sums, total + e
    return np.ldexp(np.sqrt(sums), total)


def _weights(weights: Sequence[ArrayLike], widths: tuple[int, ...]) -> list[np.ndarray]:
    """Matrices whose shapes meet each other and the widths (inputs, hidden ...) as far as these go."""
    if not isinstance(weights, Iterable):
        raise InvalidInput(f"weights must be a sequence of matrices, but are {weights!r:.60}.")
    layers = [as_floats(f"weights of layer {index}", W, ndim=2) for index, W in enumerate(weights, start=1)]
    if not layers or any(0 in W.shape for W in layers):
        raise InvalidInput("weights must hold at least one matrix, none empty.")
    if len(widths) > 1 and len(layers) != len(widths):
        raise InvalidInput(f"the features have {len(widths)} layers of weights, but {len(layers)} were given.")
    for index, (W, after) in enumerate(zip(layers, [*layers[1:], None], strict=True)):
        if index < len(widths) and W.shape[1] != widths[index]:
            raise InvalidInput(f"weights of layer {index + 1} take {W.shape[1]} inputs, but {widths[index]} arrive.")
        if after is not None and after.shape[1] != len(W):
            raise InvalidInput(f"weights of layer {index + 2} take {after.shape[1]} inputs, but {len(W)} arrive.")
    return layers
