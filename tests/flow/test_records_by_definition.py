"""Numbers of flow records against their formulas: bounds, ratios of thirds, gaps and residuals."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from theory import NotConverged
from theory.flow import LateStage, flow_kkt, fully_connected, norm_max_margin, variation_margin, variation_norm
from theory.flow._steepest_margin import margin_certificate
from theory.flow.exact import DiagonalSquare, diagonal


@pytest.mark.parametrize(("loss", "tail"), [("exponential", 0.0), ("logistic", 1.0)])
def test_bound_of_the_slackness_by_its_formula(loss, tail):
    net, X = fully_connected((2, 1), activation="linear"), np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    theta = np.array([0.4, 0.9])
    found = flow_kkt(net, X, [1, 1, 1], loss, theta)
    q, L = min(X @ theta), 1
    scaled = np.linalg.norm(theta) / q ** (1 / L)
    wanted = 2 * (1 + tail * np.exp(-q)) / (np.e * L * q) * scaled**2
    assert found.delta_bound == pytest.approx(wanted, rel=1e-12)


def late(criticality, distance):
    rows, nothing = len(criticality), np.zeros(len(criticality))
    return LateStage(
        steps=np.arange(rows), updates=np.arange(rows), log_inverse_loss=nothing, norms=nothing,
        directions=np.zeros((rows, 2)), normalized_margins=nothing, criticality=np.asarray(criticality),
        criticality_lower=nothing, distance=None if distance is None else np.asarray(distance), limit=None,
        why_no_limit="", outside=(),
    )  # fmt: skip


def test_ratios_are_of_medians_of_thirds():
    falls = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1])
    assert late(falls, None).criticality_ratio == 2 / 8 and late(falls, None).distance_ratio is None
    assert late(falls, falls).distance_ratio == 2 / 8
    assert late(np.array([6.0, 5, 4, 3, 2, 1]), None).criticality_ratio == 1.5 / 5.5


def test_an_approach_needs_both_to_fall():
    falls, stays, rises = np.arange(9.0, 0, -1), np.ones(9), np.arange(1.0, 10)
    assert late(falls, None).approaches and late(falls, falls).approaches
    for criticality, distance in ((stays, None), (rises, None), (falls, stays), (falls, rises), (stays, falls)):
        assert not late(criticality, distance).approaches


def test_the_residual_of_an_interpolation_is_relative_to_the_largest_target(monkeypatch):
    flow = DiagonalSquare(X=[[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], y=[3.0, 0.01], log_alpha=-2.0)
    right = diagonal.minimise(flow._rows, flow._target, flow.log_alpha)
    monkeypatch.setattr(diagonal, "minimise", lambda R, c, log_alpha: right * 1.001)
    found = flow.limit
    off = np.abs(flow._rows @ found.beta - flow._target).max() / np.abs(flow._target).max()
    assert found.certificate.residuals["interpolation"] == pytest.approx(off, rel=1e-12) and off > 1e-6


def test_a_margin_whose_bracket_is_wide_is_not_returned(monkeypatch):
    X, y = [[1.0, 0.2], [0.3, 2.0], [-1.0, -1.0]], [1, 1, -1]
    assert norm_max_margin(X, y, np.inf).certificate.relative_gap < 1e-6

    def wide(*args):
        found = margin_certificate(*args)
        return SimpleNamespace(relative_gap=1e-3, lower=found.lower)

    monkeypatch.setattr("theory.flow._steepest_margin.margin_certificate", wide)
    with pytest.raises(NotConverged, match="known to"):
        norm_max_margin(X, y, np.inf)


def test_an_unfinished_search_reports_its_gap_in_the_units_of_the_data(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = 1e3 * rng.standard_normal((8, 2)), rng.choice([-1.0, 1.0], 8)
    begin = variation_norm._column_generation
    monkeypatch.setattr(variation_norm, "_column_generation", lambda search: itertools.islice(begin(search), 2))
    monkeypatch.setattr(variation_norm, "_polished", lambda search, found: found)
    with pytest.raises(NotConverged) as stopped:
        variation_margin(X, y)
    found = stopped.value.partial.certificate
    assert found.gap == pytest.approx(found.upper - found.lower, rel=1e-9) and found.relative_gap > 1e-6
