r"""The semidefinite relaxation in cvxpy: slow, independent, and re-certified by us.

.. math:: X = \begin{pmatrix} H^T H & \cdot \\ W H & W W^T \end{pmatrix} \succeq 0

*proved* to be tight for p >= 2K (fang2021layerpeeled); tight already for p >= rank(Z*) (*derived*).
"""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory._errors import NotConverged
from theory.peeled._dense import certify_factors, class_mass
from theory.peeled.model import LayerPeeledModel

TOLERANCES = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}


def solve_sdp(model: LayerPeeledModel) -> tuple[np.ndarray, np.ndarray, Certificate]:
    """W (K, K), H (K, K) from the 2K x 2K program (Clarabel, tolerances as below), scaled to the budgets.

    Costs 0.1-0.5 s at K = 10 and about 14 s at K = 60. ``dimension`` is ignored.

    Raises
    ------
    NotConverged : the conic solver gave no point.
    """
    import cvxpy as cp

    K = model.num_classes
    X = cp.Variable((2 * K, 2 * K), PSD=True)
    Z = X[K:, :K]
    mass = class_mass(model)
    objective = cp.sum([mass[k] * (cp.log_sum_exp(Z[:, k]) - Z[k, k]) for k in range(K)])
    budgets = [cp.trace(X[:K, :K]) <= K * model.E_H, cp.trace(X[K:, K:]) <= K * model.E_W]
    problem = cp.Problem(cp.Minimize(objective), budgets)
    try:
        problem.solve(solver="CLARABEL", **TOLERANCES)
    except cp.SolverError as error:
        raise NotConverged(f"the conic solver failed: {error}") from None
    if X.value is None:
        raise NotConverged(f"the conic solver ended with status {problem.status!r} and no point.")
    # The logits carry the information; the balanced factors of their nuclear norm are feasible.
    U, s, Vt = np.linalg.svd(X.value[K:, :K])
    s *= model.budget / s.sum()
    ratio = (model.E_W / model.E_H) ** 0.25
    W, H = ratio * U * np.sqrt(s), (np.sqrt(s)[:, None] * Vt) / ratio
    return W, H, certify_factors(model, W, H)
