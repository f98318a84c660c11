"""Leave-one-out error of k nearest neighbours, and how far the true error can be from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from theory._arrays import as_count, as_floats, as_labels
from theory._errors import InvalidInput, PreconditionError
from theory.bounds._kl import EPS, SLACK, as_delta

BLOCK = 1 << 22  # entries of a block of distances


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOneOut:
    """Each sample classified by the k nearest of the others.

    Attributes
    ----------
    predictions : the votes' winners (n).
    errors, n, k : number of wrong ones, of samples, of neighbours.
    """

    predictions: np.ndarray
    errors: int
    n: int
    k: int

    @property
    def risk(self) -> float:
        """``errors / n``."""
        return self.errors / self.n

    def __repr__(self) -> str:
        return f"LeaveOneOut({self.errors} errors in {self.n}, k = {self.k})"

    def to_json(self) -> dict[str, object]:
        """A dictionary of plain numbers and lists."""
        return {
            "risk": self.risk, "errors": self.errors, "n": self.n, "k": self.k,
            "predictions": self.predictions.tolist(),
        }  # fmt: skip


def leave_one_out(
    features: ArrayLike, labels: ArrayLike, *, k: int, rng: np.random.Generator | int | None = None
) -> LeaveOneOut:
    r"""Exact leave-one-out errors of the k-nearest-neighbour vote in Euclidean distance.

    .. math:: \hat R_{\mathrm{loo}} = \frac1n \sum_i \mathbf 1\{g_{n-1}(x_i;\ \text{all but } i) \ne y_i\}

    Equal distances are ordered by an auxiliary number drawn for each sample, equal votes go to the lowest label: the
    rules under which ``loo_variance`` holds, the same for n and n - 1 samples. A matrix product finds the candidates
    within its own rounding error; the differences themselves decide, so the answer is that of the n^2 differences.

    Parameters
    ----------
    features : (n, d).
    labels : (n), whole numbers from 0.
    k : neighbours, at most n - 1.
    rng : generator or seed of the auxiliary numbers.

    Raises
    ------
    InvalidInput : NaN, shapes that do not meet, labels that are no labels, k > n - 1.

    Cost: O(n^2 d) in blocks of 32 MiB.

    Examples
    --------
    >>> leave_one_out([[0.0], [1.0], [5.0], [6.0]], [0, 0, 1, 0], k=1)
    LeaveOneOut(2 errors in 4, k = 1)
    """
    X, y, k = as_floats("features", features, ndim=2), as_labels("labels", labels), as_count("k", k)
    n, d = X.shape
    if len(y) != n or d == 0:
        raise InvalidInput(f"features of shape {X.shape} and {len(y)} labels do not meet.")
    if k >= n:
        raise InvalidInput(f"k must be at most n - 1 = {n - 1}, but is {k}.")
    if np.abs(X).max() > 1e150:
        raise InvalidInput("features must be below 1e150, or their squared distances overflow.")
    u = np.asarray(np.random.default_rng(rng).random(n))
    norms = np.einsum("ij,ij->i", X, X)
    predictions, rows = np.empty(n, dtype=np.int64), max(1, BLOCK // n)
    for start in range(0, n, rows):
        block = np.arange(start, min(n, start + rows))
        nearest = _nearest(X, norms, u, block, k)
        votes = np.zeros((len(block), int(y.max()) + 1), dtype=np.int64)
        np.add.at(votes, (np.arange(len(block))[:, None], y[nearest]), 1)
        predictions[block] = votes.argmax(axis=1)  # the first of equals: the lowest label
    return LeaveOneOut(predictions=predictions, errors=int((predictions != y).sum()), n=n, k=k)


def _nearest(X: np.ndarray, norms: np.ndarray, u: np.ndarray, block: np.ndarray, k: int) -> np.ndarray:
    """The k nearest others (rows, k) of the samples in ``block``, in order of distance, then of u."""
    sizes = norms[block, None] + norms
    rough = sizes - 2 * (X[block] @ X.T)
    rough[np.arange(len(block)), block] = np.inf
    slip = 2 * (X.shape[1] + 4) * EPS * sizes  # of the product, and of the differences
    limit = np.partition(rough + slip, k - 1, axis=1)[:, k - 1]
    row, other = np.nonzero(rough - slip <= limit[:, None])
    exact, step = np.empty(len(row)), max(1, BLOCK // X.shape[1])
    for at in range(0, len(row), step):
        pair = slice(at, at + step)
        exact[pair] = ((X[block[row[pair]]] - X[other[pair]]) ** 2).sum(axis=1)
    order = np.lexsort((u[other], exact, row))
    first = np.searchsorted(row, np.arange(len(block)))  # row is sorted, before and after
    return other[order[first[:, None] + np.arange(k)]]


def vote_instability(k: int) -> float:
    r"""Largest ``n Pr[one sample of n changes a two-class vote of k neighbours]``.

    .. math:: c_k = t \binom kt \Bigl(\frac tk\Bigr)^t \Bigl(1 - \frac tk\Bigr)^{k-t}, \quad t = \lfloor k/2 \rfloor + 1

    *derived*: given the (k+1)-st neighbour, the k nearest are independent in the ball, with S ~ Bin(k, p) votes for
    class 1, which wins with at least t. The sample left out is any of the n, and one of the k with probability k/n;
    its heir, the (k+1)-st, votes 1 with some probability q. The vote changes with probability ``C(k-1, t-1) p^(t-1)
    (1-p)^(k-t) [p (1-q) + (1-p) q]``, linear in q, and largest at q = 0, p = t/k; ``k C(k-1, t-1) = t C(k, t)``.

    Parameters
    ----------
    k : neighbours, at least 1.

    Raises
    ------
    InvalidInput : k below 1 or not whole.

    Examples
    --------
    >>> [round(vote_instability(k), 3) for k in (1, 3, 5, 15, 101)]
    [1.0, 0.889, 1.037, 1.624, 4.039]
    """
    k = as_count("k", k)
    t = k // 2 + 1
    return float(t * binom.pmf(t, k, t / k)) * (1 + 1e-12)


def loo_variance(n: int, k: int, classes: int) -> float:
    r"""Bound on the mean squared difference of the leave-one-out error and the true error.

    .. math:: \mathbb E (\hat R_{\mathrm{loo}} - R)^2 \le \frac{1 + 6 c_k}{n} \ (K = 2), \qquad
        \frac{1 + 6 k}{n} \ (\text{any } K)

    *derived* in the manner of devroye1979distribution: expand the square into the probabilities that two test points
    are both misclassified, LL (both left out), DL and DD (both fresh). Adding or removing one training sample changes
    one decision with probability at most ``beta = Pr[g_n(X) != g_{n-1}(X)]``. LL and DL differ by three such changes,
    DD and DL by three, and the diagonal gives 1/n: ``1/n + 6 beta``. The sample is among the k nearest with
    probability k/n, hence ``beta <= k/n``; for two classes ``beta <= c_k/n`` (``vote_instability``).

    Parameters
    ----------
    n, k : samples and neighbours, n > k.
    classes : K of the problem, not of the sample.

    Raises
    ------
    InvalidInput : counts that are not whole; fewer than two classes.
    PreconditionError : n <= k.

    Examples
    --------
    >>> round(loo_variance(1000, 1, 2), 12), round(loo_variance(1000, 5, 3), 12)
    (0.007, 0.031)
    """
    n, k, K = as_count("n", n), as_count("k", k), as_count("classes", classes, minimum=2)
    if n <= k:
        raise PreconditionError(f"n > k fails: {n} samples and {k} neighbours.")
    beta = min(vote_instability(k), float(k)) if K == 2 else float(k)
    return (1 + 6 * beta) / n


def neighbours_upper(found: LeaveOneOut, classes: int, delta: float) -> float:
    r"""Upper limit, with probability 1 - delta, of the error of the k-nearest-neighbour rule on all n samples.

    .. math:: R \le \hat R_{\mathrm{loo}} + \sqrt{v / \delta}

    *derived*: Markov's inequality for the square, with v of ``loo_variance``.

    Parameters
    ----------
    found : of ``leave_one_out``.
    classes : K.
    delta : failure probability.

    Raises
    ------
    InvalidInput : delta outside (0, 1), fewer than two classes.

    When not to trust it: features learned from the same samples; k or the metric chosen by looking at the errors.

    Examples
    --------
    >>> found = leave_one_out([[0.0], [1.0], [5.0], [6.0]], [0, 0, 1, 0], k=1)
    >>> round(neighbours_upper(found, 2, 0.5) - found.risk, 12) == round((7 / 4 / 0.5) ** 0.5, 12)
    True
    """
    return (found.risk + float(np.sqrt(loo_variance(found.n, found.k, classes) / as_delta(delta)))) * (1 + SLACK)
