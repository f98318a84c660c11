"""The variation-norm (F1) margin of two-layer ReLU networks: a certified upper bound on what training can reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from theory._arrays import as_floats, as_positive, as_real, short_repr
from theory._certificate import Certificate
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow._active_set import Problem, Sets, search_sets, tangent_sets
from theory.flow._cells import best_in_cone, cell_bound, cells
from theory.flow._kkt_system import margins_of
from theory.flow._modes import ON
from theory.flow.losses import as_loss
from theory.flow.networks import fully_connected

MOST_CELLS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VariationMargin:
    """The margin of the best signed measure of neurons of total mass one.

    Attributes
    ----------
    margin : what ``atoms`` reach, ``certificate.lower``; ``certificate.upper`` bounds every measure.
    atoms : (J, d) unit vectors w_j. masses : (J) signed, absolute values adding up to 1.
    weights : (N) probability vector of the dual bound.
    cells : activation patterns that were searched, all there are.
    certificate : the bracket.
    """

    margin: float
    atoms: np.ndarray
    masses: np.ndarray
    weights: np.ndarray
    cells: int
    certificate: Certificate

    __repr__ = short_repr

    @property
    def parameter_bound(self) -> float:
        """Half the upper bound: no two-layer network of any width has a larger ``q_min / ||theta||^2``."""
        return self.certificate.upper / 2

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists."""
        return {
            "margin": self.margin,
            "parameter_bound": self.parameter_bound,
            "atoms": self.atoms.tolist(),
            "masses": self.masses.tolist(),
            "weights": self.weights.tolist(),
            "cells": self.cells,
            "certificate": self.certificate.to_json(),
        }


def variation_margin(X: ArrayLike, y: ArrayLike, *, slope: float = 0.0, rtol: float = 1e-6) -> VariationMargin:
    r"""The F1 maximum margin of bias-free two-layer (leaky) ReLU networks, in a certified bracket.

    .. math:: \gamma_1 = \max_{|\mu| \le 1} \min_n y_n \int \sigma(w^\top x_n)\, d\mu(w)
              = \min_{p \in \Delta} \max_{\|w\| = 1} \Bigl| \sum_n p_n y_n \sigma(w^\top x_n) \Bigr|

    (*proved*: the margin that wide two-layer networks reach, chizat2020implicit; the equality is minimax duality.)
    For a network ``f(x) = sum_j a_j sigma(w_j . x)`` with all margins at least 1, ``1/2 ||theta||^2 >= sum_j |a_j|
    ||w_j|| >= 1 / gamma_1``, so its normalised margin ``||theta||^-2`` is at most ``gamma_1 / 2``, with equality for
    a balanced network that has the neurons of an optimal measure (*derived*).

    On an activation pattern the inner function is linear in w, so its maximum over the pattern's closed cone is the
    length of a projection; all patterns are enumerated. Measures come from column generation, and are polished by
    Newton on the network that they make.

    Parameters
    ----------
    X : (N, d). y : labels -1 and +1. slope : of the activation where a unit is off, in [0, 1). rtol : relative gap to
        reach.

    Raises
    ------
    InvalidInput : NaN, labels or slope outside their sets, more than 20 000 activation patterns.
    PreconditionError : data that no such network separates.
    NotConverged : the gap stays above rtol; ``partial`` is the record with its honest bracket.

    Cost: a small least-squares problem for each pattern and sign that could still matter, in every round.

    Examples
    --------
    >>> found = variation_margin([[1.0, 0.0], [0.0, 2.0]], [1, -1])
    >>> bool(np.isclose(found.margin, 1 / (1 + 1 / 2)))
    True
    """
    inputs, low, tol = as_floats("X", X, ndim=2), as_real("slope", slope), as_positive("rtol", rtol)
    if not 0 <= low < 1:
        raise InvalidInput(f"slope must be in [0, 1), but is {low:g}.")
    labels = as_loss("exponential").labels(np.asarray(y), len(inputs), 1)
    if not inputs.any(axis=1).all():
        raise PreconditionError("an input is zero, where a network without biases has output zero.")
    scale = float(np.linalg.norm(inputs, axis=1).max())
    basis = _row_space(inputs / scale)
    search = _Search(inputs / scale @ basis.T, labels, low)
    for found in _column_generation(search):
        if found.lower > 1e-12:
            found = _polished(search, found)
        if found.upper - found.lower <= min(tol, 1e-12) * found.upper:
            break
    if not found.lower > 1e-12:
        raise PreconditionError("no two-layer network without biases separates the data.")
    record = VariationMargin(
        margin=found.lower * scale,
        atoms=found.atoms @ basis,
        masses=found.masses / np.abs(found.masses).sum(),
        weights=found.p,
        cells=len(search.signs),
        certificate=Certificate(
            lower=found.lower * scale,
            upper=found.upper * scale,
            gap=max(found.upper - found.lower, 0.0) * scale,
            method=f"exact maximum over {len(search.signs)} activation patterns",
        ),
    )
    if record.certificate.relative_gap > tol:
        raise NotConverged(f"the F1 margin is known to {record.certificate.relative_gap:.1e} only.", record)
    return record


def _row_space(X: np.ndarray) -> np.ndarray:
    """An orthonormal basis (r, d) of the span of the inputs: no neuron gains by leaving it."""
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    return Vt[s > 1e-14 * s[0] * max(X.shape)]


class _Search:
    """The data in coordinates of their span, with every activation pattern."""

    def __init__(self, X: np.ndarray, y: np.ndarray, slope: float) -> None:
        bound = cell_bound(*X.shape)
        if bound > MOST_CELLS:
            raise InvalidInput(
                f"{len(X)} samples that span {X.shape[1]} dimensions have up to {bound} activation patterns; "
                f"the exact search goes up to {MOST_CELLS}."
            )
        self.X, self.y, self.slope = X, y, slope
        self.signs = cells(X)
        self.slopes = np.where(self.signs > 0, 1.0, slope)

    def features(self, atoms: np.ndarray) -> np.ndarray:
        """``y_n sigma(w_j . x_n)`` (N, J)."""
        z = self.X @ atoms.T
        return self.y[:, None] * np.where(z > 0, z, self.slope * z)

    def reached(self, atoms: np.ndarray, masses: np.ndarray) -> float:
        """The margin of a measure, over its total mass."""
        return float((self.features(atoms) @ masses).min() / np.abs(masses).sum())

    def price(self, p: np.ndarray, above: float = 0.0) -> tuple[float, np.ndarray, np.ndarray]:
        """``max_w |sum_n p_n y_n sigma(w . x_n)|`` from above; maximisers on cells (J, r) over ``above``; their signs.

        Cells come in the order of the gradient's length, which bounds them: once it is below the best value, the rest
        is done.
        """
        G = (self.slopes * (p * self.y)) @ self.X
        lengths = np.linalg.norm(G, axis=1)
        best, found, signs = 0.0, [], []
        for cell in np.argsort(-lengths):
            if lengths[cell] <= best:
                break
            for sign in (1.0, -1.0):
                value, w = best_in_cone(sign * G[cell], self.signs[cell][:, None] * self.X)
                best = max(best, value)
                if value > above:
                    found.append(w)
                    signs.append(sign)
        return best, np.array(found).reshape(-1, self.X.shape[1]), np.array(signs)

    def master(self, atoms: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The best masses (J) >= 0 of signed atoms, and the dual weights p (N), by linear programming."""
        F = self.features(atoms) * signs
        N, J = F.shape
        answer = linprog(
            np.append(np.zeros(J), -1.0),
            A_ub=np.hstack([-F, np.ones((N, 1))]),
            b_ub=np.zeros(N),
            A_eq=np.append(np.ones(J), 0.0)[None, :],
            b_eq=[1.0],
            bounds=[(0, None)] * J + [(None, None)],
            method="highs",
        )
        if answer.x is None:
            return None
        p = np.maximum(-answer.ineqlin.marginals, 0.0)
        return np.maximum(answer.x[:J], 0.0), p / p.sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bracket:
    """Atoms (J, r), signed masses (J) and the margin they reach; weights (N) and the upper bound they give."""

    atoms: np.ndarray
    masses: np.ndarray
    lower: float
    p: np.ndarray
    upper: float


def _column_generation(search: _Search) -> Iterator[_Bracket]:
    """The best measure and the best weights, each time that the gap is ten times smaller, and at the end."""
    N, r = search.X.shape
    p = best_p = np.full(N, 1 / N)
    atoms, signs = np.empty((0, r)), np.empty(0)
    measure, upper, lower, gap = (atoms, signs), np.inf, 0.0, 0.01
    for _ in range(300):
        bound, new, new_signs = search.price(p, above=lower)
        if bound < upper:
            upper, best_p = bound, p
        if upper - lower <= gap * upper:
            yield _Bracket(atoms=measure[0], masses=measure[1], lower=lower, p=best_p, upper=upper)
            gap = 0.1 * (upper - lower) / upper
        if gap < 1e-9 or not len(new):
            break
        atoms, signs = np.vstack([atoms, new]), np.append(signs, new_signs)
        answer = search.master(atoms, signs)
        if answer is None:
            break
        masses, p = answer
        reached = search.reached(atoms, signs * masses)
        if reached > lower:
            measure, lower = (atoms[masses > 0], (signs * masses)[masses > 0]), reached
        elif upper < (1 + 1e-6) * lower:
            break
        priced = p @ search.features(atoms) * signs
        kept = (masses > 0) | (priced > 0.9 * lower) | (reached <= 0)
        atoms, signs = atoms[kept], signs[kept]
    yield _Bracket(atoms=measure[0], masses=measure[1], lower=lower, p=best_p, upper=upper)


def _polished(search: _Search, found: _Bracket) -> _Bracket:
    """The same after Newton on the network that has a neuron for each sign and activation pattern of the measure.

    Nothing is believed: both ends are evaluated again, and kept where they are better.
    """
    for near, least in ((1e-3, 0.0), (1e-3, 1e-2), (1e-2, 0.0), (1e-5, 0.0)):
        z = search.X @ found.atoms.T
        modes = np.where(np.abs(z) < near * np.linalg.norm(search.X, axis=1)[:, None], 2, (z > 0).astype(int)).T
        _, group = np.unique(np.column_stack([np.sign(found.masses), modes]), axis=0, return_inverse=True)
        share = np.bincount(group, np.abs(found.masses))
        groups = np.nonzero(share > least * share.sum())[0]
        first = [int(np.nonzero(group == k)[0][0]) for k in groups]
        sums = np.array([np.abs(found.masses[group == k]) @ found.atoms[group == k] for k in groups])
        sizes = np.sqrt(np.linalg.norm(sums, axis=1))
        network = fully_connected((search.X.shape[1], len(first), 1), activation="leaky_relu", slope=search.slope)
        theta = network.pack(W1=sums / sizes[:, None], W2=(np.sign(found.masses[first]) * sizes)[None, :])
        theta = theta / np.linalg.norm(theta)
        slopes = np.where(modes[first].T == ON, 1.0, search.slope)
        level = float((search.y * network.forward(theta, search.X, slopes).outputs[:, 0]).min())
        if not level > 0:
            continue
        problem = Problem(network=network, X=search.X, margins=margins_of(search.y, 1), level=level)
        sets = Sets(modes=modes[first].T, active=np.ones(len(search.y), dtype=bool))
        sets = tangent_sets(problem, theta, sets)
        limit, _ = search_sets(problem, theta, sets, rtol=1e-12, most_steps=60, most_newton=15)
        views = network.views(limit.point.theta)
        lengths = np.linalg.norm(views["W1"], axis=1)
        alive = lengths > 0
        atoms, masses = views["W1"][alive] / lengths[alive, None], (views["W2"][0] * lengths)[alive]
        p = limit.system.all_multipliers(np.maximum(limit.point.lam, 0.0))
        if not p.any() or not alive.any():
            continue
        p = p / p.sum()
        lower, upper = search.reached(atoms, masses), search.price(p)[0]
        if lower > found.lower:
            found = replace(found, atoms=atoms, masses=masses, lower=lower)
        if upper < found.upper:
            found = replace(found, p=p, upper=upper)
        if found.upper - found.lower <= 1e-12 * found.upper:
            break
    return found
