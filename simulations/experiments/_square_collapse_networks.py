"""The networks of ``square-loss-collapse``: free inputs, where the theory has every number, and digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simulations.data import Dataset, digits
from simulations.experiments._square_loss import plan_of, pull, state, theta_of
from theory.collapse import collapse_metrics
from theory.flow import descend, two_layer
from theory.flow.networks import Network
from theory.square_loss import BalancedRho, class_targets, collapse_targets
from theory.square_loss._loss import MeanSquareLoss
from theory.square_loss.integrate import _margins

SCALE = 4.0  # norm of every free input
LOOKS = 60
SETTLED = 8.0  # relaxation times of rho


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One network, but for weight decay and seed.

    Attributes
    ----------
    inputs : ``orthonormal`` (times 4, a direction per sample, so that features are free) or ``digits`` at mean square
        norm 1. activation : ``identity`` or ``relu``. normalisation : ``none`` (PyTorch) or ``lagrange``.
    classes, per_class, width, step : of data, hidden layer and descent. horizon : time over the predicted time in
        which the features' variation within classes falls to 1/e. momentum : of descent; time is then that of the flow.
    """

    inputs: str
    activation: str
    normalisation: str
    classes: int
    per_class: int
    width: int
    step: float
    horizon: float = 4.0
    momentum: float = 0.0

    @property
    def name(self) -> str:
        """For tables."""
        activation = "linear" if self.activation == "identity" else "ReLU"
        inputs = "free inputs" if self.inputs == "orthonormal" else "digits"
        return f"{activation} {self.width}, {inputs}, {'plain' if self.normalisation == 'none' else 'unit layers'}"

    @property
    def samples(self) -> int:
        """N."""
        return self.classes * self.per_class

    def network(self) -> Network:
        """The theory's network."""
        d = self.samples if self.inputs == "orthonormal" else 64
        return two_layer(d, self.width, self.classes, activation="linear" if self.activation == "identity" else "relu")

    def data(self, seed: int) -> Dataset:
        """The training set; the seed draws the directions, or which digits."""
        if self.inputs == "digits":
            every = digits(flat=True, test_size=0)
            part = every.subset(counts=self.per_class, seed=seed)
            X, y = part.X / np.sqrt((part.X**2).sum(axis=1).mean()), part.y
        else:
            N = self.samples
            X = SCALE * np.linalg.qr(np.random.default_rng([seed, N]).standard_normal((N, N)))[0]
            y = np.repeat(np.arange(self.classes), self.per_class)
        return Dataset(name=self.inputs, X=X, y=y, num_classes=self.classes)

    def key(self) -> dict[str, Any]:
        """For the store."""
        return {**asdict(self), "scale": SCALE, "looks": LOOKS, "settled": SETTLED}


def predictions(setting: Setting, lam: float, feature_square: float | None = None) -> dict[str, float]:
    r"""mu, M, rho at rest, margin, and the rate at which the features' variation within classes falls.

    On orthonormal inputs of norm c the normalised features are ``c V_1 Q``, so ``E = c^2 / N``; elsewhere E is given.
    *derived*: a variation of the features within classes that the classifier does not see falls like
    ``e^{-2 lam t}`` without normalisation, by the decay of W_1 alone, and like ``e^{-2 nu t}`` with unit layers, by
    the multiplier ``nu = rho (mu - M rho) = lam rho^2`` at rest; its square like twice that. A step of descent
    multiplies it by ``1 - step rate / 2``, of which ``rate`` is the logarithm per unit of time. ``least``: of the
    objective over all networks, ReLU ones too, whose features have no more energy.
    """
    E = SCALE**2 / setting.samples if feature_square is None else feature_square
    told = collapse_targets(setting.classes, lam=lam, feature_square=E)
    if setting.normalisation == "lagrange":
        rho, rate, penalty = told.rest.rho, 4 * lam * told.rest.rho**2, lam * told.rest.rho**2
    else:
        rests = BalancedRho(depth=2, mu=told.mu, M=told.M, lam=lam, rho0=1.0).equilibria
        rho, rate = max(point.rho for point in rests if point.stable), 4 * lam
        penalty = 2 * lam * rho
    fit = 1.0 - 2 * told.mu * rho + told.M * rho**2
    return {
        "E": E, "mu": told.mu, "M": told.M, "rho": rho, "fit": fit, "margin": told.margin, "least": fit + penalty,
        "flow_rate": rate, "rate": float(-2 * np.log1p(-setting.step * rate / 2) / setting.step),
    }  # fmt: skip


def train_one(setting: Setting, lam: float, seed: int) -> dict[str, Any]:
    """Train; at the end the targets of collapse as measured, and along training the variation within classes.

    ``residual``: gradient of the objective over that of the penalty (for unit layers of rho alone). ``mixed``: see
    the function.
    """
    from simulations.networks import perceptron

    data, net = setting.data(seed), setting.network()
    K, d = setting.classes, data.X.shape[1]
    told = predictions(setting, lam)
    settles = SETTLED / (2 * (told["M"] + lam)) if setting.normalisation == "lagrange" else 0.0
    time = max(setting.horizon * 2 / told["rate"], settles)
    unit = setting.step / (1 - setting.momentum)  # of time
    steps = int(np.ceil(time / unit))
    wanted = np.unique(np.linspace(0, steps, LOOKS + 1).round().astype(int)[1:]).tolist()
    module = perceptron([d, setting.width, K], activation=setting.activation, seed=seed, dtype="float64")
    thetas: dict[int, np.ndarray] = {}
    if setting.normalisation == "lagrange":
        run = descend(net, (data.X, class_targets(data.y, K)), MeanSquareLoss(), theta_of(module), step=setting.step,
                      steps=steps, weight_decay=2 * lam, normalise="lagrange", record=wanted, limits=False)  # fmt: skip
        thetas = dict(zip(run.updates.tolist(), run.thetas, strict=True))
    else:
        from simulations.train import train

        chosen = set(wanted)

        def look(epoch: int, model: Any, _: Any) -> None:
            if epoch in chosen:
                thetas[epoch] = theta_of(model)

        train(module, data, plan_of(lam, setting.step, steps, seed=seed, momentum=setting.momentum), callback=look)
    act: Callable[[np.ndarray], np.ndarray] = (lambda z: z) if setting.activation == "identity" else _relu
    times, within, between = unit * np.array(wanted), [], []
    for k in wanted:
        at = state(net, thetas[k], data, lam)
        scatter = _scatter(act(data.X @ net.views(at.V)["W1"].T), data.y, K)
        # features of the weights themselves: those of unit layers times rho_1, which 'lagrange' does not have
        size = 1.0 if setting.normalisation == "lagrange" else float(at.layer_norms[0]) ** 2  # type: ignore[index]
        within.append(size * scatter[0])
        between.append(size * scatter[1])
    theta = thetas[wanted[-1]]
    end = state(net, theta, data, lam)
    views = net.views(end.V)
    features, W = act(data.X @ views["W1"].T), views["W2"]
    metrics = collapse_metrics(features, data.y, classifier=W)
    means = np.array([features[data.y == k].mean(axis=0) for k in range(K)])
    lengths = np.linalg.norm(means, axis=1)
    cosines = means @ means.T / np.outer(lengths, lengths) if lengths.all() else np.full((K, K), np.nan)
    margins = _margins(end.outputs, class_targets(data.y, K))
    mu, M, rho = end.moments.mu, end.moments.M, end.rho
    if setting.normalisation == "lagrange":
        residual = abs(mu - (M + lam) * rho) / (mu + (M + lam) * rho)
    else:
        residual = float(np.linalg.norm(pull(net, theta, data, lam)) / (2 * lam * np.linalg.norm(theta)))
    penalty = rho**2 if setting.normalisation == "lagrange" else float(theta @ theta)
    return {
        "objective": end.fit + lam * penalty,
        "time": times, "within": within, "between": between, "steps": steps, "rho": rho, "mu": mu, "M": M,
        "fit": end.fit, "E": float((features**2).sum(axis=1).mean()), "sigma_over_mu": end.moments.sigma / mu,
        "nc1": metrics.nc1_ratio, "cosine": float(abs(cosines - np.eye(K)).max()),
        "centred_cosine": metrics.nc2_maximal_angle_means,
        "duality": float(np.linalg.norm(W / np.linalg.norm(W) - means / np.linalg.norm(means))), "nc4": metrics.nc4,
        "margin_mean": float(margins.mean()), "margin_spread": float(margins.std() / margins.mean()),
        "rate": fitted_rate(times, np.array(within)), "residual": residual, "mixed": mixed(features, data.y),
    }  # fmt: skip


def fitted_rate(times: np.ndarray, within: np.ndarray) -> float:
    """Minus the slope of log within against time over the second half, as far as it stays above rounding."""
    late = (times >= times[-1] / 2) & (within > 1e-13 * within.max())
    return float(-np.polyfit(times[late], np.log(within[late]), 1)[0]) if late.sum() > 2 else float("nan")


def mixed(features: np.ndarray, y: np.ndarray) -> float:
    """Of the pairs of a unit and a class that it sees at all, the share in which it is off for some samples."""
    on = np.array([(features[y == k] != 0).mean(axis=0) for k in range(int(y.max()) + 1)])
    return float(((on > 0) & (on < 1)).sum() / max((on > 0).sum(), 1))


def _relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0.0)


def _scatter(H: np.ndarray, y: np.ndarray, K: int) -> tuple[float, float]:
    """Mean squared distance to the class mean, and of the class means to the global one."""
    means = np.array([H[y == k].mean(axis=0) for k in range(K)])
    return float(((H - means[y]) ** 2).sum() / len(H)), float(((means - means.mean(axis=0)) ** 2).sum() / K)
