r"""A lower bound of the deep linear model with cross-entropy that no construction and no local search can beat.

For q = 2/(L+1) <= 1 and Y = Z D^(1/2), sum_i sigma_i^q >= (sum_i sigma_i)^q. With tau = ||Y||_* the value is therefore
at least min_tau h(tau) + c tau^q, where c = ((L+1)/2) Lambda^(1/(L+1)) and h is the least mean cross-entropy at
nuclear norm tau. Every penalty lam gives h(tau) >= d(lam) - lam tau with the entropy dual of the penalised program,

.. math:: d(\lambda) = \sum_k \tfrac{n_k}N \operatorname{Ent}(1 - (K-1) x_k, x_k, \dots, x_k), \qquad
    x_k = \min\Bigl(\tfrac1K, \frac{\lambda N}{K \sqrt{n_k}}\Bigr),

feasible because (P - I) diag(sqrt n_k)/N = (11^T/K - I) diag(K x_k sqrt n_k / N) has norm at most lam. Between two
breakpoints of the envelope of such lines the bound is linear plus concave, so its minimum is attained at a breakpoint.
*derived*. Tight for equal counts where the optimum has rank one (K = 2) or where L = 1; otherwise a gap remains.
"""

from __future__ import annotations

import numpy as np

SAFETY = 1e-12  # relative; covers the rounding of the breakpoints


def lower_bound(count: np.ndarray, classes: np.ndarray, c: float, q: float) -> float:
    """min_tau of the envelope of 6,000 dual lines plus c tau^q, refined three times around its minimum."""
    K, N = float(classes.sum()), float(count @ classes)
    share = classes * count / N
    largest = float(np.sqrt(count.max())) / N

    def dual(lam: np.ndarray) -> np.ndarray:
        x = np.minimum(1 / K, lam[:, None] * (N / K) / np.sqrt(count))
        own = 1 - (K - 1) * x
        return (-own * np.log(own) - (K - 1) * x * np.log(x)) @ share

    lams = largest * np.logspace(0, -60, 6000 if len(count) <= 100 else 1000)
    best = 0.0
    for _ in range(4):
        d = dual(lams)
        tau = np.maximum((d[:-1] - d[1:]) / (lams[:-1] - lams[1:]), 0.0)
        tau = np.concatenate([[0.0], tau, [d[-1] / lams[-1]]])
        line, slope = np.append(d, 0.0), np.append(lams, 0.0)
        # both lines meet at a breakpoint up to rounding: the larger is still a bound, the smaller is safe
        at = np.minimum(line - slope * tau, np.append(line[:1], line[:-1]) - np.append(slope[:1], slope[:-1]) * tau)
        value = at + c * tau**q
        j = int(np.argmin(value))
        best = max(best, float(value[j]))
        near = lams[max(j - 2, 0) : j + 3]
        lams = np.unique(np.concatenate([lams, np.geomspace(near[0], near[-1], 400)]))[::-1]
    return max(best * (1 - SAFETY), 0.0)
