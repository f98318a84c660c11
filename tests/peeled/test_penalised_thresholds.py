"""The thresholds are where the solvers change phase."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import InvalidInput, PreconditionError
from theory.peeled import UnconstrainedFeaturesModel, solve
from theory.peeled.penalised_thresholds import merge_threshold

COUNTS = [40, 40, 40, 9, 9, 2]
MODELS = [
    {"loss": "mse"}, {"loss": "mse", "lam_b": 0}, {"loss": "mse", "lam_b": 0.1}, {"features": "relu"},
    {"loss": "mse", "features": "relu"}, {}, {"lam_b": 0}, {"lam_b": 0.05},
]  # fmt: skip


def solved(lam, options, weights, counts=COUNTS):
    # the focal loss with exponent 0 is the cross-entropy
    if options.get("loss") != "mse" and "features" not in options:
        options = {**options, "loss": "focal", "gamma": 0.0}
    model = UnconstrainedFeaturesModel(counts=counts, lam_W=lam, lam_H=lam, class_weights=weights, **options)
    return solve(model, rtol=1e-11)


@pytest.mark.parametrize("weights", [None, [1, 1, 1, 2.5, 2.5, 3]])
@pytest.mark.parametrize("options", MODELS, ids=str)
def test_solvers_change_phase_there(options, weights):
    t = merge_threshold(COUNTS, class_weights=weights, **options)
    assert np.nanmax(t.residual) < 1e-14
    for g in range(3):
        if np.isnan(t.lam_Z[g]):
            assert t.effect == "merge" and t.classes[g] == 1
            continue
        below, above = (solved(t.lam_Z[g] * f, options, weights).groups[g] for f in (1 - 1e-6, 1 + 1e-6))
        if t.effect == "lose features":
            assert below.norm_h > 0 and above.norm_h == 0
        elif t.effect == "vanish":
            assert below.norm_w > 0 and above.norm_w == 0
        else:
            assert below.norm_w > 0 and below.merge_ratio > 1e-6
            assert above.merge_ratio <= 1e-9
    below, above = (solved(t.zero * f, options, weights).rank for f in (1 - 1e-5, 1 + 1e-5))
    assert below >= 1 and above == 0


@pytest.mark.parametrize("options", MODELS, ids=str)
def test_zero_where_no_two_classes_are_equal(options):
    counts = [30, 12, 5]
    zero = merge_threshold(counts, **options).zero
    below, above = (solved(zero * f, options, None, counts).rank for f in (1 - 1e-5, 1 + 1e-5))
    assert below >= 1 and above == 0


def test_published_grid_of_two_clusters():
    # ten classes, 500 and 100 samples: 1/300 and sqrt(500)/3000, for cross-entropy with or without bias
    for lam_b in (None, 0, 0.02):
        t = merge_threshold([500] * 5 + [100] * 5, lam_b=lam_b)
        assert t.lam_Z == pytest.approx([np.sqrt(500) / 3000, 1 / 300], rel=1e-14)
        assert t.zero == pytest.approx(np.sqrt(500) / 3000, rel=1e-12)


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=8), st.floats(0.1, 10))
def test_scaling_the_weights_changes_nothing(counts, scale):
    base = merge_threshold(counts)
    scaled = merge_threshold(counts, class_weights=[scale] * len(counts))
    np.testing.assert_allclose(scaled.lam_Z, base.lam_Z, rtol=1e-12)
    assert scaled.zero == pytest.approx(base.zero, rel=1e-10)
    assert base.zero >= np.nanmax(np.append(base.lam_Z, 0)) * (1 - 1e-12)
    more = merge_threshold([4 * n for n in counts])
    np.testing.assert_allclose(more.lam_Z, base.lam_Z / 2, rtol=1e-12)


def test_label_smoothing_and_relu_factors():
    plain = merge_threshold([9, 9, 4, 4])
    smooth = merge_threshold([9, 9, 4, 4], label_smoothing=0.25)
    np.testing.assert_allclose(smooth.lam_Z, 0.75 * plain.lam_Z, rtol=1e-14)
    assert np.nanmax(smooth.residual) < 1e-14
    relu = merge_threshold([9, 9, 4, 4], features="relu")
    np.testing.assert_allclose(relu.lam_Z, np.sqrt(3 / 4) * plain.lam_Z, rtol=1e-14)
    n = 26**2 * relu.lam_Z**2 * 4 / 3  # n_k <= N^2 lam_W lam_H K/(K-1)
    assert n == pytest.approx([9, 4], rel=1e-13)


def test_zero_of_the_squared_error_with_free_bias():
    n = np.array([30.0, 12, 5])
    D = np.diag(np.sqrt(n)) @ (np.eye(3) - np.sqrt(np.outer(n, n)) / n.sum())
    assert merge_threshold([30, 12, 5], loss="mse", lam_b=0).zero == pytest.approx(
        np.linalg.norm(D, 2) / n.sum(), rel=1e-13
    )


def test_limits_of_the_bias_penalty():
    for loss in ("cross_entropy", "mse"):
        free, none = (merge_threshold([30, 12, 5], loss=loss, lam_b=b).zero for b in (0, None))
        assert merge_threshold([30, 12, 5], loss=loss, lam_b=1e-9).zero == pytest.approx(free, rel=1e-6)
        assert merge_threshold([30, 12, 5], loss=loss, lam_b=1e9).zero == pytest.approx(none, rel=1e-6)
        assert free < none * (1 + 1e-12)


def test_record_and_refusals():
    model = UnconstrainedFeaturesModel(counts=[9, 9, 4], lam_W=1, lam_H=2, loss="mse", lam_b=0)
    t = merge_threshold(model)
    assert t.effect == "merge" and "-" in t.summary() and t.to_json()["effect"] == "merge"
    with pytest.raises(PreconditionError, match="focal"):
        merge_threshold([9, 4], loss="focal")
    with pytest.raises(InvalidInput, match="bias"):
        merge_threshold([9, 4], features="relu", lam_b=0)
    with pytest.raises(PreconditionError, match="distinct"):
        merge_threshold(list(range(1, 3003)))
