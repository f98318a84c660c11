"""``theory demo``: what it prints and writes, and the histogram it starts from."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from simulations.cli import main
from simulations.data import long_tailed_digits_counts, published_minority_cosines
from theory import InvalidInput, PreconditionError
from theory.peeled import phase_curve


def test_demo_prints_tables_and_writes_figures(monkeypatch, capsys, tmp_path):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(sys, "argv", ["theory", "demo", "--out", str(tmp_path / "demo")])
    began = time.process_time()  # not wall time: the machine may be busy with other tests
    with pytest.raises(SystemExit) as stop:
        main()
    assert time.process_time() - began < 10
    out = capsys.readouterr().out
    assert not stop.value.code
    for said in ("12.19244708", "0.51749628", "merged", "certified gap", "178", "never", str(tmp_path / "demo")):
        assert said in out
    names = {"phase_curve.png", "gram_digits.png", "gram_R10.png", "gram_R100.png"}
    assert {path.name for path in (tmp_path / "demo").iterdir()} == names


def test_long_tail_rule():
    pytest.importorskip("sklearn")
    full = long_tailed_digits_counts(1)
    assert full.sum() == 1797
    thin = long_tailed_digits_counts(100)
    assert thin[0] == full[0] and thin[9] == full[9] // 100
    assert thin[3] == int(full[3] * 100 ** (-3 / 9))
    assert long_tailed_digits_counts(1e9).min() == 1


@pytest.mark.parametrize("imbalance", [0.5, -1, np.nan, np.inf, "many"])
def test_bad_imbalance(imbalance):
    with pytest.raises(InvalidInput, match="imbalance"):
        long_tailed_digits_counts(imbalance)


def test_missing_scikit_learn_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(PreconditionError, match="pip install"):
        long_tailed_digits_counts()


def test_published_values_lie_on_the_curve():
    ratios, cosines = published_minority_cosines().T
    curve = phase_curve(majority=5, minority=5, E_W=1, E_H=5, ratios=ratios)
    np.testing.assert_allclose(curve.cos_minority, cosines, atol=6e-5)
