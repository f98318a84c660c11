r"""Linear separability of features, decided by a linear program with a certificate on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.sparse import csr_array, hstack

from theory._arrays import as_count, as_floats, as_labels
from theory._certificate import Certificate
from theory._errors import InvalidInput, NotConverged
from theory.norms._rounding import gamma

PROVED = 1e-11  # smaller margins, though certified, are not built upon


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Separation:
    """Whether a linear classifier has all margins positive, and by how much.

    Attributes
    ----------
    weights : (K, d) and bias (K,) of the best classifier found, for the features as given.
    certificate : bracket of the largest margin over |entries| <= 1, for features divided by their largest entry.
    """

    weights: np.ndarray
    bias: np.ndarray
    certificate: Certificate

    @property
    def margin(self) -> float:
        """Least score difference of the classifier found, recomputed from it, less its rounding."""
        return self.certificate.lower

    @property
    def separable(self) -> bool:
        """Whether the margin is above 1e-11; what it may be off by is subtracted already, so then it is a proof."""
        return self.margin > PROVED

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return {"separable": self.separable, "margin": self.margin, "certificate": self.certificate.to_json()}

    def __repr__(self) -> str:
        return f"Separation(separable={self.separable}, margin={self.margin:.4g})"


def separate(
    features: ArrayLike, labels: ArrayLike, *, n_classes: int | None = None, bias: bool = True
) -> Separation:
    r"""The linear classifier of largest margin in the maximum norm.

    .. math:: \max_{|V|, |c| \le 1}\ \min_{i,\ k \ne y_i}\ (V_{y_i} - V_k) f_i + c_{y_i} - c_k

    with the features divided by their largest absolute entry. Lower end of the certificate: the margin of the
    classifier found, recomputed, less the rounding of its inner products. Upper end, *derived* by duality: with
    nonnegative weights q of sum 1 on the differences a,
    :math:`\min_i \langle a_i, v\rangle \le \|\sum q_i a_i\|_1`.

    Parameters
    ----------
    features : (n, d). labels : classes 0..K-1 (n,).
    n_classes : K, at least 2; default the highest label + 1.
    bias : whether c may differ from 0.

    Raises
    ------
    InvalidInput : NaN, shapes that do not meet, fewer than two classes.
    NotConverged : the linear program did not finish.

    Cost: one linear program with K (d + 1) unknowns and n (K - 1) rows.

    Examples
    --------
    >>> separate([[0.0], [1.0]], [0, 1]).separable, separate([[0.0], [1.0], [2.0]], [0, 1, 0]).separable
    (True, False)
    """
    F, y = as_floats("features", features, ndim=2), as_labels("labels", labels)
    if len(F) != len(y):
        raise InvalidInput(f"features and labels must have one length, but have {len(F)} and {len(y)}.")
    K = int(y.max()) + 1 if n_classes is None else as_count("n_classes", n_classes)
    if K < max(2, int(y.max()) + 1):
        raise InvalidInput(f"two classes at least are wanted, and labels below their number, not {K} classes.")
    scale = float(np.abs(F).max(initial=0.0)) or 1.0
    if scale < 1e-300:
        raise InvalidInput(f"features must reach 1e-300 in size, or the classifier overflows, but reach {scale:g}.")
    lifted = np.column_stack([F / scale, np.full(len(F), float(bias))])
    A = _differences(lifted, y, K)
    rows = hstack([-A, csr_array(np.ones((A.shape[0], 1)))], format="csr")
    cost = np.zeros(rows.shape[1])
    cost[-1] = -1.0
    bounds = [(-1.0, 1.0)] * A.shape[1] + [(0.0, None)]
    found = linprog(cost, A_ub=rows, b_ub=np.zeros(A.shape[0]), bounds=bounds, method="highs")
    if found.status != 0:
        raise NotConverged(f"the linear program of separability stopped: {found.message}")
    v = np.clip(found.x[:-1], -1, 1)
    dual = np.maximum(-found.ineqlin.marginals, 0)
    total = dual.sum()
    # v = 0 has margin 0, and any single difference bounds it
    q = dual / total if total > 0 else np.eye(1, len(dual))[0]
    slip = gamma(A.shape[0] + A.shape[1] + 8)
    upper = float((np.abs(A.T @ q) + slip * (abs(A).T @ q)).sum()) * (1 + slip)
    lower = max(0.0, float((A @ v - slip * (abs(A) @ np.abs(v))).min()))
    V = v.reshape(K, -1)
    certificate = Certificate(lower=lower, upper=upper, gap=upper - lower, method="linear-programming duality")
    return Separation(weights=V[:, :-1] / scale, bias=V[:, -1] * float(bias), certificate=certificate)


def _differences(lifted: np.ndarray, y: np.ndarray, K: int) -> csr_array:
    """Rows (e_y - e_k) x f over samples and other classes k, sparse (n (K - 1), K (d + 1))."""
    d = lifted.shape[1]
    sample, other = np.nonzero(np.arange(K)[None, :] != y[:, None])
    columns = np.arange(d)
    own, wrong = y[sample][:, None] * d + columns, other[:, None] * d + columns
    values = lifted[sample]
    row = np.repeat(np.arange(len(sample)), d)
    return csr_array(
        (np.concatenate([values.ravel(), -values.ravel()]),
         (np.concatenate([row, row]), np.concatenate([own.ravel(), wrong.ravel()]))),
        shape=(len(sample), K * d),
    )  # fmt: skip
