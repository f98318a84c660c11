"""The trained networks of ``depth-and-rank``, and the deep models that are held against them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments._collapse_networks import centred_digits
from simulations.experiments._depth_descent import large_values, stable_rank
from theory._errors import PreconditionError
from theory.peeled import DeepLinearModel, PeeledSolution, solve

if TYPE_CHECKING:
    from simulations.data import Dataset
    from simulations.train import TrainingPlan


def classes_of(K: int, seed: int) -> tuple[int, ...]:
    """The first K digits for seed 0, else K drawn by the seed."""
    order = np.arange(10) if seed == 0 else np.random.default_rng(seed).permutation(10)
    return tuple(int(c) for c in np.sort(order[:K]))


def plan_of(lam: float, epochs: int, rate: float, seed: int) -> TrainingPlan:
    """Full-batch SGD with momentum 0.9."""
    from simulations.train import TrainingPlan

    return TrainingPlan(
        epochs=epochs, learning_rate=rate, momentum=0.9, weight_decay=lam, evaluate_every=epochs, seed=seed
    )


def train_one(
    K: int, widths: Sequence[int], lam: float, *, per_class: int, epochs: int, rate: float, seed: int,
    callback: Callable[[int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train one bias-free ReLU perceptron on centred digits of K classes; plain numbers.

    ``classifier``, ``logits`` (K,) singular values of W and of the logits of class means; ``lam_H``, the penalty on
    the features behind the first hidden layer in balance with the decay; ``gradient``, largest over layers of
    ||gradient of loss + decay|| / (lam ||W_l||); ``stationarity`` |1 + mean <l', z> / (lam ||W||^2)|; ``nc1``
    tr Sw / tr Sb, ``loss``, ``error``.
    """
    from simulations.bridge import measure
    from simulations.networks import perceptron
    from simulations.train import train

    data = centred_digits(per_class, seed, classes=classes_of(K, seed))
    run = train(
        lambda s: perceptron([64, *widths, K], seed=s), data, plan_of(lam, epochs, rate, seed),
        callback=None if callback is None else lambda epoch, *_: callback(epoch),
    )  # fmt: skip
    found = measure(run.model, (data.X, data.y), weight_decay=lam)
    try:
        lam_H = found.feature_penalty(lam, len(widths))
    except PreconditionError:  # everything vanished
        lam_H = None
    decay = lam * found.weight_energy
    return {
        "classifier": np.linalg.svd(found.classifier, compute_uv=False).tolist(),
        "logits": np.linalg.svd(found.classifier @ found.means.T, compute_uv=False).tolist(), "lam_H": lam_H,
        "gradient": gradient(run.model, data, lam), "stationarity": abs(1 - found.slope / decay) if decay else 0.0,
        "nc1": found.quantities["nc1_ratio"], "loss": found.loss, "error": found.error, "seconds": run.seconds,
    }  # fmt: skip


def gradient(model: Any, data: Dataset, lam: float) -> float:
    """Largest relative gradient of a layer, of mean cross-entropy + lam/2 ||theta||^2, on a copy in float64."""
    import torch

    net = copy.deepcopy(model).double()
    weights = list(net.parameters())
    loss = torch.nn.functional.cross_entropy(net(torch.as_tensor(data.X)), torch.as_tensor(data.y))
    slopes = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        return max(
            float((g + lam * W).norm() / (lam * W.norm()).clamp(min=1e-12))
            for g, W in zip(slopes, weights, strict=True)
        )


def deep_model(K: int, depth: int, lam: float, lam_H: float, count: int) -> DeepLinearModel:
    """Depth linear layers over free features."""
    return DeepLinearModel(counts=[count] * K, lams=[lam] * depth + [lam_H], loss="cross_entropy")


def told(K: int, depth: int, lam: float, lam_H: float, count: int) -> dict[str, Any]:
    """What the model predicts: the best point found, and the objective of each family.

    ``optimal`` whether the best point is proved to be so; ``beaten`` whether a lower rank than the frame's is better
    (a proof that the frame is not optimal, and no more); a large value is one above half the largest.
    """
    model = deep_model(K, depth, lam, lam_H, count)
    best: PeeledSolution = solve(model)
    s = np.linalg.svd(best.classifier(), compute_uv=False)[:K]
    s = np.pad(s, (0, K - len(s)))
    frame = solve(model, method="collapsed").objective
    return {
        "objective": best.objective, "lower": best.certificate.lower, "method": best.method, "classifier": s.tolist(),
        "large": int(large_values(s)), "stable": float(stable_rank(s)), "frame": frame,
        "optimal": best.status == "optimal", "beaten": bool(best.objective < frame * (1 - 1e-9)),
    }  # fmt: skip
