"""What the notebooks show and no other test calls by its name."""

from __future__ import annotations

from simulations.experiments.flow_checks import CHECKS, all_checks
from simulations.experiments.flow_checks_relu import NAIVE_EVALUATIONS, cost_without_events
from simulations.experiments.result import table_text


def test_a_solver_without_events_spends_ten_times_the_evaluations():
    check = cost_without_events()
    assert check.is_met
    assert (10 * check.theory >= NAIVE_EVALUATIONS).all()  # it was stopped, or arrived worse
    assert (check.measured < 0.1 * NAIVE_EVALUATIONS).all()


def test_all_checks_are_the_listed_ones_in_their_order():
    assert [check.number for check, _ in zip(all_checks(), range(3), strict=False)] == list(CHECKS)[:3]


def test_a_table_is_aligned_and_prints_four_digits():
    rows = ({"name": "a", "value": 0.123456, "flag": True}, {"name": "longer", "value": None, "flag": False})
    assert table_text(rows) == "  name   value   flag\n     a  0.1235   True\nlonger       -  False"
    assert table_text(()) == ""
