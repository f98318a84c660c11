"""``depth-and-rank``: the model's numbers by other formulas, descent against theorems, and the verdict."""

import json
import time

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

from simulations.experiments import _depth_networks as networks
from simulations.experiments import depth_and_rank as experiment
from simulations.experiments._depth_descent import SCALE, descend, large_values, stable_rank
from simulations.experiments._one_thread import one_thread
from simulations.store import ResultsStore
from theory.peeled import deep_collapse_map, penalised_loss

pytestmark = pytest.mark.xdist_group("depth-and-rank")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("dr") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        cells = experiment._measure(experiment.CHOICES[True], 1, store, None)
    return result, path, lines, cells


def test_one_layer_is_the_penalised_closed_form():
    told = networks.told(6, 1, 0.01, 0.002, 7)
    assert told["objective"] == pytest.approx(penalised_loss(6, 7, np.sqrt(0.01 * 0.002)), rel=1e-9)
    assert told["optimal"] and not told["beaten"] and told["large"] == 5
    assert told["stable"] == pytest.approx(5)


def test_four_layers_are_the_pairing_of_four_classes():
    """Blocks t [[1, -1], [-1, 1]]: two singular values 2t sqrt(n), and the least penalty of L + 1 factors."""
    lam, lam_H, n, L = 0.02, 0.02 / 16, 3, 4
    mean = (lam**L * lam_H) ** (1 / (L + 1))

    def value(t):
        penalty = (L + 1) / 2 * mean * 2 * (2 * t * np.sqrt(n)) ** (2 / (L + 1))
        return np.log1p(np.exp(-2 * t) + 2 * np.exp(-t)) + penalty

    best = minimize_scalar(value, bounds=(0.5, 20), method="bounded", options={"xatol": 1e-10})
    told = networks.told(4, L, lam, lam_H, n)
    assert told["objective"] == pytest.approx(best.fun, rel=1e-8)
    assert told["beaten"] and not told["optimal"] and told["large"] == 2
    assert told["lower"] < told["objective"] < told["frame"]
    np.testing.assert_allclose(np.array(told["classifier"])[2:], 0, atol=1e-9)


def test_theory_of_the_cells_is_that_of_the_map(done):
    """Only the geometric mean of the penalties counts."""
    for cell in (c for c in done[3] if c["part"] == "linear model"):
        K, L, lam, told = cell["K"], cell["L"], cell["lam"], cell["told"][0]
        found = deep_collapse_map([K], [L], lam=(lam ** (L + 1) / SCALE**2) ** (1 / (L + 1)))
        assert told["frame"] == pytest.approx(found.collapsed[0, 0], rel=1e-9)
        assert told["lower"] == pytest.approx(found.lower[0, 0], rel=1e-9)
        families = min(found.collapsed[0, 0], found.pairing[0, 0], found.polygon[0, 0])
        assert told["objective"] <= families * (1 + 1e-9)
        assert told["beaten"] or not found.collapse_is_beaten[0, 0]
        if told["method"] != "local":
            assert told["objective"] == pytest.approx(families, rel=1e-9) and told["method"] == found.best[0, 0]
    beaten = {(c["K"], c["L"]) for c in done[3] if c["told"][0]["beaten"]}
    assert beaten == {(4, 3), (4, 4), (10, 2), (10, 3), (10, 4)}  # K >= 4, L >= 3 and K >= 6, L = 2


def test_descent_on_the_linear_model_is_at_its_balanced_penalty():
    """At a stationary point of all factors the penalty is (L+1)/2 Lambda^(1/(L+1)) sum sigma(Z)^(2/(L+1))."""
    K, L, lam = 4, 3, 0.02
    found = descend(
        K, L, [lam, 0.05], activation="identity", starts=3, width=8, steps=1500, rate=0.1, momentum=0.9, seed=1
    )
    for i, value in enumerate((lam, 0.05)):
        mean = (value**L * value / SCALE**2) ** (1 / (L + 1))
        s = np.array(found["logits"][i])
        penalty = (L + 1) / 2 * mean * (s ** (2 / (L + 1)) * (s > 1e-8)).sum(axis=-1)
        np.testing.assert_allclose(found["objective"][i], found["loss"][i] + penalty, rtol=1e-6)
        top = (mean / value) ** 0.5 * s ** (1 / (L + 1)) * (s > 1e-8)  # singular values of W_L in balance
        np.testing.assert_allclose(found["classifier"][i], top, atol=1e-4)
        assert np.max(found["gradient"][i]) < 1e-4


def test_relu_and_linear_descents_are_the_networks_they_say():
    """One step of the descent against autograd on torch's own layers, from the same weights."""
    torch = pytest.importorskip("torch")
    K, width, lam, rate = 3, 5, 0.1, 0.2
    draw = torch.Generator().manual_seed(2)
    shapes = [(width, K), (width, width), (K, width)]
    for activation in ("identity", "relu"):
        draw.manual_seed(2)
        W = [((torch.rand((1, *s), generator=draw, dtype=torch.float64) * 2 - 1) / s[1] ** 0.5)[0] for s in shapes]
        W = [w.requires_grad_() for w in W]
        act = torch.relu if activation == "relu" else (lambda x: x)

        def objective(W, act=act):
            Z = W[2] @ act(W[1] @ act(SCALE * W[0]))
            loss = torch.nn.functional.cross_entropy(Z.T, torch.arange(K))
            return loss + lam / 2 * sum((w**2).sum() for w in W)

        objective(W).backward()
        after = [w.detach() - rate * w.grad for w in W]
        found = descend(
            K, 2, [lam], activation=activation, starts=1, width=width, steps=1, rate=rate, momentum=0, seed=2
        )
        assert found["objective"][0][0] == pytest.approx(float(objective(after)), rel=1e-12)
        np.testing.assert_allclose(found["classifier"][0][0], torch.linalg.svdvals(after[2])[:K], rtol=1e-10)


def test_nothing_lies_below_the_certified_bound_and_one_layer_finds_the_frame(done):
    cells = [c for c in done[3] if c["part"] == "linear model"]
    assert len(cells) == 8
    for cell in cells:
        assert cell["objective"].min() >= cell["told"][0]["lower"] * (1 - 1e-9)
        if cell["L"] == 1:  # no spurious minimum: a theorem
            assert (cell["large"] == cell["K"] - 1).all()
            np.testing.assert_allclose(cell["objective"], cell["told"][0]["objective"], rtol=1e-6)


def test_depth_lowers_the_number_of_large_values_at_ten_classes(done):
    for part in ("linear model", "digits"):
        by_depth = [c["large"].mean() for c in done[3] if c["part"] == part and c["K"] == 10]
        assert by_depth[0] == 9 and by_depth[-1] <= 6


def test_one_thread_for_a_while():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), one_thread():
        _ = 1 / 0
    assert torch.get_num_threads() == before


def test_large_values_and_stable_rank():
    s = np.array([[4.0, 2.1, 1.9, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert large_values(s).tolist() == [2, 0, 4]
    np.testing.assert_allclose(stable_rank(s), [(16 + 4.41 + 3.61) / 16, 0, 4])


def test_a_shifted_theory_disagrees(done):
    cells = done[3]
    before = experiment.confront(cells)
    name = "linear model, L = 1: large values"
    assert before[name].agrees and before.to_json() == done[0].agreement.to_json()
    shifted = [{**cell, "told": [{**t, "large": t["large"] - 1, "lower": 2 * t["lower"]} for t in cell["told"]]}
               for cell in cells]  # fmt: skip
    after = experiment.confront(shifted)
    assert not after[name].agrees and after[name].deviation == pytest.approx(before[name].deviation + 1)
    assert not after["linear model: objective over the certified lower bound"].agrees


def test_checks_hold_means_over_runs_against_the_model(done):
    check = done[0].agreement["digits, L = 3: stable rank"]
    cells = [c for c in done[3] if c["part"] == "digits" and c["L"] == 3]
    np.testing.assert_allclose(check.measured, [c["stable"].mean() for c in cells])
    np.testing.assert_allclose(check.predicted, [c["told"][0]["stable"] for c in cells])
    check = done[0].agreement["ReLU model, L = 4: large values"]
    cells = [c for c in done[3] if c["part"] == "ReLU model" and c["L"] == 4]
    np.testing.assert_allclose(check.measured, [c["large"].mean() for c in cells])
    assert check.seeds == 4 and check.tolerance == 0.5


def test_sides_of_the_frame():
    def cell(K, large, model):
        return {"K": K, "large": np.array(large), "told": [{"large": model}]}

    assert experiment.leaves(cell(10, [8, 7], 5)) and not experiment.leaves(cell(10, [9, 8], 5))
    four = [cell(10, [5], 5), cell(10, [9], 9), cell(10, [9], 5), cell(4, [2], 2)]
    assert experiment.same_side(four) == 0.75
    assert experiment.candidates(cell(7, [1], 3)) == {"simplex": 6, "pairing": 4, "polygon": 2, "best point": 3}


def test_gradient_of_a_layer_by_hand():
    pytest.importorskip("torch")
    from simulations.experiments._collapse_networks import centred_digits
    from simulations.networks import perceptron

    data, net, lam = centred_digits(4, 0, classes=(0, 1, 2)), perceptron([64, 3]), 0.03
    W = net.classifier.weight.detach().numpy().astype(float)
    Z = data.X @ W.T
    P = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    G = (P - np.eye(3)[data.y]).T @ data.X / len(Z) + lam * W
    assert networks.gradient(net, data, lam) == pytest.approx(np.linalg.norm(G) / (lam * np.linalg.norm(W)), rel=1e-6)


def test_classes_are_drawn_by_the_seed():
    assert networks.classes_of(4, 0) == (0, 1, 2, 3)
    assert networks.classes_of(4, 1) != networks.classes_of(4, 2)
    assert len(set(networks.classes_of(6, 5))) == 6


def test_a_finished_store_computes_nothing(done):
    result, path, lines, _ = done
    began = time.perf_counter()
    with ResultsStore(path) as store:
        again = experiment.run(quick=True, store=store)
    assert time.perf_counter() - began < 1
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())
    assert any("(1 of 24), step 100 of 600" in line for line in lines)


def test_record_and_figure(done):
    result = done[0]
    json.dumps(result.to_json(), allow_nan=False)
    assert len(result.table) == 24 and len({tuple(row) for row in result.table}) == 1
    figure = Figure(layout="constrained")
    experiment.draw(result, figure)
    assert len(figure.axes) == 7
    assert result.agreement.verdict in figure.get_suptitle()
    figure.draw_without_rendering()
