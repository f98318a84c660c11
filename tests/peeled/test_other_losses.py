"""The squared error under budgets, softmax losses, contrast, normalisation, label smoothing: formula = descent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from tests.peeled.convex_programs import TIGHT, random_counts
from theory import InvalidInput, PreconditionError
from theory.peeled import LayerPeeledModel, balanced_loss, solve
from theory.peeled.balanced_forms import (
    normalised_loss,
    penalised_loss,
    penalised_margin,
    softmax_loss,
    supervised_contrastive_loss,
)


def lowest(value, size, starts=6, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    options = {"gtol": 1e-9, "ftol": 1e-15, "maxiter": 3000, "maxfun": 10**6}
    return min(
        minimize(value, scale * rng.standard_normal(size), method="L-BFGS-B", options=options).fun
        for _ in range(starts)
    )


class TestSquaredErrorUnderBudgets:
    @pytest.mark.parametrize("seed", range(20))
    def test_equals_the_program_in_cvxpy(self, seed):
        import cvxpy as cp

        rng = np.random.default_rng(seed)
        counts, P = random_counts(seed), float(rng.uniform(0.02, 1.1))
        weights = np.exp(rng.uniform(-1, 1, len(counts))) if seed % 3 == 0 else None
        found = solve(LayerPeeledModel(counts=counts, E_W=2, E_H=P / 2, loss="mse", class_weights=weights))
        share = np.asarray(counts, float) * (1 if weights is None else weights)
        K, share = len(counts), share / share.sum()
        Z = cp.Variable((K, K))
        loss = sum(share[k] / 2 * cp.sum_squares(Z[:, k] - np.eye(K)[k]) for k in range(K))
        want = cp.Problem(cp.Minimize(loss), [cp.normNuc(Z) <= K * np.sqrt(P)]).solve(**TIGHT)
        assert found.objective == pytest.approx(want, abs=2e-8)
        assert found.status == "optimal" and 0 <= found.certificate.gap <= 1e-14
        W, H, Z = found.classifier(), found.features(), found.logits()
        np.testing.assert_allclose(W @ H, Z, atol=1e-13)
        assert (W**2).sum() / K <= 2 * (1 + 1e-12) and (H**2).sum() / K <= P / 2 * (1 + 1e-12)
        assert share @ ((Z - np.eye(K)) ** 2).sum(axis=0) / 2 == pytest.approx(found.objective, abs=1e-14)
        if P < 1:
            assert np.diag(Z).sum() == pytest.approx(K * np.sqrt(P), rel=1e-13)
            active = np.diag(Z) > 0
            level = share * (1 - np.diag(Z))  # one water level over the active classes, above the others
            assert level[active] == pytest.approx(np.full(active.sum(), found.multiplier), rel=1e-12)
            assert (share[~active] <= found.multiplier).all()

    def test_balanced_is_a_scaled_identity(self):
        for P, z in ((0.25, 0.5), (0.81, 0.9), (4.0, 1.0)):
            found = solve(LayerPeeledModel(counts=[6] * 4, E_W=P, E_H=1, loss="mse"))
            np.testing.assert_allclose(found.logits(), z * np.eye(4), atol=1e-14)
            assert found.objective == pytest.approx((1 - z) ** 2 / 2, abs=1e-15)

    def test_refusals(self):
        spec = {"counts": [6, 5, 4], "E_W": 1, "E_H": 0.9, "loss": "mse"}
        with pytest.raises(PreconditionError, match="dimension >= 3"):
            solve(LayerPeeledModel(**spec, dimension=2))
        with pytest.raises(InvalidInput, match="does not apply"):
            solve(LayerPeeledModel(**spec), method="groups")
        assert "mse" in repr(LayerPeeledModel(**spec))
        assert solve(LayerPeeledModel(counts=[6, 5], E_W=1e9, E_H=1e9, loss="mse")).objective == 0


class TestPenalisedCrossEntropy:
    @pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5])
    @pytest.mark.parametrize(("K", "n", "lam"), [(3, 5, 0.01), (4, 10, 0.02), (2, 3, 0.1), (5, 4, 0.2)])
    def test_no_descent_is_lower(self, K, n, lam, alpha):
        target = (1 - alpha) * np.eye(K) + alpha / K

        def value(x):
            W, H = x[: K * K].reshape(K, K), x[K * K :].reshape(K, K)
            cost = -(target * log_softmax(W @ H, axis=0)).sum() / K
            return cost + lam / 2 * ((W**2).sum() + n * (H**2).sum())

        want = penalised_loss(K, n, lam, label_smoothing=alpha)
        assert lowest(value, 2 * K * K, starts=2) == pytest.approx(want, abs=1e-7)
        t = penalised_margin(K, n, lam, label_smoothing=alpha)
        assert (t == 0) == (lam >= (1 - alpha) / (K * np.sqrt(n)))

    def test_formula_and_limits(self):
        assert penalised_margin(7, 30, 1e-3) == pytest.approx(np.log(1 / (1e-3 * np.sqrt(30)) - 6), rel=1e-14)
        assert penalised_margin(5, 9, 1e-12, label_smoothing=0.2) == pytest.approx(np.log(5 / 0.2 - 4), rel=1e-9)
        assert penalised_margin(5, 9, 1 / 15) == 0.0
        with pytest.raises(InvalidInput, match="label_smoothing"):
            penalised_margin(5, 9, 1.0, label_smoothing=1.0)


class TestSoftmaxLosses:
    @pytest.mark.parametrize(("K", "P", "q"), [(2, 4, 2.0), (3, 4, 3.0), (3, 4, 2.0), (4, 1, 3.0), (3, 9, 1.5)])
    def test_no_descent_is_lower(self, K, P, q):
        want = softmax_loss(K, P, 1, lambda x: (1 - x) ** q, lambda x: x**q)

        def value(x):
            W, H = x[: K * K].reshape(K, K), x[K * K :].reshape(K, K)
            W, H = W * np.sqrt(K * P / (W**2).sum()), H * np.sqrt(K / (H**2).sum())
            p = np.exp(log_softmax(W @ H, axis=0))
            own = np.diagonal(p)
            return 1e3 * ((1 - own) ** q + (p**q).sum(axis=0) - own**q).mean()

        best = lowest(value, 2 * K * K, starts=3) / 1e3
        assert want * (1 - 1e-9) <= best <= want * (1 + 1e-3)

    def test_hypotheses_are_named(self):
        falling, square = (lambda x: (1 - x) ** 2), (lambda x: x**2)
        for g1, g2, word in (
            (square, square, "g1 must not increase"),
            (falling, falling, "g2 must not decrease"),
            (falling, np.sqrt, "g2 must be convex"),
        ):
            with pytest.raises(PreconditionError, match=word):
                softmax_loss(4, 4, 4, g1, g2)
        with pytest.raises(PreconditionError, match="larger budgets"):
            softmax_loss(4, 0.1, 0.1, falling, square)
        with pytest.raises(PreconditionError, match="50 sample"):
            softmax_loss(4, 1.5, 1.5, falling, square, n=50)

    def test_cross_entropy_is_one_of_them(self):
        value = softmax_loss(6, 2, 3, lambda x: -np.log(x), lambda x: 0 * x, n=100)
        assert value == pytest.approx(balanced_loss(6, 2, 3), rel=1e-14)


class TestContrastAndNormalisation:
    @pytest.mark.parametrize("include_self", [True, False])
    @pytest.mark.parametrize(("K", "n", "E_H", "tau"), [(2, 2, 1.0, 1.0), (3, 2, 2.0, 0.7), (2, 3, 1.0, 0.5)])
    def test_no_descent_is_lower(self, K, n, E_H, tau, include_self):
        label = np.repeat(np.arange(K), n)
        mask = np.ones((K * n, K * n)) - (0 if include_self else np.eye(K * n))
        own = (label[:, None] == label) * mask

        def value(x):
            H = x.reshape(K * n, -1)
            H = H * np.sqrt(K * n * E_H / (H**2).sum())
            S = H @ H.T / tau
            return ((own * (logsumexp(S, axis=1, b=mask)[:, None] - S)).sum(axis=1) / own.sum(axis=1)).mean()

        want = supervised_contrastive_loss(K, n, E_H, tau, include_self=include_self)
        assert lowest(value, K * n * (K - 1), starts=2) == pytest.approx(want, abs=1e-7)

    def test_normalised(self):
        K, tau = 3, 2.5

        def value(x):
            W, H = x[: K * K].reshape(K, K), x[K * K :].reshape(K, K)
            W, H = W / np.linalg.norm(W, axis=1, keepdims=True), H / np.linalg.norm(H, axis=0)
            return -np.diagonal(log_softmax(tau * W @ H, axis=0)).mean()

        assert lowest(value, 2 * K * K, starts=3) == pytest.approx(normalised_loss(K, tau), abs=1e-9)

    @given(st.integers(2, 50), st.integers(2, 50), st.floats(0.01, 50))
    def test_leaving_out_the_anchor_lowers_the_value(self, K, n, E_H):
        with_self, without = (supervised_contrastive_loss(K, n, E_H, include_self=s) for s in (True, False))
        odds = (K - 1) * np.exp(-K * E_H / (K - 1))
        assert np.exp(with_self) - np.exp(without) == pytest.approx(1, rel=1e-9)
        assert np.exp(with_self) == pytest.approx(n * (1 + odds), rel=1e-12)

    def test_refusals(self):
        with pytest.raises(InvalidInput, match="at least 2"):
            supervised_contrastive_loss(3, 1, 1.0, include_self=False)
        with pytest.raises(InvalidInput, match="tau"):
            normalised_loss(3, 0.0)
