"""The figures of bounds show what the records hold."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from theory.architecture import Activation, Architecture, Linear
from theory.bounds import Sample, compare, get, scaling
from theory.bounds._scaling import Family
from theory.plots import bounds
from theory.plots import scaling as draw_scaling


@pytest.fixture(scope="module")
def comparison():
    net = Architecture.sequential([Linear(5, bias=False), Activation("relu"), Linear(3, bias=False)], input_shape=4)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 4)), rng.integers(3, size=40)
    chosen = [get(name) for name in ("group-norm", "path-norm", "growth-function", "golowich-frobenius")]
    return compare(net, net.random_weights(rng=1), Sample(X=X, y=y, X_test=X, y_test=y), bounds=chosen)


def test_one_marker_per_bound_at_its_value(comparison):
    ax = bounds(comparison)
    points = [line for line in ax.lines if line.get_marker() in ("s", "o", "*")]
    assert sorted(line.get_xdata()[0] for line in points) == sorted(r.log10 for r in comparison.reports)
    assert [line.get_marker() for line in points].count("*") == 1
    assert [line.get_marker() for line in points].count("o") == 1
    star = next(line for line in points if line.get_marker() == "*")
    assert star.get_xdata()[0] == min(r.log10 for r in comparison.reports if r.status == "certificate")
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert dashed[0].get_xdata()[0] == np.log10(comparison.holdout.upper)
    assert "n" in ax.get_xlabel() and ax.get_title(loc="left")
    plt.close("all")


def test_growth_is_drawn_against_its_variable():
    family = Family(n=50, depth=2)
    laws = tuple(scaling(get(name), "width", (4, 8), family=family) for name in ("group-norm", "path-norm"))
    ax = draw_scaling(laws)
    assert [line.get_ydata().tolist() for line in ax.lines] == [list(law.log10) for law in laws]
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "width" and "width" not in laws[0].family
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [f"{law.name}: {law.said}" for law in laws]
    plt.close("all")
