"""The certificate that every optimum carries."""

import json

from theory import Certificate


def test_a_gap_is_relative_to_the_value_unless_that_is_zero():
    assert Certificate(lower=1.0, upper=4.0, gap=3.0).relative_gap == 0.75
    assert Certificate(lower=-4.0, upper=-2.0, gap=2.0).relative_gap == 1.0
    assert Certificate(lower=-0.5, upper=0.0, gap=0.5).relative_gap == 0.5


def test_its_plain_form_holds_all_of_it():
    found = Certificate(lower=1.0, upper=4.0, gap=3.0, residuals={"budget": 0.5}, method="by hand").to_json()
    assert json.loads(json.dumps(found)) == {
        "lower": 1.0, "upper": 4.0, "gap": 3.0, "relative_gap": 0.75, "residuals": {"budget": 0.5}, "method": "by hand",
    }  # fmt: skip
