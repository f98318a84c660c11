"""Networks made of layers, as records: outputs, gradients and Hessians for given slopes of the units.

Between two switches a network is a smooth function of its parameters. Every function here therefore takes ``slopes``
(samples, hidden units), the slope of each unit on each sample; ``None`` takes them from the signs of the
pre-activations. A slope strictly between the two sides is an element of Clarke's subdifferential: the unit sits on its
kink. ``forward``, ``gradient`` and ``preactivations`` are the inner loop and check nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from theory._arrays import as_floats
from theory._errors import InvalidInput
from theory.flow._activation import Activation
from theory.flow._convolution import Convolution
from theory.flow._layers import Layer


@dataclass(frozen=True, slots=True)
class Forward:
    """One evaluation: outputs (N, K), pre-activations (N, units), slopes (N, units), and the inputs of each layer."""

    outputs: np.ndarray
    preactivations: np.ndarray
    slopes: np.ndarray
    inputs: list[np.ndarray]
    weights: list[np.ndarray]


def _joined(arrays: list[np.ndarray], like: np.ndarray) -> np.ndarray:
    """Side by side (N, units); without arrays, no columns."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays, axis=1) if arrays else np.zeros((len(like), 0))


@dataclass(frozen=True, kw_only=True)
class LayeredNetwork:
    """``f(x) = A_L sigma(A_{L-1} ... sigma(A_1 x))`` with layers linear in their weights and affine in their input.

    Raises
    ------
    InvalidInput : no layer, or layers whose sizes do not meet.
    """

    layers: tuple[Layer, ...]
    activation: Activation
    name: str = "layered"

    def __post_init__(self) -> None:
        if not self.layers:
            raise InvalidInput("a network needs at least one layer.")
        for before, after in pairwise(self.layers):
            if before.n_out != after.n_in:
                raise InvalidInput(f"a layer of {before.n_out} outputs meets one of {after.n_in} inputs.")
            if isinstance(before, Convolution) and isinstance(after, Convolution):
                made, wanted = (before.out_channels, *before.out_size), (after.in_channels, *after.size)
                if made != wanted:
                    raise InvalidInput(f"a convolution with outputs {made} meets one with inputs {wanted}.")

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
        """``sum_i k^i`` over the layers (*derived*: a layer adds one, a power k multiplies); biases are not counted."""
        return sum(self.activation.power**i for i in range(len(self.layers)))

    @cached_property
    def _cuts(self) -> tuple[slice, ...]:
        cuts = np.cumsum([0] + [layer.n_weights for layer in self.layers]).tolist()
        return tuple(slice(a, b) for a, b in pairwise(cuts))

    @cached_property
    def _spans(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in pairwise(self.starts))

    def split(self, theta: np.ndarray) -> list[np.ndarray]:
        """The flat weights of each layer, as views; leading axes are kept."""
        if theta.ndim == 1:
            return [theta[cut] for cut in self._cuts]
        return [theta[..., cut] for cut in self._cuts]

    def _checked(self, theta: np.ndarray, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both as float64 arrays whose shapes fit; their entries are not looked at."""
        theta, X = np.asarray(theta, dtype=np.float64), np.asarray(X, dtype=np.float64)
        if theta.shape != (self.n_parameters,):
            raise InvalidInput(f"theta must have shape ({self.n_parameters},), but has {theta.shape}.")
        if X.ndim != 2 or X.shape[1] != self.n_inputs:
            raise InvalidInput(f"inputs must have shape (samples, {self.n_inputs}), but have {X.shape}.")
        return theta, X

    def views(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """``W1, b1, W2, ...`` as views into theta (..., P), in the shapes of the layers."""
        views: dict[str, np.ndarray] = {}
        for index, (layer, flat) in enumerate(zip(self.layers, self.split(theta), strict=True), start=1):
            for letter, array in layer.views(flat).items():
                views[f"{letter}{index}"] = array
        return views

    def pack(self, **named: np.ndarray) -> np.ndarray:
        """The flat theta (P) from the arrays that ``views`` names.

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
        weights, layers, sigma = self.split(theta), self.layers, self.activation
        a, inputs, zs, ms = X, [X], [], []
        for span, layer, w in zip(self._spans, layers, weights, strict=False):
            z = layer.apply(w, a)
            m = sigma.side(z) if slopes is None else slopes[:, span]
            a = sigma.value(z, m)
            inputs.append(a)
            zs.append(z)
            ms.append(m)
        f = layers[-1].apply(weights[-1], a)
        z_all = _joined(zs, X)
        return Forward(f, z_all, _joined(ms, X) if slopes is None else slopes, inputs, weights)

    def output(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        """The outputs f (N, K) at theta (P) on inputs X (N, d).

        Raises
        ------
        InvalidInput : theta or X of another shape; NaN or infinity in them.
        """
        return self.forward(*self._checked(as_floats("theta", theta), as_floats("inputs", X))).outputs

    def preactivations(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """The switching functions z (N, units)."""
        return self.forward(theta, X, slopes).preactivations

    def _derivative(self, at: Forward, index: int) -> np.ndarray:
        """``sigma'`` at the units of hidden layer ``index``."""
        span = self._spans[index]
        return self.activation.derivative(at.preactivations[:, span], at.slopes[:, span])

    def _backward(self, at: Forward, G: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Signals at the layers' outputs, ``d(sum G f)/dz_l`` (..., N, n_l), and at the activations; G (..., N, K)."""
        deltas: list[np.ndarray] = [G]
        signals: list[np.ndarray] = []
        for index in range(len(self.layers) - 2, -1, -1):
            signal = self.layers[index + 1].pull_input(at.weights[index + 1], deltas[0])
            signals.insert(0, signal)
            deltas.insert(0, signal * self._derivative(at, index))
        return deltas, signals

    def gradient(self, at: Forward, G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``sum_nk G_nk grad f_nk`` (P), and the signals ``d(sum G f)/da`` at the hidden activations (N, units)."""
        deltas, signals = self._backward(at, G)
        parts = [layer.pull_weights(a, d) for layer, a, d in zip(self.layers, at.inputs, deltas, strict=True)]
        return np.concatenate(parts), _joined(signals, at.outputs)

    def pull(self, at: Forward, G: np.ndarray) -> np.ndarray:
        """``sum_nk G_nk grad f_nk`` (..., P) for batched cotangents G (..., N, K)."""
        deltas, _ = self._backward(at, G)
        parts = [layer.pull_weights(a, d) for layer, a, d in zip(self.layers, at.inputs, deltas, strict=True)]
        return np.concatenate(parts, axis=-1)

    def vjp(self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``sum_nk G_nk grad f_nk`` (P) for cotangents G (N, K)."""
        return self.gradient(self.forward(*self._checked(theta, X), slopes), np.asarray(G, dtype=np.float64))[0]

    def jacobian(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df_nk/dtheta`` (N, K, P)."""
        at = self.forward(*self._checked(theta, X), slopes)
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
                da = self._derivative(at, index) * dz
                das.append(da)
        return dzs, das

    def jvp(self, theta: np.ndarray, X: np.ndarray, dtheta: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df/dtheta . dtheta`` (..., N, K) for tangents dtheta (..., P)."""
        return self._tangent(self.forward(*self._checked(theta, X), slopes), np.asarray(dtheta, dtype=np.float64))[0][
            -1
        ]

    def hvp(
        self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, dtheta: np.ndarray, slopes: np.ndarray | None = None
    ) -> np.ndarray:
        """``(sum_nk G_nk Hess f_nk) dtheta`` (..., P) for tangents dtheta (..., P)."""
        at = self.forward(*self._checked(theta, X), slopes)
        deltas, signals = self._backward(at, np.asarray(G, dtype=np.float64))
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
            ddelta = dsignal * self._derivative(at, index - 1)
            if self.activation.power > 1:
                span = self._spans[index - 1]
                second = self.activation.second(at.preactivations[:, span], at.slopes[:, span])
                ddelta = ddelta + signals[index - 1] * second * dzs[index - 1]
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
