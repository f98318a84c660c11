"""Fully connected networks as records: outputs, gradients and Hessians for given slopes of the units.

Between two switches a network is a smooth function of its parameters. Every function here therefore takes ``slopes``
(samples, hidden units), the slope of each unit on each sample; ``None`` takes them from the signs of the pre-activations.
A slope strictly between the two sides is an element of Clarke's subdifferential: the unit sits on its kink.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from theory._arrays import as_count, as_floats
from theory._errors import InvalidInput
from theory.flow._activation import Activation, as_activation
from theory.flow._layers import Dense, Layer


@dataclass(frozen=True, slots=True)
class Forward:
    """One evaluation: outputs (N, K), pre-activations (N, units), slopes (N, units), and the inputs of each layer."""

    outputs: np.ndarray
    preactivations: np.ndarray
    slopes: np.ndarray
    inputs: list[np.ndarray]
    weights: list[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class LayeredNetwork:
    """``f(x) = A_L sigma(A_{L-1} ... sigma(A_1 x))`` with layers that are linear in their weights and in their input."""

    layers: tuple[Layer, ...]
    activation: Activation
    name: str = "layered"

    def __post_init__(self) -> None:
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.n_out != after.n_in:
                raise InvalidInput(f"a layer of {before.n_out} outputs meets one of {after.n_in} inputs.")

    @property
    def n_inputs(self) -> int:
        """Dimension of an input, flattened."""
        return self.layers[0].n_in

    @property
    def n_outputs(self) -> int:
        """Number of outputs K."""
        return self.layers[-1].n_out

    @cached_property
    def n_parameters(self) -> int:
        """Length of theta."""
        return sum(layer.n_weights for layer in self.layers)

    @cached_property
    def units(self) -> tuple[int, ...]:
        """Hidden units of each hidden layer."""
        return tuple(layer.n_out for layer in self.layers[:-1])

    @cached_property
    def n_units(self) -> int:
        """Hidden units in all."""
        return sum(self.units)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each hidden layer begins among the units, and their number at the end."""
        return tuple(int(start) for start in np.cumsum([0, *self.units]))

    @property
    def homogeneous(self) -> bool:
        """Whether f(c theta) = c^degree f(theta) for c > 0: no bias beyond the first layer."""
        return not any(layer.bias for layer in self.layers[1:])

    @property
    def degree(self) -> int:
        """``sum_i k^i`` over the layers (*derived*: a layer adds one, ReLU^k multiplies by k); with biases, of the top part."""
        return sum(self.activation.power**i for i in range(len(self.layers)))

    @cached_property
    def _cuts(self) -> np.ndarray:
        return np.cumsum([0] + [layer.n_weights for layer in self.layers])

    def split(self, theta: np.ndarray) -> list[np.ndarray]:
        """The flat weights of each layer, as views; leading axes are kept."""
        cuts = self._cuts
        return [theta[..., a:b] for a, b in zip(cuts, cuts[1:], strict=False)]

    def views(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """``W1, b1, W2, ...`` as views into theta (P), in the shapes of the layers."""
        views: dict[str, np.ndarray] = {}
        for index, (layer, flat) in enumerate(zip(self.layers, self.split(theta), strict=True), start=1):
            for letter, array in layer.views(flat).items():
                views[f"{letter}{index}"] = array
        return views

    def pack(self, **named: np.ndarray) -> np.ndarray:
        """theta (P) from the arrays that ``views`` names.

        Raises
        ------
        InvalidInput : a name is missing or unknown, or a shape does not fit.
        """
        theta = np.zeros(self.n_parameters)
        views = self.views(theta)
        if set(named) != set(views):
            raise InvalidInput(f"the parameters are {', '.join(views)}, but {', '.join(named) or 'none'} was given.")
        for name, array in named.items():
            value = as_floats(name, array)
            if value.shape != views[name].shape:
                raise InvalidInput(f"{name} must have shape {views[name].shape}, but has {value.shape}.")
            views[name][...] = value
        return theta

    def random_parameters(self, *, rng: np.random.Generator | int | None = None, scale: float = 1.0) -> np.ndarray:
        """Gaussian theta (P): standard deviation ``scale / sqrt(fan-in)`` for weights, biases 0."""
        generator = np.random.default_rng(rng)
        return scale * np.concatenate([layer.random(generator) for layer in self.layers])

    def forward(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> Forward:
        """Evaluate at theta (P) on inputs X (N, d)."""
        weights, sigma, starts = self.split(theta), self.activation, self.starts
        a, inputs, zs, ms = X, [X], [], []
        for index, (layer, w) in enumerate(zip(self.layers[:-1], weights, strict=False)):
            z = layer.apply(w, a)
            m = np.where(z > 0, 1.0, sigma.slope) if slopes is None else slopes[:, starts[index] : starts[index + 1]]
            a = sigma.value(z, m)
            inputs.append(a)
            zs.append(z)
            ms.append(m)
        f = self.layers[-1].apply(weights[-1], a)
        empty = np.zeros((len(X), 0))
        z_all = zs[0] if len(zs) == 1 else np.concatenate(zs, axis=1) if zs else empty
        m_all = slopes if slopes is not None else ms[0] if len(ms) == 1 else np.concatenate(ms, axis=1) if ms else empty
        return Forward(f, z_all, m_all, inputs, weights)

    def output(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        """f (N, K) at theta (P) on inputs X (N, d)."""
        return self.forward(theta, X).outputs

    def preactivations(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """z (N, units): the switching functions."""
        return self.forward(theta, X, slopes).preactivations

    def _layer(self, array: np.ndarray, index: int) -> np.ndarray:
        """The columns of hidden layer ``index``."""
        return array[:, self.starts[index] : self.starts[index + 1]]

    def _backward(self, at: Forward, G: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Signals at the outputs of the layers, ``d(sum G f)/dz_l`` (..., N, n_l), and at the activations; G (..., N, K)."""
        deltas: list[np.ndarray] = [G]
        signals: list[np.ndarray] = []
        for index in range(len(self.layers) - 2, -1, -1):
            signal = self.layers[index + 1].pull_input(at.weights[index + 1], deltas[0])
            slope = self.activation.derivative(self._layer(at.preactivations, index), self._layer(at.slopes, index))
            signals.insert(0, signal)
            deltas.insert(0, signal * slope)
        return deltas, signals

    def gradient(self, at: Forward, G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``sum_nk G_nk grad f_nk`` (P), and the signals ``d(sum G f)/da`` at the hidden activations (N, units)."""
        deltas, signals = self._backward(at, G)
        parts = [layer.pull_weights(a, d) for layer, a, d in zip(self.layers, at.inputs, deltas, strict=True)]
        joined = signals[0] if len(signals) == 1 else np.concatenate(signals, axis=1) if signals else at.preactivations
        return np.concatenate(parts), joined

    def vjp(self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``sum_nk G_nk grad f_nk`` (P) for cotangents G (N, K)."""
        return self.gradient(self.forward(theta, X, slopes), G)[0]

    def jacobian(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df_nk/dtheta`` (N, K, P)."""
        at = self.forward(theta, X, slopes)
        N, K = at.outputs.shape
        G = np.broadcast_to(np.eye(K)[:, None, :], (K, N, K))
        deltas, _ = self._backward(at, G)
        parts = [layer.pull_weights_each(a, d) for layer, a, d in zip(self.layers, at.inputs, deltas, strict=True)]
        return np.moveaxis(np.concatenate(parts, axis=-1), 0, 1)

    def _tangent(self, at: Forward, dtheta: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Derivatives along dtheta (..., P) of the layers' outputs and of their inputs."""
        parts, dzs, das = self.split(dtheta), [], []
        da: np.ndarray | None = None
        for index, (layer, w, dw) in enumerate(zip(self.layers, at.weights, parts, strict=True)):
            dz = layer.apply(dw, at.inputs[index])
            if da is not None:
                dz = dz + layer.apply_linear(w, da)
            dzs.append(dz)
            if index + 1 < len(self.layers):
                z, m = self._layer(at.preactivations, index), self._layer(at.slopes, index)
                da = self.activation.derivative(z, m) * dz
                das.append(da)
        return dzs, das

    def jvp(self, theta: np.ndarray, X: np.ndarray, dtheta: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df/dtheta . dtheta`` (..., N, K) for tangents dtheta (..., P)."""
        return self._tangent(self.forward(theta, X, slopes), dtheta)[0][-1]

    def hvp(
        self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, dtheta: np.ndarray, slopes: np.ndarray | None = None
    ) -> np.ndarray:
        """``(sum_nk G_nk Hess f_nk) dtheta`` (..., P) for tangents dtheta (..., P)."""
        at = self.forward(theta, X, slopes)
        deltas, signals = self._backward(at, G)
        dzs, das = self._tangent(at, dtheta)
        dparts: list[np.ndarray] = self.split(dtheta)
        out: list[np.ndarray] = []
        ddelta: np.ndarray | None = None  # at the top G does not move
        for index in range(len(self.layers) - 1, -1, -1):
            layer, w, dw = self.layers[index], at.weights[index], dparts[index]
            piece = np.zeros((*dtheta.shape[:-1], layer.n_weights))
            if index > 0:
                piece = piece + layer.pull_weights_linear(das[index - 1], deltas[index])
            if ddelta is not None:
                piece = piece + layer.pull_weights(at.inputs[index], ddelta)
            out.insert(0, piece)
            if index == 0:
                break
            dsignal = layer.pull_input(dw, deltas[index])
            if ddelta is not None:
                dsignal = dsignal + layer.pull_input(w, ddelta)
            z, m = self._layer(at.preactivations, index - 1), self._layer(at.slopes, index - 1)
            ddelta = dsignal * self.activation.derivative(z, m)
            if self.activation.power > 1:
                ddelta = ddelta + signals[index - 1] * self.activation.second(z, m) * dzs[index - 1]
        return np.concatenate(out, axis=-1)

    def hessian(self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``sum_nk G_nk Hess f_nk`` (P, P)."""
        return self.hvp(theta, X, G, np.eye(self.n_parameters), slopes)

    def truncated(self, layer: int) -> LayeredNetwork:
        """The network that ends with the pre-activations of hidden layer ``layer`` (counted from 0)."""
        return LayeredNetwork(layers=self.layers[: layer + 1], activation=self.activation, name=self.name)

    def to_json(self) -> dict[str, object]:
        """A description in plain numbers."""
        return {
            "name": self.name,
            "layers": [layer.to_json() for layer in self.layers],
            "activation": self.activation.name,
            "slope": self.activation.slope,
            "degree": self.degree,
            "homogeneous": self.homogeneous,
            "parameters": self.n_parameters,
        }


def fully_connected(
    widths: tuple[int, ...] | list[int],
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
    sizes = [as_count("widths", width) for width in widths]
    if len(sizes) < 2:
        raise InvalidInput(f"widths must be (inputs, hidden ..., outputs), but are {tuple(widths)}.")
    if bias not in (False, True, "first"):
        raise InvalidInput(f"bias must be False, True or 'first', but is {bias!r}.")
    layers = tuple(
        Dense(n_in=a, n_out=b, bias=bias is True or (bias == "first" and index == 0))
        for index, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
    )
    sigma = as_activation(activation, slope=slope)
    return LayeredNetwork(layers=layers, activation=sigma, name=f"fully connected, {sigma.name}")
