"""The learners of ``dense-versus-convolutional``, their targets, and what is measured on each trained network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.data import Dataset, compositional, teacher
from theory._errors import PreconditionError

if TYPE_CHECKING:
    from simulations.train import TrainingPlan

DEPTH = 3  # of the tree
D = 2**DEPTH  # variables
WIDTH = 16  # channels of each sparse layer
LEARNERS = ("dense", "tree", "local", "convnet")
TARGETS = ("aligned", "misaligned", "teacher")
TEACHER = (D, 64, 2)
HELD_OUT, STEPS, BATCH = 4000, 1000, 64
DELTA = 0.01  # of all certificates of a sample together
SLOW = ("compression", "pac-bayes-kl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One network: which learner, on which target, with n samples; the seed is also that of the target."""

    target: str
    learner: str
    n: int
    seed: int

    def plan(self) -> TrainingPlan:
        """The same for all learners."""
        from simulations.train import TrainingPlan

        epochs = -(-STEPS * BATCH // self.n)
        return TrainingPlan(
            epochs=epochs, batch_size=BATCH, learning_rate=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine",
            evaluate_every=epochs, seed=self.seed,
        )  # fmt: skip


def bit_reversed() -> np.ndarray:
    """The order of the leaves in which two siblings meet at the root only.

    >>> bit_reversed()
    array([0, 4, 2, 6, 1, 5, 3, 7])
    """
    order = np.zeros(1, int)
    for _ in range(DEPTH):
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def data_of(target: str, n: int, seed: int) -> Dataset:
    """Samples (n, 2, 8): the variables, and a channel of ones in place of biases.

    ``aligned``: the value of a random binary tree on the leaves in order; ``misaligned``: the same tree, leaves in
    bit-reversed order; ``teacher``: a random dense ReLU network 8-64-2 on normal inputs.
    """
    if target == "teacher":
        data = teacher(TEACHER, n, seed, test_size=HELD_OUT)
    else:
        data = compositional(DEPTH, n, seed, test_size=HELD_OUT)
    order = bit_reversed() if target == "misaligned" else np.arange(D)

    def with_ones(X: np.ndarray) -> np.ndarray:
        leaves = X.reshape(len(X), 1, D)[:, :, order]
        return np.concatenate([leaves, np.ones_like(leaves)], axis=1)

    assert data.X_test is not None
    return Dataset(name=target, X=with_ones(data.X), y=data.y, X_test=with_ones(data.X_test), y_test=data.y_test,
                   num_classes=2, notes=data.notes)  # fmt: skip


def seen_by(learner: str, data: Dataset) -> Dataset:
    """The same samples as the learner reads them: position after position for ``local``."""
    if learner != "local":
        return data

    def by_position(X: np.ndarray) -> np.ndarray:
        return X.transpose(0, 2, 1).reshape(len(X), 2 * D, 1)

    assert data.X_test is not None
    return Dataset(name=data.name, X=by_position(data.X), y=data.y, X_test=by_position(data.X_test),
                   y_test=data.y_test, num_classes=2)  # fmt: skip


def learner_of(name: str, seed: int) -> Any:
    """Four weight layers without biases, ReLU between them.

    ``tree``: kernel 2 and stride 2, weights shared along a layer; ``local``: the same connections, each position with
    weights of its own; ``dense``: as many units in each layer, all connected; ``convnet``: kernel 3 and stride 2,
    patches that overlap.
    """
    from torch import nn

    from simulations.networks import _built, convnet, perceptron

    if name == "dense":
        return perceptron([2 * D, *(WIDTH * D // 2**l for l in range(1, DEPTH + 1)), 2], seed=seed)
    if name == "convnet":
        return convnet((2, D), (WIDTH,) * DEPTH, 2, kernel=3, stride=2, seed=seed)

    def build() -> Any:
        net, channels = nn.Sequential(), 2
        for l in range(1, DEPTH + 1):
            P = D // 2**l
            if name == "tree":
                layer = nn.Conv1d(channels, WIDTH, 2, stride=2, bias=False)
            else:
                layer = nn.Conv1d(2 * P * channels, P * WIDTH, 1, groups=P, bias=False)
            net.add_module(f"conv{l}", layer)
            net.add_module(f"relu{l}", nn.ReLU())
            channels = WIDTH
        net.add_module("flatten", nn.Flatten())
        net.add_module("classifier", nn.Linear(WIDTH, 2, bias=False))
        return net

    return _built(build, seed, 1.0, "float32")


def train_one(job: Job, *, callback: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Train one network; its errors, and on trees its certificates and complexity terms, plain numbers."""
    from simulations.train import train

    data = seen_by(job.learner, data_of(job.target, job.n, job.seed))
    run = train(lambda seed: learner_of(job.learner, seed), data, job.plan(),
                callback=None if callback is None else lambda epoch, *_: callback(epoch))  # fmt: skip
    found = {"error": float(run.error[-1]), "loss": float(run.loss[-1]), "seconds": run.seconds,
             "parameters": sum(p.numel() for p in run.model.parameters())}  # fmt: skip
    return found | bounds_of(job, data, run.model)


def bounds_of(job: Job, data: Dataset, model: Any) -> dict[str, Any]:
    """Held-out mistakes; on trees also each certificate and ``convolutional`` over ``frobenius`` of this network.

    Inputs of a tree have norm at most 4: eight variables and eight ones. Complexity terms are those at the median
    margin of the network, so that they compare; ``ratio`` divides the two for the same weights, ``predicted`` is
    ``sparse_dense_ratio`` with the measured share of the heaviest patch.
    """
    from simulations.bridge import read_architecture
    from theory.bounds import Sample, certificates, sparse_dense_ratio
    from theory.bounds._problem import Problem

    assert data.X_test is not None and data.y_test is not None
    net = read_architecture(model, data.X[:2].astype(np.float32))
    problem = Problem(net.architecture, net.weights,
                      Sample(X=data.X, y=data.y, X_test=data.X_test, y_test=data.y_test))  # fmt: skip
    mistakes, held_out = problem.test_errors or (0, 1)
    out: dict[str, Any] = {"test_errors": mistakes, "held_out": held_out}
    if job.target == "teacher":
        return out
    asked = [bound for bound in certificates(radius=math.sqrt(2 * D)) if bound.name not in SLOW]
    median, said, terms = float(np.median(problem.margins.values)), {}, {}
    for bound in asked:
        try:
            bound.check(problem)
        except PreconditionError:
            continue
        said[bound.name] = bound.compute(problem, DELTA / len(asked), None).log10
        if median > 0 and bound.name in ("frobenius", "convolutional"):
            found = bound.compute(problem, DELTA / len(asked), median)
            terms[bound.name] = found.terms["complexity"]
            if bound.name == "convolutional":
                share = found.quantities["x_1"] ** 2 / float((problem.inputs**2).sum() / problem.n)
                out["predicted"] = sparse_dense_ratio(net.architecture, patch_share=min(1.0, share)).ratio
    if "convolutional" in terms:
        out["ratio"] = terms["convolutional"] / terms["frobenius"]
    return out | {"median_margin": median, "certificates": said, "complexity": terms}
