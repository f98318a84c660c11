"""``unconstrained-features``: nothing below a certified bound, the record, and descent itself."""

import json
import time

import numpy as np
import pytest
from matplotlib.figure import Figure

from simulations.bridge import compare
from simulations.experiments import _peeled_cases as cases
from simulations.experiments import _peeled_descent as descent
from simulations.experiments import unconstrained_features as experiment
from simulations.store import ResultsStore
from theory.peeled import DeepLinearModel, deep_linear_threshold, solve

pytestmark = pytest.mark.xdist_group("unconstrained-features")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("uf") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
    return result, path, lines


def test_nothing_ends_below_a_certified_lower_bound(done):
    result = done[0]
    assert min(row["best excess"] for row in result.table) >= -1e-12
    assert result.curves["deep excess"].min() >= -1e-12
    assert result.agreement["slack above the lower bound"].agrees


def test_free_features_and_budgets_reach_the_optimum_from_every_start(done):
    """No spurious minimum below the rank (a theorem), so that this is a certainty and not luck."""
    rows = [row for row in done[0].table if row["model"] != "nonnegative features"]
    assert len(rows) == 10
    assert max(row["worst excess"] for row in rows) <= 1e-6
    assert max(row["Gram distance"] for row in rows if row["algorithm"] == "momentum") <= 1e-4


def test_theory_of_the_balanced_model_is_the_closed_form(done):
    row = next(row for row in done[0].table if row["model"] == "balanced")
    K, n, share = 10, 6, 0.3
    lam = share * np.sqrt(n) / (K * n)
    t = np.log(1 / (lam * np.sqrt(n)) - K + 1)  # Z = t (I - 1/K)
    loss = np.log1p((K - 1) * np.exp(-t))
    assert row["optimum"] == pytest.approx(loss + lam * np.sqrt(n) * (K - 1) * t, rel=1e-9)


def test_thresholds_are_roots_of_counts(done):
    curves = done[0].curves
    n = np.array([40, 16, 4])
    np.testing.assert_allclose(curves["thresholds"], np.sqrt(n) / 120, rtol=1e-14)
    lams, ratio = curves["lam_Z"], curves["predicted merge ratio"]
    above = lams[:, None] >= curves["thresholds"] * (1 - 1e-9)
    assert (ratio[above] == 0).all() and (ratio[~above] > 0.05).all()
    assert (curves["gradient"] > 1e-7).any() and (curves["gradient"] <= 1e-7).sum() > 8


def test_a_shifted_theory_disagrees(done):
    result = done[0]

    def verdict(**changed):
        predicted, measured, relation = experiment._quantities(list(result.table), {**result.curves, **changed})
        tolerance = {name: experiment.TOLERANCES[name][0] for name in predicted}
        return compare(predicted, measured, tolerance=tolerance, relation=relation)

    assert verdict()["merge ratio"].agrees
    assert not verdict(**{"predicted merge ratio": result.curves["predicted merge ratio"] + 0.02})["merge ratio"].agrees
    branch = result.curves["deep branch"] * 1.01
    assert not verdict(**{"deep branch": branch})["deep: distance to a branch"].agrees
    found = result.curves["thresholds found"] + 0.002
    assert not verdict(**{"thresholds found": found})["threshold found / sqrt(n)/N"].agrees


def test_the_store_makes_a_second_run_equal_and_quick(done):
    result, path, _ = done
    began = time.process_time()  # not wall time: other tests run beside this one
    with ResultsStore(path) as store:
        again = experiment.run(quick=True, store=store)
    assert time.process_time() - began < 1
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())


def test_record_and_figure(done):
    result, _, lines = done
    assert (result.name, result.claim) == (experiment.NAME, experiment.CLAIM)
    assert len({tuple(row) for row in result.table}) == 1 and len(result.table) == 11
    assert set(result.settings["tolerances"]) == {check.name for check in result.agreement.checks}
    assert any("step" in line and "left" in line for line in lines)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 3 and result.agreement.verdict in figure.get_suptitle()


@pytest.mark.parametrize(("loss", "lam_b"), [("mse", 0.0), ("cross_entropy", None)])
def test_objective_by_numpy(loss, lam_b):
    """What descent reports at its end, written out again from the classifier and the class means."""
    counts, lam, r = np.array([4, 2, 1]), 0.05, 1.5
    options = {"start_norms": (2.0, 2.0), "smoothness": 50.0, "ratio": r, "lam_b": lam_b, "loss": loss, "seed": 3}
    long = descent.descend_penalised(counts, np.full(3, lam), max_steps=40000, algorithm="momentum", **options)
    assert long.converged.all() and (long.within < 1e-5).all()
    for W, M, value in zip(long.W, long.means, long.objective, strict=True):
        Z = M @ W.T
        b = np.zeros(3) if lam_b is None else counts @ (np.eye(3) - Z) / 7  # the free bias centres the residuals
        out = Z + b
        each = 0.5 * ((out - np.eye(3)) ** 2).sum(1) if loss == "mse" else np.log(np.exp(out).sum(1)) - np.diag(out)
        penalty = lam / 2 * (r * (W**2).sum() + (counts @ (M**2).sum(1)) / r)
        assert value == pytest.approx(counts @ each / 7 + penalty, rel=1e-9)
        assert r * (W**2).sum() == pytest.approx((counts @ (M**2).sum(1)) / r, rel=1e-5)  # stationary: in balance


def test_budgets_are_kept_and_starts_differ():
    counts = np.array([6, 3, 3])
    found = descent.descend_budgets(counts, 1.0, 2.0, starts=3, smoothness=1.0, max_steps=20)
    assert ((found.W**2).sum((1, 2)) <= 3 * (1 + 1e-12)).all()
    assert len(np.unique(found.objective)) == 3
    again = descent.descend_budgets(counts, 1.0, 2.0, starts=3, smoothness=1.0, max_steps=20)
    assert (again.objective == found.objective).all()


def test_threads_are_as_before():
    import torch

    from simulations.experiments._one_thread import one_thread

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError, match="1"), one_thread():
            raise KeyError(torch.get_num_threads())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_merge_ratio_has_a_floor():
    W = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0]])
    assert descent.split(W, np.array([1, 2])) == 1.0
    assert descent.merge_ratio(W, np.array([1, 2])) == pytest.approx(0.2)
    assert descent.merge_ratio(1e-4 * W, np.array([1, 2]), zero=1e-3) == 0.0


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_branch_is_the_solver_s_optimum_below_the_threshold(depth, share):
    n, N = 12.0, 48
    lam = (share * deep_linear_threshold(n, N, depth)) ** (1 / (depth + 1))
    best = solve(DeepLinearModel(counts=[12] * 4, lam=lam, depth=depth))
    assert experiment.upper_branch(share, depth) == pytest.approx(np.trace(best.logits()) / 4, rel=1e-8)


def test_branch_folds():
    """Beyond the threshold a local minimum lives on, up to the product at which the slope vanishes too."""
    z = 1 / 4  # (L - 1) / (2L)
    a = (1 - z) * z ** (1 / 3)
    fold = (2 * a * 2 ** (1 / 3)) ** 3
    assert experiment.upper_branch(fold * 0.999, 2) == pytest.approx(z, abs=0.05)
    assert experiment.upper_branch(fold * 1.001, 2) == 0.0
    assert 1 < fold < 2


def test_curvature_bound_holds_at_the_optimum():
    """Largest eigenvalue of the Hessian of objective / lam_Z by power iteration, against the bound that sets steps."""
    import torch

    best = solve(cases.QUICK[0].model())
    _, bound = cases.scale_of(best, best.multiplier, False)
    K, N, lam = 10, 60, best.multiplier
    W = torch.tensor(best.classifier(12), requires_grad=True)
    H = torch.tensor(best.features(12)).repeat_interleave(6, dim=1).T.contiguous().requires_grad_()
    y = torch.arange(K).repeat_interleave(6)
    loss = torch.nn.functional.cross_entropy(H @ W.T, y) / lam + 0.5 * ((W**2).sum() + (H**2).sum())
    grads = torch.autograd.grad(loss, (W, H), create_graph=True)
    v = [torch.randn(q.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) for q in (W, H)]
    for _ in range(60):
        size = sum((x**2).sum() for x in v).sqrt()
        v = [x / size for x in v]
        v = list(
            torch.autograd.grad(sum((g * x).sum() for g, x in zip(grads, v, strict=True)), (W, H), retain_graph=True)
        )
    largest = float(sum((x**2).sum() for x in v).sqrt())
    assert N == len(y) and 0.2 * bound < largest <= bound
