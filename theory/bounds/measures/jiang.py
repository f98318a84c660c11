"""The norms, margins and PAC-Bayes-style numbers of Jiang et al. 2020, with the errors of programs for them mended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from theory.architecture import Node
from theory.bounds._frame import safe_exp
from theory.bounds._problem import Problem
from theory.bounds.measures._record import Measure
from theory.bounds.measures._sample import weighted_nodes
from theory.bounds.measures.sharpness import EPS, met, noise_sigma
from theory.norms import NormBracket
from theory.norms.layers import layer_spectral_norm

NORM_NAMES = (
    "parameter-count", "parameter-norm", "inverse-margin", "log-product-spectral", "log-product-spectral-over-margin",
    "log-sum-spectral", "log-sum-spectral-over-margin", "log-product-frobenius", "log-product-frobenius-over-margin",
    "log-sum-frobenius", "log-sum-frobenius-over-margin", "frobenius-over-spectral", "log-spectral-origin",
    "log-path-norm", "log-path-norm-over-margin", "frobenius-distance", "spectral-distance", "log-spectral-initial",
)  # fmt: skip
NOISE_NAMES = (
    "pac-bayes-flatness", "pac-bayes-origin", "pac-bayes-magnitude-flatness", "pac-bayes-magnitude-origin",
    "pac-bayes-initial", "pac-bayes-magnitude-initial",
)  # fmt: skip
NORMS, NOISE = "norms", "pac-bayes"
SOURCE = "jiang2020fantastic"


def tenth_percentile(problem: Problem) -> float:
    """The margin gamma of these measures: the ceil(n/10)-th smallest of the sample, with its sign."""
    values = problem.margins.values
    return float(values[math.ceil(len(values) / 10) - 1])


def norm_measures(problem: Problem) -> tuple[Measure, ...]:
    r"""Norms of the folded weights, plain and over the margin, and distances from the reference where it is given.

    With s_l, F_l spectral and Frobenius norms of the weights (kernels; biases left out), L layers, gamma the 10th
    percentile of the margins:

    .. math:: \prod_l s_l^2,\quad L \bigl(\prod_l s_l^2\bigr)^{1/L},\quad \prod_l F_l^2,\quad
              \sum_l F_l^2 / s_l^2,\quad \prod_l s_l^2\, \gamma^{-2} \sum_l F_l^2 / s_l^2,\quad
              \sum_l \|W_l - M_l\|^2, \ldots

    *measure*: jiang2020fantastic, dziugaite2020search, who rank networks by sqrt(v / n) of these v; products are given
    by natural logarithms, and n is left to the reader. Corrected against programs for them: normalisations are
    folded first; a convolution's s_l is its operator norm at its own input size, stride and padding, from above; a
    negative gamma is not made positive (the measures over it are then infinite); the squared path norm takes 1/q^2
    for an average over q.

    Raises
    ------
    PreconditionError : LayerNorm or attention, which have no path norm.

    Cost: one spectral norm for each layer, two with a reference.
    """
    from theory.norms.path import folded_path_norm

    nodes, gamma = weighted_nodes(problem.graph), tenth_percentile(problem)
    log_path = 2 * folded_path_norm(problem.graph, problem.named, exponent=2).log
    weights = [problem.named[f"{node.name}.weight"] for node in nodes]
    L = len(nodes)
    s = np.array([_spectral(problem, node, W) for node, W in zip(nodes, weights, strict=True)])
    F = np.array([np.linalg.norm(W) for W in weights])
    with np.errstate(divide="ignore"):
        log_s, log_F = float(2 * np.log(s).sum()), float(2 * np.log(F).sum())
    ratio = _ratios(F**2, s**2)
    over = -2 * math.log(gamma) if gamma > 0 else math.inf
    found: dict[str, tuple[float, str]] = {
        "parameter-count": (float(sum(w.size for w in problem.named.values())), "number of parameters, folded"),
        "parameter-norm": (float((F**2).sum()), "sum of F_l^2"),
        "inverse-margin": (safe_exp(over), "1/gamma^2"),
        "frobenius-over-spectral": (ratio, "sum of F_l^2 / s_l^2"),
        "log-spectral-origin": (_sum(log_s, over, _log(ratio)), "ln of prod s_l^2 / gamma^2 times sum F_l^2 / s_l^2"),
        "log-path-norm": (log_path, "ln of the sum over paths of squared products of weights"),
        "log-path-norm-over-margin": (_sum(log_path, over), "the same over gamma^2"),
    }
    for word, letter, log in (("spectral", "s", log_s), ("frobenius", "F", log_F)):
        found[f"log-product-{word}"] = log, f"ln prod {letter}_l^2"
        found[f"log-product-{word}-over-margin"] = _sum(log, over), f"ln of prod {letter}_l^2 / gamma^2"
        found[f"log-sum-{word}"] = math.log(L) + log / L, f"ln of L (prod {letter}_l^2)^(1/L)"
        found[f"log-sum-{word}-over-margin"] = (
            math.log(L) + _sum(log, over) / L, f"ln of L (prod {letter}_l^2 / gamma^2)^(1/L)",
        )  # fmt: skip
    if problem.reference is not None:
        apart = [W - problem.reference[f"{node.name}.weight"] for node, W in zip(nodes, weights, strict=True)]
        moved = np.array([np.linalg.norm(D) for D in apart]) ** 2
        sides = _ratios(moved, s**2)
        found["frobenius-distance"] = float(moved.sum()), "sum of ||W_l - M_l||_F^2"
        found["spectral-distance"] = (
            sum(layer_spectral_norm(node, D).upper ** 2 for node, D in zip(nodes, apart, strict=True)),
            "sum of squared spectral norms of W_l - M_l",
        )  # fmt: skip
        found["log-spectral-initial"] = (
            _sum(log_s, over, _log(sides)), "ln of prod s_l^2 / gamma^2 times sum ||W_l - M_l||_F^2 / s_l^2",
        )  # fmt: skip
    said = f" (gamma = {gamma:.6g}, the {math.ceil(problem.n / 10)}-th smallest margin of {problem.n})"
    return tuple(
        Measure(name=name, value=value, family=NORMS, source=SOURCE, statement=text + (said if "gamma" in text else ""))
        for name, (value, text) in found.items()
    )


def noise_measures(problem: Problem, *, rng: np.random.Generator | int = 0) -> tuple[Measure, ...]:
    r"""Flatness and PAC-Bayes-style numbers from the noise that the training error survives.

    .. math:: \frac{1}{\sigma^2},\qquad \frac{\|w - m\|^2}{4 \sigma^2} + \ln\frac{n}{\sigma} + 10,\qquad
              \frac14 \sum_i \ln \frac{\epsilon^2 + (\sigma'^2 + 1) \|w - m\|^2 / \omega}
                                      {\epsilon^2 + \sigma'^2 (w_i - m_i)^2} + \ln\frac{n}{\sigma'} + 10

    over all omega parameters of the folded network, m = 0 (origin) or the reference (initial). *measure*:
    jiang2020fantastic. The sum is half the KL divergence of N(w, diag(sigma'^2 (w - m)^2 + eps^2)) from
    N(m, s^2 I) with the best s^2 (*derived*: s^2 is the numerator, which turns the trace and the square into omega),
    so sigma' is measured with the noise of that m.

    Cost: two or three searches of ``noise_sigma``.
    """
    named, n = problem.named, problem.n
    w = _flat(named)
    seed = int(np.random.default_rng(rng).integers(2**63))
    zero = {key: np.zeros_like(value) for key, value in named.items()}
    centers: list[tuple[str, Mapping[str, np.ndarray]]] = [("origin", zero)]
    if problem.reference is not None:
        centers.append(("initial", problem.reference))
    plain = noise_sigma(problem, rng=seed)
    sigma, how = plain.value, f"Gaussian noise raises the mean error on {plain.samples} samples by {plain.drop:g}"
    found: list[tuple[str, float, str]] = [("pac-bayes-flatness", 1 / sigma**2, f"1/sigma^2: {how}{met(plain)}")]
    for word, center in centers:
        apart = w - _flat({key: center[key] for key in named})
        value = float(apart @ apart) / (4 * sigma**2) + math.log(n / sigma) + 10
        found.append((f"pac-bayes-{word}", value, f"||w - m||^2 / (4 sigma^2) + ln(n / sigma) + 10: {how}{met(plain)}"))
        aware = noise_sigma(problem, center=center, rng=seed)
        if word == "origin":
            text = f"1/sigma'^2, noise of variance sigma'^2 w_i^2 + {EPS:g}^2{met(aware)}"
            found.append(("pac-bayes-magnitude-flatness", 1 / aware.value**2, text))
        value = magnitude_kl(apart, aware.value) / 2 + math.log(n / aware.value) + 10
        text = f"KL/2 + ln(n / sigma') + 10, noise of variance sigma'^2 (w_i - m_i)^2 + {EPS:g}^2{met(aware)}"
        found.append((f"pac-bayes-magnitude-{word}", value, text))
    return tuple(Measure(name=a, value=v, family=NOISE, source=SOURCE, statement=t) for a, v, t in found)


def magnitude_kl(apart: np.ndarray, sigma: float, eps: float = EPS) -> float:
    r"""KL of N(m + d, diag(sigma^2 d_i^2 + eps^2)) from N(m, s^2 I), least over s.

    .. math:: \tfrac12 \sum_i \ln \frac{\epsilon^2 + (\sigma^2 + 1) \|d\|^2 / \omega}{\epsilon^2 + \sigma^2 d_i^2}

    *derived*: at s^2 = mean(sigma^2 d_i^2 + eps^2 + d_i^2), where the derivative in s vanishes, the trace and the
    square of the means are omega s^2 together.

    Examples
    --------
    >>> magnitude_kl(np.zeros(3), 0.5)
    0.0
    """
    square = apart**2
    return float(0.5 * np.log((eps**2 + (sigma**2 + 1) * square.mean()) / (eps**2 + sigma**2 * square)).sum())


def _spectral(problem: Problem, node: Node, W: np.ndarray) -> float:
    compute: Callable[[], NormBracket] = lambda: layer_spectral_norm(node, W)  # noqa: E731
    if node.name == problem.graph.output:  # the chain may hold the difference of its rows under this name
        return compute().upper
    return problem.remember(("spectral", node.name), compute).upper


def _flat(named: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([value.ravel() for value in named.values()])


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _sum(*logs: float) -> float:
    """Logarithm of a product that is infinite where a factor is, even beside a zero."""
    return math.inf if math.inf in logs else sum(logs)


def _ratios(above: np.ndarray, below: np.ndarray) -> float:
    """Sum of quotients; a layer of zeros adds nothing where 0/0, and infinity otherwise."""
    return float(np.divide(above, below, out=np.where(above > 0, np.inf, 0.0), where=below > 0).sum())
