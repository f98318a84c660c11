"""The networks of ``bounds-along-training``: data, training, and every certificate and measure at chosen epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.data import Dataset, digits, teacher
from theory._errors import PreconditionError

if TYPE_CHECKING:
    from simulations.train import TrainingPlan
    from theory.bounds import Bound
    from theory.bounds._problem import Problem

DELTA = 0.01  # failure probability of all certificates of a sample together
RADIUS = 8.0  # of digits: 64 pixels, each at most 1
TEACHER = (10, 30, 3)
# whose complexity term is a product of norms over a margin; those of growth functions are saturated at such n
SCALED = ("group-norm", "frobenius", "row-norm", "operator-frobenius", "path-norm", "covering", "parameter-dudley")
# families of measures, and whether their authors rank networks by v / n (the root is monotone)
OVER_N = {"norms": True, "pac-bayes": True, "sharpness": True, "jacobians": False, "cushions": True}
MEASURES = (
    "parameter-count", "parameter-norm", "inverse-margin", "log-product-spectral-over-margin",
    "log-product-frobenius-over-margin", "log-path-norm-over-margin", "log-spectral-initial", "frobenius-distance",
    "pac-bayes-flatness", "pac-bayes-initial", "sharpness-worst", "sharpness-worst-magnitude",
    "jacobian-frobenius:input", "cushion-capacity",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One network and its sample.

    Attributes
    ----------
    data : ``digits`` or ``teacher``. labels : ``true``, or ``random``: uniform and independent of everything.
    n : samples. width : of the hidden layers. depth : weight layers.
    """

    data: str = "digits"
    labels: str = "true"
    n: int = 320
    width: int = 64
    depth: int = 3

    @property
    def chance(self) -> float:
        """Error of every classifier on random labels."""
        return 1 - 1 / (10 if self.data == "digits" else TEACHER[-1])

    def widths(self) -> list[int]:
        """Input dimension, hidden widths, classes."""
        ends = (64, 10) if self.data == "digits" else (TEACHER[0], TEACHER[-1])
        return [ends[0], *[self.width] * (self.depth - 1), ends[1]]

    def plan(self, epochs: int, seed: int) -> TrainingPlan:
        """The same for all networks; chosen in one trial, before any bound was evaluated."""
        from simulations.train import TrainingPlan

        return TrainingPlan(
            epochs=epochs, batch_size=20, learning_rate=0.05, momentum=0.9, evaluate_every=epochs, seed=seed
        )


def data_of(setting: Setting, seed: int) -> Dataset:
    """Independent samples, n of them; all other digits (5,000 fresh samples of the teacher) are held out."""
    n = setting.n
    if setting.data == "teacher":
        data = teacher(TEACHER, n, seed, function_seed=0, test_size=5000)
    else:
        whole = digits(flat=True, test_size=0, seed=seed)
        data = Dataset(name="digits", X=whole.X[:n], y=whole.y[:n], X_test=whole.X[n:], y_test=whole.y[n:],
                       num_classes=10)  # fmt: skip
    if setting.labels == "true":
        return data
    K, rng = data.num_classes, np.random.default_rng([seed, n, 30])
    y, y_test = rng.integers(K, size=n), rng.integers(K, size=len(data.y_test))  # type: ignore[arg-type]
    return Dataset(name="random labels", X=data.X, y=y, X_test=data.X_test, y_test=y_test, num_classes=K)


def certificates_of(setting: Setting) -> tuple[Bound, ...]:
    """All certificates; of the compressions the quickest, and fewer drawings than by default."""
    from theory.bounds import certificates
    from theory.bounds.compression import Compression
    from theory.bounds.pac_bayes_kl import PacBayesKL

    quick = {"compression": Compression("quantised"), "pac-bayes-kl": PacBayesKL(draws=100)}
    radius = RADIUS if setting.data == "digits" else None
    return tuple(quick.get(bound.name, bound) for bound in certificates(radius=radius))


def train_one(
    setting: Setting, epochs: tuple[int, ...], seed: int, *, callback: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Train one network; errors, certificates and measures at ``epochs``, plain numbers."""
    from simulations.networks import perceptron
    from simulations.train import train

    data, rows = data_of(setting, seed), []

    def build(number: int) -> Any:
        return perceptron(setting.widths(), seed=number)

    start = {name: value.double().numpy() for name, value in build(seed).state_dict().items()}

    def look(epoch: int, model: Any, _: Any) -> None:
        if callback is not None:
            callback(epoch)
        if epoch in epochs:
            rows.append({"epoch": epoch, **evaluate(setting, data, model, start, slow=epoch in (0, epochs[-1]))})

    run = train(build, data, setting.plan(epochs[-1], seed), callback=look)
    return {"rows": rows, "seconds": run.seconds}


def evaluate(
    setting: Setting, data: Dataset, model: Any, start: dict[str, np.ndarray], *, slow: bool
) -> dict[str, Any]:  # fmt: skip
    """One network as it is: its errors, what each certificate says, the measures; ``compression`` only if ``slow``.

    Each certificate is taken at delta / m for m of them, so that all hold at once with probability 1 - delta, and
    as they speak of all weights, at all epochs of a run (``pac-bayes-kl`` draws afresh: at each epoch).
    """
    from simulations.bridge import read_architecture
    from theory.bounds import Sample
    from theory.bounds._problem import Problem

    assert data.X_test is not None and data.y_test is not None
    net = read_architecture(model, data.X[:2].astype(np.float32))
    sample = Sample(X=data.X, y=data.y, X_test=data.X_test, y_test=data.y_test)
    problem = Problem(net.architecture, net.weights, sample, {name: start[name] for name in net.weights})
    asked = certificates_of(setting)
    level, said, fixed = DELTA / len(asked), {}, {}
    median = float(np.median(problem.margins.values))
    for bound in asked:
        if bound.name == "compression" and not slow:
            continue
        try:
            bound.check(problem)
        except PreconditionError:
            continue
        found = bound.compute(problem, level, None)
        said[bound.name] = {"log10": found.log10, "empirical": found.terms["empirical"],
                            "test_errors": _mistakes(bound, problem, found.quantities, level)}  # fmt: skip
        if median > 0 and bound.name in SCALED:
            fixed[bound.name] = math.log10(bound.compute(problem, level, median).terms["complexity"])
    errors, held = problem.test_errors or (0, 1)
    return {
        "error": problem.margins.errors, "test_errors": errors, "held_out": held, "median_margin": median,
        "certificates": said, "measures": _measures(problem), "complexity": fixed,
    }  # fmt: skip


def _mistakes(bound: Bound, problem: Problem, quantities: Any, level: float) -> int:
    """Mistakes on the held-out samples of the network that the certificate speaks of."""
    from theory.bounds._evaluate import mistakes
    from theory.bounds.compression import Compression

    sample = problem.sample
    X, y = np.asarray(sample.X_test), np.asarray(sample.y_test)
    if isinstance(bound, Compression):
        decoded = bound.choose(problem, level).weights
        if decoded is not None:
            return mistakes(problem.graph, decoded, X, y)
    elif bound.name == "pac-bayes-kl":
        rng, wrong = np.random.default_rng(7), 0
        sigmas = [quantities[f"sigma_{l}"] for l in range(1, len(problem.named) + 1)]
        for part in np.array_split(np.arange(len(y)), 50):
            weights = zip(problem.named.items(), sigmas, strict=True)
            drawn = {key: W + sigma * rng.standard_normal(W.shape) for (key, W), sigma in weights}
            wrong += mistakes(problem.graph, drawn, X[part], y[part])
        return wrong
    assert problem.test_errors is not None
    return problem.test_errors[0]


def _measures(problem: Problem) -> dict[str, float]:
    """Measures as their authors rank by them: divided by n where ``OVER_N``, logarithms accordingly."""
    from theory.bounds.measures import measures_of

    found = {}
    for measure in measures_of(problem, names=[*OVER_N]):
        if measure.name in MEASURES:
            n = problem.n if OVER_N[measure.family] else 1
            found[measure.name] = measure.value - math.log(n) if measure.name.startswith("log-") else measure.value / n
    return found
