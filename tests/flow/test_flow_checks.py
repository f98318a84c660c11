"""The acceptance checks hold, each by its number; a wrong constant in a theory fails; every figure can be drawn."""

from functools import cache

import numpy as np
import pytest

from simulations.experiments._flow_check import check, error_of
from simulations.experiments.flow_checks import CHECKS, draw, figure

REQUIRED = {*range(1, 15), 16, 20, 22}
RISING = ("11a", "14b", "20")  # the theory is the running maximum of what is measured


@cache
def measured(number):
    return CHECKS[number]()


def test_no_check_is_missing():
    assert {int(number.rstrip("abcd")) for number in CHECKS} == REQUIRED


@pytest.mark.parametrize("number", CHECKS)
def test_check(number):
    found = measured(number)
    assert found.number == number
    assert found.theory.shape == found.measured.shape and np.isfinite(found.measured).all()
    assert found.error <= found.tolerance, found.title
    assert found.is_met


@pytest.mark.parametrize("number", CHECKS)
def test_a_wrong_theory_fails(number):
    found = measured(number)
    if found.compared == "below":  # half of the largest ratio, as a bound
        theory = found.measured * 0.5
    elif number in RISING:
        assert (np.diff(found.measured, axis=0) >= 0).any()
        theory = np.maximum.accumulate(found.measured[::-1])  # of a margin that falls
    else:
        theory = found.theory * 1.03  # 3 percent off
    assert error_of(found.compared, theory, found.measured) > found.tolerance


@pytest.mark.parametrize("number", CHECKS)
def test_figure(number):
    from matplotlib.figure import Figure

    found = measured(number)
    ax = draw(found, Figure(layout="constrained").add_subplot())
    ax.figure.savefig("/dev/null", format="png", dpi=40)
    lines = ax.get_lines()
    assert len(lines) == 2 * found.theory.shape[1]
    order = np.argsort(found.x, kind="stable")
    for series in range(found.theory.shape[1]):
        assert np.array_equal(lines[2 * series].get_ydata(), found.theory[order, series])
        assert np.isin(lines[2 * series + 1].get_ydata(), found.measured[:, series]).all()
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title(loc="left").startswith(number)
    assert (ax.get_xscale(), ax.get_yscale()) == (found.xscale, found.yscale)


def test_all_panels_in_one_figure():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    some = [measured(number) for number in ("3", "13a", "22")]
    whole = figure(some)
    assert len(whole.axes) == 3
    plt.close(whole)


def test_errors_say_what_they_compare():
    said, found = np.array([1.0, 2.0]), np.array([1.5, 1.0])
    assert [error_of(how, said, found) for how in ("relative", "scaled", "absolute", "below")] == [0.5, 0.5, 1.0, 0.5]
    assert error_of("absolute", said, np.array([np.nan, 1.0])) == np.inf
    one = check("0", "a number", [1, 2], 1.0, found, xlabel="x", ylabel="y", tolerance=0.4)
    assert one.theory.tolist() == [[1.0], [1.0]] and one.error == 0.5 and not one.is_met
