"""Peers of the collapse metrics agree with ours where single precision allows, and are wrong where it does not."""

import mpmath
import numpy as np
import pytest

from simulations.benchmarks import _peers_collapse as peers
from simulations.benchmarks import collapse_metrics as benchmark
from simulations.benchmarks._comparison import OURS
from theory.collapse import collapse_metrics

pytestmark = pytest.mark.xdist_group("benchmarks")
FEATURES = benchmark.features
PROGRAMS = [program for _, _, program in benchmark.PEERS]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def oracle(X, y, K):
    """Tr(Sw pinv(Sb)) / K with 60 digits: the pseudo-inverse through (M M^T + 1 1^T)^-1."""
    with mpmath.workdps(60):
        rows = mpmath.matrix(X.astype(float).tolist())
        d, N = X.shape[1], len(X)
        sums = [sum((rows[i, :] for i in range(N) if y[i] == k), mpmath.zeros(1, d)) for k in range(K)]
        means = [total / int((y == k).sum()) for k, total in enumerate(sums)]
        centre = sum(means, mpmath.zeros(1, d)) / K
        M = mpmath.matrix([[(mean - centre)[0, j] for j in range(d)] for mean in means])
        # rows sum to zero, so 1 1^T fills the null space of M M^T and M^T never sees it
        inverse = mpmath.inverse(M * M.T + mpmath.ones(K, K))
        total = mpmath.mpf(0)
        for i in range(N):
            weights = inverse * (M * (rows[i, :] - means[y[i]]).T)
            centred = weights - mpmath.ones(K, 1) * (sum(weights) / K)
            total += (centred.T * centred)[0]
        return float(total / N)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="longdouble is float64 here")
@pytest.mark.parametrize("factor", [1.0, 1e-3])
def test_extended_precision_against_sixty_digits(factor):
    X, y = benchmark.features(36, factor, d=7, K=6)
    truth = oracle(X, y, 6)
    assert peers.exact_nc1(X, y, 6, piece=10) == pytest.approx(truth, rel=3e-14, abs=0)
    assert collapse_metrics(X, y).nc1_zhu == pytest.approx(truth, rel=1e-12, abs=0)


def test_all_programs_agree_where_class_means_lie_apart():
    X, y = benchmark.features(60, d=9, K=5)
    truth = peers.exact_nc1(X, y, 5)
    for program in PROGRAMS:
        assert program(X, y, 5) == pytest.approx(truth, rel=1e-5, abs=0)
        # a peer that gets double precision is right to double precision, so that only precision sets it apart
        assert program(X.astype(float), y, 5) == pytest.approx(truth, rel=1e-12, abs=0)


def test_single_precision_is_wrong_where_class_means_nearly_merge():
    X, y = benchmark.features(300, 1e-3, d=40, K=10)
    truth = peers.exact_nc1(X, y, 10)
    assert collapse_metrics(X, y).nc1_zhu == pytest.approx(truth, rel=1e-11, abs=0)
    assert peers.product_double(X, y, 10) == pytest.approx(truth, rel=1e-8, abs=0)
    for program in (peers.loop_numpy, peers.loop_torch):
        assert abs(program(X, y, 10) / truth - 1) > 0.1


def test_comparison_of_small_sizes(monkeypatch):
    monkeypatch.setattr(benchmark, "DIMENSION", 24)
    monkeypatch.setattr(benchmark, "CLASSES", 8)
    monkeypatch.setattr(benchmark, "features", lambda N, factor: FEATURES(N, factor, d=24, K=8))
    apart, merged = benchmark.compare(quick=True)
    assert [apart.name, merged.name] == ["collapse_metrics", "collapse_metrics_merged"]
    for comparison in (apart, merged):
        assert comparison.methods == (OURS, *(method for method, _, _ in benchmark.PEERS))
        assert all(e.error < 1e-12 for e in comparison.entries if e.method == OURS)
        assert all(0 < floor for floor in comparison.floor.values()) and set(comparison.floor) == {1000, 3000}
    wrong = [e for e in merged.entries if "loop" in e.method]
    assert len(wrong) == 4 and all(e.error > 0.1 for e in wrong)
    assert "a float32 program says NC1 = " in merged.claim and "err by up to" in apart.claim


def test_a_package_that_is_not_installed_is_a_line(monkeypatch):
    whole = benchmark.version
    monkeypatch.setattr(benchmark, "version", lambda *names: None if "torch" in names else whole(*names))
    monkeypatch.setattr(benchmark, "features", lambda N, factor: FEATURES(N // 10, factor, d=24, K=8))
    monkeypatch.setattr(benchmark, "DIMENSION", 24)
    monkeypatch.setattr(benchmark, "CLASSES", 8)
    comparison = benchmark._comparison("small", "Small", (1000,), 1.0, 5.0, lambda line: None)
    missing = [e for e in comparison.entries if e.outcome == "not installed"]
    assert [e.version for e in missing] == ["torch"] and len(comparison.entries) == 5


def test_program_of_a_hooked_module_and_the_bridge_agree():
    import torch

    from simulations.benchmarks.bridge_collapse import usual_nc1
    from simulations.bridge import last_layer_features

    X, y = FEATURES(80, d=9, K=5)
    truth = peers.exact_nc1(X, y, 5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(9, 5))
    batches = [(torch.from_numpy(X[i : i + 30]), torch.from_numpy(y[i : i + 30])) for i in range(0, 80, 30)]
    assert usual_nc1(module, batches, 5) == pytest.approx(truth, rel=1e-5, abs=0)
    assert not module[-1]._forward_hooks
    assert last_layer_features(module, batches).metrics.nc1_zhu == pytest.approx(truth, rel=1e-12, abs=0)
