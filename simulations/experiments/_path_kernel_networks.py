"""What ``path-kernel`` trains and computes: a network, and regression with the kernels of its gates and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from simulations.data import Dataset

RIDGES = tuple(10.0**k for k in range(-8, 2))  # shares of the kernel's mean diagonal
TRAINED, VALIDATED, TESTED, INPUTS = 800, 400, 1000, 20
RATE, MOMENTUM, BATCH, START = 0.02, 0.9, 50, 6**0.5  # START: PyTorch's weights to variance 2 / fan-in
KERNELS = ("learned paths", "initial paths", "tangent, end", "tangent, start", "tangent, limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One network: hidden layers of one width, a task, and a seed of data, weights and order."""

    task: str
    width: int
    seed: int
    epochs: int
    hidden: int = 3

    def key(self) -> dict[str, Any]:
        """All that the record depends on, for the store."""
        return asdict(self) | {"rate": RATE, "momentum": MOMENTUM, "batch": BATCH, "ridges": RIDGES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Samples to train on, to choose the ridge on, and to test on."""

    train: Dataset
    X_choice: np.ndarray
    y_choice: np.ndarray


def task_data(task: str, seed: int) -> Split:
    """``digits``, or ``product``: the sign of x_1 x_2 for 20 standard normal inputs."""
    from simulations.data import Dataset, digits

    if task == "digits":
        data = digits(seed=seed, flat=True)
        X, y, X_test, y_test, K = data.X, data.y, data.X_test, data.y_test, 10
    else:
        rng = np.random.default_rng([seed, 90])
        X = rng.standard_normal((TRAINED + VALIDATED + TESTED, INPUTS))
        y, K = (X[:, 0] * X[:, 1] > 0).astype(int), 2
        X_test, y_test = X[-TESTED:], y[-TESTED:]
    kept = slice(TRAINED, TRAINED + VALIDATED)
    train = Dataset(name=task, X=X[:TRAINED], y=y[:TRAINED], X_test=X_test, y_test=y_test, num_classes=K, notes="")
    return Split(train=train, X_choice=X[kept], y_choice=y[kept])


def train_one(setting: Setting) -> dict[str, Any]:
    """Train, then regress with each kernel."""
    import torch

    from simulations.networks import perceptron
    from simulations.train import TrainingPlan, train
    from theory.kernels import path_features, relu_kernels

    split = task_data(setting.task, setting.seed)
    data = split.train
    net = perceptron([data.X.shape[1], *[setting.width] * setting.hidden, data.num_classes], scale=START,
                     seed=setting.seed)  # fmt: skip
    plan = TrainingPlan(epochs=setting.epochs, learning_rate=RATE, momentum=MOMENTUM, batch_size=BATCH,
                        evaluate_every=10, seed=setting.seed)  # fmt: skip
    run = train(net, data, plan)
    assert data.X_test is not None and data.y_test is not None
    inputs = (data.X, split.X_choice, data.X_test)
    start, end = weights_of(net), weights_of(run.model)
    with torch.no_grad():
        outputs = run.model.double()(torch.from_numpy(data.X_test)).numpy()
    features = path_features(end, data.X_test)
    identity = float(np.abs(features.product(end) - outputs).max() / np.abs(outputs).max())

    grams: dict[str, list[np.ndarray]] = {}
    for when, weights in (("learned", end), ("initial", start)):
        phi = [path_features(weights, X) for X in inputs]
        grams[f"{when} paths"] = [other.kernel(phi[0]) for other in phi]
    for when, weights in (("end", end), ("start", start)):
        grams[f"tangent, {when}"] = [tangent_kernel(weights, X, data.X) for X in inputs]
    grams["tangent, limit"] = [relu_kernels(X, data.X, depth=setting.hidden + 1).tangent for X in inputs]
    labels = (data.y, split.y_choice, data.y_test)
    found = {name: regress(grams[name], labels, data.num_classes) for name in KERNELS}
    gates = [path_features(weights, data.X).gates for weights in (start, end)]
    return {
        "network": float(run.test_error[-1]), "train_error": float(run.error[-1]), "loss": float(run.loss[-1]),
        "identity": identity, "kernels": found,
        "gates_changed": float(np.mean([np.mean(a != b) for a, b in zip(*gates, strict=True)])),
        "alignment": {name: alignment(grams[name][0], data.y, data.num_classes) for name in KERNELS},
    }  # fmt: skip


def weights_of(net: Any) -> list[np.ndarray]:
    """The matrices of a perceptron without biases, float64."""
    return [p.detach().double().numpy().copy() for p in net.parameters()]


def tangent_kernel(weights: list[np.ndarray], X: np.ndarray, Z: np.ndarray) -> np.ndarray:
    r"""``1/K sum_k <grad f_k(x), grad f_k(z)>`` (n, m): the tangent kernel, mean over outputs, layer by layer.

    A layer contributes the inner product of its inputs times that of the signals sent back to it; no Jacobian is kept.
    """
    (a, back_a), (b, back_b) = _signals(weights, X), _signals(weights, Z)
    parts = (
        (p @ q.T) * np.tensordot(d, e, axes=((1, 2), (1, 2))) for p, q, d, e in zip(a, b, back_a, back_b, strict=True)
    )
    return sum(parts) / len(weights[-1])


def _signals(weights: list[np.ndarray], X: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs (n, fan-in) of each layer and ``df_k/dz`` (n, K, fan-out) at its outputs."""
    from theory.kernels import path_features

    gates = path_features(weights, X).gates
    inputs = [X]
    for W, gate in zip(weights[:-1], gates, strict=True):
        inputs.append((inputs[-1] @ W.T) * gate)
    K = len(weights[-1])
    back = [np.broadcast_to(np.eye(K), (len(X), K, K))]
    for W, gate in zip(weights[:0:-1], gates[::-1], strict=True):
        back.append((back[-1] @ W) * gate[:, None, :])
    return inputs, back[::-1]


def regress(grams: Sequence[np.ndarray], labels: Sequence[np.ndarray], K: int) -> dict[str, float]:
    """Ridge regression on one-hot labels less 1/K; the ridge has the least error on the samples set aside for it.

    Kernels of (training, choosing, testing) samples with the training ones, and their labels. Of equal errors the
    largest ridge is taken.
    """
    (gram, gram_choice, gram_test), (y, y_choice, y_test) = grams, labels
    targets = np.eye(K)[y] - 1 / K
    eigenvalues, vectors = np.linalg.eigh((gram + gram.T) / 2)
    scale, along = float(np.trace(gram)) / len(gram), vectors.T @ targets
    best = (np.inf, 0.0, 0.0)
    for ridge in RIDGES[::-1]:
        alpha = vectors @ (along / (np.maximum(eigenvalues, 0.0) + ridge * scale)[:, None])
        wrong = float(np.mean((gram_choice @ alpha).argmax(axis=1) != y_choice))
        if wrong < best[0]:
            best = (wrong, float(np.mean((gram_test @ alpha).argmax(axis=1) != y_test)), ridge)
    return {"choice": best[0], "test": best[1], "ridge": best[2]}


def alignment(gram: np.ndarray, y: np.ndarray, K: int) -> float:
    """Cosine of the kernel and that of the labels, both centred."""
    targets = np.eye(K)[y]
    targets = targets - targets.mean(axis=0)
    centred = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
    labels = targets @ targets.T
    return float((centred * labels).sum() / (np.linalg.norm(centred) * np.linalg.norm(labels)))
