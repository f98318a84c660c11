"""``theory threshold``: published thresholds, null for infinity, one sentence for bad input."""

from __future__ import annotations

import json
import sys

import pytest

from simulations.cli import main
from theory.peeled import collapse_threshold


@pytest.fixture
def run(monkeypatch, capsys):
    def call(majority, minority, E_W, E_H, *more):
        words = ["--majority", majority, "--minority", minority, "--E-W", E_W, "--E-H", E_H, *more]
        monkeypatch.setattr(sys, "argv", ["theory", "threshold", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


def test_published_configuration(run):
    code, out, err = run(5, 5, 1, 5, "--json")
    got = json.loads(out)
    assert (code, err) == (0, "")
    assert got["R0"] == pytest.approx(12.19244708, abs=5e-9)
    assert got["R00"] is None
    assert abs(got["residual"]) < 1e-10
    assert (got["majority"], got["minority"], got["E_W"], got["E_H"]) == (5, 5, 1, 5)


def test_finite_second_threshold(run):
    """Reference: K_A = K_B = 5, E_W E_H = 1."""
    got = json.loads(run(5, 5, 1, 1, "--json")[1])
    assert (got["R0"], got["R00"]) == pytest.approx((1.735415604, 2.748881185), abs=5e-10)


def test_text_is_the_summary(run):
    want = collapse_threshold(majority=5, minority=5, E_W=1, E_H=1).summary()
    assert run(5, 5, 1, 1)[1].strip() == want.strip()


@pytest.mark.parametrize(
    "words",
    [(0, 5, 1, 5), (5, 0, 1, 5), (-1, 5, 1, 5), (5, 5, 0, 5), (5, 5, "nan", 5), (5, 5, 1, "inf"), (5, 5, 1e200, 1e200),
     ("9" * 400, 5, 1, 5)],
)  # fmt: skip
def test_bad_input(run, words):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("theory: ") and err.count("\n") == 1


def test_usage_errors_exit_2(run):
    code, _, err = run("five", 5, 1, 5)
    assert code == 2 and err.startswith("Usage: theory threshold") and "'--majority'" in err
