"""Every certificate against the singular values of the explicit matrix, on a grid of small convolutions."""

import numpy as np
import pytest

from tests.norms.oracles import grid_of_cases, looped_convolution
from theory.norms import conv_spectral_norm, toeplitz_frobenius, toeplitz_matrix, toeplitz_norm_2_1
from theory.norms.convolution import METHODS

CASES = list(grid_of_cases())
ULPS = 1e-13  # of the oracle's own SVD
EXACT = {"toeplitz", "auto"}


def test_the_grid_is_the_grid():
    assert len(CASES) == 7128
    assert {kw["padding_mode"] for *_, kw in CASES} == {"zeros", "circular", "reflect", "replicate"}


@pytest.mark.parametrize("part", range(8))
def test_no_certificate_is_contradicted(part):
    rng = np.random.default_rng(part)
    for index in rng.permutation(len(CASES))[:120]:
        axes, k, n, kw = CASES[index]
        g = kw["groups"]
        K = rng.standard_normal((2 * g, int(rng.integers(1, 3)), *[k] * axes))
        if index % 3 == 0:
            K = np.abs(K)  # a single peak, at frequency zero
        A = toeplitz_matrix(K, n, **kw).toarray()
        x = rng.standard_normal((K.shape[1] * g, *[n] * axes))
        np.testing.assert_allclose(A @ x.ravel(), looped_convolution(K, x, **kw).ravel(), rtol=1e-12, atol=1e-12)
        truth = np.linalg.norm(A, 2)
        for method in METHODS:
            if method == "factor" and kw["padding_mode"] == "circular":
                continue
            found = conv_spectral_norm(K, n, method=method, **kw)
            assert found.lower <= truth * (1 + ULPS) and truth * (1 - ULPS) <= found.upper, (method, CASES[index])
            if method in EXACT:
                assert found.upper <= truth * (1 + 1e-10) and found.lower >= truth * (1 - 1e-9)
            if method == "factor":
                assert found.upper <= truth * 1.0051
        for ours, theirs in (
            (toeplitz_frobenius(K, n, **kw), np.linalg.norm(A)),
            (toeplitz_norm_2_1(K, n, **kw), np.linalg.norm(A, axis=1).sum()),
        ):
            assert theirs * (1 - ULPS) <= ours <= theirs * (1 + 1e-12)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
def test_rectangles_and_one_number_per_axis(mode):
    rng = np.random.default_rng(3)
    K = rng.standard_normal((4, 3, 2, 3))
    kw = {"stride": (1, 2), "padding": (2, 1), "dilation": (2, 1), "groups": 2, "padding_mode": mode}
    A = toeplitz_matrix(K, (5, 4), **kw).toarray()
    x = rng.standard_normal((6, 5, 4))
    np.testing.assert_allclose(A @ x.ravel(), looped_convolution(K, x, **kw).ravel(), rtol=1e-12, atol=1e-12)
    truth = np.linalg.norm(A, 2)
    for method in ("auto", "grid", "gram", "size-free", "self-correlation", "unfoldings"):
        found = conv_spectral_norm(K, (5, 4), method=method, **kw)
        assert found.lower <= truth * (1 + ULPS) and truth * (1 - ULPS) <= found.upper


def test_circular_grid_is_exact_where_the_outputs_tile():
    rng = np.random.default_rng(0)
    for n, k, s, d in ((6, 3, 1, 1), (4, 3, 1, 2), (6, 3, 2, 1), (6, 5, 3, 1), (3, 5, 1, 1)):
        K = rng.standard_normal((3, 2, k, k))
        p = d * (k - 1) // 2
        kw = {"stride": s, "padding": p, "dilation": d, "padding_mode": "circular"}
        truth = np.linalg.norm(toeplitz_matrix(K, n, **kw).toarray(), 2)
        found = conv_spectral_norm(K, n, method="grid", **kw)
        assert found.upper == pytest.approx(truth, rel=1e-11) and found.lower == pytest.approx(truth, rel=1e-9)


def test_both_ways_around_one_number():
    rng = np.random.default_rng(1)
    K = rng.standard_normal((8, 8, 3, 3))
    exact = conv_spectral_norm(K, 6, padding=1, method="toeplitz")
    banded = conv_spectral_norm(K, 6, padding=1, method="factor", rtol=1e-6)
    assert banded.upper == pytest.approx(exact.upper, rel=1e-6) and banded.upper >= exact.lower
    grid = conv_spectral_norm(K, 7, padding=1, padding_mode="circular", method="grid")
    gram = conv_spectral_norm(K, 7, padding=1, padding_mode="circular", method="gram")
    assert grid.lower <= gram.upper <= grid.upper * 8 ** (2.0**-10) * (1 + 1e-9)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
def test_the_factorisation_is_the_proof_and_not_the_proposal(mode, monkeypatch):
    rng = np.random.default_rng(2)
    K = np.abs(rng.standard_normal((3, 2, 3, 3)))
    truth = np.linalg.norm(toeplitz_matrix(K, 5, padding=2, padding_mode=mode).toarray(), 2)
    monkeypatch.setattr("theory.norms.factor.rayleigh_lower", lambda conv, **_: 0.1)  # far too low
    found = conv_spectral_norm(K, 5, padding=2, padding_mode=mode, method="factor", rtol=1e-3)
    assert truth <= found.upper <= truth * 1.001
