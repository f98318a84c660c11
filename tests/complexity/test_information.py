"""Exact tables, identities, estimators against the definitions, coverage of the intervals."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory import InvalidInput
from theory.complexity import estimate, exact, from_counts, joint_counts
from theory.complexity._entropy import ESTIMATORS, NAMES, measures, plug_in

XOR = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]) / 4
cells = st.just(0) | st.floats(1e-6, 1)
tables = arrays(float, st.tuples(*[st.integers(1, 4)] * 3), elements=cells).filter(lambda p: p.sum() > 0.1)


def by_definition(p):
    """I(F;Y), I(F;Y|L) in bits as sums over cells of p log p / (q r)."""
    def mutual(q):
        a, b = q.sum(1), q.sum(0)
        return sum(q[i, j] * math.log2(q[i, j] / (a[i] * b[j])) for i, j in np.argwhere(q > 0))

    per_class = [p[:, :, k] for k in range(p.shape[2])]
    return mutual(p.sum(2)), sum(q.sum() * mutual(q / q.sum()) for q in per_class if q.sum() > 0)


def test_exclusive_or_of_two_coins_is_minus_one_bit():
    found = exact(XOR)
    assert (found.I_FY, found.I_FL, found.I_LY) == pytest.approx((0, 0, 0), abs=1e-15)
    assert found.mu == pytest.approx(-1, abs=1e-15) and found.I_FY_given_L == pytest.approx(1, abs=1e-15)
    assert exact(XOR, unit="nats").mu == pytest.approx(-math.log(2), abs=1e-15)


def test_a_copy_explains_all_and_an_independent_reference_nothing():
    copy = np.zeros((3, 3, 3))
    independent = np.zeros((3, 3, 2))
    for k, p in enumerate((0.5, 0.25, 0.25)):
        copy[k, k, k] = p
        independent[k, k] = p / 2
    assert exact(copy).mu == pytest.approx(1.5, abs=1e-14) and exact(copy).explained == pytest.approx(1, abs=1e-14)
    found = exact(independent)
    assert found.mu == pytest.approx(0, abs=1e-14) and found.I_FY_given_L == pytest.approx(1.5, abs=1e-14)
    assert found.H_Y == pytest.approx(1.5, abs=1e-14)


def test_symmetric_accuracy_is_one_minus_binary_entropy():
    a = 0.8
    table = np.array([[[a / 2], [(1 - a) / 2]], [[(1 - a) / 2], [a / 2]]])
    h = -a * math.log2(a) - (1 - a) * math.log2(1 - a)
    assert exact(table).I_FY == pytest.approx(1 - h, abs=1e-14) == pytest.approx(0.2780719, abs=1e-7)


@given(tables)
def test_definition_symmetry_and_upper_bounds(p):
    p = p / p.sum()
    found = exact(p)
    assert (found.I_FY, found.I_FY_given_L) == pytest.approx(by_definition(p), abs=1e-12)
    pairs = ((found.I_FY, found.I_FY_given_L), (found.I_LY, found.I_LY_given_F), (found.I_FL, found.I_FL_given_Y))
    assert [a - b for a, b in pairs] == pytest.approx([found.mu] * 3, abs=1e-12)
    assert found.mu <= min(a for a, _ in pairs) + 1e-12
    assert min(min(pair) for pair in pairs) >= -1e-12 and found.I_FY <= found.H_Y + 1e-12
    for order in itertools.permutations(range(3)):
        assert exact(np.transpose(p, order)).mu == pytest.approx(found.mu, abs=1e-12)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=6).filter(lambda c: sum(c) > 2))
def test_jackknife_leaves_each_sample_out(counts):
    c = np.array(counts, float)
    n = c.sum()
    left = [plug_in(c - np.eye(len(c))[i]) for i in range(len(c)) for _ in range(int(c[i]))]
    assert ESTIMATORS["jackknife"](c) == pytest.approx(n * plug_in(c) - (n - 1) * np.mean(left), abs=1e-11)


def test_grassberger_weights_follow_their_recursion():
    """G(1) = -gamma - ln 2, G(2) = 2 + G(1), G(2k+1) = G(2k), G(2k+2) = G(2k) + 2/(2k+1)."""
    G = [0, -np.euler_gamma - math.log(2)]
    G.append(2 + G[1])
    for k in range(1, 5):
        G += [G[2 * k], G[2 * k] + 2 / (2 * k + 1)]
    counts = np.array([1.0, 2, 3, 4, 7, 8, 0])
    n = counts.sum()
    expected = math.log(n) - sum(c * G[int(c)] for c in counts) / n
    assert ESTIMATORS["grassberger"](counts) == pytest.approx(expected, abs=1e-12)


def mean_conditional(estimator, p, n, draws=4000):
    drawn = np.random.default_rng(0).multinomial(n, p.ravel(), size=draws).reshape(-1, *p.shape)
    found = measures(drawn.astype(float), ESTIMATORS[estimator])
    return found["I_FY_given_L"].mean() / math.log(2)


def test_corrected_estimators_have_a_quarter_of_the_plug_in_bias():
    p = np.random.default_rng(1).dirichlet(np.full(18, 3.0)).reshape(3, 3, 2)
    truth, n = exact(p).I_FY_given_L, 150
    bias = {name: mean_conditional(name, p, n) - truth for name in ESTIMATORS}
    degrees = 2 * (3 - 1) * (3 - 1)
    assert bias["plug-in"] == pytest.approx(degrees / (2 * n * math.log(2)), rel=0.15)  # first order
    assert all(abs(bias[name]) < 0.25 * bias["plug-in"] for name in ESTIMATORS if name != "plug-in")


def test_intervals_cover():
    rng = np.random.default_rng(2)
    p = np.random.default_rng(3).dirichlet(np.full(8, 1.0)).reshape(2, 2, 2)
    truth = exact(p)
    hits = {"I_FY": 0, "mu": 0, "I_FY_given_L": 0}
    for _ in range(400):
        found = from_counts(rng.multinomial(300, p.ravel()).reshape(2, 2, 2), n_bootstrap=200, level=0.9, rng=rng)
        for name in hits:
            hits[name] += found.intervals[name].low <= getattr(truth, name) <= found.intervals[name].high
    assert all(0.85 <= h / 400 <= 0.945 for h in hits.values()), hits  # 0.9 within three standard errors


def test_counts_and_estimate_agree_and_repeat():
    rng = np.random.default_rng(4)
    F, Y, L = rng.integers(0, 3, (3, 200))
    counts = joint_counts(F, Y, L)
    assert counts.sum() == 200 and counts[1, 2, 0] == ((F == 1) & (Y == 2) & (L == 0)).sum()
    assert joint_counts(F * 10**9, Y, L).shape == (3, 3, 3)
    one = estimate(F, Y, L, n_bootstrap=50, rng=1)
    assert one == estimate(F, Y, L, n_bootstrap=50, rng=1)
    assert one.intervals["mu"].low < one.mu < one.intervals["mu"].high
    frequencies = exact(counts / 200, unit="nats")
    plug = estimate(F, Y, L, estimator="plug-in", unit="nats")
    assert all(getattr(plug, name) == pytest.approx(getattr(frequencies, name), abs=1e-14) for name in NAMES)
    assert set(one.to_json()["intervals"]) == set(NAMES) and "miller-madow, 200 samples" in one.summary()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact(XOR * 2), "sum 1"),
        (lambda: exact(-XOR), "sum 1"),
        (lambda: exact(XOR[0]), "3 dimension"),
        (lambda: exact(XOR, unit="bans"), "'bits' or 'nats'"),
        (lambda: estimate([0, 1], [0, 1], [0]), "one length"),
        (lambda: estimate([0, 1], [0, -1], [0, 1]), "counted from 0"),
        (lambda: estimate([0], [0], [0]), "2 samples"),
        (lambda: estimate([0, 1], [0, 1], [0, 1], estimator="best"), "must be one of"),
        (lambda: estimate([0, 1], [0, 1], [0, 1], n_bootstrap=-1), "at least 0"),
        (lambda: estimate([0, 1], [0, 1], [0, 1], level=1.0), "between 0 and 1"),
        (lambda: from_counts(XOR), "whole numbers"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()


def test_miller_madow_adds_half_the_cells_met_but_one_over_n():
    counts = np.array([3.0, 1, 0, 4])
    assert ESTIMATORS["miller-madow"](counts) - plug_in(counts) == pytest.approx(2 / 16, abs=1e-15)
