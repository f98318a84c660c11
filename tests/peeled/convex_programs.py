"""The penalised models written out in cvxpy, K x K and without symmetry: the independent reference of the tests."""

import numpy as np

TIGHT = {"solver": "CLARABEL", "tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}


def squared_error(counts, lam, lam_b=None, weights=None):
    """Least (1/2) weighted mean of ||z_k + b - e_k||^2 + lam ||Z D^(1/2)||_* + (lam_b/2) ||b||^2."""
    import cvxpy as cp

    n = np.asarray(counts, float)
    w = np.ones(len(n)) if weights is None else np.asarray(weights, float)
    K, share = len(n), w * n / (w @ n)
    Z, b = cp.Variable((K, K)), cp.Variable(K)
    loss = sum(share[k] / 2 * cp.sum_squares(Z[:, k] + b - np.eye(K)[k]) for k in range(K))
    penalty = lam * cp.normNuc(Z @ np.diag(np.sqrt(n))) + (lam_b or 0) / 2 * cp.sum_squares(b)
    constraints = [b == 0] if lam_b is None else []
    return float(cp.Problem(cp.Minimize(loss + penalty), constraints).solve(**TIGHT))


def random_counts(seed, largest=300):
    """A short count vector, sometimes with repeats."""
    rng = np.random.default_rng(seed)
    values = np.exp(rng.uniform(0, np.log(largest), rng.integers(1, 4))).astype(int) + 1
    return [int(n) for n in rng.choice(values, rng.integers(2, 6))]
