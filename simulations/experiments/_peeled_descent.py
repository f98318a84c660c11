"""Descent on the peeled models by PyTorch's own SGD, many starts in one tensor: what training finds, not what is best.

Every sample has a feature of its own, so that the collapse within classes is found and not assumed. The objective is
divided by lam_Z = sqrt(lam_W lam_H): weight decay is then lam_W / lam_Z on W and lam_H / lam_Z on H at every penalty,
and one step size serves a whole path of penalties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

SCALES = (0.01, 0.3, 1.0)  # norm of the starts over the norm of the optimum, in turn
CHECK_EVERY = 200
STATIONARY = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where the descents ended; the first axis is the start.

    Attributes
    ----------
    objective : (B,) in the units of the model, float64.
    gradient : (B,) norm of the gradient of objective / lam_Z (under budgets: of the projected step of the mean loss)
        over sqrt(1 + |theta|^2).
    W : (B, K, p). means : (B, K, p), features averaged over each class.
    within : (B,) largest distance of a feature to its class mean over the largest norm of a feature (0: collapsed).
    steps : steps taken.
    """

    objective: np.ndarray
    gradient: np.ndarray
    W: np.ndarray
    means: np.ndarray
    within: np.ndarray
    steps: int

    @property
    def converged(self) -> np.ndarray:
        """(B,) whether the gradient is below 1e-7."""
        return self.gradient <= STATIONARY

    def logits(self) -> np.ndarray:
        """(B, K, K) of class means, without bias; column k belongs to class k."""
        return self.W @ self.means.transpose(0, 2, 1)


def split(W: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Largest ||w_k - w_k'|| of two of ``classes``; W is (..., K, p)."""
    rows = W[..., classes, :]
    return np.linalg.norm(rows[..., :, None, :] - rows[..., None, :, :], axis=-1).max(axis=(-1, -2))


def merge_ratio(W: np.ndarray, classes: np.ndarray, *, zero: float = 0.0) -> np.ndarray:
    """The split over max ||w_j|| of all classes; 0 where that is below ``zero``, for all is merged then."""
    longest = np.linalg.norm(W, axis=-1).max(axis=-1)
    return np.where(longest <= zero, 0.0, split(W, classes) / np.maximum(longest, 1e-300))


def descend_penalised(
    counts: np.ndarray,
    lam_Z: np.ndarray,
    *,
    start_norms: tuple[float, float],
    smoothness: float,
    ratio: float = 1.0,
    lam_b: float | None = None,
    loss: str = "cross_entropy",
    relu: bool = False,
    hidden: int = 0,
    dimension: int | None = None,
    algorithm: str = "momentum",
    max_steps: int = 20000,
    seed: int = 0,
    scales: tuple[float, ...] = SCALES,
    callback: Callable[[int], None] | None = None,
) -> Found:
    r"""Unconstrained features from B starts, B = len(lam_Z).

    .. math:: \frac1{\lambda_Z N}\sum_i \ell(W h_i + b, y_i) + \frac r2\|W\|^2 + \frac1{2r}\|H\|^2
        + \frac{\lambda_b}{2\lambda_Z}\|b\|^2, \qquad r = \sqrt{\lambda_W/\lambda_H}

    Parameters
    ----------
    lam_Z : (B,) one penalty per start.
    start_norms : Frobenius norms of W and H that a start of scale 1 has; scales are taken in turn.
    smoothness : L; the step size is 1/L (SGD: 1/(2L), falling geometrically to 1e-3 of that over ``max_steps``).
    hidden : further linear layers of width p between features and W, each with penalty 1/2 |.|^2 (ratio 1).
    relu : features are projected on the nonnegative orthant after each step.
    algorithm : ``gd``, ``momentum`` (0.9), both with the full gradient until it is below 1e-7; or ``sgd``, a quarter
        of the samples at a time in an order shuffled at each epoch, momentum 0.
    """
    import torch

    K, N, B = len(counts), int(counts.sum()), len(lam_Z)
    p = K + 2 if dimension is None else dimension
    draw = torch.Generator().manual_seed(seed)
    y = torch.repeat_interleave(torch.arange(K), torch.as_tensor(counts, dtype=torch.int64))
    scale = torch.tensor(scales, dtype=torch.float64).repeat(-(-B // len(scales)))[:B, None, None]

    def start(rows: int, norm: float) -> torch.nn.Parameter:
        raw = torch.randn(B, rows, p, generator=draw, dtype=torch.float64)
        return torch.nn.Parameter(raw / raw.norm(dim=(1, 2), keepdim=True) * norm * scale)

    W, H = start(K, start_norms[0]), start(N, start_norms[1])
    middle = [start(p, start_norms[0]) for _ in range(hidden)]
    if relu:
        H.data.abs_()
    b = torch.nn.Parameter(torch.zeros(B, 1, K, dtype=torch.float64)) if lam_b is not None else None
    weight = torch.as_tensor(1 / (N * np.asarray(lam_Z, dtype=float)))[:, None]
    decay_b = 0.0 if not lam_b else float(lam_b / lam_Z[0])
    groups = [{"params": [W, *middle], "weight_decay": ratio}, {"params": [H], "weight_decay": 1 / ratio}]
    groups += [{"params": [b], "weight_decay": decay_b}] if b is not None else []
    stochastic = algorithm == "sgd"
    rate = (0.5 if stochastic else 1.0) / smoothness
    optimiser = torch.optim.SGD(groups, lr=rate, momentum=0.9 if algorithm == "momentum" else 0.0)

    def data_loss(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        z = features
        for layer in middle:
            z = z @ layer.transpose(1, 2)
        z = z @ W.transpose(1, 2)
        return (weight * _losses(z if b is None else z + b, labels, loss)).sum()

    def penalty() -> torch.Tensor:
        pairs = zip(parameters, decays, strict=True)
        return 0.5 * torch.stack([decay * (q.detach() ** 2).sum((1, 2)) for q, decay in pairs]).sum(0)

    parameters = [W, H, *middle, *([] if b is None else [b])]
    decays = [ratio, 1 / ratio, *[ratio] * hidden, *([] if b is None else [decay_b])]

    def residual() -> torch.Tensor:
        """Gradient norm per start; where H is at its bound only the part that points inside counts."""
        grads = torch.autograd.grad(data_loss(H, y.expand(B, N)), parameters)
        total, size = torch.zeros(B, dtype=torch.float64), torch.ones(B, dtype=torch.float64)
        for q, grad, decay in zip(parameters, grads, decays, strict=True):
            g = grad + decay * q.detach()
            if relu and q is H:
                g = torch.where((q > 0) | (g < 0), g, 0.0)
            total, size = total + (g**2).sum((1, 2)), size + (q.detach() ** 2).sum((1, 2))
        return (total / size).sqrt()

    batches = 4 if stochastic else 1
    falling = 1e-3 ** (1 / max(max_steps, 1))
    step, order = 0, torch.empty(0)
    while step < max_steps:
        if stochastic:
            if step % batches == 0:
                order = torch.rand(B, N, generator=draw).argsort(dim=1)
            part = order.tensor_split(batches, dim=1)[step % batches]
            labels, features = y[part], H.gather(1, part[..., None].expand(-1, -1, p))
            value = data_loss(features, labels) * (N / part.shape[1])
            for group in optimiser.param_groups:
                group["lr"] = rate * falling**step
        else:
            value = data_loss(H, y.expand(B, N))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        if relu:
            with torch.no_grad():
                H.clamp_(min=0)
        step += 1
        if step % CHECK_EVERY == 0:
            if callback is not None:
                callback(step)
            if not stochastic and bool((residual() <= STATIONARY).all()):
                break

    gradient = residual()
    with torch.no_grad():
        z: torch.Tensor = H
        for layer in middle:
            z = z @ layer.transpose(1, 2)
        out = z @ W.transpose(1, 2) if b is None else z @ W.transpose(1, 2) + b
        objective = (weight * _losses(out, y.expand(B, N), loss)).sum(1) + penalty()
        return _found(objective.numpy() * np.asarray(lam_Z), gradient, W, z, y, K, step)


def descend_budgets(
    counts: np.ndarray,
    E_W: float,
    E_H: float,
    *,
    starts: int,
    smoothness: float,
    loss: str = "cross_entropy",
    algorithm: str = "momentum",
    max_steps: int = 20000,
    seed: int = 0,
    callback: Callable[[int], None] | None = None,
) -> Found:
    r"""Layer-peeled model: steps of SGD, each followed by the projection on both budgets.

    In g_i = h_i / sqrt(n_k) the second budget is a ball, :math:`\sum_i\|g_i\|^2 \le K E_H`, as the first one is.
    """
    import torch

    K, N, p = len(counts), int(counts.sum()), len(counts) + 2
    draw = torch.Generator().manual_seed(seed)
    y = torch.repeat_interleave(torch.arange(K), torch.as_tensor(counts, dtype=torch.int64))
    labels, root = y.expand(starts, N), torch.as_tensor(np.sqrt(counts), dtype=torch.float64)[y][None, :, None]
    scale = torch.tensor(SCALES, dtype=torch.float64).repeat(starts)[:starts, None, None]
    radius = (np.sqrt(K * E_W), np.sqrt(K * E_H))
    parameters = []
    for rows, r in zip((K, N), radius, strict=True):
        raw = torch.randn(starts, rows, p, generator=draw, dtype=torch.float64)
        parameters.append(torch.nn.Parameter(raw / raw.norm(dim=(1, 2), keepdim=True) * scale * r))
    W, G = parameters
    rate = 1 / smoothness
    optimiser = torch.optim.SGD(parameters, lr=rate, momentum=0.9 if algorithm == "momentum" else 0.0)

    def loss_now() -> torch.Tensor:
        return _losses((root * G) @ W.transpose(1, 2), labels, loss).sum(1) / N

    def project(q: torch.Tensor, r: float) -> torch.Tensor:
        return q * torch.clamp(r / q.norm(dim=(1, 2), keepdim=True), max=1.0)

    def residual() -> torch.Tensor:
        grads = torch.autograd.grad(loss_now().sum(), parameters)
        moved = [q.detach() - project(q.detach() - rate * g, r)
                 for q, g, r in zip(parameters, grads, radius, strict=True)]  # fmt: skip
        size = 1 + (W.detach() ** 2).sum((1, 2)) + (G.detach() ** 2).sum((1, 2))
        return (sum((m**2).sum((1, 2)) for m in moved) / size).sqrt() / rate

    step = 0
    while step < max_steps:
        optimiser.zero_grad()
        loss_now().sum().backward()
        optimiser.step()
        with torch.no_grad():
            for q, r in zip(parameters, radius, strict=True):
                q.copy_(project(q, r))
        step += 1
        if step % CHECK_EVERY == 0:
            if callback is not None:
                callback(step)
            if bool((residual() <= STATIONARY).all()):
                break
    gradient = residual()
    with torch.no_grad():
        return _found(loss_now().numpy(), gradient, W, root * G, y, K, step)


def _losses(z: torch.Tensor, labels: torch.Tensor, loss: str) -> torch.Tensor:
    """(B, n) losses of (B, n, K) outputs."""
    import torch
    from torch.nn.functional import cross_entropy, one_hot

    if loss == "mse":
        return 0.5 * ((z - one_hot(labels, z.shape[-1]).to(torch.float64)) ** 2).sum(-1)
    return cross_entropy(z.flatten(0, 1), labels.reshape(-1), reduction="none").view(z.shape[:2])


def _found(
    objective: np.ndarray, gradient: torch.Tensor, W: torch.Tensor, H: torch.Tensor, y: torch.Tensor, K: int, steps: int
) -> Found:
    import torch

    member = torch.nn.functional.one_hot(y, K).to(torch.float64)
    means = (member / member.sum(0)).T @ H
    spread = (H - means[:, y]).norm(dim=-1).amax(1) / H.norm(dim=-1).amax(1).clamp(min=1e-300)
    return Found(
        objective=np.asarray(objective), gradient=gradient.numpy(), W=W.detach().numpy().copy(),
        means=means.detach().numpy(), within=spread.numpy(), steps=steps,
    )  # fmt: skip
