"""Losses against differences, against mpmath where they underflow, and against each other."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory import InvalidInput, PreconditionError
from theory.flow.losses import (
    LOSSES,
    CrossEntropyLoss,
    ExponentialLoss,
    LogisticLoss,
    SquareLoss,
    _inverse_logistic,
    _log_softplus,
    as_loss,
)

mpmath.mp.dps = 50
RNG = np.random.default_rng(0)
SIGNS = np.array([1.0, -1, -1, 1, 1])
CLASSES = np.array([0, 2, 1, 1, 0])
CASES = {
    "exponential": (RNG.standard_normal((5, 1)), SIGNS),
    "logistic": (3 * RNG.standard_normal((5, 1)), SIGNS),
    "cross_entropy": (2 * RNG.standard_normal((5, 3)), CLASSES),
    "square": (RNG.standard_normal((5, 3)), RNG.standard_normal((5, 3))),
}
TAILED = ["exponential", "logistic", "cross_entropy"]


def plain(name, f, y):
    """The loss as its definition reads."""
    if name == "square":
        return 0.5 * ((f - y) ** 2).sum()
    if name == "cross_entropy":
        return sum(np.log(sum(np.exp(f[n, k] - f[n, y[n]]) for k in range(f.shape[1]))) for n in range(len(f)))
    q = y * f[:, 0]
    return np.exp(-q).sum() if name == "exponential" else np.log(1 + np.exp(-q)).sum()


def difference(function, f, h=1e-5):
    """Central differences of ``function`` in each entry of f, on the last axes."""
    out = []
    for index in np.ndindex(f.shape):
        e = np.zeros(f.shape)
        e[index] = h
        out.append((np.asarray(function(f + e)) - np.asarray(function(f - e))) / (2 * h))
    return np.moveaxis(np.array(out), 0, -1).reshape(*out[0].shape, *f.shape)


@pytest.mark.parametrize("name", LOSSES)
def test_value_slope_and_curvature_are_those_of_the_definition(name):
    loss, (f, y) = as_loss(name), CASES[name]
    assert np.isclose(loss.log_inverse(f, y), -np.log(plain(name, f, y)), rtol=1e-14, atol=1e-14)
    assert np.allclose(loss.slope(f, y), -difference(lambda g: plain(name, g, y), f), rtol=1e-8, atol=1e-9)
    full = -difference(lambda g: loss.slope(g, y), f)  # (N, K, N, K)
    blocks = loss.curvature(f, y)
    assert blocks.shape == (*f.shape, f.shape[1])
    for n, m in np.ndindex(len(f), len(f)):
        assert np.allclose(full[n, :, m], blocks[n] if n == m else 0, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", TAILED)
def test_log_forms_are_the_plain_ones_over_the_loss(name):
    loss, (f, y) = as_loss(name), CASES[name]
    value = plain(name, f, y)
    assert np.allclose(loss.log_slope(f, y), loss.slope(f, y) / value, rtol=1e-13, atol=0)
    assert np.allclose(loss.log_curvature(f, y), loss.curvature(f, y) / value, rtol=1e-13, atol=0)
    assert np.allclose(loss.log_slope(f, y), difference(lambda g: loss.log_inverse(g, y), f), rtol=1e-8, atol=1e-9)


def exact(name, f, y):
    """u, du/df and the blocks of d^2Loss/df^2 / Loss in 50 digits (more where the loss needs them)."""
    e = [[mpmath.exp(mpmath.mpf(float(f[n, k])) - (0 if name != "cross_entropy" else f[n, y[n]]))
          for k in range(f.shape[1])] for n in range(len(f))]  # fmt: skip
    if name == "cross_entropy":
        wrong = [sum(row[k] for k in range(len(row)) if k != y[n]) for n, row in enumerate(e)]
        value = sum(mpmath.log1p(w) for w in wrong)
        P = [[x / (1 + w) for x in row] for row, w in zip(e, wrong, strict=True)]
        slope = [[(wrong[n] / (1 + wrong[n]) if k == y[n] else -p) / value for k, p in enumerate(row)]
                 for n, row in enumerate(P)]  # fmt: skip
        blocks = [[[(p * (wrong[n] / (1 + wrong[n]) if k == y[n] else 1 - p) if j == k else -p * row[j]) / value
                    for j in range(len(row))] for k, p in enumerate(row)] for n, row in enumerate(P)]  # fmt: skip
    else:
        t = [mpmath.exp(-mpmath.mpf(float(y[n] * f[n, 0]))) for n in range(len(f))]
        if name == "exponential":
            value, first, second = sum(t), t, t
        else:
            value = sum(mpmath.log1p(x) for x in t)
            first = [x / (1 + x) for x in t]
            second = [x / (1 + x) ** 2 for x in t]
        slope = [[y[n] * x / value] for n, x in enumerate(first)]
        blocks = [[[x / value]] for x in second]
    return float(-mpmath.log(value)), np.array(slope, dtype=float), np.array(blocks, dtype=float)


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 36.0, 1e3, 1e5, 1e8])
@pytest.mark.parametrize("name", TAILED)
def test_far_beyond_underflow_all_three_hold_to_the_rounding_of_the_exponents(name, size):
    rng, loss = np.random.default_rng(3), as_loss(name)
    gaps = rng.uniform(0, 4, (5, 3))
    if name == "cross_entropy":
        y, f = CLASSES, -size - gaps
        f[np.arange(5), y] = 0.25
    else:
        y, f = SIGNS, SIGNS[:, None] * (size + gaps[:, :1])
    u, slope, blocks = exact(name, f, y)
    eps = 4e-16 * max(10.0, size)  # a margin of 1e8 is known to 1e-8
    assert loss.log_inverse(f, y) == pytest.approx(u, rel=1e-15, abs=4e-15)
    assert np.abs(loss.log_slope(f, y) - slope).max() < eps * np.abs(slope).max()
    assert np.abs(loss.log_curvature(f, y) - blocks).max() < eps * np.abs(blocks).max()
    assert np.abs(slope).max() > 0.2  # none has underflowed


@pytest.mark.parametrize("name", ["logistic", "cross_entropy"])
def test_smoothed_margin_inverts_the_loss_of_one_sample(name):
    # with one sample (and two classes) the smoothed margin is the margin, at every size
    loss = as_loss(name)
    for q in [-1e4, -800.0, -3.0, 1e-3, 0.5, 5.0, 18.0, 19.0, 40.0, 1e3, 1e8]:
        f = np.array([[q]]) if name == "logistic" else np.array([[0.5 * q, -0.5 * q]])
        y = np.array([1.0]) if name == "logistic" else np.array([0])
        assert loss.margins(f, y).item() == q
        assert loss.smoothed_margin(loss.log_inverse(f, y)) == pytest.approx(q, rel=1e-13, abs=1e-13 * max(1, -q))


@pytest.mark.parametrize("name", TAILED)
def test_smoothed_margin_lies_between_the_margin_and_log_n_below(name):
    rng, loss = np.random.default_rng(5), as_loss(name)
    for size in (1.0, 10.0, 1e4):
        K = 3 if name == "cross_entropy" else 1
        f = size * (1 + rng.random((5, K)))
        y = CLASSES if K == 3 else SIGNS
        if K == 3:
            f[np.arange(5), y] = 3 * size
        else:
            f[:, 0] *= y
        q, smoothed = loss.margins(f, y).min(), loss.smoothed_margin(loss.log_inverse(f, y))
        count = 5 * max(1, K - 1)
        lower = (
            q - np.log(count) if name == "exponential" or q > 30 else -np.log(np.expm1(count * np.log1p(np.exp(-q))))
        )
        assert lower - 1e-13 * q <= smoothed <= q


def test_exponential_smoothed_margin_is_u():
    assert ExponentialLoss().smoothed_margin(12.5) == 12.5


GRID = np.concatenate([-np.logspace(-8, 8, 120), np.logspace(-8, 8, 120), np.linspace(-40, 40, 801)])


def test_log_softplus_against_mpmath():
    exact = [mpmath.log(mpmath.log1p(mpmath.exp(mpmath.mpf(float(z))))) for z in GRID]
    error = [abs(value - x) / max(1, abs(x)) for value, x in zip(_log_softplus(GRID), exact, strict=True)]
    assert max(error) < 1e-15


def test_inverse_logistic_against_mpmath():
    grid = GRID[GRID > -20]  # u = -20 is a loss of 5e8
    exact = [-mpmath.log(mpmath.expm1(mpmath.exp(-mpmath.mpf(float(u))))) for u in grid]
    errors = [  # the condition number of exp(-u) is |u|
        abs(_inverse_logistic(float(u)) - x) / max(1, abs(x)) / max(1, -u) for u, x in zip(grid, exact, strict=True)
    ]
    assert max(errors) < 1e-15


@given(arrays(float, 6, elements=st.floats(-600, 600)))
def test_logistic_is_two_class_cross_entropy(f):
    y = np.array([1.0, -1, 1, 1, -1, -1])
    two, classes = np.column_stack([f / 2, -f / 2]), (y < 0).astype(int)
    logistic, entropy = LogisticLoss(), CrossEntropyLoss()
    one = f[:, None]
    assert np.array_equal(logistic.margins(one, y), entropy.margins(two, classes))
    assert np.isclose(logistic.log_inverse(one, y), entropy.log_inverse(two, classes), rtol=1e-14, atol=1e-14)
    for member in ("slope", "log_slope"):
        a, b = getattr(logistic, member)(one, y)[:, 0], getattr(entropy, member)(two, classes)
        assert np.allclose(a, b[:, 0], rtol=1e-11, atol=0) and np.allclose(a, -b[:, 1], rtol=1e-11, atol=0)
    for member in ("curvature", "log_curvature"):
        a, b = getattr(logistic, member)(one, y)[:, 0], getattr(entropy, member)(two, classes)
        assert np.allclose(a[..., None] * [[1, -1], [-1, 1]], b, rtol=1e-11, atol=1e-300)


@given(arrays(float, (4, 3), elements=st.floats(-50, 50)), arrays(float, (4, 1), elements=st.floats(-50, 50)))
def test_cross_entropy_ignores_shifts_and_follows_permutations(f, shift):
    loss, y, order = CrossEntropyLoss(), np.array([0, 1, 2, 1]), np.array([2, 0, 1])
    u = loss.log_inverse(f, y)
    assert np.isclose(loss.log_inverse(f + shift, y), u, rtol=1e-12, atol=1e-12)
    inverse = np.argsort(order)
    assert np.isclose(loss.log_inverse(f[:, order], inverse[y]), u, rtol=1e-13, atol=1e-13)
    assert np.allclose(loss.log_slope(f[:, order], inverse[y]), loss.log_slope(f, y)[:, order], rtol=1e-12, atol=1e-15)
    for blocks in (loss.curvature(f, y), loss.log_curvature(f, y)):
        top = np.abs(blocks).max()
        assert np.abs(blocks.sum(axis=1)).max() <= 1e-14 * top and np.abs(blocks.sum(axis=2)).max() <= 1e-14 * top
        assert np.abs(blocks - blocks.swapaxes(1, 2)).max() <= 1e-14 * top
        assert np.linalg.eigvalsh(blocks).min() >= -1e-14 * top
    assert np.abs(loss.log_slope(f, y).sum(axis=1)).max() < 1e-13


def test_cross_entropy_margin_is_the_gap_to_the_best_wrong_class():
    f = np.array([[1.0, 4, 2], [5, -1, 3]])
    assert np.array_equal(CrossEntropyLoss().margins(f, np.array([1, 2])), [2, -2])


def test_square_loss_at_zero_and_its_refusals():
    loss = SquareLoss()
    f = np.ones((2, 1))
    assert loss.log_inverse(f, f) == np.inf
    assert np.array_equal(loss.labels([1, 2], 2, 1), [[1], [2]])
    for call in (lambda: loss.log_slope(f, f), lambda: loss.log_curvature(f, f), lambda: loss.margins(f, f),
                 lambda: loss.smoothed_margin(1.0)):  # fmt: skip
        with pytest.raises(PreconditionError, match="no exponential tail"):
            call()


@pytest.mark.parametrize("name", LOSSES)
def test_names_and_objects_are_losses(name):
    loss = as_loss(name)
    assert as_loss(loss) is loss and loss.name == name
    assert loss.exponential_tail == (name != "square")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: as_loss("hinge"), "one of exponential, logistic, cross_entropy, square, but is 'hinge'"),
        (lambda: as_loss(3), "but is 3"),
        (lambda: as_loss("exponential").labels([0, 1], 2, 1), "labels -1 and \\+1, but a label is 0"),
        (lambda: as_loss("logistic").labels([1, -1], 3, 1), r"shape \(3,\), one per sample, but have \(2,\)"),
        (lambda: as_loss("logistic").labels([1, -1], 2, 2), "one output, but it has 2"),
        (lambda: as_loss("logistic").labels([1, np.nan], 2, 1), "finite"),
        (lambda: as_loss("logistic").labels(["a", "b"], 2, 1), "real numbers"),
        (lambda: as_loss("cross_entropy").labels([0, 1], 2, 1), "at least two"),
        (lambda: as_loss("cross_entropy").labels([0, 3], 2, 3), "below the 3 outputs of the network, but reach 3"),
        (lambda: as_loss("cross_entropy").labels([0, -1], 2, 3), "counted from 0"),
        (lambda: as_loss("cross_entropy").labels([0, 0.5], 2, 3), "whole numbers"),
        (lambda: as_loss("cross_entropy").labels([0, 1, 2], 2, 3), "one per sample"),
        (lambda: as_loss("square").labels([1, 2], 2, 3), r"shape \(2, 3\), but have \(2, 1\)"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        call()
    assert str(caught.value).count(".") <= 1 or "," in str(caught.value)
