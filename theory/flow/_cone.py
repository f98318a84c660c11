r"""The point of a cone next to a target, where each block of the cone is a vector with a box of directions at its end.

The cone is ``{sum_b lam_b base_b + sum_m mu_m D_m : lam >= 0, 0 <= mu_m <= lam_owner(m)}``. Its extreme rays are
``base_b`` plus any subset of the block's directions: exponentially many, but the ray that a residual prices highest
is known in closed form (the directions with a positive product), so the active-set method of Lawson and Hanson runs
on them as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular


@dataclass(frozen=True, slots=True, kw_only=True)
class Cone:
    """Blocks ``base`` (B, P) with linear costs (B), directions (M, P), and the block (M) that owns each."""

    base: np.ndarray
    cost: np.ndarray
    directions: np.ndarray
    owner: np.ndarray

    def prices(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The largest ``<r, ray> - cost`` of each block (B), and which directions (M) that ray takes."""
        gain = self.directions @ r
        boxes = np.bincount(self.owner, weights=np.maximum(gain, 0.0), minlength=len(self.base))
        return self.base @ r - self.cost + boxes, gain > 0

    def ray(self, block: int, taken: np.ndarray) -> np.ndarray:
        """``base_b`` plus the directions taken."""
        return self.base[block] + self.directions[taken].sum(axis=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """Coefficients lam (B) and mu (M), and the residual (P) of the nearest point."""

    lam: np.ndarray
    mu: np.ndarray
    residual: np.ndarray


def nearest(cone: Cone, target: np.ndarray) -> Nearest:
    """``argmin 1/2 ||target - x||^2 + cost`` over x in the cone, to rounding: by pivoting, else by rays."""
    found = by_pivoting(cone, target) if len(cone.directions) else None
    return found if found is not None else by_rays(cone, target)


LOW, FREE, UP = -1, 0, 1


def by_pivoting(cone: Cone, target: np.ndarray, max_steps: int = 300) -> Nearest | None:
    """The same by block principal pivoting: guess what is at its bound, solve, exchange all that disagrees.

    A direction is low (mu = 0), up (mu = lam) or free; a block takes part or not. Where the exchanges of all
    disagreements stop making them fewer, one at a time, the last, is exchanged. ``None`` where columns depend on
    each other or the steps run out.
    """
    B, M, owner = len(cone.base), len(cone.directions), cone.owner
    lengths = np.concatenate([np.linalg.norm(cone.base, axis=1), np.linalg.norm(cone.directions, axis=1)])
    active, state = np.ones(B, dtype=bool), np.full(M, LOW)
    fewest, patience = B + M + 1, 3
    for _ in range(max_steps):
        blocks, free = np.flatnonzero(active), np.flatnonzero((state == FREE) & active[owner])
        whole = cone.base.copy()
        np.add.at(whole, owner[state == UP], cone.directions[state == UP])
        columns = np.concatenate([whole[blocks], cone.directions[free]]).T
        if not 0 < columns.shape[1] <= len(target) or not np.linalg.norm(columns, axis=0).all():
            return None
        costs = np.append(cone.cost[blocks], np.zeros(len(free)))
        x, full = _direction(columns, np.zeros(columns.shape[1]), costs, target)
        if full != 1.0:
            return None
        residual = target - columns @ x
        lam, mu = np.zeros(B), np.zeros(M)
        lam[blocks], mu[free] = x[: len(blocks)], x[len(blocks) :]
        mu = np.where(state == UP, lam[owner], mu)
        floor = np.maximum(1e-13 * np.linalg.norm(residual), 2e-16 * np.linalg.norm(target)) * lengths
        price, gain = cone.prices(residual)[0], cone.directions @ residual
        wrong_block = np.where(active, lam < 0, price > floor[:B])
        live = active[owner] & (lam[owner] >= 0)
        outside = np.where(state == FREE, (mu < 0) | (mu > lam[owner]), np.where(state == LOW, gain, -gain) > floor[B:])
        wrong = np.concatenate([wrong_block, live & outside])
        count = int(wrong.sum())
        if not count:
            return Nearest(lam=lam, mu=mu, residual=target - lam @ cone.base - mu @ cone.directions)
        if count < fewest:
            fewest, patience = count, 3
        elif patience > 0:
            patience -= 1
        else:
            wrong[: np.flatnonzero(wrong)[-1]] = False
        enters = wrong[:B] & ~active
        state = np.where(enters[owner], np.where(gain > 0, UP, LOW), state)
        moved = np.where(state == FREE, np.where(mu < 0, LOW, UP), FREE)
        state = np.where(wrong[B:], moved, state)
        active = active ^ wrong[:B]
    return None


def by_rays(cone: Cone, target: np.ndarray, max_steps: int = 10_000) -> Nearest:
    r"""``argmin 1/2 ||target - x||^2 + cost`` over x in the cone, to rounding.

    Lawson and Hanson's method: the rays in use solve a least-squares problem by QR; a coefficient that would turn
    negative leaves; the ray of the largest positive price enters, until none is left. Stopping early only loosens
    the bracket, never the claim.
    """
    lengths = np.linalg.norm(cone.directions, axis=1)
    norms = np.linalg.norm(cone.base, axis=1) + np.bincount(cone.owner, weights=lengths, minlength=len(cone.base))
    blocks, taken = np.zeros(0, dtype=int), np.zeros((0, len(cone.directions)), dtype=bool)
    columns, x = np.zeros((len(target), 0)), np.zeros(0)
    residual, refused = target, norms == 0
    value = 0.5 * float(target @ target)
    for _ in range(max_steps):
        price, positive = cone.prices(residual)
        floor = max(1e-13 * np.linalg.norm(residual), 2e-16 * np.linalg.norm(target))
        price = np.where(refused | (price <= floor * norms), -np.inf, price / np.where(norms > 0, norms, 1.0))
        block = int(price.argmax())
        if price[block] == -np.inf:
            break
        mask = positive & (cone.owner == block)
        trial_blocks, trial = np.append(blocks, block), np.column_stack([columns, cone.ray(block, mask)])
        kept, z = _feasible(trial, np.append(x, 0.0), cone.cost[trial_blocks], target)
        gone = target - trial[:, kept] @ z
        reached = 0.5 * float(gone @ gone) + float(cone.cost[trial_blocks[kept]] @ z)
        if reached >= value:
            refused[block] = True  # its price was rounding
            continue
        value, residual, x, columns = reached, gone, z, trial[:, kept]
        blocks, taken, refused = trial_blocks[kept], np.vstack([taken, mask])[kept], norms == 0
    lam = np.bincount(blocks, weights=x, minlength=len(cone.base))
    mu = x @ taken
    return Nearest(lam=lam, mu=mu, residual=target - lam @ cone.base - mu @ cone.directions)


def _feasible(
    columns: np.ndarray, x: np.ndarray, cost: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which columns stay, and their coefficients: from x >= 0 towards the least-squares solution, up to the walls."""
    kept = np.arange(columns.shape[1])
    while len(kept):
        step, full = _direction(columns[:, kept], x, cost[kept], target)
        wall = np.divide(x, -step, out=np.full_like(x, np.inf), where=step < 0)
        first = int(wall.argmin())
        if wall[first] >= full:
            return kept, x + step
        x = np.maximum(x + wall[first] * step, 0.0)
        kept, x = np.delete(kept, first), np.delete(x, first)
    return kept, x


def _direction(columns: np.ndarray, x: np.ndarray, cost: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """The step from x to ``argmin_z 1/2 ||target - columns z||^2 + <cost, z>``, and 1; on a kernel along it, inf."""
    scale = np.linalg.norm(columns, axis=0)
    Q, R = np.linalg.qr(columns / scale)
    if np.abs(np.diag(R)).min() < 1e-13 or len(R) < columns.shape[1]:
        kernel = np.append(-np.linalg.lstsq(R[:, :-1], R[:, -1], rcond=None)[0], 1.0) / scale
        return (kernel if cost @ kernel <= 0 else -kernel), np.inf
    pull = solve_triangular(R, cost / scale, trans="T")
    step = np.zeros_like(x)
    for _ in range(2):  # the second time refines
        step = step + solve_triangular(R, Q.T @ (target - columns @ (x + step)) - pull) / scale
    return step, 1.0
