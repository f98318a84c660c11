"""Low rank from mini-batches and weight decay: how far a trained matrix is from rank n B R, by unrolled updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_positive, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.square_loss.ranks import as_matrix

ROUNDING = 1e-12
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCertificate:
    r"""How near ``W_T / ||W_T||_F`` is to matrices of rank ``n B R``, for several n; *derived* by unrolling.

    Attributes
    ----------
    updates : n, ascending (m). rank : ``n B R`` (m), not cut at min_dim.
    min_dim : ``min(rows, columns)``: from there on the bound says nothing. vacuous : ``rank >= min_dim`` (m).
    distance : ``q^n ||W_{T-n}||_F / ||W_T||_F``, q = 1 - 2 step lam (m): at most so far in Frobenius norm.
    tail : the true distance, root of the sum of ``s_i^2`` beyond the rank, over ``||W_T||_F`` (m); 0 where vacuous.
    holds : ``tail <= distance`` for every n, to rounding. False means that W was not made by these updates.
    identity_residual : ``||W_T - q^n W_{T-n} + step sum_j q^(j-1) G_{T-j}|| / ||W_T||``, None without gradients.
    singular_values : of W_T.
    """

    updates: np.ndarray
    rank: np.ndarray
    min_dim: int
    vacuous: np.ndarray
    distance: np.ndarray
    tail: np.ndarray
    holds: bool
    identity_residual: float | None
    singular_values: np.ndarray

    __repr__ = short_repr

    @property
    def informative(self) -> bool:
        """Whether some n has a rank below min_dim and a distance below 1."""
        return bool((~self.vacuous & (self.distance < 1)).any())

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists."""
        return {
            "updates": self.updates.tolist(), "rank": self.rank.tolist(), "min_dim": self.min_dim,
            "vacuous": self.vacuous.tolist(), "distance": self.distance.tolist(), "tail": self.tail.tolist(),
            "holds": self.holds, "informative": self.informative, "identity_residual": self.identity_residual,
        }  # fmt: skip


def rank_certificate(
    history: Sequence[ArrayLike] | np.ndarray,
    *,
    step: float,
    lam: float,
    batch: int,
    uses: int = 1,
    every: int = 1,
    gradients: Sequence[ArrayLike] | np.ndarray | None = None,
) -> RankCertificate:
    r"""Distance of a weight from low rank, from the weights that SGD passed through.

    .. math:: W_T = q^n W_{T-n} - \eta \sum_{j=1}^n q^{j-1} G_{T-j}, \quad q = 1 - 2 \eta \lambda, \qquad
        \min_{\mathrm{rank}\, U \le n B R} \Bigl\| \tfrac{W_T}{\|W_T\|_F} - U \Bigr\|_F
        \le q^n \frac{\|W_{T-n}\|_F}{\|W_T\|_F}

    *derived* (the argument of galanti2025sgd): plain SGD ``W <- W - eta (G + 2 lam W)`` unrolled; each G, the mean of
    the batch's gradients, has rank at most B R, because an example that uses W in R places (1 for a dense layer, the
    patches for a convolution, with W as a matrix) has a gradient of rank at most R. No momentum, no other optimizer,
    constant step and lam; PyTorch's ``weight_decay`` is ``2 lam``.

    Parameters
    ----------
    history : weights (m + 1, ...) of one layer, oldest first, the last being W_T.
    every : updates from one entry to the next.
    step, lam : eta and lam, with ``0 < 2 step lam < 1``. batch, uses : B and R.
    gradients : G of all ``m every`` updates, oldest first; they check the identity.

    Raises
    ------
    InvalidInput : fewer than two weights, shapes that differ, numbers out of range.
    PreconditionError : ``2 step lam`` not in (0, 1); W_T = 0.

    Cost: one singular value decomposition.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> W, path = rng.standard_normal((8, 8)), []
    >>> for _ in range(41):
    ...     path.append(W)
    ...     W = W - 0.5 * (np.outer(np.arange(8.0), np.ones(8)) + 0.2 * W)
    >>> found = rank_certificate(path[::4], step=0.5, lam=0.1, batch=1, every=4)
    >>> found.rank[:2].tolist(), found.min_dim, found.holds
    ([4, 8], 8, True)
    """
    q = 1 - _shrinkage(step, lam)
    weights = [as_matrix("a weight of history", W) for W in as_sequence("history", history)]
    if len(weights) < 2 or any(W.shape != weights[-1].shape for W in weights):
        raise InvalidInput("history must hold at least two weights of one shape, oldest first.")
    B, R, gap = as_count("batch", batch), as_count("uses", uses), as_count("every", every)
    last = weights[-1]
    size = float(np.linalg.norm(last))
    if size == 0:
        raise PreconditionError("the last weight is zero: it has no direction.")
    s = np.linalg.svd(last, compute_uv=False)
    n = gap * np.arange(1, len(weights))
    rank = n * B * R
    norms = np.array([np.linalg.norm(W) for W in weights[-2::-1]])
    distance = q**n * norms / size
    beyond = np.sqrt(np.append(np.cumsum((s**2)[::-1])[::-1], 0.0))
    tail = beyond[np.minimum(rank, len(s))] / size
    return RankCertificate(
        updates=n, rank=rank, min_dim=len(s), vacuous=rank >= len(s), distance=distance, tail=tail,
        holds=bool((tail <= distance * (1 + ROUNDING) + ROUNDING).all()),
        identity_residual=None if gradients is None else _residual(weights, gradients, int(n[-1]), q, float(step)),
        singular_values=s,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RankBound:
    """A rank that settled training cannot exceed by more than ``eps``.

    Attributes
    ----------
    rank : ``n B R``. updates : n. min_dim : ``min(shape)``. vacuous : whether ``rank >= min_dim``. eps : the distance.
    """

    rank: int
    updates: int
    min_dim: int
    vacuous: bool
    eps: float

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return asdict(self)


def rank_bound(
    eps: float, *, lam: float, step: float, batch: int, shape: Sequence[int], uses: int = 1, norm_ratio: float = 1.0
) -> RankBound:
    r"""``n B R`` with ``n = ceil(log(c / eps) / -log(1 - 2 step lam))``, c the ratio ``||W_{T-n}|| / ||W_T||``.

    *derived* as in ``rank_certificate``: ``W_T / ||W_T||`` lies within eps of that rank where the norm has settled
    (c = 1, an assumption; else give c). galanti2025sgd states the order ``B log(1/eps) / (step lam)``.
    For dense layers of usual width it is vacuous: look at ``vacuous``.

    Parameters
    ----------
    eps : in (0, norm_ratio). lam, step, batch, uses : as in ``rank_certificate``. shape : of the matrix.
    norm_ratio : c.

    Raises
    ------
    InvalidInput : numbers out of range. PreconditionError : ``2 step lam`` not in (0, 1).

    Examples
    --------
    >>> found = rank_bound(0.1, lam=0.05, step=0.5, batch=2, shape=(100, 200))
    >>> found.updates, found.rank, found.min_dim, found.vacuous  # 0.95^45 < 0.1 < 0.95^44
    (45, 90, 100, False)
    """
    shrinkage, ratio, near = _shrinkage(step, lam), as_positive("norm_ratio", norm_ratio), as_positive("eps", eps)
    if near >= ratio:
        raise InvalidInput(f"eps must be below norm_ratio = {ratio:g}, but is {near:g}.")
    sizes = [as_count("shape", n) for n in as_sequence("shape", shape)]
    if len(sizes) < 2:
        raise InvalidInput(f"shape must have at least two entries, but is {tuple(shape)}.")
    least = min(sizes[0], int(np.prod(sizes[1:])))
    n = int(np.ceil(np.log(ratio / near) / -np.log1p(-shrinkage) * (1 - 1e-14)))
    rank = n * as_count("batch", batch) * as_count("uses", uses)
    return RankBound(rank=rank, updates=n, min_dim=least, vacuous=rank >= least, eps=near)


def as_sequence(name: str, value: Sequence[T] | np.ndarray) -> Sequence[T] | np.ndarray:
    """A list, tuple or array as it is."""
    if not hasattr(value, "__len__"):
        raise InvalidInput(f"{name} must be a list, but is {value!r}.")
    return value


def _shrinkage(step: float, lam: float) -> float:
    """``2 step lam``, in (0, 1)."""
    product = 2 * as_positive("step", step) * as_positive("lam", lam)
    if not product < 1:
        raise PreconditionError(
            f"weight decay must shrink and not overshoot: 2 step lam must be below 1, is {product:g}."
        )
    return product


def _residual(
    weights: list[np.ndarray], gradients: Sequence[ArrayLike] | np.ndarray, n: int, q: float, step: float
) -> float:
    """How far the unrolled identity over all updates is from equality, over ``||W_T||``."""
    count = len(as_sequence("gradients", gradients))
    if count != n:
        raise InvalidInput(f"gradients must be those of all {n} updates, but there are {count}.")
    total = np.zeros_like(weights[-1])
    for G in gradients:  # Horner: oldest first
        matrix = as_matrix("a gradient", G)
        if matrix.shape != total.shape:
            raise InvalidInput(f"a gradient must have the weight's shape {total.shape}, but has {matrix.shape}.")
        total = q * total + matrix
    rest = weights[-1] - q**n * weights[0] + step * total
    return float(np.linalg.norm(rest) / np.linalg.norm(weights[-1]))
