"""Networks of the flow: fully connected, deep linear, two-layer, convolutional, diagonal; and their common face."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive
from theory._errors import InvalidInput, PreconditionError
from theory.flow._activation import Activation, as_activation
from theory.flow._convolution import Convolution
from theory.flow._layered import Forward, LayeredNetwork
from theory.flow._layers import Dense, Layer
from theory.flow.diagonal import DiagonalNetwork, diagonal_linear

__all__ = [
    "Convolution", "Dense", "DiagonalNetwork", "Forward", "Layer", "LayeredNetwork", "Network", "convolutional",
    "deep_linear", "diagonal_linear", "fully_connected", "homogeneity_defect", "two_layer",
]  # fmt: skip


class Network(Protocol):
    """What the flow asks of a network; theta is flat (P), inputs X (N, d), outputs (N, K), slopes (N, units)."""

    @property
    def name(self) -> str:
        """What it is, in words."""

    @property
    def activation(self) -> Activation:
        """The nonlinearity of the hidden units."""

    @property
    def n_inputs(self) -> int:
        """Dimension of an input, flattened."""

    @property
    def n_outputs(self) -> int:
        """Number of outputs K."""

    @property
    def n_parameters(self) -> int:
        """Length P of theta."""

    @property
    def units(self) -> tuple[int, ...]:
        """Hidden units of each hidden layer."""

    @property
    def n_units(self) -> int:
        """Hidden units in all."""

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each hidden layer begins among the units, and their number at the end."""

    @property
    def homogeneous(self) -> bool:
        """Whether f(c theta) = c^degree f(theta) for c > 0."""

    @property
    def degree(self) -> int:
        """The degree of homogeneity."""

    def views(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Named views into theta (..., P)."""

    def pack(self, **named: np.ndarray) -> np.ndarray:
        """The flat theta from the arrays that ``views`` names."""

    def random_parameters(self, *, rng: np.random.Generator | int | None = None, scale: float = 1.0) -> np.ndarray:
        """A Gaussian theta."""

    def forward(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> Forward:
        """One evaluation with what ``gradient`` needs; unchecked."""

    def output(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        """The outputs f."""

    def preactivations(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """The switching functions (N, units)."""

    def gradient(self, at: Forward, G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``sum_nk G_nk grad f_nk`` (P) and the signals at the hidden activations (N, units); unchecked."""

    def vjp(self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``sum_nk G_nk grad f_nk`` (P)."""

    def jvp(self, theta: np.ndarray, X: np.ndarray, dtheta: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df/dtheta . dtheta`` (..., N, K)."""

    def jacobian(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df_nk/dtheta`` (N, K, P)."""

    def hvp(
        self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, dtheta: np.ndarray, slopes: np.ndarray | None = None
    ) -> np.ndarray:
        """``(sum_nk G_nk Hess f_nk) dtheta`` (..., P)."""

    def hessian(self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``sum_nk G_nk Hess f_nk`` (P, P)."""

    def to_json(self) -> dict[str, object]:
        """A description in plain numbers."""


def fully_connected(
    widths: Iterable[int],
    *,
    activation: str | Activation = "relu",
    slope: float | None = None,
    bias: bool | str = False,
) -> LayeredNetwork:
    r"""``f(x) = W_L sigma(... sigma(W_1 x + b_1) ...)`` for ``widths = (inputs, hidden ..., outputs)``.

    Parameters
    ----------
    widths : input dimension, hidden widths, number of outputs.
    activation, slope : as in ``as_activation``; linear gives a deep linear network.
    bias : False; ``"first"`` (keeps homogeneity); True, biases everywhere: flagged non-homogeneous.

    Raises
    ------
    InvalidInput : fewer than two widths, a width below 1, an unknown activation or bias.

    Examples
    --------
    >>> net = fully_connected((3, 5, 5, 1), activation="relu^2")
    >>> theta, x = net.random_parameters(rng=0), np.ones((1, 3))
    >>> net.degree, bool(np.isclose(net.output(2 * theta, x), 2**7 * net.output(theta, x)).all())
    (7, True)
    """
    sizes = _counts("widths", widths)
    if len(sizes) < 2:
        raise InvalidInput(f"widths must be (inputs, hidden ..., outputs), but are {sizes}.")
    if not (isinstance(bias, bool) or bias == "first"):
        raise InvalidInput(f"bias must be False, True or 'first', but is {bias!r}.")
    layers = tuple(
        Dense(n_in=a, n_out=b, bias=bias is True or (bias == "first" and index == 0))
        for index, (a, b) in enumerate(pairwise(sizes))
    )
    sigma = as_activation(activation, slope=slope)
    return LayeredNetwork(layers=layers, activation=sigma, name=f"fully connected, {sigma.name}")


def deep_linear(widths: Iterable[int]) -> LayeredNetwork:
    """``f(x) = W_L ... W_1 x`` for ``widths = (inputs, hidden ..., outputs)``; errors as in ``fully_connected``.

    Examples
    --------
    >>> deep_linear((4, 3, 3, 2)).degree
    3
    """
    return fully_connected(widths, activation="linear")


def two_layer(
    n_inputs: int,
    width: int,
    n_outputs: int = 1,
    *,
    activation: str | Activation = "relu",
    slope: float | None = None,
    bias: bool | str = False,
) -> LayeredNetwork:
    """``f(x) = W_2 sigma(W_1 x + b_1)``; parameters and errors as in ``fully_connected``.

    Examples
    --------
    >>> two_layer(3, 10).n_parameters
    40
    """
    return fully_connected((n_inputs, width, n_outputs), activation=activation, slope=slope, bias=bias)


def convolutional(
    input_shape: Iterable[int],
    channels: Iterable[int],
    kernel_size: int | Iterable[int],
    *,
    stride: int | Iterable[int] = 1,
    padding: int | Iterable[int] = 0,
    n_outputs: int = 1,
    activation: str | Activation = "relu",
    slope: float | None = None,
) -> LayeredNetwork:
    r"""Convolutions without bias, an activation after each, and a dense layer at the end.

    Parameters
    ----------
    input_shape : (channels, length) or (channels, height, width); a network takes inputs flattened in C order.
    channels : output channels of each convolution.
    kernel_size, stride, padding : one number, or one per dimension; the same for every convolution. Zeros are padded.
    n_outputs : outputs of the dense layer.
    activation, slope : as in ``as_activation``.

    Raises
    ------
    InvalidInput : an input shape that is neither 1-D nor 2-D with its channels; sizes that are not positive whole
        numbers; a kernel larger than its padded input.

    Examples
    --------
    >>> net = convolutional((1, 6, 6), (4, 4), 3, padding=1)
    >>> net.degree, net.units, net.n_parameters
    (3, (144, 144), 324)
    """
    shape = _counts("input_shape", input_shape)
    if len(shape) not in (2, 3):
        raise InvalidInput(f"input_shape must be (channels, length) or (channels, height, width), but is {shape}.")
    size, before = shape[1:], shape[0]
    kernel = _per_dimension("kernel_size", kernel_size, len(size))
    steps, pads = _per_dimension("stride", stride, len(size)), _per_dimension("padding", padding, len(size), minimum=0)
    layers: list[Layer] = []
    for after in _counts("channels", channels):
        layer = Convolution(
            in_channels=before, out_channels=after, size=size, kernel_size=kernel, stride=steps, padding=pads
        )
        layers.append(layer)
        size, before = layer.out_size, after
    if not layers:
        raise InvalidInput("channels must name the output channels of at least one convolution.")
    layers.append(Dense(n_in=layers[-1].n_out, n_out=as_count("n_outputs", n_outputs)))
    sigma = as_activation(activation, slope=slope)
    return LayeredNetwork(layers=tuple(layers), activation=sigma, name=f"convolutional, {sigma.name}")


def _counts(name: str, value: Iterable[int], minimum: int = 1) -> tuple[int, ...]:
    """Whole numbers in a row."""
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise InvalidInput(f"{name} must be a sequence of whole numbers, but is {value!r}.")
    return tuple(as_count(name, n, minimum=minimum) for n in value)


def _per_dimension(name: str, value: int | Iterable[int], dimensions: int, minimum: int = 1) -> tuple[int, ...]:
    """One whole number per dimension."""
    if not isinstance(value, Iterable):
        return (as_count(name, value, minimum=minimum),) * dimensions
    sizes = _counts(name, value, minimum=minimum)
    if len(sizes) != dimensions:
        raise InvalidInput(f"{name} must be one number or {dimensions}, but is {sizes}.")
    return sizes


def homogeneity_defect(network: Network, theta: ArrayLike, X: ArrayLike, scales: Iterable[float] = (0.5, 2.0)) -> float:
    r"""How far a network is from homogeneous, a *measure*.

    .. math:: \max_c \frac{\max_{nk} |f_{nk}(c\,\theta) - c^L f_{nk}(\theta)|}{\max_{nk} |c^L f_{nk}(\theta)|}

    Parameters
    ----------
    theta, X : parameters (P) and inputs (N, d).
    scales : the positive c.

    Raises
    ------
    InvalidInput : no scale, or one that is not positive; theta or X that do not fit.
    PreconditionError : every output is zero at theta, so nothing can be compared.

    Examples
    --------
    >>> net, x = two_layer(3, 5), np.eye(3)
    >>> homogeneity_defect(net, net.random_parameters(rng=0), x) < 1e-15
    True
    """
    factors = [as_positive("scale", c) for c in scales]
    if not factors:
        raise InvalidInput("scales must name at least one scale.")
    at = as_floats("theta", theta)
    f, L = network.output(at, as_floats("inputs", X)), network.degree
    if not f.any():
        raise PreconditionError(
            "the network's outputs are all zero at theta: its homogeneity cannot be measured there."
        )
    size = np.abs(f).max()
    return max(
        float(np.abs(network.output(c * at, as_floats("inputs", X)) - c**L * f).max() / (c**L * size)) for c in factors
    )
