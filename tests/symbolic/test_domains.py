"""Where numeric twins accept and refuse: least counts, open and closed ends, zero; what the records say."""

import numpy as np
import pytest

from theory import InvalidInput
from theory.symbolic import closed_forms, get

BASE = {"K": 5, "K_A": 3, "K_B": 2, "K_g": 2, "L": 3, "rho": 0.5, "lam": 0.1, "lam_Z": 0.01, "alpha": 0.3}
LEAST = {
    "etf_gap": ("K", 2), "etf_cosine": ("K", 2), "balanced_loss": ("K", 2), "balanced_multiplier": ("K", 2),
    "minority_collapse_system": ("K_B", 2), "minority_collapse_equation": ("K_B", 2), "vanishing_ratio": ("K_A", 2),
    "vanishing_loss": ("K_A", 2), "cross_entropy_gap": ("K", 2), "cross_entropy_objective": ("K", 2),
    "label_smoothing_gap": ("K", 2), "focal_stationarity": ("K", 2), "relu_margin": ("K", 2),
    "relu_feature_square": ("K", 2), "deep_local_threshold": ("L", 2), "deep_cross_entropy_simplex": ("K", 2),
    "deep_cross_entropy_pairing": ("K", 2), "rho_fold": ("L", 3), "decay_collapse": ("L", 3),
    "decay_preference": ("L", 3),
}  # fmt: skip
ENDS = [  # the last value inside, the first outside
    ("minority_collapse_system", {"K_A": 2}, {"K_A": 1}),
    ("seli_classifier_cosines", {"K_A": 2, "K_B": 1}, {"K_A": 1, "K_B": 1}),
    ("seli_feature_cosines", {"K_A": 1, "K_B": 2}, {"K_A": 1, "K_B": 1}),
    ("label_smoothing_gap", {"alpha": 1 - 1e-9}, {"alpha": 1.0}),
    ("simplex_to_orthogonal", {"K": 4, "n": 4.0, "lam_Z": 0.125 - 1e-12}, {"K": 4, "n": 4.0, "lam_Z": 0.125}),
    ("rho_two_layers", {"mu_V": 0.5, "lam": 0.4}, {"mu_V": 0.5, "lam": 0.5}),
    ("stationary_margin", {"lam": 1.0, "rho": 0.5}, {"lam": 1.0, "rho": 0.5 + 1e-9}),
]


def values(name: str, **given: float) -> dict[str, float]:
    return {symbol.name: BASE.get(symbol.name, 1.0) for symbol in get(name).symbols} | given


@pytest.mark.parametrize("name", LEAST)
def test_least_counts(name):
    symbol, least = LEAST[name]
    assert not np.isnan(get(name).numeric()(**values(name, **{symbol: least}))).all()
    with pytest.raises(InvalidInput, match="needs"):
        get(name).numeric()(**values(name, **{symbol: least - 1}))


@pytest.mark.parametrize(("name", "inside", "outside"), ENDS)
def test_ends(name, inside, outside):
    get(name).numeric()(**values(name, **inside))
    with pytest.raises(InvalidInput, match="needs"):
        get(name).numeric()(**values(name, **outside))


def test_every_domain_is_in_the_tables():
    bounded = {form.name for form in closed_forms() if any(relation.free_symbols for relation in form.domain)}
    assert bounded == set(LEAST) | {name for name, _, _ in ENDS}


@pytest.mark.parametrize("form", closed_forms(), ids=lambda form: form.name)
def test_zero_is_refused_for_every_symbol_but_the_minoritys_gap(form):
    for symbol in form.symbols:
        if symbol.name == "e":
            form.numeric()(**values(form.name, e=0.0))
        else:
            with pytest.raises(InvalidInput, match=f"{symbol.name} must be positive"):
                form.numeric()(**values(form.name, **{symbol.name: 0}))


def test_laws_of_layers_say_that_the_layers_are_balanced():
    for name in ("rho_two_layers", "rho_balance", "decay_collapse", "plateau_three_layers"):
        assert "balanced layers of degree 1" in get(name).hypotheses
    assert "no weight decay" in get("plateau_three_layers").hypotheses


def test_the_matrix_condition_covers_both_gaps_and_all_blocks():
    condition = get("two_group_kkt").identities[1]
    assert condition.expression.shape == (6, 1)  # two gaps, four entries between the groups


@pytest.mark.parametrize(("name", "values"), [("etf_cosine", {"K": 2.5}), ("minority_collapse_equation",
    {"K_A": 1.5, "K_B": 3, "E_W": 1, "E_H": 1, "x": 0.1})])  # fmt: skip
def test_counts_must_be_whole(name, values):
    with pytest.raises(InvalidInput, match="whole number"):
        get(name).numeric()(**values)
