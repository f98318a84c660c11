"""The networks of ``low-rank``: plain SGD with weight decay on the square loss, its last updates kept."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simulations.data import Dataset, digits
from theory.square_loss import effective_ranks, rank_bound, rank_certificate

K = 10
KEPT = 64  # updates
NEAR = 0.1  # distance at which ranks are read off
RTOL = 1e-2  # of the numerical rank
DENSE, CHANNELS = (64, 48, 48, K), (16, 48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One network.

    Attributes
    ----------
    kind : ``dense`` or ``convolutional``. batch, lam, seed : of SGD. step, updates : in the theory's convention.
    n : samples.
    """

    kind: str
    batch: int
    lam: float
    seed: int
    step: float
    updates: int
    n: int

    def key(self) -> dict[str, Any]:
        """For the store."""
        return {**asdict(self), "dense": DENSE, "channels": CHANNELS, "kept": KEPT, "rtol": RTOL, "near": NEAR}


def data_of(setting: Setting) -> Dataset:
    """Digits at mean square norm 1."""
    data = digits(test_size=0, flat=setting.kind == "dense").subset(counts=setting.n // K, seed=setting.seed)
    X = data.X / np.sqrt((data.X**2).sum() / len(data.X))
    return Dataset(name="digits", X=X, y=data.y, num_classes=K)


def build(setting: Setting) -> Any:
    """The untrained network."""
    from simulations.networks import convnet, perceptron

    if setting.kind == "dense":
        return perceptron(DENSE, seed=setting.seed, scale=1.5, dtype="float64")
    return convnet((1, 8, 8), CHANNELS, K, stride=2, seed=setting.seed, scale=1.5, dtype="float64")


def uses_of(module: Any, example: Any) -> list[int]:
    """In how many places one example uses each weight: 1 for a linear layer, the positions of a convolution."""
    import torch

    found: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda m, _, out: found.append(1 if m.weight.ndim == 2 else out[0, 0].numel()))
        for layer in module.modules()
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)
    ]
    with torch.no_grad():
        module(example)
    for hook in hooks:
        hook.remove()
    return found


def train_one(setting: Setting) -> dict[str, Any]:
    """Train with batches drawn afresh; per layer the ranks, the certificate of the last updates, and the identity.

    A loop of its own, because the certificate needs every one of the last weights and gradients.
    """
    import torch

    data, module = data_of(setting), build(setting)
    X, y = torch.as_tensor(data.X), torch.eye(K, dtype=torch.float64)[torch.as_tensor(data.y)]
    weights = list(module.parameters())
    rate, draw = 2 * setting.step, torch.Generator().manual_seed(setting.seed)
    optimiser = torch.optim.SGD(weights, lr=rate, weight_decay=setting.lam)
    past: deque[list[np.ndarray]] = deque(maxlen=KEPT + 1)
    slopes: deque[list[np.ndarray]] = deque(maxlen=KEPT)
    for k in range(setting.updates):
        chosen = torch.randint(len(X), (setting.batch,), generator=draw)
        optimiser.zero_grad()
        ((module(X[chosen]) - y[chosen]) ** 2).sum().div(2 * setting.batch).backward()
        if k >= setting.updates - KEPT:
            past.append([w.detach().clone().numpy() for w in weights])
            slopes.append([2 * w.grad.clone().numpy() for w in weights if w.grad is not None])
        optimiser.step()
    with torch.no_grad():
        outputs = module(X)
        error = float((outputs.argmax(dim=1) != torch.as_tensor(data.y)).double().mean())
        fit = float(((outputs - y) ** 2).sum(dim=1).mean())
    past.append([w.detach().numpy() for w in weights])
    layers = []
    for i, uses in enumerate(uses_of(module, X[:1])):
        history, gradients = [ws[i] for ws in past], [gs[i] for gs in slopes]
        layers.append(_layer(setting, history, gradients, uses) | {"layer": i + 1})
    return {"error": error, "fit": fit, "layers": layers}


def _layer(setting: Setting, history: list[np.ndarray], gradients: list[np.ndarray], uses: int) -> dict[str, Any]:
    cert = rank_certificate(history, step=setting.step, lam=setting.lam, batch=setting.batch, uses=uses,
                            gradients=gradients)  # fmt: skip
    ranks = effective_ranks(history[-1], rtol=RTOL)
    s = cert.singular_values
    beyond = np.sqrt(np.append(np.cumsum((s**2)[::-1])[::-1], 0.0)) / np.linalg.norm(s)
    settled = rank_bound(NEAR, lam=setting.lam, step=setting.step, batch=setting.batch, uses=uses,
                         shape=history[-1].shape)  # fmt: skip
    seen = ~cert.vacuous
    return {
        "uses": uses, "min_dim": cert.min_dim, "stable": ranks.stable, "srank": ranks.srank,
        "entropy": ranks.entropy, "numerical": ranks.numerical, "norm": float(np.linalg.norm(history[-1])),
        "near_rank": int(np.argmax(beyond <= NEAR)), "certified": settled.rank, "vacuous": settled.vacuous,
        "identity": cert.identity_residual, "holds": cert.holds, "informative": cert.informative,
        "checked": len(seen), "below_full": int(seen.sum()),
        "slack": float((cert.distance - cert.tail).min()), "rank": cert.rank[seen], "distance": cert.distance[seen],
        "tail": cert.tail[seen], "profile": beyond,
    }  # fmt: skip
