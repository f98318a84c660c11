"""Between the trainer's convention of the square loss and that of ``theory.square_loss``.

The trainer descends ``1/2 [mean ||f - e_y||^2 + lam ||W||^2]`` for ``weight_decay = lam``, half of the theory's
objective with the same lam: a rate of ``2 step`` there is a step of ``step`` here, and k updates are the time
``k step``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.data import Dataset
from theory.square_loss import class_targets
from theory.square_loss.solution import RhoState, state_of

if TYPE_CHECKING:
    import torch

    from simulations.train import TrainingPlan
    from theory.flow.networks import Network


def plan_of(lam: float, step: float, epochs: int, **options: Any) -> TrainingPlan:
    """Square loss in float64, at the theory's ``lam`` and ``step``; measured at both ends only."""
    from simulations.train import TrainingPlan

    chosen: dict[str, Any] = {"dtype": "float64", "evaluate_every": epochs} | options
    return TrainingPlan(loss="mse", weight_decay=lam, learning_rate=2 * step, epochs=epochs, **chosen)


def theta_of(module: torch.nn.Module) -> np.ndarray:
    """Weights of all linear and convolutional layers without biases, in order, as one float64 vector (P)."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)
    weights = [m.weight.detach().double().numpy().ravel() for m in module.modules() if isinstance(m, kinds)]
    return np.concatenate(weights)


def state(network: Network, theta: np.ndarray, data: Dataset, lam: float) -> RhoState:
    """rho, V, layer norms and moments of plain weights on one-hot targets; the penalty is ``lam ||theta||^2``."""
    y = class_targets(data.y, data.num_classes)
    return state_of(network, None, data.X.reshape(len(data.X), -1), y, theta, lam)


def pull(network: Network, theta: np.ndarray, data: Dataset, lam: float) -> np.ndarray:
    """The gradient of ``mean ||f - e_y||^2 + lam ||theta||^2`` (P)."""
    X, y = data.X.reshape(len(data.X), -1), class_targets(data.y, data.num_classes)
    return network.vjp(theta, X, 2 / len(X) * (network.output(theta, X) - y)) + 2 * lam * theta
