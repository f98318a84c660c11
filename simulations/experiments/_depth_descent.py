"""Descent on the deep unconstrained-features model itself, many starts and penalties at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from simulations._torch import import_torch
from theory._arrays import as_count

SCALE = 4.0  # norm c of an input: the features cost lam / c^2
LARGE = 0.5  # of the largest singular value


def descend(
    K: int, depth: int, lams: Sequence[float], *, activation: str, starts: int, width: int, steps: int, rate: float,
    momentum: float, seed: int, callback: Callable[[int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    r"""Gradient descent with momentum on L layers over free features, one sample a class.

    .. math:: \min\ \tfrac1K \sum_k \ell(W_L \sigma(\cdots \sigma(W_1 \sigma(A e_k))), k)
        + \tfrac\lambda2 \sum_l \|W_l\|_F^2 + \tfrac\lambda{2 c^2} \|A\|_F^2, \qquad A = c\, W_0

    with cross-entropy, that is a bias-free network of L hidden layers on the inputs c e_1 ... c e_K under weight decay.
    With sigma the identity it is ``DeepLinearModel(counts=[1] * K, lams=[lam] * L + [lam / c**2])``, and n samples
    a class would only multiply the penalty on the features by n. With ReLU, feature matrices max(A, 0) cost the same,
    for ||max(A, 0)|| <= ||A||.

    Parameters
    ----------
    K, depth : classes, and L layers of weights over the features. lams : penalties, each with its own starts.
    activation : ``identity`` or ``relu``. starts, seed : weights drawn as PyTorch's linear layers are (uniform, bound
        1/sqrt(fan-in)), all from one seed. width : of every hidden layer and of the features.
    steps, rate, momentum : full gradient, float64.

    Returns
    -------
    lists (penalties, starts): ``objective``, ``loss``; ``gradient``, the largest ||gradient of a factor|| over
    lam times the root mean square norm of the factors (of a start that fell to zero: 0); ``classifier`` (..., K)
    singular values of W_L, ``logits`` (..., K) those of the logits.
    """
    torch = import_torch("depth-and-rank")
    depth = as_count("depth", depth)
    draw = torch.Generator().manual_seed(seed)
    sizes = [K, *[width] * depth, K]
    factors = []
    for a, b in pairwise(sizes):
        drawn = torch.rand((starts, b, a), generator=draw, dtype=torch.float64) * 2 - 1
        factors.append((drawn / a**0.5).repeat(len(lams), 1, 1).requires_grad_())
    decay = torch.tensor(np.repeat(lams, starts))[:, None, None]
    own = torch.arange(K)
    act = torch.relu if activation == "relu" else lambda x: x

    def outputs() -> Any:
        Z = SCALE * factors[0]
        for W in factors[1:]:
            Z = W @ act(Z)
        return Z

    def losses(Z: Any) -> Any:
        return (torch.logsumexp(Z, dim=1) - Z[:, own, own]).mean(dim=1)

    def slopes() -> list[Any]:
        return [g + decay * W.detach() for g, W in
                zip(torch.autograd.grad(losses(outputs()).sum(), factors), factors, strict=True)]  # fmt: skip

    moving = [torch.zeros_like(W) for W in factors]
    for step in range(steps):
        gradients = slopes()
        with torch.no_grad():
            for W, v, g in zip(factors, moving, gradients, strict=True):
                v.mul_(momentum).add_(g)
                W.sub_(v, alpha=rate)
        if callback is not None and step % 100 == 0:
            callback(step)

    with torch.no_grad():
        Z = outputs()
        squares = torch.stack([(W**2).sum(dim=(1, 2)) for W in factors])
        loss, weight = losses(Z), decay[:, 0, 0]
        found = {
            "objective": loss + weight / 2 * squares.sum(dim=0), "loss": loss,
            "classifier": torch.linalg.svdvals(factors[-1])[:, :K], "logits": torch.linalg.svdvals(Z),
        }  # fmt: skip
    sizes_of = torch.stack([g.norm(dim=(1, 2)) for g in slopes()]).amax(dim=0)
    found["gradient"] = sizes_of / (weight * squares.mean(dim=0).sqrt().clamp(min=1e-6))
    return {name: x.reshape(len(lams), starts, *x.shape[1:]).tolist() for name, x in found.items()}


def large_values(s: np.ndarray) -> np.ndarray:
    """How many singular values (..., K) exceed half the largest; 0 for a zero matrix."""
    s = np.asarray(s, float)
    top = s.max(axis=-1, keepdims=True)
    return ((s > LARGE * top) & (top > 1e-3)).sum(axis=-1)


def stable_rank(s: np.ndarray) -> np.ndarray:
    """Squared norm over the largest square, ||s||^2 / max s^2 of singular values (..., K); 0 for a zero matrix."""
    squares = np.asarray(s, float) ** 2
    top = squares.max(axis=-1)
    return np.where(top > 1e-6, squares.sum(axis=-1) / np.maximum(top, 1e-300), 0.0)
