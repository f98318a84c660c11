"""How far the weights can be moved, at random or against the loss, before the training error rises by a tenth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from theory._arrays import as_count, as_positive
from theory._errors import InvalidInput
from theory.architecture import node_values
from theory.bounds._problem import Problem
from theory.bounds.measures._backward import Arrays, backward, check_differentiable, check_evaluated
from theory.bounds.measures._record import Measure
from theory.bounds.measures._sample import Part, batch_for, error_rate, part_of

NAMES = ("sharpness-worst", "sharpness-worst-magnitude")
FAMILY = "sharpness"
LOW, HIGH = -20.0, 6.0  # log2 of the radii that are searched
EPS = 1e-3  # radius or standard deviation that the magnitude-aware forms grant to weights at their centre
DROP = 0.1  # rise of the training error that ends the search


@dataclass(frozen=True, slots=True, kw_only=True)
class Radius:
    """A perturbation size at which the training error has risen by ``drop``.

    Attributes
    ----------
    value : the size; the end of the search, 2^-20 or 2^6, where the rise was not met inside.
    met : whether it was.
    drop, samples : the rise, and the samples on which errors were counted.
    """

    value: float
    met: bool
    drop: float
    samples: int

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"value": self.value, "met": self.met, "drop": self.drop, "samples": self.samples}


def noise_sigma(
    problem: Problem, *, center: Mapping[str, np.ndarray] | None = None, eps: float = EPS, drop: float = DROP,
    draws: int = 5, steps: int = 12, samples: int = 1000, rng: np.random.Generator | int = 0,
) -> Radius:  # fmt: skip
    r"""Standard deviation of Gaussian noise on all parameters at which the mean training error rises by ``drop``.

    .. math:: \mathbb{E}_u\, \mathrm{err}(w + \sigma u) = \mathrm{err}(w) + \mathrm{drop}, \qquad u_i \sim N(0, 1);

    with a ``center`` m the magnitude-aware form, noise of variance ``sigma^2 (w_i - m_i)^2 + eps^2``. *measure*:
    neyshabur2017exploring, jiang2020fantastic. Programs for it have passed sigma^2, or this variance, where the
    generator wants a standard deviation; here sigma is the standard deviation.

    The expectation is the mean over ``draws`` noise vectors, the same for every sigma; log2 sigma is bisected
    ``steps`` times between -20 and 6. The parameters are those of the folded network, biases included.

    Raises
    ------
    PreconditionError : an activation that is only declared.
    InvalidInput : drop outside (0, 1), counts below 1, a center with other names.

    Cost: draws x steps evaluations of at most ``samples`` samples. The mean need not grow with sigma; bisection then
    finds one crossing.

    Examples
    --------
    >>> from theory.architecture import Architecture, Linear
    >>> net = Architecture.sequential([Linear(1, bias=False)], input_shape=1)
    >>> found = [noise_sigma(Problem(net, {"linear1.weight": [[w]]}, ([[1]], [1])), draws=50) for w in (1.0, 2.0)]
    >>> abs(found[1].value / found[0].value - 2) < 0.02  # within the steps of the bisection
    True
    """
    graph, named = problem.graph, problem.named
    check_evaluated(graph)
    scale = _scale(named, center, as_positive("eps", eps))
    draws, part = as_count("draws", draws), part_of(problem, samples)
    seed = int(np.random.default_rng(rng).integers(2**63))

    def error(sigma: float) -> float:
        total = 0.0
        for i in range(draws):
            generator = np.random.default_rng([seed, i])
            moved = {key: w + scale(key, sigma, True) * generator.standard_normal(w.shape) for key, w in named.items()}
            total += error_rate(graph, moved, part)
        return total / draws

    return _search(error, error_rate(graph, named, part), drop, steps, len(part))


def worst_radius(
    problem: Problem, *, center: Mapping[str, np.ndarray] | None = None, eps: float = EPS, drop: float = DROP,
    ascent: int = 3, steps: int = 10, samples: int = 500,
) -> Radius:  # fmt: skip
    r"""Size of a coordinate-wise move of the weights at which a rise of the training error by ``drop`` was found.

    .. math:: \max_{|u_i| \le \alpha} \mathrm{err}(w + u) = \mathrm{err}(w) + \mathrm{drop};

    with a ``center`` m the magnitude-aware form ``|u_i| <= alpha |w_i - m_i| + eps``. *measure*: keskar2017large,
    jiang2020fantastic. The maximum is out of reach: ``ascent`` sign steps on the mean cross-entropy, the first of full
    size, the others of half, each cut to the box, and the worst error seen on the way. So the radius is from above.
    Deterministic.

    Raises
    ------
    PreconditionError : an operation that is not differentiated here.
    InvalidInput : as for ``noise_sigma``.

    Cost: steps x ascent gradients on at most ``samples`` samples.
    """
    check_differentiable(problem.graph)
    named, part = problem.named, part_of(problem, samples)
    scale, ascent = _scale(named, center, as_positive("eps", eps)), as_count("ascent", ascent)

    def error(alpha: float) -> float:
        box = {key: scale(key, alpha, False) for key in named}
        moved, worst = dict(named), 0.0
        for step in range(ascent):
            slopes = loss_gradient(problem, moved, part)
            for key, w in named.items():
                size = box[key] * (1.0 if step == 0 else 0.5)
                up = moved[key] + size * np.sign(np.nan_to_num(slopes[key]))
                moved[key] = np.clip(up, w - box[key], w + box[key])
            worst = max(worst, error_rate(problem.graph, moved, part))
        return worst

    return _search(error, error_rate(problem.graph, named, part), drop, steps, len(part))


def loss_gradient(problem: Problem, named: Mapping[str, np.ndarray], part: Part) -> Arrays:
    """Gradient of the mean cross-entropy (natural logarithm; logistic loss for one score) at the weights ``named``."""
    total: Arrays = {}
    graph = problem.graph
    batch = batch_for(graph, 3)
    with np.errstate(all="ignore"):
        for start in range(0, len(part), batch):
            X, y = part.X[start : start + batch], part.y[start : start + batch]
            values = node_values(graph, named, X)
            scores = values[graph.output]
            if problem.binary:
                g = expit(scores) - y[:, None]
            else:
                g = softmax(scores, axis=1)
                g[np.arange(len(y)), y] -= 1
            _, found = backward(graph, named, values, {graph.output: g / len(part)}, parameters=True)
            for key, value in found.items():
                total[key] = total[key] + value if key in total else value
    return total


def sharpness_measures(problem: Problem) -> tuple[Measure, ...]:
    """1/alpha^2 for both forms of the worst-case radius, centred at zero."""
    found = []
    zero = {key: np.zeros_like(w) for key, w in problem.named.items()}
    for name, center, box in (
        ("sharpness-worst", None, "|u_i| <= alpha"),
        ("sharpness-worst-magnitude", zero, f"|u_i| <= alpha |w_i| + {EPS:g}"),
    ):
        radius = worst_radius(problem, center=center)
        found.append(Measure(
            name=name, value=1 / radius.value**2, family=FAMILY, source="jiang2020fantastic",
            statement=f"1/alpha^2, alpha from above: sign ascent within {box} raises the error on {radius.samples} "
            f"samples by {radius.drop:g}{met(radius)}",
        ))  # fmt: skip
    return tuple(found)


def met(radius: Radius) -> str:
    """What a statement adds where a search met its end."""
    return "" if radius.met else " (not met: the end of the search)"


def _scale(
    named: Mapping[str, np.ndarray], center: Mapping[str, np.ndarray] | None, eps: float
) -> Callable[[str, float, bool], float | np.ndarray]:
    """Size of the move of each entry: a standard deviation (variances add) or the side of a box (lengths add)."""
    if center is not None and set(center) != set(named):
        raise InvalidInput("center must have the names of the folded network's weights.")

    def scale(key: str, size: float, gaussian: bool) -> float | np.ndarray:
        if center is None:
            return size
        length = size * np.abs(named[key] - center[key])
        return np.hypot(length, eps) if gaussian else length + eps

    return scale


def _search(error: Callable[[float], float], start: float, drop: float, steps: int, samples: int) -> Radius:
    if not 0 < as_positive("drop", drop) < 1:
        raise InvalidInput(f"drop must lie strictly between 0 and 1, but is {drop:g}.")
    low, high, target = LOW, HIGH, start + drop
    if error(2.0**high) <= target:
        return Radius(value=2.0**high, met=False, drop=drop, samples=samples)
    if error(2.0**low) > target:
        return Radius(value=2.0**low, met=False, drop=drop, samples=samples)
    for _ in range(as_count("steps", steps)):
        middle = (low + high) / 2
        low, high = (low, middle) if error(2.0**middle) > target else (middle, high)
    return Radius(value=2.0**high, met=True, drop=drop, samples=samples)
