"""Trains the example network of ``theory bounds`` on scikit-learn's digits and writes it beside the notebooks.

Two convolutions of stride 2 and a dense layer, no biases, ReLU: 644 weights, in NumPy through the gradients of
``theory.flow``. Pixels are divided by 16, a constant known before the data. The first 1,297 images of a seeded
shuffle are the sample of the bounds, the other 500 are held out. Run as
``python -m simulations.experiments.digits_network``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from theory.architecture import Activation, Architecture, Conv, Flatten, Linear, outputs, to_description
from theory.flow import convolutional

FOLDER = Path(__file__).parents[2] / "notebooks" / "data" / "digits"
SEED, EPOCHS, BATCH, STEP, DECAY, TRAIN = 0, 200, 64, 1e-2, 0.3, 1297


def architecture() -> Architecture:
    """Conv 4, conv 8, dense 10."""
    convolutions = {"conv1": Conv(4, 3, stride=2, padding=1, bias=False), "relu1": Activation("relu"),
                    "conv2": Conv(8, 3, stride=2, padding=1, bias=False), "relu2": Activation("relu")}  # fmt: skip
    return Architecture.sequential(
        {**convolutions, "flatten": Flatten(), "dense": Linear(10, bias=False)}, input_shape=(1, 8, 8)
    )


def digits() -> dict[str, np.ndarray]:
    """``X, y, X_test, y_test``: images (n, 1, 8, 8) in [0, 1] and labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(SEED).permutation(len(bunch.target))
    X, y = bunch.images[order, None] / 16, bunch.target[order]
    return {"X": X[:TRAIN], "y": y[:TRAIN], "X_test": X[TRAIN:], "y_test": y[TRAIN:]}


def train(X: np.ndarray, y: np.ndarray, *, epochs: int = EPOCHS) -> dict[str, np.ndarray]:
    """Weights by Adam with decoupled weight decay on the cross-entropy, step size falling as a cosine."""
    net = convolutional((1, 8, 8), (4, 8), 3, stride=2, padding=1, n_outputs=10)
    rng = np.random.default_rng(SEED)
    theta, flat = net.random_parameters(rng=rng), X.reshape(len(X), -1)
    # variance 2 / fan-in for each layer
    theta = net.pack(**{k: v * np.sqrt(2 / np.prod(v.shape[1:])) for k, v in net.views(theta).items()})
    first, second, step, steps = np.zeros_like(theta), np.zeros_like(theta), 0, epochs * -(-len(X) // BATCH)
    for _ in range(epochs):
        for part in np.array_split(rng.permutation(len(X)), -(-len(X) // BATCH)):
            step += 1
            at = net.forward(theta, flat[part])
            scores = net.output(theta, flat[part])
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(part)), y[part]] -= 1
            g = net.gradient(at, p / len(part))[0]
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
            eta = STEP * (1 + np.cos(np.pi * step / steps)) / 2
            move = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            theta = theta - eta * (move + DECAY * theta)
    names = ("conv1.weight", "conv2.weight", "dense.weight")
    return dict(zip(names, (np.array(v) for v in net.views(theta).values()), strict=True))


def main() -> None:
    """Train, report, write ``net.json``, ``net.npz`` and ``data.npz``."""
    data, net = digits(), architecture()
    weights = {k: v.reshape(net.parameters[k]) for k, v in train(data["X"], data["y"]).items()}
    for part in ("", "_test"):
        right = outputs(net, weights, data["X" + part]).argmax(axis=1) == data["y" + part]
        print(f"{'held out' if part else 'sample'}: {len(right)} images, error {1 - right.mean():.4f}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "net.json").write_text(json.dumps(to_description(net), indent=1) + "\n")
    named: dict[str, Any] = {k: v.astype(np.float32) for k, v in weights.items()}
    np.savez_compressed(FOLDER / "net.npz", **named)
    # float32 holds sixteenths exactly
    packed: dict[str, Any] = {k: v.astype(np.float32 if k.startswith("X") else np.uint8) for k, v in data.items()}
    np.savez_compressed(FOLDER / "data.npz", **packed)
    print(f"wrote net.json, net.npz and data.npz to {FOLDER}")


if __name__ == "__main__":
    main()
