"""Data drawn from a stated law: Gaussian classes, and the labels of a random network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.linalg import helmert

from simulations.data.dataset import Dataset
from theory._arrays import as_count, as_real
from theory._errors import InvalidInput

REFERENCE = 10_000  # inputs that set shift and scale of a teacher's outputs


def gaussians(
    K: int, n: int, d: int, separation: float, seed: int = 0, *, noise: float = 1.0, test_size: int = 1000
) -> Dataset:
    r"""Normal classes around the corners of a simplex, all pairs of means at one distance.

    .. math:: x \mid y = k \sim N(\mu_k, \sigma^2 I_d), \qquad \|\mu_k - \mu_l\| = s \quad (k \ne l),
        \qquad \sum_k \mu_k = 0

    The best classifier takes the nearest mean; with K = 2 its error is Phi(-s / (2 sigma)).

    Parameters
    ----------
    K : classes, at least 2. n : samples of each. d : dimension, at least K - 1. separation : s >= 0.
    noise : sigma >= 0. test_size : held-out samples in all, drawn apart, classes in turn; 0 for none.

    Raises
    ------
    InvalidInput : out of range.

    Examples
    --------
    >>> gaussians(3, 50, 2, separation=4.0).counts
    array([50, 50, 50])
    """
    K, n, d = as_count("K", K, minimum=2), as_count("n", n), as_count("d", d)
    held, seed = as_count("test_size", test_size, minimum=0), as_count("seed", seed, minimum=0)
    s, sigma = as_real("separation", separation), as_real("noise", noise)
    if min(s, sigma) < 0:
        raise InvalidInput(f"separation and noise must not be negative, but are {s:g} and {sigma:g}.")
    if d < K - 1:
        raise InvalidInput(f"{K} means at equal distances need a dimension of at least {K - 1}, but d is {d}.")
    means = np.zeros((K, d))
    means[:, : K - 1] = s / np.sqrt(2) * helmert(K).T

    def draw(labels: np.ndarray, stream: int) -> np.ndarray:
        return means[labels] + sigma * np.random.default_rng([seed, stream]).standard_normal((len(labels), d))

    y, y_test = np.repeat(np.arange(K), n), np.arange(held) % K
    return Dataset(
        name="gaussians", X=draw(y, 10), y=y, X_test=draw(y_test, 11) if held else None,
        y_test=y_test if held else None, num_classes=K,
        notes=f"{K} normal classes in dimension {d}, means at distance {s:g}, deviation {sigma:g}, seed {seed}.",
    )  # fmt: skip


def teacher(
    widths: Sequence[int], n: int, seed: int = 0, *, function_seed: int | None = None, test_size: int = 1000
) -> Dataset:
    r"""Standard normal inputs, labelled by a random ReLU network.

    .. math:: y = \arg\max_k \,[V_L\, \mathrm{relu}(V_{L-1} \cdots \mathrm{relu}(V_1 x)) - b]_k / c_k,
        \qquad (V_l)_{ij} \sim N(0, 2/\text{fan-in})

    b and c, each output's mean and standard deviation over 10,000 inputs drawn apart, keep one class from taking all.
    With one seed the first samples of a larger n are those of a smaller one.

    Parameters
    ----------
    widths : input dimension, hidden widths, classes (at least 2). n : samples in all.
    seed : of the inputs. function_seed : of the network; the same where None. test_size : held out, drawn apart.

    Raises
    ------
    InvalidInput : out of range, or a class without a sample (more samples, or another function_seed, help).

    Examples
    --------
    >>> teacher([5, 20, 3], 100)
    Dataset('teacher 5-20-3': 100 samples of shape (5,), 3 classes, 1000 held out)
    """
    sizes = [as_count(f"widths[{i}]", width) for i, width in enumerate(widths)]
    if len(sizes) < 2 or sizes[-1] < 2:
        raise InvalidInput(f"widths must end in two classes or more after the input dimension, but are {sizes}.")
    n, held = as_count("n", n), as_count("test_size", test_size, minimum=0)
    seed = as_count("seed", seed, minimum=0)
    law = seed if function_seed is None else as_count("function_seed", function_seed, minimum=0)
    rng = np.random.default_rng([law, 12])
    layers = [rng.standard_normal((w, fan_in)) * np.sqrt(2 / fan_in) for fan_in, w in pairwise(sizes)]

    def outputs(X: np.ndarray) -> np.ndarray:
        for V in layers[:-1]:
            X = np.maximum(X @ V.T, 0)
        return X @ layers[-1].T

    reference = outputs(rng.standard_normal((REFERENCE, sizes[0])))
    b, c = reference.mean(axis=0), reference.std(axis=0)
    if not c.all():
        raise InvalidInput(f"the teacher of function_seed {law} has an output that never changes; try another.")

    def draw(count: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
        X = np.random.default_rng([seed, stream]).standard_normal((count, sizes[0]))
        return X, ((outputs(X) - b) / c).argmax(axis=1)

    (X, y), (X_test, y_test) = draw(n, 13), draw(held, 14)
    shape = "-".join(map(str, sizes))
    return Dataset(
        name=f"teacher {shape}", X=X, y=y, X_test=X_test if held else None, y_test=y_test if held else None,
        num_classes=sizes[-1],
        notes=f"Standard normal inputs (seed {seed}), labels of a random ReLU network {shape} (seed {law}).",
    )  # fmt: skip
