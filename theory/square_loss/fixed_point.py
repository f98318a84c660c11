"""Whether all mini-batches can be at rest together, and a floor of the noise that keeps them apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import PreconditionError
from theory.flow._convolution import Convolution
from theory.flow._layered import LayeredNetwork
from theory.flow.networks import Network
from theory.square_loss._per_sample import per_sample
from theory.square_loss.moments import as_decay

COLLINEAR = 1e-12  # 1 - the largest eigenvalue of the mean projection below which all inputs share a direction
AT_REST = 1e-10  # of the size of the terms


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonFixedPoint:
    r"""Per-sample gradients with weight decay at one theta, and why they cannot all vanish.

    Attributes
    ----------
    is_fixed : whether ``g_n + 2 lam theta = 0`` for every n, to rounding.
    noise : root of ``(1/N) sum ||g_n + 2 lam theta||^2``, with ``g_n = grad ||f_n - y_n||^2``.
    mean_gradient : ``||(1/N) sum g_n + 2 lam theta||``. spread : root of ``(1/N) sum ||g_n - mean||^2``.
    first_layer_noise : ``noise`` of the first layer's weights alone.
    floor : ``2 lam ||W_1|| sqrt(1 - coherence)``: no theta with this ``||W_1||`` has less first_layer_noise.
    coherence : largest eigenvalue of the mean of the projections on the inputs (on their patches): 1 where all inputs
        share a direction.
    possible : whether this argument leaves room for a nonzero common fixed point: lam = 0, or the spans of all samples
        share a direction (all inputs collinear; or patches so many that they span everything).
    witness : two samples, as little collinear as any, whose gradients cannot agree; None where ``possible``, or where
        only three or more samples together (of patches) have no direction in common. cosine : of their inputs' spans.
    """

    is_fixed: bool
    noise: float
    mean_gradient: float
    spread: float
    first_layer_noise: float
    floor: float
    coherence: float
    possible: bool
    witness: tuple[int, int] | None
    cosine: float | None

    def summary(self) -> str:
        """Two lines for people."""
        verdict = "all batches are at rest" if self.is_fixed else "some batches are not at rest"
        why = "not excluded" if self.possible else "impossible for nonzero weights"
        first = f"first layer {self.first_layer_noise:.3g}, floor {self.floor:.3g}"
        lines = [f"{verdict}; a common fixed point is {why}", f"  noise {self.noise:.3g} ({first})"]
        if self.witness is not None:
            lines.append(f"  witness: samples {self.witness[0]} and {self.witness[1]}, cosine {self.cosine:.3g}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def common_fixed_point(
    network: Network, data: tuple[ArrayLike, ArrayLike], theta: ArrayLike, *, lam: float
) -> CommonFixedPoint:
    r"""Check that mini-batch gradients cannot all vanish together for lam > 0, with the witness.

    A point at rest for every batch of B < N samples has one ``g_n = -2 lam theta`` for all n (swap one sample). In the
    first layer ``g_n`` has its rows in the span of sample n's input (patches, for a convolution; the input with a 1
    where there is a bias), with projection P_n, so for every theta

    .. math:: \frac1N \sum_n \|g_n + 2 \lambda W_1\|^2 \ge \frac1N \sum_n \|2 \lambda W_1 (I - P_n)\|^2
        \ge (2 \lambda \|W_1\|)^2 \Bigl(1 - \lambda_{\max}\bigl(\tfrac1N \textstyle\sum_n P_n\bigr)\Bigr)

    which is positive unless lam = 0, W_1 = 0, or all inputs share a direction (*derived*; xu2023dynamics states
    that the noise of SGD does not vanish). At a stationary point of the full loss the left side is the trace of
    the gradients' covariance in the first layer.

    Parameters
    ----------
    network : made of layers. data : inputs and targets, as in ``integrate_rho``. theta : weights (P).
    lam : of ``lam ||theta||^2`` (PyTorch's ``weight_decay`` is 2 lam).

    Raises
    ------
    InvalidInput : shapes, a negative lam. PreconditionError : a network that is not made of layers.

    Examples
    --------
    >>> from theory.flow import two_layer
    >>> net = two_layer(2, 3)
    >>> found = common_fixed_point(net, (np.eye(2), [1.0, -1.0]), net.random_parameters(rng=0), lam=0.1)
    >>> found.possible, bool(found.first_layer_noise >= found.floor > 0), found.witness
    (False, True, (0, 1))
    """
    if not isinstance(network, LayeredNetwork):
        raise PreconditionError("the argument is about the weights of a first layer, which this network does not have.")
    lam, at = as_decay(lam), per_sample(network, data, theta)
    g, pull = at.gradients, 2 * lam * at.theta
    total, mean = g + pull, g.mean(axis=0)
    cut = network.layers[0].n_weights
    spans = _spans(network, at.X)
    projections = np.array([basis.T @ basis for basis in spans])
    coherence = float(np.linalg.eigvalsh(projections.mean(axis=0))[-1])
    size = float(np.linalg.norm(at.theta[:cut]))
    possible = lam == 0 or 1 - coherence <= COLLINEAR
    witness, cosine = (None, None) if possible else _witness(spans)
    noise = float(np.sqrt((total**2).sum() / len(g)))
    scale = float(np.sqrt((g**2).sum() / len(g)) + np.linalg.norm(pull))
    return CommonFixedPoint(
        is_fixed=noise <= AT_REST * scale, noise=noise, mean_gradient=float(np.linalg.norm(mean + pull)),
        spread=float(np.sqrt(((g - mean) ** 2).sum() / len(g))),
        first_layer_noise=float(np.sqrt((total[:, :cut] ** 2).sum() / len(g))),
        floor=2 * lam * size * float(np.sqrt(max(1 - coherence, 0.0))), coherence=coherence, possible=possible,
        witness=witness, cosine=cosine,
    )  # fmt: skip


def _spans(network: LayeredNetwork, X: np.ndarray) -> list[np.ndarray]:
    """Orthonormal rows that span each sample's uses of the first layer's weights."""
    layer = network.layers[0]
    if isinstance(layer, Convolution):
        one = replace(layer, out_channels=1)
        uses = np.moveaxis(one.apply(np.eye(one.n_weights), X), 0, 2)  # (N, positions, kernel entries)
    else:
        uses = (np.hstack([X, np.ones((len(X), 1))]) if layer.bias else X)[:, None, :]
    spans = []
    for rows in uses:
        _, s, Vt = np.linalg.svd(rows, full_matrices=False)
        spans.append(Vt[s > 1e-12 * s[0]] if s[0] > 0 else Vt[:0])
    return spans


def _witness(spans: list[np.ndarray]) -> tuple[tuple[int, int] | None, float | None]:
    """The pair of samples with the least cosine between their spans, and that cosine; None where all are 1."""
    best, pair = np.inf, None
    for i in range(len(spans)):
        for j in range(i):
            cosine = np.linalg.norm(spans[i] @ spans[j].T, 2) if len(spans[i]) and len(spans[j]) else 0.0
            if cosine < best:
                best, pair = float(cosine), (j, i)
    return (None, None) if pair is None or 1 - best <= COLLINEAR else (pair, best)
