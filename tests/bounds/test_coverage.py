"""Repeated samples from a distribution whose errors are known: certificates fail no more often than they say."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from theory.architecture import Architecture, Linear
from theory.bounds import compression
from theory.bounds._coder import prefix_cost
from theory.bounds._frame import Margins, choose_margin, mcdiarmid
from theory.bounds._kl import clopper_pearson_upper, kl_inverse
from theory.bounds._neighbours import leave_one_out, neighbours_upper
from theory.bounds._problem import Problem
from theory.bounds.compression import Compression, limit
from theory.bounds.kernel import KernelBound
from theory.bounds.pac_bayes_kl import PacBayesKL

DELTA, FLIP = 0.1, 0.1
NET = Architecture.sequential([Linear(1, bias=False)], input_shape=2)


def draw(n, rng):
    """Points of the unit circle, the class by their first coordinate, one label in ten flipped."""
    angle = rng.uniform(0, 2 * np.pi, n)
    X = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return X, ((X[:, 0] > 0) ^ (rng.random(n) < FLIP)).astype(int)


def true_error(w):
    """Of the classifier w.x > 0: the angle between w and the first axis over pi, and the flips."""
    angle = np.arctan2(np.abs(w[..., 1]), w[..., 0])
    return FLIP + (1 - 2 * FLIP) * angle / np.pi


def fit(X, y):
    """Sum of the labelled points: the direction of least square loss on the circle, near enough."""
    return (np.where(y == 1, 1, -1)[:, None] * X).sum(axis=0)


def share_of_failures(bound, truth):
    return float(np.mean(np.asarray(bound) < np.asarray(truth)))


@cache
def trained(n, times, seed=0):
    rng = np.random.default_rng(seed)
    samples = [draw(n, rng) for _ in range(times)]
    return [(X, y, fit(X, y)) for X, y in samples]


def test_true_error_is_that_of_many_points():
    X, y = draw(200_000, np.random.default_rng(1))
    for w in (np.array([1.0, 0.3]), np.array([-0.2, 1.0])):
        assert np.mean((X @ w > 0) != y) == pytest.approx(true_error(w), abs=4e-3)


def test_the_training_error_alone_is_no_bound():
    found = [np.mean((X @ w > 0) != y) for X, y, w in trained(30, 1000)]
    assert share_of_failures(found, [true_error(w) for _, _, w in trained(30, 1000)]) > 0.4


def test_frame_with_the_linear_class():
    bounds, truths = [], []
    for X, y, w in trained(30, 1000):
        n, sample = len(X), Margins(np.where(y == 1, 1, -1) * (X @ w))
        log_rest = math.log(2 / math.sqrt(n))  # every |x| is 1

        def parts(gamma, point, n=n, sample=sample, log_rest=log_rest):
            return sample.ramp(gamma), point.log + log_rest, *mcdiarmid(n, DELTA, point.log_cost)

        choice = choose_margin(sample, math.log(np.linalg.norm(w)), parts, None)
        bounds.append(sum(choice.terms.values()))
        truths.append(true_error(w))
    assert share_of_failures(bounds, truths) <= DELTA


def test_hold_out_limit_is_tight():
    rng, n = np.random.default_rng(3), 40
    limits = np.array([clopper_pearson_upper(k, n, DELTA) for k in range(n + 1)])
    truths = np.array([true_error(w) for _, _, w in trained(30, 1000)])
    failures = share_of_failures(limits[rng.binomial(n, truths)], truths)
    assert DELTA / 4 < failures <= DELTA


def test_pac_bayes_of_the_randomised_predictor():
    rng = np.random.default_rng(4)
    noise, bounds, truths = rng.standard_normal((4000, 2)), [], []
    bound = PacBayesKL(draws=30, noise=(0.25, 1.0), rng=rng)
    for X, y, w in trained(120, 60):
        found = bound.compute(Problem(NET, {"linear1.weight": w[None]}, (X, y)), DELTA, None)
        bounds.append(sum(found.terms.values()))
        truths.append(true_error(w + found.quantities["sigma_1"] * noise).mean())
    assert share_of_failures(bounds, truths) <= DELTA
    assert np.median(bounds) < 0.7


def test_coded_networks(monkeypatch):
    monkeypatch.setattr(compression, "LEVELS", (3, 7, 15))
    bound, bounds, truths = Compression("quantised"), [], []
    for X, y, w in trained(120, 40):
        chosen = bound.choose(Problem(NET, {"linear1.weight": w[None]}, (X, y)), DELTA)
        bounds.append(limit(chosen.R, chosen.bits, len(X), DELTA))
        truths.append(true_error(chosen.weights["linear1.weight"][0]))
    assert share_of_failures(bounds, truths) <= DELTA
    assert np.median(bounds) < 0.85


def test_kernel_predictors():
    bound = KernelBound(diagonal=1.0)
    bounds, truths = [], []
    for X, y, _ in trained(30, 25):
        alpha = np.where(y == 1, 1.0, -1.0)
        bounds.append(bound.evaluate(X @ X.T, y, DELTA, alpha=alpha).value)
        truths.append(true_error(X.T @ alpha))
    assert share_of_failures(bounds, truths) <= DELTA


def test_leave_one_out_neighbours():
    rng = np.random.default_rng(5)
    fresh = np.linspace(0, 2 * np.pi, 400, endpoint=False) + 1e-3
    Z = np.stack([np.cos(fresh), np.sin(fresh)], axis=1)
    bounds, truths = [], []
    for X, y, _ in trained(100, 300):
        found = leave_one_out(X, y, k=3, rng=rng)
        nearest = np.argsort(-(Z @ X.T), axis=1)[:, :3]
        guess = y[nearest].sum(axis=1) >= 2
        bounds.append(neighbours_upper(found, 2, 0.5))
        truths.append(np.mean(np.where(guess == (Z[:, 0] > 0), FLIP, 1 - FLIP)))
    assert share_of_failures(bounds, truths) <= 0.5


def chance_that_some_certificate_fails(price, n=200, delta=0.05, longest=16):
    """Independent hypotheses, one for each string, each with an error just above its own limit at zero mistakes."""
    total = 0.0
    for bits in range(1, longest + 1):
        limit = float(kl_inverse(0.0, (price(bits) * math.log(2) + math.log(1 / delta)) / n))
        total += 2**bits * math.log1p(-((1 - limit) ** n))
    return -math.expm1(total)


def test_prefix_price_is_needed_in_full():
    assert chance_that_some_certificate_fails(prefix_cost) == pytest.approx(0.0461, abs=2e-4)
    # the form printed in lotfi's paper, bits + 2 log2 bits, fails more often than delta
    printed = chance_that_some_certificate_fails(lambda bits: bits + 2 * math.log2(bits))
    assert printed == pytest.approx(0.0768, abs=4e-4) and printed > 0.05
