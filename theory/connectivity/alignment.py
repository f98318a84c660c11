r"""Reordering the hidden neurons of one network to lie close to another: weight matching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from theory._arrays import as_count
from theory._errors import InvalidInput
from theory.connectivity.network import DenseNetwork, check_pair


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """A reordering of the hidden neurons of a network.

    Attributes
    ----------
    orders : for each hidden layer, which of the old neurons stands at each place.
    network : the reordered network, the same function.
    distance, distance_before : Euclidean distance of all weights to the other network, after and before.
    sweeps : over the layers, of the best start.
    """

    orders: tuple[np.ndarray, ...]
    network: DenseNetwork
    distance: float
    distance_before: float
    sweeps: int

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return {"orders": [order.tolist() for order in self.orders], "distance": self.distance,
                "distance_before": self.distance_before, "sweeps": self.sweeps}  # fmt: skip

    def __repr__(self) -> str:
        return f"Alignment(distance={self.distance:.4g}, before={self.distance_before:.4g})"


def align(
    first: DenseNetwork, second: DenseNetwork, *, starts: int = 3, rng: np.random.Generator | int | None = 0
) -> Alignment:
    r"""Order the hidden neurons of ``second`` to be close to those of ``first`` (weight matching, ainsworth2023git).

    .. math:: \max_{P_1, \dots, P_{L-1}} \sum_k \langle A_k, P_k B_k P_{k-1}^T\rangle

    over permutations, biases included: layer by layer a linear assignment with the others fixed, in random order, until
    no layer improves. One hidden layer: exact (*derived*: a single assignment). More: a local optimum, the best of
    ``starts``, the first of which is the given order (*measure*; the problem is NP-hard).

    Parameters
    ----------
    first, second : networks of one kind. starts : random orders to start from. rng : seed or generator.

    Raises
    ------
    InvalidInput : networks of different kinds; weights above 1e150.

    Examples
    --------
    >>> net = DenseNetwork.of([[[1.0], [2.0], [3.0]], [[1.0, 1.0, 2.0]]])
    >>> found = align(net, net.permuted([[2, 0, 1]]))
    >>> found.distance, found.network.layers[0][:, 0]
    (0.0, array([1., 2., 3.]))
    """
    check_pair(first, second)
    if max(np.abs(A).max() for network in (first, second) for A in network.layers) > 1e150:
        raise InvalidInput("weights must be at most 1e150, or the distances compared are not finite.")
    generator = np.random.default_rng(rng)
    hidden = first.widths[1:-1]
    before = _distance(first, second)
    best: Alignment | None = None
    for start in range(as_count("starts", starts)):
        orders = [np.arange(n) if start == 0 else generator.permutation(n) for n in hidden]
        sweeps = _match(first, second, orders, generator)
        network = second.permuted(orders)
        distance = _distance(first, network)
        if best is None or distance < best.distance:
            best = Alignment(
                orders=tuple(orders), network=network, distance=distance, distance_before=before, sweeps=sweeps
            )
    assert best is not None
    return best


def _match(first: DenseNetwork, second: DenseNetwork, orders: list[np.ndarray], rng: np.random.Generator) -> int:
    """Coordinate ascent in place; each step is exact, so the sum never falls and the loop ends."""
    sweeps, improved = 0, True
    while improved:
        improved, sweeps = False, sweeps + 1
        for k in rng.permutation(len(orders)):
            below = second.layers[k] if k == 0 else second.layers[k][:, [*orders[k - 1], -1]]
            above = second.layers[k + 1][:, :-1]
            above = above if k == len(orders) - 1 else above[orders[k + 1]]
            gain = first.layers[k] @ below.T + first.layers[k + 1][:, :-1].T @ above
            _, order = linear_sum_assignment(gain, maximize=True)
            rows = np.arange(len(order))
            old, new = gain[rows, orders[k]].sum(), gain[rows, order].sum()
            if new > old + 1e-12 * (abs(old) + abs(new)):
                orders[k][:], improved = order, True
    return sweeps


def _distance(a: DenseNetwork, b: DenseNetwork) -> float:
    return float(np.sqrt(sum(((A - B) ** 2).sum() for A, B in zip(a.layers, b.layers, strict=True))))
