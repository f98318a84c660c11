"""The largest eigenvalue is only proposed by an iteration: whatever it proposes, the bracket holds and is narrow."""

import numpy as np
import pytest
from scipy.sparse.linalg import ArpackNoConvergence

from theory.norms import _blocks, spectral_norm


def matrices():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    yield "random", rng.standard_normal((60, 40))
    yield "identity", np.eye(40)
    yield "rank one", np.outer(rng.standard_normal(40), rng.standard_normal(90))
    yield "clustered top", Q @ np.diag(1 - 1e-9 * np.arange(40)) @ Q.T
    yield "centred", np.eye(40) - 1 / 40
    yield "wide range", Q @ np.diag(10.0 ** -np.arange(40)) @ Q.T


def brackets(W):
    found, true = spectral_norm(W), np.linalg.svd(W, compute_uv=False)[0]
    assert found.lower <= true * (1 + 1e-14) and true * (1 - 1e-14) <= found.upper
    return found.ratio - 1


@pytest.mark.parametrize(("name", "W"), list(matrices()), ids=[name for name, _ in matrices()])
def test_structure_is_no_obstacle(name, W):
    assert brackets(W) < 1e-10


@pytest.mark.parametrize("factor", [0.1, 1 - 1e-6])
def test_a_proposal_that_missed_is_replaced(factor, monkeypatch):
    honest = _blocks._proposed

    def missed(G):
        value, vector = honest(G)
        return factor * value, np.roll(vector, 1)

    monkeypatch.setattr(_blocks, "_proposed", missed)
    assert brackets(np.random.default_rng(1).standard_normal((50, 70))) < 1e-10


def test_an_iteration_that_does_not_end_is_replaced(monkeypatch):
    def refuses(*args, **kwargs):
        raise ArpackNoConvergence("no convergence", np.zeros(0), np.zeros((0, 0)))

    monkeypatch.setattr(_blocks, "eigsh", refuses)
    assert brackets(np.random.default_rng(2).standard_normal((50, 70))) < 1e-10


def test_a_proposal_from_above_widens_and_stays_a_bound(monkeypatch):
    honest = _blocks._proposed
    monkeypatch.setattr(_blocks, "_proposed", lambda G: (1.21 * honest(G)[0], honest(G)[1]))
    assert brackets(np.random.default_rng(3).standard_normal((50, 70))) == pytest.approx(0.1, abs=1e-6)
