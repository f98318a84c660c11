"""The frame: grids never round down, their weights sum to 3/4, ramp means are the definition, symbols agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import InvalidInput
from theory.architecture import (
    Activation,
    Architecture,
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    outputs,
)  # fmt: skip
from theory.bounds._frame import Margins, choose_margin, index_cost, margins, mcdiarmid, round_up
from theory.bounds._kl import as_delta
from theory.bounds._problem import Problem, Sample
from theory.bounds._symbolic import SymbolicBound, confidence, delta, grid_cost, kl_inverse, n

floats = st.floats(-50, 50)


def test_weights_of_the_grid_sum_to_three_quarters():
    far = 10**5
    total = sum(math.exp(-index_cost(j)) for j in range(-far, far + 1))
    assert total == pytest.approx(0.75 - 1 / far, rel=1e-8)


@given(floats)
def test_a_grid_point_is_just_above(log_value):
    point = round_up(log_value)
    assert point.log >= log_value and point.log < log_value + math.log(1.05) + 1e-10
    assert point.log == point.index * math.log(1.05) and point.log_cost == index_cost(point.index)


def test_zero_has_a_grid_point():
    point = round_up(-math.inf)
    assert point.value == 0 and math.isfinite(point.log_cost)


def test_margins():
    scores = np.array([[1.0, 4.0, 2.0], [3.0, 0.0, 3.0]])
    assert margins(scores, np.array([1, 0])).tolist() == [2.0, 0.0]
    assert margins(scores[:, :1], np.array([1, 0])).tolist() == [1.0, -3.0]


@settings(max_examples=50)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=30), st.floats(1e-3, 5))
def test_ramp_and_share_are_the_definitions(values, gamma):
    m, array = Margins(np.array(values)), np.array(values)
    assert m.ramp(gamma) == pytest.approx(np.clip(1 - array / gamma, 0, 1).mean(), abs=1e-12)
    assert m.share(gamma) == (array <= gamma).mean()
    assert m.errors == (array <= 0).mean() and m.errors <= m.ramp(gamma) <= m.share(gamma) + 1e-12


def test_the_best_margin_is_the_best_of_a_fine_search():
    rng = np.random.default_rng(0)
    m = Margins(rng.gamma(4.0, 1.0, 500))
    log_norm, c, size, level = math.log(7.0), 0.02, 500, 0.01

    def parts(gamma, point):
        alone, union = mcdiarmid(size, level, point.log_cost)
        return m.ramp(gamma), math.log(c) + point.log, alone, union

    choice = choose_margin(m, log_norm, parts, None)
    assert choice.point.log >= log_norm - math.log(choice.gamma)

    def total(gamma):
        point = round_up(log_norm - math.log(gamma))
        return m.ramp(gamma) + c * point.value + 3 * math.sqrt((math.log(1 / level) + point.log_cost) / (2 * size))

    fine = min(total(g) for g in np.geomspace(0.05, m.largest, 4000))
    assert sum(choice.terms.values()) <= fine * (1 + 1e-9)
    assert sum(choice.terms.values()) == pytest.approx(total(choice.gamma * (1 + 1e-9)), rel=1e-6)
    fixed = choose_margin(m, log_norm, parts, 2.0)
    assert fixed.gamma == 2.0 and sum(fixed.terms.values()) == pytest.approx(total(2.0), rel=1e-12)
    wrong = Margins(-m.values)
    lost = choose_margin(wrong, log_norm, lambda gamma, point: (wrong.ramp(gamma), point.log, 0.0, 0.0), None)
    assert lost.terms["empirical"] == 1.0 and lost.log10 > 0


def test_mcdiarmid_constants():
    assert mcdiarmid(10_000, 0.01, 0.0)[0] == pytest.approx(0.0455228, abs=5e-8)
    alone, union = mcdiarmid(100, 0.05, 2.0, data_dependent=False)
    assert alone + union == pytest.approx(math.sqrt((math.log(20) + 2) / 200))


def test_symbolic_confidence_and_n_needed():
    j = n**0 * 3
    form = SymbolicBound(name="x", expression=confidence(grid_cost(j)) + 1 / n, complexity=1 / n)
    value = float(form.evaluate({"n": 500, "delta": 0.05}))
    assert value == pytest.approx(3 * math.sqrt((math.log(20) + index_cost(3)) / 1000) + 1 / 500, rel=1e-14)
    least = form.n_needed({"n": 500, "delta": 0.05})
    assert form.evaluate({"n": least, "delta": 0.05}) < 1 <= form.evaluate({"n": least - 1, "delta": 0.05})
    assert SymbolicBound(name="x", expression=1 + 1 / n, complexity=1 / n).n_needed({"n": 5}) == math.inf
    with pytest.raises(InvalidInput, match="'delta'"):
        form.evaluate({"n": 5})


def test_symbolic_kl_inverse_is_the_numeric_one():
    from theory.bounds._kl import kl_inverse as numeric

    form = SymbolicBound(name="x", expression=kl_inverse(delta, 1 / n), complexity=1 / n)
    for q, c in ((0.0, 0.3), (0.1, 0.02), (0.9, 1e-6), (0.3, 5.0)):
        got = form._function(*form._values({"delta": q, "n": 1 / c if c else 1})) if q == 0 else form.evaluate(
            {"delta": q, "n": 1 / c}
        )
        assert float(got) == pytest.approx(float(numeric(q, c)), rel=1e-12)


def net():
    return Architecture.sequential(
        [Conv(3, 3), BatchNorm(), Activation(), MaxPool(2), Flatten(), Linear(2)], input_shape=(1, 6, 6)
    )


def test_a_problem_is_a_chain_with_one_row_for_two_classes():
    architecture = net()
    weights = architecture.random_weights(rng=0)
    X, y = np.random.default_rng(1).standard_normal((7, 1, 6, 6)), np.arange(7) % 2
    problem = Problem(architecture, weights, Sample(X=X, y=y, X_test=X[:3], y_test=1 - y[:3]))
    assert [layer.name for layer in problem.chain.layers] == ["conv1", "linear1"] and problem.chain.scalar
    W = weights["linear1.weight"]
    np.testing.assert_array_equal(problem.chain.layers[1].weight, W[1:] - W[:1])
    scores = outputs(architecture, weights, X)
    want = np.where(y == 1, 1, -1) * (scores[:, 1] - scores[:, 0])
    np.testing.assert_allclose(problem.margins.values, np.sort(want), atol=1e-14)
    assert problem.holdout(0.1).errors == int((want[:3] >= 0).sum())
    tied = Sample(X=X, y=y, outputs_test=np.array([[1.0, 1.0], [0.0, 2.0]]), y_test=[0, 1])
    assert Problem(architecture, weights, tied).holdout(0.1).errors == 1


def test_not_a_chain_says_why():
    architecture = Architecture.sequential([Activation("tanh"), Linear(3)], input_shape=2)
    problem = Problem(architecture, architecture.random_weights(rng=0), (np.ones((2, 2)), [0, 2]))
    assert problem.not_a_chain == "'activation1' (activation) stands before the first weights"
    pooled = Architecture.sequential([GlobalAvgPool(), Linear(3)], input_shape=(4, 2, 2))
    problem = Problem(pooled, pooled.random_weights(rng=0), (np.arange(16.0).reshape(1, 4, 2, 2), [0]))
    assert problem.inputs.tolist() == [[1.5, 5.5, 9.5, 13.5]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((np.ones((2, 1, 6, 6)), [0, 2]), "lie in 0..1"),
        ((np.ones((2, 1, 6, 6)), [0]), "2 entries"),
        ((np.ones((0, 1, 6, 6)), []), "at least one sample"),
        (3, "a Sample or a pair"),
        (Sample(X=np.ones((1, 36)), y=[0], outputs=[[1.0]]), "outputs must have shape"),
        (Sample(X=np.ones((1, 36)), y=[0], y_test=[0]), "y_test needs"),
    ],
)
def test_bad_samples_are_sentences(data, said):
    architecture = net()
    weights = architecture.random_weights(rng=0)

    def whole():
        problem = Problem(architecture, weights, data)
        return problem.margins, problem.test_errors

    with pytest.raises(InvalidInput, match=said):
        whole()


@pytest.mark.parametrize("level", [0, 1, -0.1, math.nan, "x", True])
def test_delta_outside_its_interval(level):
    with pytest.raises(InvalidInput):
        as_delta(level)
