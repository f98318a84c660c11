"""The flows that the benchmark follows: a network, its data, a start, and the times at which it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from theory.flow import LayeredNetwork, deep_linear, fully_connected
from theory.flow.losses import as_loss

TIMES = 17  # of the trajectory, the start and the end among them

# the first seed from 0 whose flow meets no ambiguous kink: where the flow is not unique there is no true trajectory
SAMPLES_SEEDS = {5: 1, 10: 0, 20: 0, 40: 0, 80: 0}
WIDTH_SEEDS = {5: 0, 10: 0, 20: 0, 40: 1, 80: 0}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A fully connected network without biases, one output, from ``theta`` (P) to ``times[-1]``."""

    size: float
    widths: tuple[int, ...]
    kinked: bool
    X: np.ndarray
    y: np.ndarray
    loss: str
    theta: np.ndarray
    times: np.ndarray

    @cached_property
    def network(self) -> LayeredNetwork:
        """The same as ``theory.flow`` has it."""
        return fully_connected(self.widths) if self.kinked else deep_linear(self.widths)

    @property
    def flops(self) -> float:
        """Of one evaluation of the field: three products per layer, two operations per multiplication."""
        return 6.0 * len(self.X) * len(self.theta)

    def velocity(self, xp: Any = np) -> Callable[[Any], Any]:
        """``theta -> -grad Loss`` in the arrays of ``xp`` (numpy, torch or jax.numpy), lean, each slope by its sign."""
        X, y = xp.asarray(self.X), xp.asarray(self.y)
        shapes = [(b, a) for a, b in pairwise(self.widths)]
        cuts = np.cumsum([0] + [b * a for b, a in shapes]).tolist()
        square, kinked = self.loss == "square", self.kinked

        def field(theta: Any) -> Any:
            W = [theta[i:j].reshape(shape) for (i, j), shape in zip(pairwise(cuts), shapes, strict=True)]
            inputs, on, a = [], [], X
            for w in W:
                inputs.append(a)
                a = a @ w.T
                if kinked and len(inputs) < len(W):
                    on.append(a > 0)
                    a = a * on[-1]
            f = a[:, 0]
            delta = (y - f if square else y * xp.exp(-y * f))[:, None]
            parts = []
            for layer in reversed(range(len(W))):
                parts.append((delta.T @ inputs[layer]).reshape(-1))
                if layer:
                    delta = delta @ W[layer]
                    delta = delta * on[layer - 1] if kinked else delta
            return xp.concatenate(parts[::-1])

        return field

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        """Derivative of ``velocity`` (P, P) inside a smooth piece, for the implicit methods."""
        loss, f = as_loss(self.loss), self.network.output(theta, self.X)
        y = loss.labels(self.y, *f.shape)
        rows = self.network.jacobian(theta, self.X)[:, 0]
        curved = rows.T @ (loss.curvature(f, y)[:, 0] * rows)
        return np.asarray(self.network.hessian(theta, self.X, loss.slope(f, y)) - curved)


def relu(N: int, width: int, loss: str, seed: int, *, size: float, T: float = 3.0) -> Problem:
    """Two-layer ReLU on N Gaussian inputs in three dimensions with random signs: units slide along their kinks."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((N, 3)), rng.choice([-1.0, 1.0], N)
    theta = fully_connected((3, width, 1)).random_parameters(rng=rng, scale=0.5)
    return Problem(size=size, widths=(3, width, 1), kinked=True, X=X, y=y, loss=loss, theta=theta,
                   times=np.linspace(0.0, T, TIMES))  # fmt: skip


def by_samples(N: int) -> Problem:
    """Width 10, exponential loss."""
    return relu(N, 10, "exponential", SAMPLES_SEEDS[N], size=N)


def by_width(width: int) -> Problem:
    """10 samples, square loss."""
    return relu(10, width, "square", WIDTH_SEEDS[width], size=width)


def linear(width: int, *, T: float = 10.0) -> Problem:
    """Three linear layers on 10 samples that they can separate, exponential loss: smooth, nothing to locate."""
    rng = np.random.default_rng(1)
    X, teacher = rng.standard_normal((10, 3)), rng.standard_normal(3)
    widths = (3, width, width, 1)
    theta = deep_linear(widths).random_parameters(rng=rng)
    return Problem(size=width, widths=widths, kinked=False, X=X, y=np.sign(X @ teacher), loss="exponential",
                   theta=theta, times=np.linspace(0.0, T, TIMES))  # fmt: skip
