"""Losses of a flow, summed over samples, each in plain and in log-domain form.

``Loss(f) = sum_n l(f_n, y_n)`` with the natural logarithm, and ``u = log(1/Loss)`` the log-domain loss, which stays
finite where the loss underflows. ``slope`` is ``-dLoss/df``, ``log_slope`` is ``du/df = -dLoss/df / Loss``;
``curvature`` and ``log_curvature`` are the per-sample blocks of ``d^2Loss/df^2`` and of the same over Loss.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import log_expit

from theory._arrays import as_floats, as_labels
from theory._errors import InvalidInput, PreconditionError


@runtime_checkable
class Loss(Protocol):
    """What the integrators ask of a loss; arrays are outputs ``f (N, K)`` and labels ``y`` as given by ``labels``."""

    name: str
    exponential_tail: bool

    def labels(self, y: np.ndarray, N: int, K: int) -> np.ndarray:
        """The labels as the other methods want them, checked against N samples and K outputs."""

    def log_inverse(self, f: np.ndarray, y: np.ndarray) -> float:
        """``u = log(1/Loss)``."""

    def slope(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``-dLoss/df`` (N, K)."""

    def curvature(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``d^2Loss/df^2``, sample by sample (N, K, K)."""

    def log_slope(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``du/df = -dLoss/df / Loss`` (N, K)."""

    def log_curvature(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``d^2Loss/df^2 / Loss``, sample by sample (N, K, K)."""

    def margins(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The margins q (N)."""

    def smoothed_margin(self, u: float) -> float:
        """The unnormalised smoothed margin ``l^{-1}(Loss)``, from ``u = log(1/Loss)``."""


def _signs(name: str, y: np.ndarray, N: int, K: int) -> np.ndarray:
    """Labels of a binary loss as +-1.0 (N)."""
    if K != 1:
        raise InvalidInput(f"the {name} loss needs a network with one output, but it has {K}.")
    signs = as_floats("labels", y, ndim=1)
    if signs.shape != (N,):
        raise InvalidInput(f"labels must have shape ({N},), one per sample, but have {signs.shape}.")
    if not np.isin(signs, (-1.0, 1.0)).all():
        wrong = signs[~np.isin(signs, (-1.0, 1.0))][0]
        raise InvalidInput(f"the {name} loss takes labels -1 and +1, but a label is {wrong:g}.")
    return signs


class _Binary:
    """Losses ``sum_n l(q_n)`` of the margins ``q_n = y_n f(x_n)``; a child gives log l, log(-l') and log l''."""

    name = ""
    exponential_tail = True

    def labels(self, y: np.ndarray, N: int, K: int) -> np.ndarray:
        """The labels as +-1.0 (N)."""
        return _signs(self.name, y, N, K)

    def _log_terms(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raise NotImplementedError

    def margins(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``q_n = y_n f(x_n)`` (N)."""
        return y * f[:, 0]

    def log_inverse(self, f: np.ndarray, y: np.ndarray) -> float:
        """``u = log(1/Loss)``."""
        return -float(_logsumexp(self._log_terms(y * f[:, 0])[0]))

    def slope(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``-dLoss/df`` (N, K)."""
        return (y * np.exp(self._log_terms(y * f[:, 0])[1]))[:, None]

    def curvature(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``d^2Loss/df^2``, sample by sample (N, K, K)."""
        return np.exp(self._log_terms(y * f[:, 0])[2])[:, None, None]

    def log_slope(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``du/df = -dLoss/df / Loss`` (N, K)."""
        value, first, _ = self._log_terms(y * f[:, 0])
        return (y * np.exp(first - _logsumexp(value)))[:, None]

    def log_curvature(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``d^2Loss/df^2 / Loss``, sample by sample (N, K, K)."""
        value, _, second = self._log_terms(y * f[:, 0])
        return np.exp(second - _logsumexp(value))[:, None, None]


def _logsumexp(a: np.ndarray) -> float:
    """The logarithm of a sum of exponentials; scipy's costs 20 times more on a short vector."""
    top = a.max()
    return float(top + np.log(np.exp(a - top).sum()))


def _row_logsumexp(a: np.ndarray) -> np.ndarray:
    """The same along the last axis of a (N, K)."""
    top = a.max(axis=1)
    return np.asarray(top + np.log(np.exp(a - top[:, None]).sum(axis=1)))


class ExponentialLoss(_Binary):
    """``Loss = sum_n exp(-q_n)``, ``q_n = y_n f(x_n)``, labels +-1; smoothed margin u (*proved*: lyu2020gradient)."""

    name = "exponential"

    def _log_terms(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return -q, -q, -q

    def smoothed_margin(self, u: float) -> float:
        """``l^{-1}(Loss) = u``: at most the least margin q_min, at least q_min - log N."""
        return u


class LogisticLoss(_Binary):
    r"""``Loss = sum_n log(1 + exp(-q_n))``, labels +-1.

    Smoothed margin ``-log(expm1(Loss))``, monotone once Loss < log 2 (*proved*: lyu2020gradient).
    """

    name = "logistic"

    def _log_terms(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _log_softplus(-q), log_expit(-q), log_expit(q) + log_expit(-q)

    def smoothed_margin(self, u: float) -> float:
        """``l^{-1}(Loss)``, from ``u = log(1/Loss)``."""
        return _inverse_logistic(u)


def _log_softplus(z: np.ndarray) -> np.ndarray:
    """``log log(1 + e^z)``, accurate where e^z underflows."""
    with np.errstate(divide="ignore"):  # of the branch that is not taken
        return np.where(z < -35, z, np.log(np.logaddexp(0, z)))  # z - e^z / 2 + ...


def _inverse_logistic(u: float) -> float:
    """``-log(expm1(Loss))`` with ``Loss = e^-u``."""
    loss = np.exp(-u)
    if loss > 1:  # expm1 of a large loss overflows
        return float(-loss - np.log(-np.expm1(-loss)))
    return float(u - np.log(np.expm1(loss) / loss)) if loss > 1e-8 else float(u - loss / 2)


class CrossEntropyLoss:
    r"""``Loss = sum_n log sum_k exp(f_nk - f_{n y_n})``, labels 0..K-1 and one output per class.

    With the effective margin ``qt_n = -log sum_{k != y_n} exp(f_nk - f_{n y_n})`` this is
    ``sum_n log(1 + exp(-qt_n))``; the smoothed margin is the logistic one (*derived*: with ``s_nk = f_{n y_n} - f_nk``
    and P the softmax over the wrong classes, ``<grad qt_n, theta> = L sum_k P_k s_nk >= L qt_n`` by Gibbs' inequality,
    so the proof of lyu2020gradient carries over).
    """

    name = "cross_entropy"
    exponential_tail = True

    def labels(self, y: np.ndarray, N: int, K: int) -> np.ndarray:
        """The labels as integers below K (N)."""
        if K < 2:
            raise InvalidInput("the cross_entropy loss needs a network with one output per class, at least two.")
        labels = as_labels("labels", y)
        if labels.shape != (N,):
            raise InvalidInput(f"labels must have shape ({N},), one per sample, but have {labels.shape}.")
        if labels.max() >= K:
            raise InvalidInput(f"labels must be below the {K} outputs of the network, but reach {labels.max()}.")
        return labels

    def _effective(self, f: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``f_nk - f_{n y_n}`` with the label's entry at -inf, and the effective margins."""
        rows = np.arange(len(y))
        others = f - f[rows, y][:, None]
        others[rows, y] = -np.inf
        return others, -_row_logsumexp(others)

    def margins(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``q_n = f_{n y_n} - max_{k != y_n} f_nk``."""
        return -self._effective(f, y)[0].max(axis=1)

    def log_inverse(self, f: np.ndarray, y: np.ndarray) -> float:
        """``u = log(1/Loss)``."""
        return -_logsumexp(_log_softplus(-self._effective(f, y)[1]))

    def _log_residual(self, f: np.ndarray, y: np.ndarray, shift: float) -> np.ndarray:
        """``e^-shift (onehot - softmax)``: shift = log Loss scales it by 1/Loss without underflow."""
        others, margin = self._effective(f, y)
        wrong = np.exp(others + log_expit(margin)[:, None] - shift)  # softmax of the wrong classes
        wrong[np.arange(len(y)), y] = 0.0
        residual = -wrong
        residual[np.arange(len(y)), y] = wrong.sum(axis=1)
        return residual

    def slope(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``-dLoss/df`` (N, K)."""
        return self._log_residual(f, y, 0.0)

    def log_slope(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``du/df = -dLoss/df / Loss`` (N, K)."""
        return self._log_residual(f, y, -self.log_inverse(f, y))

    def curvature(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``d^2Loss/df^2``, sample by sample (N, K, K)."""
        return self._blocks(f, 0.0)

    def log_curvature(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``d^2Loss/df^2 / Loss``, sample by sample (N, K, K)."""
        return self._blocks(f, -self.log_inverse(f, y))

    def _blocks(self, f: np.ndarray, shift: float) -> np.ndarray:
        """``e^-shift (diag(P) - P P^T)`` per sample (N, K, K); each diagonal entry as minus the others of its row."""
        log_P = f - _row_logsumexp(f)[:, None]
        products, diagonal = log_P[:, :, None] + log_P[:, None, :] - shift, np.arange(f.shape[1])
        products[:, diagonal, diagonal] = -np.inf
        blocks = -np.exp(products)
        blocks[:, diagonal, diagonal] = -blocks.sum(axis=2)
        return blocks

    def smoothed_margin(self, u: float) -> float:
        """``-log(expm1(Loss))``, from ``u = log(1/Loss)``."""
        return _inverse_logistic(u)


class SquareLoss:
    r"""``Loss = 1/2 sum_n ||f(x_n) - y_n||^2``. No margin theory: the log-domain clocks refuse it."""

    name = "square"
    exponential_tail = False

    def labels(self, y: np.ndarray, N: int, K: int) -> np.ndarray:
        """The targets (N, K); one column may come flat."""
        targets = as_floats("labels", y)
        targets = targets[:, None] if targets.ndim == 1 else targets
        if targets.shape != (N, K):
            raise InvalidInput(f"targets of the square loss must have shape ({N}, {K}), but have {targets.shape}.")
        return targets

    def log_inverse(self, f: np.ndarray, y: np.ndarray) -> float:
        """``u = log(1/Loss)``."""
        with np.errstate(divide="ignore"):
            return -float(np.log(0.5 * np.square(f - y).sum()))

    def slope(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``-dLoss/df`` (N, K)."""
        return y - f

    def curvature(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``d^2Loss/df^2``, sample by sample (N, K, K)."""
        return np.broadcast_to(np.eye(f.shape[1]), (*f.shape, f.shape[1]))

    def _refuse(self) -> PreconditionError:
        return PreconditionError("the square loss has no exponential tail: margins and log-domain clocks need one.")

    def log_slope(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Refused: there is no exponential tail."""
        raise self._refuse()

    def log_curvature(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Refused: there is no exponential tail."""
        raise self._refuse()

    def margins(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Refused: there is no exponential tail."""
        raise self._refuse()

    def smoothed_margin(self, u: float) -> float:
        """Refused: there is no exponential tail."""
        raise self._refuse()


LOSSES: dict[str, type] = {loss.name: loss for loss in (ExponentialLoss, LogisticLoss, CrossEntropyLoss, SquareLoss)}


def as_loss(loss: str | Loss) -> Loss:
    """The loss of that name, or the loss itself.

    Raises
    ------
    InvalidInput : an unknown name; an object that is no loss.
    """
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]()
    if isinstance(loss, str) or not isinstance(loss, Loss):
        raise InvalidInput(f"loss must be one of {', '.join(LOSSES)}, but is {loss!r}.")
    return loss
