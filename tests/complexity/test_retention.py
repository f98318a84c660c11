"""The closed dynamics against the matrix exponential and gradient descent, and what they say of information."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from theory import InvalidInput
from theory.complexity import RetentionModel, joint_counts
from theory.complexity import from_counts as counted


def flow(model, t):
    """(w, u) at time t by the exponential of the whole linear system."""
    s = np.where(np.arange(model.n) % 2 == 0, 1.0, -1.0)
    y = np.where(np.arange(model.n) < model.flipped, -s, s)
    A = np.hstack([model.a * s[:, None], model.b * np.eye(model.n)])
    H = np.zeros((model.n + 2, model.n + 2))  # affine flow as a linear one
    H[:-1, :-1], H[:-1, -1] = -A.T @ A / model.n, A.T @ y / model.n
    start = np.zeros(model.n + 2)
    start[0], start[-1] = model.w0, 1
    state = (expm(H * t) @ start)[:-1]
    return state, s, y, A


@settings(max_examples=25)
@given(st.integers(1, 12), st.floats(0, 0.49), st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0, 2), st.floats(0, 8))
def test_closed_form_is_the_flow(n, share, a, b, w0, t):
    model = RetentionModel(n=n, flipped=int(share * n), a=a, b=b, w0=w0)
    state, s, y, A = flow(model, t)
    assert float(model.weight(t)) == pytest.approx(state[0], abs=1e-10)
    score = s * (A @ state)
    expected = np.where(y == s, float(model.clean_score(t)), float(model.flipped_score(t)))
    assert score == pytest.approx(expected, abs=1e-10)


def test_linear_first_then_memory_and_never_forgotten():
    model = RetentionModel(n=200, flipped=30, w0=0.1)
    flip = model.memorised_at()
    assert float(model.flipped_score(flip)) == pytest.approx(0, abs=1e-12)
    fast, slow = model.rates
    assert fast / slow == pytest.approx(201) and flip > 3 / fast
    early, late = model.information(flip / 2), model.information(2 * flip)
    h = -0.15 * math.log2(0.15) - 0.85 * math.log2(0.85)
    assert early.I_FY == pytest.approx(1 - h) == pytest.approx(early.mu)
    assert early.I_FY_given_L == pytest.approx(0, abs=1e-14) and early.explained == pytest.approx(1)
    assert late.I_FY == pytest.approx(1) and late.mu == pytest.approx(1 - h)
    assert late.I_FY_given_L == pytest.approx(h) and late.I_LY_given_F == pytest.approx(0, abs=1e-14)
    assert (model.training_error(flip / 2), model.training_error(2 * flip)) == (0.15, 0)
    assert model.population_error(1e9) == 0.15
    weights = model.weight(np.linspace(0, 50, 400))
    assert (np.diff(weights) >= 0).all()


def test_information_is_that_of_the_samples():
    model = RetentionModel(n=40, flipped=8, w0=0.2)
    for t in (1.0, 3 * model.memorised_at()):
        state, s, y, A = flow(model, t)
        F, Y, L = ((v > 0).astype(int) for v in (A @ state, y, s))
        found = counted(joint_counts(F, Y, L), estimator="plug-in")
        assert found.mu == pytest.approx(model.information(t).mu, abs=1e-12)
        assert np.mean(F != Y) == model.training_error(t)


@pytest.mark.parametrize("w0", [0.0, 0.05, 3.0])
@pytest.mark.parametrize(("a", "flipped"), [(1.0, 5), (0.05, 5), (0.5, 9), (0.05, 0)])
def test_there_is_one_change_of_sign(w0, a, flipped):
    model = RetentionModel(n=20, flipped=flipped, a=a, w0=w0)
    if not flipped:
        with pytest.raises(InvalidInput, match="no label"):
            model.memorised_at()
        return
    flip = model.memorised_at()
    t = np.linspace(1e-3, 100, 20_001)
    score = model.flipped_score(t)
    assert ((score > 0) == (t < flip)).all()
    assert (model.clean_score(t) > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RetentionModel(n=10, flipped=5), "less than half"),
        (lambda: RetentionModel(n=10, flipped=1, a=0.0), "positive"),
        (lambda: RetentionModel(n=10, flipped=1, w0=-1.0), "negative"),
        (lambda: RetentionModel(n=10, flipped=1).weight(-1), "negative"),
        (lambda: RetentionModel(n=10, flipped=1).information(0.0), "no sign"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()


def test_at_the_start_nothing_is_known():
    model = RetentionModel(n=10, flipped=1)
    assert (model.training_error(0.0), model.population_error(0.0)) == (1.0, 0.5)


def test_sizes_whose_squares_overflow_are_refused():
    with pytest.raises(InvalidInput, match="overflows"):
        RetentionModel(n=10, flipped=1, a=1e200)
