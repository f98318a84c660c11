"""Peers of the layer-peeled program: they reach our optimum from above, and say where they did not."""

import numpy as np
import pytest

from simulations.benchmarks import layer_peeled as benchmark
from simulations.benchmarks._comparison import OURS
from simulations.benchmarks._peers_peeled import descent, objective, semidefinite
from theory.peeled import LayerPeeledModel, solve

pytestmark = pytest.mark.xdist_group("benchmarks")
MODEL = LayerPeeledModel(counts=[9, 5, 2, 1], E_W=1, E_H=20)
COUNTS = np.array([9.0, 5, 2, 1])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def optimum():
    return solve(MODEL)


def test_the_objective_is_the_solvers(optimum):
    Z = optimum.logits()
    assert objective(Z, COUNTS) == pytest.approx(optimum.objective, rel=1e-13, abs=0)
    by_hand = sum(n * -np.log(np.exp(Z[k, k]) / np.exp(Z[:, k]).sum()) for k, n in enumerate(COUNTS)) / COUNTS.sum()
    assert objective(Z, COUNTS) == pytest.approx(by_hand, rel=1e-13, abs=0)


@pytest.mark.parametrize(("solver", "tolerance"), [("CLARABEL", 1e-7), ("SCS", 1e-4)])
def test_semidefinite_form_reaches_the_optimum_from_above(solver, tolerance, optimum):
    found = semidefinite(MODEL, solver, limit=20)
    assert found.finished and found.said == "optimal"
    excess = objective(found.logits, COUNTS) / optimum.certificate.lower - 1
    assert -1e-14 < excess < tolerance
    assert np.linalg.norm(found.logits, "nuc") == pytest.approx(MODEL.budget, rel=1e-12, abs=0)


@pytest.mark.parametrize(("optimiser", "tolerance"), [("sgd", 1e-11), ("adam", 1e-5)])
def test_descent_reaches_the_optimum_from_above_within_both_budgets(optimiser, tolerance, optimum):
    found = descent(MODEL, optimiser, 2000, limit=20)
    assert found.finished and found.said == "2000 of 2000 steps"
    excess = objective(found.logits, COUNTS) / optimum.certificate.lower - 1
    assert -1e-14 < excess < tolerance
    # the nuclear norm of a product of factors within the budgets is at most theirs
    assert np.linalg.norm(found.logits, "nuc") <= MODEL.budget * (1 + 1e-12)
    few = descent(MODEL, optimiser, 3, limit=20)
    assert objective(few.logits, COUNTS) > optimum.objective * (1 + 1e-3)


def test_descent_depends_on_its_seed_alone():
    import torch

    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    first, second, other = (descent(MODEL, "sgd", 3, limit=20, seed=s).logits for s in (0, 0, 1))
    assert np.array_equal(first, second) and not np.allclose(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_peer_at_its_limit_has_not_finished():
    found = descent(MODEL, "sgd", 10**6, limit=0.05)
    assert not found.finished and found.said.endswith("of 1000000 steps") and found.seconds < 5
    entry = benchmark._entry("SGD", "torch 0", lambda K: COUNTS, {4: 1e-9}, lambda model: found, lambda line: None)(4)
    assert entry.outcome == "did not finish" and entry.error is not None and "had passed" in entry.note


def test_a_value_below_the_certified_bound_is_called_out(optimum):
    found = descent(MODEL, "sgd", 300, limit=20)
    raised = {4: 2 * optimum.certificate.lower}
    entry = benchmark._entry("SGD", "torch 0", lambda K: COUNTS, raised, lambda model: found, lambda line: None)(4)
    assert "BELOW our lower bound" in entry.note and entry.error == pytest.approx(0.5, abs=1e-3)


def test_missing_packages_are_lines_of_the_comparison(monkeypatch):
    monkeypatch.setattr(benchmark, "version", lambda *packages: None)
    entries = list(benchmark._peers(benchmark.two_groups, (10, 20), {10: 1.0, 20: 1.0}, 1.0, lambda line: None))
    assert len(entries) == 5 and {e.outcome for e in entries} == {"not installed"}
    assert {e.version for e in entries} == {"cvxpy, clarabel", "cvxpy, scs", "torch"}


def test_comparison_of_small_sizes(monkeypatch):
    monkeypatch.setattr(benchmark, "DESCENTS", (("SGD", "sgd", 50),))
    lines = []
    first, second = benchmark.compare(True, lines.append)
    assert [first.name, second.name] == ["layer_peeled_two_groups", "layer_peeled_distinct"]
    for comparison in (first, second):
        assert comparison.methods == (OURS, "cvxpy, Clarabel", "cvxpy, SCS", "SGD on W and H, 50 steps")
        ours = [e for e in comparison.entries if e.method == OURS]
        assert [e.size for e in ours] == [10, 20] and all(e.error < 1e-9 for e in ours)
        assert all("BELOW" not in e.note for e in comparison.entries)
        assert all(comparison.floor[e.size] < e.seconds for e in ours)
    assert any("SCS, K = 20" in line for line in lines)


def test_the_floor_counts_the_solvers_own_work():
    """As many SVDs and steps as a solver that tells of them; another size is not counted."""
    counts = benchmark.distinct_counts(12)
    assert len(set(counts)) == 12
    with benchmark._counted(12) as work:
        solve(LayerPeeledModel(counts=counts, E_W=1, E_H=20))
    with benchmark._counted(11) as other:
        solve(LayerPeeledModel(counts=counts, E_W=1, E_H=20))
    assert work.svds >= 2 and work.cg_steps >= 1 and other.svds == other.cg_steps == 0
