"""PAC-Bayes-kl: its parts against closed forms, its Monte-Carlo step against enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from theory import InvalidInput, PreconditionError
from theory.architecture import (
    Activation,
    Architecture,
    Attention,
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    outputs,
)  # fmt: skip
from theory.bounds._evaluate import mistakes, multiplications
from theory.bounds._kl import kl_inverse
from theory.bounds.pac_bayes_kl import PacBayesKL

DENSE = Architecture.sequential([Linear(6), Activation("relu"), Linear(3)], input_shape=4)
CONV = Architecture.sequential(
    [Conv(3, 3, padding=1), BatchNorm(), Activation("gelu"), GlobalAvgPool(), Linear(2)], input_shape=(1, 5, 5)
)
SINGLE = Architecture.sequential([Linear(1, bias=False)], input_shape=3)
ATTENTION = Architecture.sequential([LayerNorm(), Attention(2), Flatten(), Linear(2)], input_shape=(3, 4))


def sample(net, n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, *net.input_shape))
    w = net.random_weights(rng=rng)
    scores = outputs(net, w, X)
    y = (scores[:, 0] > 0).astype(int) if net.output_shape == (1,) else scores.argmax(axis=1)
    return w, X, y


@pytest.mark.parametrize("net", [DENSE, CONV, SINGLE, ATTENTION], ids=["dense", "conv", "single", "attention"])
@pytest.mark.parametrize("with_reference", [False, True])
def test_symbolic_form_is_the_number(net, with_reference):
    w, X, y = sample(net)
    reference = net.random_weights(rng=9) if with_reference else None
    bound = PacBayesKL(draws=60)
    report = bound.evaluate(net, w, (X, y), delta=0.05, reference=reference)
    exact = float(bound.symbolic(net).evaluate(report.quantities))
    assert exact == pytest.approx(report.value, rel=1e-12)
    assert report.margin is None and "randomised" in report.notes[0]
    assert set(report.terms) == {"empirical", "complexity", "confidence", "union"}
    assert all(value >= 0 for value in report.terms.values())


def test_the_gibbs_error_is_that_of_gaussian_margins():
    # one linear output: the score under noise is N(w.x, sigma^2 |x|^2), so its error is a normal tail
    w, X, y = sample(SINGLE, n=200)
    report = PacBayesKL(draws=40000, noise=(0.7,)).evaluate(SINGLE, w, (X, y))
    q, W = report.quantities, w["linear1.weight"][0]
    sigma = 0.7 * np.sqrt(np.mean(W**2))
    assert q["sigma_1"] == pytest.approx(sigma, rel=1e-14)
    signed = np.where(y == 1, 1, -1) * (X @ W)
    exact = norm.cdf(-signed / (sigma * np.linalg.norm(X, axis=1))).mean()
    assert abs(q["R"] - exact) < 4 * math.sqrt(exact / 40000)
    assert q["m"] == 40000
    assert kl_inverse(q["R"], math.log(1000) / q["m"]) > exact


def divergence(mean, sigma, prior):
    """One Gaussian from a centred one, by quadrature."""
    return norm.expect(lambda x: norm.logpdf(x, mean, sigma) - norm.logpdf(x, 0, prior), loc=mean, scale=sigma)


def test_divergence_and_price_by_hand():
    w, X, y = sample(SINGLE, n=50)
    report = PacBayesKL(draws=50, noise=(1.0,), largest=2.0, per_e=7, share=0.25).evaluate(SINGLE, w, (X, y), delta=0.1)
    q, W = report.quantities, w["linear1.weight"]
    lam = 2.0 * math.exp(-q["j_1"] / 7)
    # nearest grid point to sigma^2 + |w|^2 / d
    wanted = q["sigma_1"] ** 2 + np.mean(W**2)
    assert abs(math.log(lam / wanted)) <= 0.5 / 7 + 1e-12
    KL = sum(divergence(c, q["sigma_1"], math.sqrt(lam)) for c in W.ravel())
    cost = KL + math.log(math.pi**2 / 6) + 2 * math.log(q["j_1"]) + math.log(2 * math.sqrt(50) / (0.75 * 0.1))
    risk = kl_inverse(q["R"], math.log(1 / (0.25 * 0.1)) / q["m"])
    assert report.value == pytest.approx(float(kl_inverse(risk, cost / 50)), rel=1e-9)


def test_a_network_that_never_moved_pays_only_the_grid():
    w, X, y = sample(DENSE, n=30)
    report = PacBayesKL(draws=30).evaluate(DENSE, w, (X, y), reference=w)
    assert all(report.quantities[f"D_{l}"] == 0 for l in range(1, 5))
    # a prior variance off by at most 1/200 on the logarithmic scale costs at most d/4 (1/200)^2 nats
    assert report.terms["complexity"] < 1e-3


@pytest.mark.parametrize(("sizes", "b"), [((3, 3, 1), 3), ((2, 2, 2, 1), 2), ((1, 1, 1, 1, 1), 1), ((4, 1), 4)])
@pytest.mark.parametrize("delta", [0.3, 0.05])
def test_blocks_under_one_drawing_fail_with_probability_at_most_delta(sizes, b, delta):
    # the worst dependence: all samples of a block are wrong together
    weights = np.array(sizes) / sum(sizes)
    wrong = np.array(list(itertools.product((0, 1), repeat=len(sizes))))
    limits = kl_inverse(np.minimum(1.0, wrong @ weights), math.log(1 / delta) * b / sum(sizes))
    worst = max(
        float(np.where(wrong, p, 1 - np.array(p)).prod(axis=1)[limits < weights @ p].sum())
        for p in itertools.product((0.1, 0.3, 0.6, 0.8, 0.95), repeat=len(sizes))
    )
    assert 0 < worst <= delta


def test_one_drawing_for_all_would_not_be_worth_n():
    # the same enumeration refutes counting n drawings where whole blocks are wrong together
    p, delta, n, b = 0.45, 0.05, 8, 4
    failed = sum(
        p**k * (1 - p) ** (2 - k) * math.comb(2, k)
        for k in range(3)
        if float(kl_inverse(k / 2, math.log(1 / delta) / n)) < p
    )
    assert failed > delta
    assert float(kl_inverse(0.0, math.log(1 / delta) * b / n)) > p


@given(st.floats(0.001, 0.4), st.integers(0, 5))
@settings(max_examples=4, deadline=None)
def test_less_confidence_is_cheaper(delta, seed):
    w, X, y = sample(DENSE, n=20, seed=seed)
    bound = PacBayesKL(draws=20, noise=(0.5,))
    loose, strict = (bound.evaluate(DENSE, w, (X, y), delta=level).value for level in (delta, delta / 2))
    assert loose < strict


def test_drawings_are_reproducible_and_weights_stay_as_they_are():
    w, X, y = sample(DENSE)
    before = {key: value.copy() for key, value in w.items()}
    a, b = (PacBayesKL(draws=40, rng=3).evaluate(DENSE, w, (X, y)) for _ in range(2))
    assert a.to_json() == b.to_json()
    assert all((w[key] == before[key]).all() for key in w)


def test_mistakes_count_ties_and_overflow():
    net = Architecture.sequential([Linear(2, bias=False)], input_shape=1)
    X, y = np.array([[1.0], [1.0], [0.0]]), np.array([0, 1, 0])
    assert mistakes(net, {"linear1.weight": np.array([[2.0], [1.0]])}, X, y) == 2
    assert mistakes(net, {"linear1.weight": np.array([[np.inf], [np.inf]])}, X, y) == 3


def test_multiplications_of_a_small_network():
    net = Architecture.sequential([Conv(4, 3, bias=False), Flatten(), Linear(2, bias=False)], input_shape=(2, 6, 5))
    assert multiplications(net) == 4 * 3 * (4 * 2 * 9) + 2 * 48
    tokens = Architecture.sequential([Linear(7, bias=False), Flatten(), Linear(2, bias=False)], input_shape=(3, 4))
    assert multiplications(tokens) == 3 * 28 + 2 * 21


def test_refusals():
    w, X, y = sample(DENSE)
    with pytest.raises(PreconditionError, match=r"at most 1.0e\+03 operations"):
        PacBayesKL(most=1e3).evaluate(DENSE, w, (X, y))
    odd = Architecture.sequential([Linear(3), Activation("mine", lipschitz=1.0), Linear(2)], input_shape=4)
    with pytest.raises(PreconditionError, match="only declared"):
        PacBayesKL().symbolic(odd)
    for bad in (
        {"draws": 0}, {"noise": ()}, {"noise": (0.1, -1.0)}, {"share": 1.0}, {"largest": 0.0}, {"per_e": 0},
        {"most": -1.0},
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as caught:
            PacBayesKL(**bad)
        assert str(caught.value).endswith(".")
    huge = {key: value * 1e200 for key, value in DENSE.random_weights(rng=0).items()}
    with pytest.raises(PreconditionError, match="weights below 1e37"):
        PacBayesKL().evaluate(DENSE, huge, (np.ones((2, 4)), [0, 1]))


def test_drawings_of_a_seed_are_not_the_data_made_from_that_seed():
    X, w, seen = np.random.default_rng(0).standard_normal((400, 4)), DENSE.random_weights(rng=1), []

    class Spied(PacBayesKL):
        def _score(self, problem, sigmas, block, rows, rng):
            state = rng.bit_generator.state
            seen.append(rng.standard_normal(24))
            rng.bit_generator.state = state
            return super()._score(problem, sigmas, block, rows, rng)

    Spied(draws=5, rng=0).evaluate(DENSE, w, (X, (X[:, 0] > 0).astype(int)))
    stream = np.random.default_rng(0).standard_normal(100_000)
    assert seen and not any(np.isin(noise, stream).any() for noise in seen)
