"""Balanced closed forms beyond the cross-entropy under budgets: penalties, other losses, contrast, normalisation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory._arrays import as_count, as_positive, as_real
from theory._errors import InvalidInput, PreconditionError

Curve = Callable[[np.ndarray], np.ndarray]
GRID = 4001


def penalised_margin(K: int, n: int, lam_Z: float, *, label_smoothing: float = 0.0) -> float:
    r"""Margin t of the balanced penalised cross-entropy, whose optimum is Z = t (I - 11^T/K).

    .. math:: q = \tfrac{K-1}K\alpha + (K-1)\lambda_Z\sqrt n, \qquad t = \Bigl[\log\frac{(K-1)(1-q)}q\Bigr]_+

    with alpha the label smoothing; without it t = log(1/(lam_Z sqrt(n)) - K + 1). Zero if and only if
    lam_Z >= (1 - alpha)/(K sqrt(n)). With or without a bias, which is zero. *derived*: the loss of a sample is at
    least log(1 + (K-1) e^-m) + alpha (K-1) m / K in its mean margin m, convex in m; the margins average to
    <I - 11^T/K, Y>/((K-1) sqrt(n)) <= ||Y||_*/((K-1) sqrt(n)), Y = Z D^(1/2) (zhu2021geometric for the geometry).

    Parameters
    ----------
    K, n : classes and samples per class.
    lam_Z : sqrt(lam_W lam_H).
    label_smoothing : alpha in [0, 1).

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> round(penalised_margin(4, 25, 1e-3), 12)  # log(1/0.005 - 3)
    5.283203728738
    """
    K, n, lam_Z, alpha = _checked(K, n, lam_Z, label_smoothing)
    q = (K - 1) / K * alpha + (K - 1) * lam_Z * np.sqrt(n)
    return float(np.log((K - 1) * (1 - q) / q)) if q < (K - 1) / K else 0.0


def penalised_loss(K: int, n: int, lam_Z: float, *, label_smoothing: float = 0.0) -> float:
    r"""Least penalised cross-entropy of balanced classes, penalties included.

    .. math:: \log\bigl(1 + (K-1)e^{-t}\bigr) + \tfrac{K-1}K\alpha\, t + (K-1)\lambda_Z\sqrt n\, t

    with t of :func:`penalised_margin`; natural logarithm, mean over samples. *derived* there.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> round(penalised_loss(5, 10, 1.0), 12)  # everything vanishes: log 5
    1.609437912434
    """
    K, n, lam_Z, alpha = _checked(K, n, lam_Z, label_smoothing)
    t = penalised_margin(K, n, lam_Z, label_smoothing=alpha)
    return float(np.log1p((K - 1) * np.exp(-t)) + (K - 1) * (alpha / K + lam_Z * np.sqrt(n)) * t)


def _checked(K: int, n: int, lam_Z: float, alpha: float) -> tuple[int, int, float, float]:
    alpha = as_real("label_smoothing", alpha)
    if not 0 <= alpha < 1:
        raise InvalidInput(f"label_smoothing must lie in [0, 1), but is {alpha:g}.")
    return as_count("K", K, minimum=2), as_count("n", n), as_positive("lam_Z", lam_Z), alpha


def softmax_loss(K: int, E_W: float, E_H: float, g1: Curve, g2: Curve, *, n: int = 1) -> float:
    r"""Least balanced loss g1(p_true) + sum over the other classes of g2(p_other), p the softmax of the logits.

    .. math:: g_1(p) + (K-1)\, g_2\Bigl(\frac{1-p}{K-1}\Bigr), \qquad
        p = \frac1{1 + (K-1) e^{-m}}, \quad m = \tfrac K{K-1}\sqrt{E_W E_H}

    the value at the simplex frame under budgets; mean over samples. For example g1 = (1-x)^q, g2 = x^q. A loss of this
    kind is treated in fang2021layerpeeled; the hypotheses here are our own and are sufficient, *derived*:

    1. g1 does not increase, g2 does not decrease and is convex. Then a sample with mean margin m costs at least
       phi(m), the displayed function of m, which does not increase.
    2. The tangent of phi at m = K/(K-1) sqrt(E_W E_H) lies below phi for all margins that n samples per class can
       reach, \|m\| <= K sqrt(n E_W E_H K/(K-1)). The margins average to at most that m, so the tangent is a bound.

    Both are checked on grids of 4001 points, which is evidence and not proof. The second fails for bounded losses and
    small budgets, where giving up a few samples can pay.

    Parameters
    ----------
    K : classes. E_W, E_H : budgets.
    g1, g2 : vectorised functions on [0, 1].
    n : samples per class; more samples widen the reachable margins.

    Raises
    ------
    InvalidInput : numbers out of range. PreconditionError : a hypothesis fails, named.

    Examples
    --------
    >>> from theory.peeled import balanced_loss
    >>> import numpy as np
    >>> value = softmax_loss(10, 1, 5, lambda x: -np.log(x), lambda x: 0 * x)
    >>> abs(value - balanced_loss(10, 1, 5)) < 1e-14
    True
    """
    K, n = as_count("K", K, minimum=2), as_count("n", n)
    root = float(np.sqrt(as_positive("E_W", E_W)) * np.sqrt(as_positive("E_H", E_H)))
    m, reach = K / (K - 1) * root, K * root * float(np.sqrt(n * K / (K - 1)))
    x = np.linspace(0, 1, GRID)[1:-1]
    first, second = np.asarray(g1(x), float), np.asarray(g2(x), float)
    if first.shape != x.shape or second.shape != x.shape:
        raise InvalidInput("g1 and g2 must map an array to an array of the same shape.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InvalidInput("g1 and g2 must be finite inside (0, 1).")
    slack = 1e-9 * max(float(np.ptp(first)), float(np.ptp(second)), 1e-300)
    if (np.diff(first) > slack).any():
        raise PreconditionError("g1 must not increase on [0, 1].")
    if (np.diff(second) < -slack).any():
        raise PreconditionError("g2 must not decrease on [0, 1].")
    if (np.diff(second, 2) < -slack).any():
        raise PreconditionError("g2 must be convex on [0, 1].")

    def phi(margin: np.ndarray) -> np.ndarray:
        odds = (K - 1) * np.exp(-margin)
        return g1(1 / (1 + odds)) + (K - 1) * g2(odds / (1 + odds) / (K - 1))

    step = 1e-5 * max(1.0, m)
    value, around = float(phi(np.array([m]))[0]), phi(np.array([m - step, m + step]))
    slope = float(around[1] - around[0]) / (2 * step)
    margins = np.linspace(-min(reach, 700.0), min(reach, 700.0), GRID)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        excess = phi(margins) - (value + slope * (margins - m))
    if (excess < -1e-9 * max(value, abs(slope) * m, 1e-300)).any():
        raise PreconditionError(
            f"the loss is not convex enough in the margin at E_W E_H = {root**2:g} with {n} sample(s) per class: its "
            "tangent at the simplex frame is not a lower bound, so the frame is not known to be optimal; take larger "
            "budgets."
        )
    return value


def supervised_contrastive_loss(K: int, n: int, E_H: float, tau: float = 1.0, *, include_self: bool = True) -> float:
    r"""Least supervised contrastive loss of balanced features with mean squared norm at most E_H.

    .. math:: \frac1{N}\sum_i \frac1{|P_i|}\sum_{j\in P_i}
        -\log\frac{e^{h_i\cdot h_j/\tau}}{\sum_{l \in A_i} e^{h_i\cdot h_l/\tau}} \;\ge\;
        \log n + \log\Bigl(1 + (K-1) e^{-\frac{K E_H}{(K-1)\tau}}\Bigr)

    with P_i the class of i and A_i all samples, i among both; with ``include_self`` False i is left out of both, as
    is common in code, and the value is log(n - 1 + n (K-1) exp(-K E_H/((K-1) tau))). Attained by the simplex frame
    with collapsed classes. *derived*: with s_i and o_i the mean similarity to the own and to the other classes,
    convexity of log-sum-exp gives at least log(n + n (K-1) e^((o_i - s_i)/tau)) for each i and then for the mean of
    o - s, which is at least -K E_H/(K-1) as sum over classes of \|mu_k\|^2 <= K E_H and \|sum mu_k\|^2 >= 0.

    Parameters
    ----------
    K, n : classes and samples per class (n at least 2 with ``include_self`` False).
    E_H, tau : budget and temperature.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> round(supervised_contrastive_loss(2, 1, 1.0), 12)  # log(1 + e^-2)
    0.126928011043
    """
    K, n = as_count("K", K, minimum=2), as_count("n", n, minimum=1 if include_self else 2)
    odds = (K - 1) * np.exp(-K / (K - 1) * as_positive("E_H", E_H) / as_positive("tau", tau))
    own = n if include_self else n - 1
    return float(np.log(own) + np.log1p(n / own * odds))


def normalised_loss(K: int, tau: float) -> float:
    r"""Least balanced cross-entropy of logits tau <w_k, h_i> with all rows and features on the unit sphere.

    .. math:: \log\bigl(1 + (K-1) e^{-\tau K/(K-1)}\bigr)

    for at least K - 1 dimensions; the simplex frame is feasible and meets the bound that the budgets
    E_W = E_H = tau give (yaras2022normalized studies the landscape). *derived*.

    Raises
    ------
    InvalidInput : K < 2 or a temperature that is not positive.

    Examples
    --------
    >>> from theory.peeled import balanced_loss
    >>> normalised_loss(10, 3.0) == balanced_loss(10, 3.0, 3.0)
    True
    """
    from theory.peeled.closed_forms import balanced_loss

    return balanced_loss(K, as_positive("tau", tau), tau)
