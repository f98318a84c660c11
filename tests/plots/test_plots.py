"""Figures show the numbers of the records: lines, points and cells are compared, not pixels."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from theory import InvalidInput, PreconditionError, plots
from theory.peeled import LayerPeeledModel, phase_curve, solve


def panel(projection=None):
    return Figure(layout="constrained").add_subplot(projection=projection)


def solved(counts, E_W=1.0, E_H=5.0, **more):
    return solve(LayerPeeledModel(counts=counts, E_W=E_W, E_H=E_H), **more)


def curve(E_H=5.0, ratios=(1, 3, 10, 11, 13, 100)):
    return phase_curve(majority=5, minority=5, E_W=1, E_H=E_H, ratios=ratios)


def by_label(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def drawn(ax):
    ax.figure.savefig("/dev/null" if sys.platform != "win32" else "NUL", format="png", dpi=40)
    return ax


def test_curve_theory_is_a_line_and_measurement_points():
    ax = drawn(plots.phase_curve(curve(), panel(), points=[(10, 0.5)], points_label="seen"))
    lines = by_label(ax)
    x, y = lines["theory"].get_data()
    assert np.interp(10, x, y) == pytest.approx(0.51749628, abs=1e-8)
    assert y[np.isclose(x, 12.19244708, atol=1e-8)] == [1.0]  # the corner, though it is not on the grid
    assert lines["theory"].get_linestyle() == "-" and lines["theory"].get_marker() == "None"
    assert lines["seen"].get_linestyle() == "None" and lines["seen"].get_xydata().tolist() == [[10, 0.5]]
    assert lines["simplex frame, $-1/(K-1)$"].get_ydata()[0] == -1 / 9
    assert lines["$R_0$ = 12.19"].get_xdata()[0] == pytest.approx(12.19244708, abs=1e-8)
    assert ax.get_xscale() == "log" and "12.19" in ax.get_title("left")


def test_curve_without_cosine_is_shaded_and_not_drawn():
    ax = drawn(plots.phase_curve(curve(E_H=1.0, ratios=np.geomspace(1, 100, 30)), panel()))
    lines = by_label(ax)
    x, y = lines["theory"].get_data()
    assert x.max() == pytest.approx(2.748881185, abs=1e-8) and y[-1] == 1 and np.isfinite(y).all()
    (shade,) = [patch for patch in ax.patches if patch.get_hatch()]
    assert shade.get_x() == pytest.approx(2.748881185, abs=1e-8)
    assert any("undefined" in text.get_text() for text in ax.texts)
    assert lines["$R_{00}$ = 2.749"].get_linestyle() != lines["$R_0$ = 1.735"].get_linestyle()


def test_curve_far_from_its_thresholds():
    ax = drawn(plots.phase_curve(curve(ratios=[1, 2]), panel()))
    assert not any("R_0" in label for label in by_label(ax))
    ax = drawn(plots.phase_curve(curve(E_H=1.0, ratios=[50, 100]), panel()))
    assert len(by_label(ax)["theory"].get_xdata()) == 0


def test_curve_takes_ratios_in_any_order():
    first = plots.phase_curve(curve(ratios=[10, 1, 3]), panel())
    assert np.diff(by_label(first)["theory"].get_xdata()).min() > 0
    drawn(plots.phase_curve(curve(ratios=[7]), panel()))


@pytest.mark.parametrize("points", [[1, 2], [(0, 1)], [(1, np.nan)], [(1, 2, 3)]])
def test_curve_refuses_points(points):
    with pytest.raises(InvalidInput, match="points"):
        plots.phase_curve(curve(ratios=[1, 2]), panel(), points=points)


def test_gram_cells_and_borders():
    s = solved([10] * 2 + [1] * 3)
    G = s.gram_classifier()
    ax = drawn(plots.gram(G, ["10", "10", "1", "1", "1"], panel(), name="$W W^T$"))
    shown = ax.images[0].get_array()
    np.testing.assert_allclose(shown, G / G.max())
    assert [text.get_text() for text in ax.get_xticklabels()] == ["10 × 2", "1 × 3"]
    assert {line.get_xdata()[0] for line in ax.get_lines() if line.get_xdata()[0] == line.get_xdata()[1]} == {1.5}
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    assert cells[(4, 0)] == f"{G[0, 4] / G.max():.2f}".replace("-", "−")
    assert ax.get_title("left").startswith("$W W^T$ is at distance")


def test_gram_of_the_simplex_says_so():
    ax = drawn(plots.gram(solved([7] * 4).gram_features(), ax=panel()))
    assert ax.get_title("left") == "$G$ is the simplex frame"


def test_gram_luminance_rises_with_the_value():
    G = solved([10] * 2 + [1] * 3).gram_classifier()
    image = plots.gram(G, ax=panel()).images[0]
    grey = image.to_rgba(np.linspace(image.norm.vmin, 1, 50)) @ [0.2126, 0.7152, 0.0722, 0]
    assert np.diff(grey).min() > 0


def test_gram_of_many_classes():
    ax = drawn(plots.gram(np.eye(40), np.arange(40), panel()))
    assert not ax.texts and ax.get_xlabel() == "class"
    drawn(plots.gram([[2.0]], ax=panel()))


@pytest.mark.parametrize("matrix", [np.ones((2, 3)), np.zeros((2, 2)), [[1, 2], [2, 1]], [[1, 0.5], [0, 1]], np.nan])
def test_gram_refuses(matrix):
    with pytest.raises(InvalidInput):
        plots.gram(matrix, ax=panel())
    with pytest.raises(InvalidInput, match="groups"):
        plots.gram(np.eye(3), [1, 2], panel())


@pytest.mark.parametrize("counts", [[10] * 5 + [1] * 5, [100] * 5 + [1] * 5, [50, 20, 7, 3, 1], [7] * 6])
def test_spectrum_is_that_of_the_logits(counts):
    s = solved(counts)
    ax = drawn(plots.spectrum(s, panel()))
    xy = np.concatenate([line.get_xydata() for label, line in by_label(ax).items() if label != "balanced classes"])
    K = len(counts)
    assert sorted(xy[:, 0]) == list(range(1, K))
    unit = s.model.budget / (K - 1)
    want = np.linalg.svd(s.logits(), compute_uv=False)[:-1] / unit
    np.testing.assert_allclose(xy[np.argsort(xy[:, 0]), 1], want, atol=1e-9)
    assert f"rank {s.rank}" in ax.get_title("left")


def test_spectrum_of_very_many_classes():
    ax = drawn(plots.spectrum(solved([100] * 2000 + [10] * 2000), panel()))
    assert max(len(line.get_xdata()) for line in ax.get_lines()) < 10
    assert max(np.max(line.get_xdata()) for line in ax.get_lines()) == 3999


def test_spectrum_of_many_groups_has_a_short_legend():
    ax = drawn(plots.spectrum(solved(np.repeat(np.arange(20, 40), 2)), panel()))
    assert len(ax.get_legend().get_texts()) <= 8


def test_vectors_have_the_angles_and_lengths_of_the_classifier():
    s = solved([10, 10, 1, 1], E_W=2.0)
    ax = drawn(plots.classifier_vectors(s, panel("3d")))
    tips = [np.array(line.get_data_3d()).T for line in ax.get_lines() if line.get_marker() in "os"]
    V = np.concatenate(tips)
    np.testing.assert_allclose(V @ V.T * 2.0, s.gram_classifier(), atol=1e-9)
    assert [len(t) for t in tips] == [2, 2]


def test_merged_and_vanishing_classes_are_one_marker():
    ax = drawn(plots.classifier_vectors(solved([1000, 1000, 1, 1, 1], E_H=2.0), panel("3d")))
    assert "coincide" in ax.get_title("left")
    assert "3 classes of $n_k$ = 1: merged" in by_label(ax)
    ax = drawn(plots.classifier_vectors(solved([20] * 3 + [1] * 3, E_H=0.2), panel("3d")))
    gone = by_label(ax)["3 classes of $n_k$ = 1: vanishing"]
    np.testing.assert_allclose(gone.get_data_3d(), np.zeros((3, 1)), atol=1e-12)
    assert "3 of 6 classifiers are zero" in ax.get_title("left")


def test_vectors_of_two_classes():
    drawn(plots.classifier_vectors(solved([5, 5]), panel("3d")))


def test_vectors_refuse_more_than_three_dimensions_and_flat_axes():
    with pytest.raises(PreconditionError, match="rank 9"):
        plots.classifier_vectors(solved([10] * 5 + [1] * 5), panel("3d"))
    with pytest.raises(InvalidInput, match="projection"):
        plots.classifier_vectors(solved([5, 5]), panel())


def test_every_figure_has_labels_and_a_title():
    s = solved([10, 10, 1, 1])
    for ax in (
        plots.phase_curve(curve(), panel()),
        plots.spectrum(s, panel()),
        plots.gram(s.gram_features(), ax=panel()),
        plots.classifier_vectors(s, panel("3d")),
    ):
        assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title("left")


def test_without_axes_a_pyplot_figure_is_made():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    s = solved([10, 10, 1, 1])
    for make in (lambda: plots.phase_curve(curve()), lambda: plots.spectrum(s),
                 lambda: plots.gram(s.gram_classifier()), lambda: plots.classifier_vectors(s)):  # fmt: skip
        figure = make().figure
        assert figure.number in plt.get_fignums()
        plt.close(figure)


def test_pyplot_is_lazy_and_matplotlib_only_here():
    code = (
        "import sys, theory.plots, theory.peeled, theory.collapse; print('matplotlib.pyplot' in sys.modules);"
        "from matplotlib.figure import Figure; from theory.peeled import *;"
        "theory.plots.spectrum(solve(LayerPeeledModel(counts=[3, 2], E_W=1, E_H=1)), Figure().add_subplot());"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    code = "import sys, theory.peeled, theory.collapse, theory.frames; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_spectrum_of_a_solution_with_explicit_factors():
    model = LayerPeeledModel(counts=[5, 5, 2, 2, 1], E_W=1, E_H=5, dimension=2)
    ax = drawn(plots.spectrum(solve(model), panel()))
    assert len(by_label(ax)["singular values"].get_xdata()) == 2
    assert len(by_label(ax)["zero: lost"].get_xdata()) == 2
