"""Many independent runs of SGD on one small network at once, near a minimum; what ``sgd-noise`` measures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from simulations.data import gaussians
from theory._errors import PreconditionError
from theory.flow import fully_connected, two_layer
from theory.flow.networks import Network
from theory.square_loss import common_fixed_point, integrate_rho, sgd_fluctuation

SIZES = {"linear": (8, 3), "relu^2": (4, 10), "relu": (4, 10)}  # inputs, samples of each of two classes
WIDTH = 6
SAMPLINGS = ("replacement", "afresh", "shuffle")
LOOKS = 12  # states of a run that are averaged
MOST = 60_000  # updates
FLAT = 1e-6  # of the largest curvature


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One way of running SGD.

    Attributes
    ----------
    kind : ``linear`` (more inputs than samples, so that it can interpolate), ``relu^2`` or ``relu`` (two layers).
    batch, step, lam, sampling : of SGD; ``afresh`` draws each batch without replacement, ``shuffle`` goes through
        shuffled epochs. seed : of data, start and batches. replicas : independent runs. relaxations : length of the
        runs, in times of the slowest direction; the second half is measured.
    """

    kind: str
    batch: int
    step: float
    lam: float
    sampling: str = "replacement"
    seed: int = 0
    replicas: int = 100
    relaxations: float = 8.0

    def key(self) -> dict[str, Any]:
        """For the store."""
        return {**asdict(self), "sizes": SIZES[self.kind], "width": WIDTH, "looks": LOOKS, "most": MOST}


def network(kind: str) -> Network:
    """The network of a kind."""
    d, _ = SIZES[kind]
    return fully_connected((d, 1)) if kind == "linear" else two_layer(d, WIDTH, activation=kind)


def data_of(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping normal classes at mean square norm 1, targets -1 and +1."""
    d, n = SIZES[kind]
    data = gaussians(2, n, d, 2.0, seed=seed, test_size=0)
    return data.X / np.sqrt((data.X**2).sum(axis=1).mean()), 2.0 * data.y - 1


@lru_cache(maxsize=32)
def minimum(kind: str, lam: float, seed: int) -> np.ndarray:
    """The minimum that gradient flow from a random start reaches (P)."""
    net, (X, y) = network(kind), data_of(kind, seed)
    if kind == "linear":
        gram = X @ X.T / len(X)
        return X.T @ np.linalg.solve(gram + lam * np.eye(len(X)), y) / len(X)
    flow = integrate_rho(net, (X, y), lam=lam, theta0=net.random_parameters(rng=seed), normalisation="none",
                         until="stationary", rtol=1e-10)  # fmt: skip
    return flow.flow.theta


def gradients(kind: str, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (R, B) and the gradient (R, P) of the mean of ``(f - y)^2`` over each replica's batch x (R, B, d)."""
    R, B, d = x.shape
    if kind == "linear":
        f = (x @ theta[:, :, None])[..., 0]
        return f, 2 / B * ((f - y)[:, None, :] @ x)[:, 0]
    W1, w2 = theta[:, : WIDTH * d].reshape(R, WIDTH, d), theta[:, WIDTH * d :]
    z = np.maximum(x @ W1.transpose(0, 2, 1), 0.0)
    a, slope = (z, (z > 0).astype(float)) if kind == "relu" else (z**2, 2 * z)
    f = (a @ w2[:, :, None])[..., 0]
    r = 2 / B * (f - y)
    inner = (r[:, :, None] * w2[:, None, :] * slope).transpose(0, 2, 1) @ x
    return f, np.concatenate([inner.reshape(R, -1), (r[:, None, :] @ a)[:, 0]], axis=1)


def draw(setting: Setting, N: int, rng: np.random.Generator, k: int, order: np.ndarray) -> np.ndarray:
    """Indices (R, B) of update k; ``order`` (R, N) is the epoch's and is redrawn where one begins."""
    R, B = setting.replicas, setting.batch
    if setting.sampling == "replacement":
        return rng.integers(N, size=(R, B))
    if setting.sampling == "afresh":
        return rng.random((R, N)).argpartition(B - 1, axis=1)[:, :B] if B < N else np.tile(np.arange(N), (R, 1))
    place = k % (N // B)
    if place == 0:
        order[:] = rng.random((R, N)).argsort(axis=1)
    return order[:, place * B : (place + 1) * B]


def run_one(setting: Setting) -> dict[str, Any]:
    """Predicted and measured root mean square fluctuations of weights and outputs, and the witness at the minimum.

    Replicas start at the minimum, apart from it by 1 percent where a full batch is to come back. The prediction
    is None where ``sgd_fluctuation`` refuses, with its reason.
    """
    net, (X, y) = network(setting.kind), data_of(setting.kind, setting.seed)
    N, theta = len(X), minimum(setting.kind, setting.lam, setting.seed)
    point = common_fixed_point(net, (X, y), theta, lam=setting.lam)
    told, reason = None, None
    if point.is_fixed:
        told = {"weights": 0.0, "outputs": 0.0, "excess": 0.0}
    else:
        try:
            found = sgd_fluctuation(net, (X, y), theta, lam=setting.lam, step=setting.step, batch=setting.batch,
                                    replacement=setting.sampling == "replacement")  # fmt: skip
            told = {"weights": found.weight_std, "outputs": rms(found.output_std), "excess": found.excess}
        except PreconditionError as error:
            reason = str(error)
    H = _curvature(net, X, y, theta, setting.lam)
    h = np.linalg.eigvalsh(H)
    slowest = 2 * setting.lam if setting.kind == "relu" else float(h[h > FLAT * h[-1]][0])
    updates = min(int(np.ceil(setting.relaxations / (setting.step * slowest))), MOST)
    rng = np.random.default_rng([setting.seed, setting.batch])
    at = np.tile(theta, (setting.replicas, 1))
    full = setting.batch == N and setting.sampling != "replacement"
    if full or setting.lam == 0:
        at = at + 0.01 * np.linalg.norm(theta) / np.sqrt(len(theta)) * rng.standard_normal(at.shape) @ _moving(H)
    looks = set(np.linspace(updates // 2, updates, LOOKS + 1).round().astype(int)[1:].tolist())
    kept, order, everything = [], np.zeros((setting.replicas, N), dtype=int), np.tile(X, (setting.replicas, 1, 1))
    for k in range(updates):
        chosen = draw(setting, N, rng, k, order)
        at = at - setting.step * (gradients(setting.kind, at, X[chosen], y[chosen])[1] + 2 * setting.lam * at)
        if k + 1 in looks and (not full or k + 1 == updates):
            kept.append((at.copy(), gradients(setting.kind, at, everything, np.tile(y, (setting.replicas, 1)))[0]))
    weights, outputs = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    if setting.lam == 0:
        weights, outputs = kept[-1]
    objective = ((outputs - y) ** 2).mean(axis=1) + setting.lam * (weights**2).sum(axis=1)
    least = float(((net.output(theta, X)[:, 0] - y) ** 2).mean() + setting.lam * theta @ theta)
    return {
        "predicted": told, "reason": reason, "updates": updates, "slowest": slowest,
        "weights": float(np.sqrt(weights.var(axis=0).sum())), "outputs": rms(outputs.std(axis=0)),
        "excess": float(objective.mean()) - least, "shift": float(np.linalg.norm(weights.mean(axis=0) - theta)),
        "noise": point.noise, "mean_gradient": point.mean_gradient, "first_layer_noise": point.first_layer_noise,
        "floor": point.floor, "is_fixed": point.is_fixed, "possible": point.possible, "witness": point.witness,
        "cosine": point.cosine, "stuck": setting.relaxations / (setting.step * slowest) > MOST,
    }  # fmt: skip


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt((values**2).mean()))


def _curvature(net: Network, X: np.ndarray, y: np.ndarray, theta: np.ndarray, lam: float) -> np.ndarray:
    """The Hessian of the objective (P, P)."""
    J = net.jacobian(theta, X)[:, 0]
    bent = net.hessian(theta, X, net.output(theta, X) - y[:, None])
    return 2 / len(X) * (J.T @ J + bent) + 2 * lam * np.eye(J.shape[1])


def _moving(H: np.ndarray) -> np.ndarray:
    """Projection on the directions with curvature: the others never come back without weight decay."""
    h, Q = np.linalg.eigh(H)
    kept = Q[:, h > FLAT * h[-1]]
    return np.asarray(kept @ kept.T)
