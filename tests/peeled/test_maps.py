"""Maps of thresholds: the single-point functions on a grid, exact ends, and the solver on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from theory import InvalidInput
from theory.peeled import UnconstrainedFeaturesModel, collapse_threshold, solve
from theory.peeled.maps import penalty_map, threshold_map, vanishing_product


def test_map_is_the_threshold_of_each_point():
    found = threshold_map(6, [0.5, 4.0], [1 / 3, 0.66])
    assert found.majority.tolist() == [2, 4] and found.majority_shares.tolist() == [2 / 6, 4 / 6]
    for (i, j), R0 in np.ndenumerate(found.R0):
        one = collapse_threshold(majority=found.majority[i], minority=6 - found.majority[i], E_W=0.5,
                                 E_H=2 * found.products[j])  # fmt: skip
        assert R0 == pytest.approx(one.R0, rel=1e-9)
        assert found.R00[i, j] == pytest.approx(one.R00, rel=1e-9)
    assert found.residual.max() < 1e-10


def test_published_numbers():
    """K = 10, five and five classes: R0 = 12.19244708 at E_W E_H = 5; 1.735415604 and 2.748881185 at 1."""
    found = threshold_map(10, [1, 5], [0.5])
    np.testing.assert_allclose(found.R0, [[1.735415604, 12.19244708]], rtol=1e-9)
    np.testing.assert_allclose(found.R00, [[2.748881185, np.inf]], rtol=1e-9)
    assert found.to_json()["majority"] == [5] and found.to_json()["K"] == 10


def test_ratios_that_no_data_set_has_are_still_numbers():
    found = threshold_map(10, [1, 100], [0.1])
    assert 1e40 < found.R0[0, 1] < np.inf and found.residual.max() < 1e-12
    assert found.R0[0, 0] == pytest.approx(3319.6109219, rel=1e-9)
    assert "residual" in repr(found)


@pytest.mark.parametrize(("majority", "minority"), [(2, 2), (5, 5), (7, 3), (3, 40)])
def test_vanishing_product_is_where_R00_becomes_infinite(majority, minority):
    edge = vanishing_product(majority=majority, minority=minority)
    found = threshold_map(majority + minority, [2 * edge], [majority / (majority + minority)])
    assert found.vanishing_product.tolist() == [edge]
    for product, finite in ((edge * 0.999, True), (edge * 1.001, False)):
        found = collapse_threshold(majority=majority, minority=minority, E_W=1, E_H=product)
        assert np.isfinite(found.R00) == finite


def test_one_majority_class_never_lets_the_minority_vanish():
    assert vanishing_product(majority=1, minority=4) == 0.0
    assert np.isinf(collapse_threshold(majority=1, minority=4, E_W=1, E_H=0.01).R00)


@pytest.mark.parametrize(
    ("K", "products", "shares"),
    [(2, [1], [0.5]), (10, [], [0.5]), (10, [1], []), (10, [0], [0.5]), (10, [np.nan], [0.5]), (10, [1], [0.01]),
     (10, [1], [0.9]), (10, [1], [0.5, 0.51]), (10.5, [1], [0.5])],
)  # fmt: skip
def test_map_refuses(K, products, shares):
    with pytest.raises(InvalidInput):
        threshold_map(K, products, shares)


def test_penalty_map_brackets_the_solver():
    found = penalty_map(2, 3, [50, 400], [1, 10])
    for (i, j), lam in np.ndenumerate(found.lam_Z):
        counts = [found.majority_counts[i]] * 2 + [found.minority_counts[j]] * 3
        for factor, phase in ((1 - 1e-6, "separated"), (1 + 1e-6, "merged")):
            model = UnconstrainedFeaturesModel(counts=counts, lam_W=lam * factor, lam_H=lam * factor)
            assert solve(model).groups[1].phase == phase


def test_penalty_map_is_largest_where_the_minority_has_half_of_the_samples():
    n_B = np.arange(1, 100)
    found = penalty_map(2, 4, [60], n_B)
    assert n_B[np.argmax(found.lam_Z[0])] == 30  # 4 * 30 = 2 * 60
    assert found.to_json()["lam_Z"][0][29] == pytest.approx(np.sqrt(30) / 240)
    with pytest.raises(InvalidInput, match="at least 1"):
        penalty_map(2, 4, [60], [0])
    with pytest.raises(InvalidInput, match="minority"):
        penalty_map(2, 1, [60], [1])
