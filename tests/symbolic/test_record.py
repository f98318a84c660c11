"""The record: numeric twin, exact values, refusals, registry, table."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import theory
from theory import InvalidInput, symbolic
from theory.symbolic import ClosedForm, closed_forms, get, latex_table

ROOT = Path(__file__).parents[2]


def test_importing_theory_does_not_import_sympy():
    loaded = "print('sympy' in sys.modules)"
    code = f"import sys, theory, theory.peeled; {loaded}; theory.symbolic; {loaded}"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.split() == ["False", "True"]
    assert "symbolic" in dir(theory)


@pytest.mark.parametrize("form", closed_forms(), ids=lambda form: form.name)
def test_form_is_complete(form):
    assert get(form.name) is form
    assert form.statement.endswith(".")
    assert form.label in ("proved", "derived", "published form")
    assert form.symbols and all(symbol.is_positive or symbol.name == "e" for symbol in form.symbols)
    bibliography = (ROOT / "refs.bib").read_text()
    assert all(f"{{{key}," in bibliography for key in form.citations)
    assert {s for relation in form.domain for s in relation.free_symbols} <= set(form.symbols)


@pytest.mark.parametrize("form", closed_forms(), ids=lambda form: form.name)
def test_numeric_twin_is_the_expression(form):
    # small penalties and counts above one keep every form inside its domain
    usual = {
        "K": 5, "K_A": 4, "K_B": 3, "L": 3, "alpha": 0.1, "pi_k": 0.3, "N": 40.0, "n": 6.5, "n_g": 7.25, "n_A": 9.0,
        "n_B": 2.5, "R": 30.0, "lam_Z": 1 / 128, "lam_W": 1 / 64, "lam_H": 1 / 256, "lam_b": 0.5,
    }  # fmt: skip
    values = {s.name: usual.get(s.name, 0.375 + i / 8) for i, s in enumerate(form.symbols)}
    exact = form.evaluate(**values)
    found = form.numeric()(**values)
    assert found.dtype == np.float64
    assert found.shape == ((len(exact),) if isinstance(exact, sp.MatrixBase) else ())
    wanted = np.array([float(v) for v in exact]) if isinstance(exact, sp.MatrixBase) else float(exact)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_twin_broadcasts():
    loss = get("balanced_loss").numeric()
    grid = loss(K=np.array([[2], [5], [9]]), E_W=np.array([0.5, 2.0]), E_H=1)
    assert grid.shape == (3, 2)
    assert grid[2, 1] == loss(K=9, E_W=2, E_H=1)
    system = get("seli_classifiers").numeric()(K_A=3, K_B=[2, 4], n_A=5, n_B=1)
    assert system.shape == (5, 2)
    margins = get("relu_margin").numeric()(K=4, N=200, n_g=[1e-3, 100], lam_W=1e-3, lam_H=2e-3)
    assert margins[0] == 0 and margins[1] > 4


def test_twin_keeps_the_digits_of_a_small_loss():
    # log(1 + 1e-40) is zero without log1p
    small = get("balanced_loss").numeric()(K=3, E_W=64.0, E_H=64.0)
    exact = float(get("balanced_loss").evaluate(K=3, E_W=64, E_H=64))
    assert 0 < exact < 1e-41
    assert small == pytest.approx(exact, rel=1e-13)


def test_evaluate_gives_as_many_digits_as_asked():
    # log(1 + 9 exp(-10/9 sqrt 5)) to forty digits, in decimal arithmetic
    from decimal import Decimal, getcontext

    getcontext().prec = 60
    exact = (1 + 9 * (-Decimal(10) / 9 * Decimal(5).sqrt()).exp()).ln()
    found = get("balanced_loss").evaluate(digits=40, K=10, E_W=1, E_H=5)
    assert abs(Decimal(str(found)) - exact) < Decimal(10) ** -39
    assert get("merge_threshold").evaluate(n_g="0.25", N=sp.Rational(1, 2), digits=5) == sp.Float(1, 5)


def test_latex_uses_the_letters_of_the_papers():
    assert get("merge_threshold").latex() == r"\frac{\sqrt{n_{g}}}{N}"
    assert r"\lambda_{Z}" in get("orthogonal_logit").latex()
    assert r"\Lambda" in get("deep_class_objective").latex()
    assert get("deep_jump")._repr_latex_() == r"$z_{gg} = \frac{L - 1}{L}$"
    assert repr(get("deep_jump")) == "ClosedForm(deep_jump: z_{gg} = (L - 1)/L, derived)"


def test_table_has_a_row_for_every_form():
    rows = latex_table().splitlines()
    assert len(rows) == len(closed_forms()) + 3
    assert rows[2].startswith(r"etf\_gap & $\displaystyle z_{kk} - z_{ck} = \frac{")
    assert rows[-1] == r"\end{longtable}"
    assert all(row.count("{") == row.count("}") and row.endswith(r"\\") for row in rows[2:-1])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("etf_cosine", {}, "takes K, but was given nothing"),
        ("etf_cosine", {"K": 3, "N": 2}, "takes K, but was given K, N"),
        ("etf_cosine", {"K": 1}, "needs K >= 2"),
        ("etf_cosine", {"K": -3}, "K must be positive"),
        ("etf_cosine", {"K": float("nan")}, "K must be"),
        ("etf_cosine", {"K": "three"}, "K must be a real number"),
        ("etf_cosine", {"K": 1j}, "K must be a real number"),
        ("vanishing_ratio", {"K_A": 1, "K_B": 2, "E_W": 1, "E_H": 1}, "needs K_A >= 2"),
        ("simplex_to_orthogonal", {"K": 4, "n": 100, "lam_Z": 0.1}, "needs"),
        ("label_smoothing_gap", {"K": 4, "n": 100, "lam_Z": 0.001, "alpha": 1}, "needs alpha < 1"),
    ],
)
def test_values_out_of_place_are_refused(name, values, message):
    form = get(name)
    for call in (form.numeric(), form.evaluate):
        with pytest.raises(InvalidInput, match=message):
            call(**values)


def test_gap_may_be_zero_where_it_is_held():
    twin = get("two_group_loss").numeric()
    assert np.isfinite(twin(K_A=2, K_B=2, R=3, a=1.0, e=0.0, q_A=1.0, q_B=1.0))
    with pytest.raises(InvalidInput, match="e must be not negative"):
        twin(K_A=2, K_B=2, R=3, a=1.0, e=-1e-3, q_A=1.0, q_B=1.0)


def test_unknown_names_and_labels_are_refused():
    with pytest.raises(InvalidInput, match="no closed form is called 'etf'; there are balanced_loss, "):
        get("etf")
    with pytest.raises(InvalidInput, match="label must be one of"):
        ClosedForm(name="x", quantity="x", expression=sp.Symbol("x"), statement="X.", label="sure")
    assert len({form.name for form in closed_forms()}) == len(closed_forms())
    assert set(symbolic.__all__) <= set(dir(symbolic))
