"""Data that no network of a kind can separate, refused only on a proof in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from theory._arrays import as_floats
from theory._errors import InvalidInput
from theory.flow._kkt_system import margins_of
from theory.flow.losses import as_loss
from theory.flow.networks import DiagonalNetwork, LayeredNetwork


def check_separable(network: Any, X: ArrayLike, y: ArrayLike) -> None:
    r"""Refuse data on which no parameters of such a network have all margins positive.

    The rules, each *derived* in a line: equal inputs have equal outputs; without biases ``f(0) = 0`` and ``f(c x)``
    is a positive multiple of ``f(x)`` for c > 0; an even activation gives ``f(-x) = f(x)``, a linear one ``f(-x) =
    -f(x)``; a linear network separates what a linear classifier separates (Gordan: if not, nonnegative weights
    annihilate the rows ``y_n x_n``).

    Nothing is refused in doubt (or, linearly, beyond ten million entries; of a network of another kind than
    ``theory.flow``'s own only the first rule is known): comparisons and Gordan's weights are checked in rational
    arithmetic. Widths are not looked at, so passing does not promise that this network separates the data.

    Parameters
    ----------
    network : its activation, biases, depth and number of outputs are read. X : (N, d). y : +-1, or classes.

    Raises
    ------
    InvalidInput : such data; NaN, shapes or labels that do not fit.

    Examples
    --------
    >>> from theory.flow.networks import two_layer
    >>> check_separable(two_layer(1, 3), [[1.0], [2.0]], [1, -1])
    Traceback (most recent call last):
    theory._errors.InvalidInput: samples 0 and 1 are positive multiples of each other with different labels: no ...
    """
    inputs = as_floats("X", X, ndim=2)
    if inputs.shape[1] != network.n_inputs:
        raise InvalidInput(f"the network takes inputs of dimension {network.n_inputs}, but X has {inputs.shape[1]}.")
    K = network.n_outputs
    labels = as_loss("exponential" if K == 1 else "cross_entropy").labels(np.asarray(y), len(inputs), K)
    known = isinstance(network, LayeredNetwork | DiagonalNetwork)
    biased = not known or any(layer.bias for layer in getattr(network, "layers", ()))
    smooth = known and (not network.n_units or not network.activation.has_kink)
    linear = smooth and (not network.n_units or network.activation.power == 1)
    even = smooth and not linear and network.activation.power % 2 == 0

    _refuse_pairs(inputs, labels, _equal_pairs(inputs), "equal", "no network separates them", differ=True)
    if not biased:
        zero = np.nonzero(~inputs.any(axis=1))[0]
        if len(zero):
            raise InvalidInput(f"sample {zero[0]} is zero, where a network without biases has output zero.")
        ahead, behind = _parallel_pairs(inputs)
        why = "no network without biases separates them"
        _refuse_pairs(inputs, labels, ahead, "positive multiples of each other", why, differ=True)
        if even:
            why = "the activation is even and there are no biases"
            _refuse_pairs(inputs, labels, behind, "negative multiples of each other", why, differ=True)
        if linear:
            why = "the network is linear"
            _refuse_pairs(inputs, labels, behind, "negative multiples of each other", why, differ=False)
    if linear:
        lifted = np.hstack([inputs, np.ones((len(inputs), 1))]) if biased else inputs
        _refuse_inseparable(lifted, labels, K)


def _refuse_pairs(
    X: np.ndarray, y: np.ndarray, pairs: list[tuple[int, int]], what: str, why: str, *, differ: bool
) -> None:
    """Raise on the first pair whose labels differ, or agree."""
    for i, j in pairs:
        if (y[i] != y[j]) == differ:
            having = "different labels" if differ else "the same label"
            raise InvalidInput(f"samples {i} and {j} are {what} with {having}: {why}.")


def _equal_pairs(X: np.ndarray) -> list[tuple[int, int]]:
    """Neighbours within each group of equal rows."""
    return _neighbours(np.unique(X + 0.0, axis=0, return_inverse=True)[1].ravel())


def _neighbours(group: np.ndarray) -> list[tuple[int, int]]:
    """Successive members of each group; a contradiction within a group shows between two of them."""
    order = np.argsort(group, kind="stable")
    return [(int(i), int(j)) for i, j in pairwise(order) if group[i] == group[j]]


def _parallel_pairs(X: np.ndarray) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Pairs of nonzero rows that are exactly positive, and exactly negative, multiples of each other."""
    lead = X[np.arange(len(X)), (X != 0).argmax(axis=1)][:, None]
    with np.errstate(
        over="ignore"
    ):  # quotients are rounded correctly: multiples agree to the last bit, infinite or not
        line = X / lead + 0.0
    _, place, counts = np.unique(line, axis=0, return_inverse=True, return_counts=True)
    alone = counts[place.ravel()] == 1
    keys = [(Fraction(i + 2),) * (X.shape[1] + 1) if alone[i] else _ray(row) for i, row in enumerate(X)]
    group = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    ahead = _neighbours(np.array([group[key] for key in keys]))
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    behind = []
    for i, key in enumerate(keys):
        opposite = tuple(-entry for entry in key)
        if not alone[i] and first.get(opposite, -1) > i:
            behind.append((i, first[opposite]))
    return ahead, behind


def _ray(row: np.ndarray) -> tuple[Fraction, ...]:
    """The row over the size of its first nonzero entry, exactly: equal for positive multiples only."""
    entries = [Fraction(float(entry)) for entry in row]
    lead = abs(next(entry for entry in entries if entry))
    return tuple(entry / lead for entry in entries)


def _refuse_inseparable(X: np.ndarray, y: np.ndarray, K: int) -> None:
    """Raise where exact nonnegative weights, not all zero, annihilate the rows of the linear classifier's margins."""
    margins = margins_of(y, K)
    if len(margins.sample) * K * X.shape[1] > 10_000_000:
        return
    V = (margins.mix[:, :, None] * X[margins.sample][:, None, :]).reshape(len(margins.sample), -1)
    lengths = np.linalg.norm(V, axis=1, keepdims=True)
    unit = V / np.where(lengths > 0, lengths, 1.0)
    A = np.vstack([unit.T, np.ones(len(V))])
    try:
        c, misfit = nnls(A, np.append(np.zeros(V.shape[1]), 1.0), maxiter=30 * max(A.shape) + 1000)
    except RuntimeError:
        return
    if misfit > 1e-9:  # the hull stays away from 0
        return
    support = np.nonzero(c > 1e-12)[0]  # they add up to one; less is rounding
    if _annihilated(V[support]):
        raise InvalidInput(
            "no linear classifier separates the data (hypothesis: linear separability), and the network is linear: "
            f"weights >= 0 on {len(support)} margins, one of sample {margins.sample[support[0]]}, add up to zero."
        )


def _annihilated(rows: np.ndarray) -> bool:
    """Whether a null vector of the rows (M, p) from the left has no negative entry, in rational arithmetic."""
    M = len(rows)
    table = [[Fraction(float(entry)) for entry in column] for column in rows.T]
    pivots: list[int] = []
    for column in range(M):
        at = len(pivots)
        pivot = next((i for i in range(at, len(table)) if table[i][column]), None)
        if pivot is None:
            continue
        table[at], table[pivot] = table[pivot], table[at]
        lead = table[at][column]
        table[at] = [entry / lead for entry in table[at]]
        for i in range(len(table)):
            if i != at and table[i][column]:
                factor = table[i][column]
                table[i] = [a - factor * b for a, b in zip(table[i], table[at], strict=True)]
        pivots.append(column)
    free = [column for column in range(M) if column not in pivots]
    return any(all(table[i][column] <= 0 for i in range(len(pivots))) for column in free)
