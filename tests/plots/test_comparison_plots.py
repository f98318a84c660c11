"""The comparison of models, the path along the penalty and the maps show the numbers of their records."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from theory import InvalidInput, PreconditionError, plots
from theory.frames import simplex_etf_gram
from theory.peeled import DeepLinearModel, LayerPeeledModel, SELIModel, UnconstrainedFeaturesModel
from theory.peeled.compare import compare
from theory.peeled.maps import PenaltyMap, penalty_map, threshold_map, vanishing_product
from theory.peeled.regularization import regularization_path
from theory.plots._maps import _levels

N = [3, 100, 100, 20, 20, 3, 3]  # not sorted


def panel():
    return Figure(layout="constrained").add_subplot()


def drawn(axes):
    figure = np.atleast_1d(axes)[0].get_figure(root=True)
    figure.savefig("/dev/null", format="png", dpi=40)
    return axes


@pytest.fixture(scope="module")
def result():
    return compare({
        "budget": LayerPeeledModel(counts=N, E_W=1, E_H=5),
        "svm": SELIModel(counts=N),
        "deep": DeepLinearModel(counts=N, lam=6e-3, depth=2),
    })  # fmt: skip


@pytest.fixture
def axes(result):
    return drawn(plots.comparison(result, plots.comparison_axes(3, Figure(figsize=(9, 5), layout="constrained"))))


def test_comparison_draws_every_gram_matrix_on_one_scale(axes, result):
    assert axes.shape == (5,)
    order = np.argsort(-np.array(N), kind="stable")
    np.testing.assert_allclose(axes[0].images[0].get_array(), simplex_etf_gram(7) / simplex_etf_gram(7)[0, 0])
    for ax, solution in zip(axes[1:4], result.solutions, strict=True):
        G = solution.gram_classifier()[np.ix_(order, order)]
        np.testing.assert_allclose(ax.images[0].get_array(), G / G.diagonal().max())
    assert len({id(ax.images[0].norm) for ax in axes[:4]}) == 1
    lowest = min(ax.images[0].get_array().min() for ax in axes[:4])
    assert axes[0].images[0].norm.vmin == lowest and axes[0].images[0].norm.vmax == 1


def test_comparison_titles_name_the_phases(axes, result):
    titles = [ax.get_title() for ax in axes[:4]]
    assert titles[0].startswith("simplex frame") and titles[1].startswith("budget")
    assert titles[2] == "svm\nall separated"
    assert [g.phase for g in result.solutions[2].groups] == ["separated", "separated", "vanishing"]
    assert titles[3] == "deep\n$n_k$ = 3 zero"


def test_comparison_draws_borders_and_hatches_zero(axes):
    borders = {line.get_xdata()[0] for line in axes[1].get_lines() if line.get_xdata()[0] == line.get_xdata()[1]}
    assert borders == {1.5, 3.5}
    assert not axes[0].get_lines() and not [p for p in axes[2].patches if p.get_hatch()]
    (row, column) = [p for p in axes[3].patches if p.get_hatch()]
    assert (row.get_y(), row.get_height()) == (3.5, 3) and (column.get_x(), column.get_width()) == (3.5, 3)


def test_comparison_cosines_are_points(axes, result):
    lines = {line.get_label(): line for line in axes[4].get_lines()}
    x, y = lines["3 classes of 3"].get_data()
    want = [solution.groups[2].cos_within for solution in result.solutions]
    assert x[:2] == pytest.approx(want[:2]) and np.isnan(want[2]) and x[2] > 1.1  # in the strip
    assert np.round(y).tolist() == [0, 1, 2] and lines["3 classes of 3"].get_linestyle() == "None"
    assert [tick.get_text() for tick in axes[4].get_yticklabels()] == ["budget", "svm", "deep"]
    assert axes[4].get_title("left").endswith("apart in 1, merged in 1, zero in 1 of 3 models")


def test_comparison_refuses(result):
    with pytest.raises(InvalidInput, match="5 axes, but 3"):
        plots.comparison(result, [panel()] * 3)
    many = compare({"svm": SELIModel(counts=[2] * 1001)})
    with pytest.raises(PreconditionError, match="1000 classes"):
        plots.comparison(many)


def test_comparison_of_many_groups():
    axes = plots.comparison_axes(1, Figure(layout="constrained"))
    drawn(plots.comparison(compare({"svm": SELIModel(counts=np.repeat(np.arange(1, 13), 2))}), axes))
    shown = [line.get_label() for line in axes[2].get_lines() if line.get_linestyle() == "None"]
    assert shown == [f"2 classes of {n}" for n in (12, 11, 3, 2, 1)]


def test_comparison_of_single_classes_shows_the_closest_classifier():
    axes = plots.comparison_axes(2, Figure(layout="constrained"))
    result = compare({"svm": SELIModel(counts=[1, 9, 4]), "deep": DeepLinearModel(counts=[1, 9, 4], lam=0.1)})
    drawn(plots.comparison(result, axes))
    for row, solution in enumerate(result.solutions):
        W = solution.classifier()
        length = np.linalg.norm(W, axis=1)
        for k, n in enumerate([1, 9, 4]):
            (line,) = [line for line in axes[3].get_lines() if line.get_label() == f"1 class of {n}"]
            x = line.get_xdata()[row]
            if length[k] == 0:
                assert x > 1.1
                continue
            cos = [W[k] @ W[j] / length[k] / length[j] for j in range(3) if j != k and length[j]]
            assert x == pytest.approx(max(cos), abs=1e-9)
    assert solution.groups[2].phase == "vanishing"
    assert "closest" in axes[3].get_xlabel() and not axes[1].get_lines()


@pytest.fixture(scope="module")
def path():
    model = UnconstrainedFeaturesModel(counts=N, lam_W=1, lam_H=1)
    return regularization_path(model, lam_Z=[0.03, 0.002, 0.01, 0.1])


def test_path_lines_pass_through_the_exact_corner(path):
    ax = drawn(plots.regularization_path(path, panel()))
    lines = [line for line in ax.get_lines() if "classes" in str(line.get_label())]
    total = sum(N)
    assert len(lines) == 3
    for line, n, g in zip(lines, (100, 20, 3), range(3), strict=True):
        x, y = line.get_data()
        corner = np.sqrt(n) / total
        # at the largest threshold everything vanishes at once: the ratio has no limit 0 there, and none beyond
        want = path.merge_ratio[0, g] if n == 100 else 0.0
        assert (np.diff(x) > 0).all() and y[np.isclose(x, corner, rtol=1e-12)] == [want]
        assert np.isnan(y[-1]) and (n == 100) == bool(want)
        assert y[0] == path.merge_ratio[1, g] > 0
        vertical = [v for v in ax.get_lines() if len(set(v.get_xdata())) == 1 and np.isclose(v.get_xdata()[0], corner)]
        assert [v.get_linestyle() for v in vertical] == [line.get_linestyle()]
    assert ax.get_xscale() == "log" and "Rare classes merge first" in ax.get_title("left")
    assert len({line.get_linestyle() for line in lines}) == 3  # readable in grey
    (shade,) = [patch for patch in ax.patches if patch.get_hatch()]
    assert shade.get_x() == pytest.approx(np.sqrt(100) / total)


def test_path_away_from_its_thresholds(path):
    model = UnconstrainedFeaturesModel(counts=[9, 9, 4, 4], lam_W=1, lam_H=1)
    ax = drawn(plots.regularization_path(regularization_path(model, lam_Z=[1e-3, 2e-3]), panel()))
    assert ax.get_title("left").startswith("No group of classes merges") and not ax.patches
    ax = plots.regularization_path(regularization_path(model, lam_Z=[1e-3, 0.1]), panel())
    assert ax.get_title("left") == "The classes of 4 samples merge at a penalty of 0.0769"


def test_threshold_map_contours():
    found = threshold_map(10, [1, 5, 10], [0.4, 0.5, 0.6])
    ax = drawn(plots.threshold_map(found, panel()))
    labels = {text.get_text() for text in ax.texts}
    assert {"2", "5", "10"} <= labels
    (ends,) = [line for line in ax.get_lines() if "vanishes" in str(line.get_label())]
    assert ends.get_xdata().tolist() == [vanishing_product(majority=k, minority=10 - k) for k in (4, 5, 6)]
    assert ends.get_ydata().tolist() == [0.4, 0.5, 0.6]
    assert ax.get_xscale() == "log" and "R_0" in ax.get_title("left")


def test_penalty_map_contours():
    ax = drawn(plots.penalty_map(penalty_map(2, 4, np.geomspace(1, 100, 9), np.geomspace(1, 100, 9)), panel()))
    (ridge,) = ax.get_lines()[:1]
    np.testing.assert_allclose(ridge.get_ydata(), ridge.get_xdata() / 2)
    assert ax.texts and ax.get_yscale() == "log"


def test_maps_refuse_what_is_not_a_grid():
    grid = penalty_map(2, 4, [1, 2], [1])
    with pytest.raises(InvalidInput, match="2 by 2"):
        plots.penalty_map(grid, panel())
    falling = PenaltyMap(majority=2, minority=4, majority_counts=np.array([2.0, 1.0]),
                         minority_counts=np.array([1.0, 2.0]), lam_Z=np.ones((2, 2)))  # fmt: skip
    with pytest.raises(InvalidInput, match="rising"):
        plots.penalty_map(falling, panel())


@pytest.mark.parametrize(("low", "high"), [(1, 3), (1.1, 80), (1e-4, 1.0), (1.2, 1e14), (5.1, 5.2)])
def test_levels_are_inside_and_few(low, high):
    levels = _levels(np.array([low, high, np.nan]))
    assert 2 <= len(levels) <= 12 and low < levels.min() and levels.max() < high
    assert (np.diff(levels) > 0).all()
