"""The driver finds its targets, changes what it says, and every survivor on record is explained."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("mutmut")
pytest.importorskip("coverage")

from tests.mutants.operators import count, sample
from tests.mutants.report import KINDS, explanations
from tests.mutants.targets import ROOT, path_of, targets

SOURCE = '''"""Two + three."""
from math import sqrt

LEAST = 1.5


def f(x: float) -> float:
    """Not 2 * x."""
    if x < 0:
        raise ValueError(f"{x + 1} is less than {2 * 0}")
    return sqrt(x) + max(x, LEAST)


class A:
    def __repr__(self) -> str:
        return "A" + str(1 + 1)
'''


def test_targets_come_from_the_registries():
    from theory.bounds import all_bounds
    from theory.norms import spectral_norm

    found = targets()
    assert {type(bound).__module__ for bound in all_bounds()} <= set(found)
    assert found["theory.symbolic.two_groups"] == "closed form"
    assert found["theory.square_loss.equilibrium"] == "numeric twin"
    assert {spectral_norm.__module__, "theory.flow.kkt", "theory._certificate", "theory.peeled._minimise",
            "theory.square_loss.low_rank", "theory.flow.late_stage"} <= set(found)  # fmt: skip
    assert all(path_of(module).exists() for module in found)


def test_changes_of_a_small_module():
    changes = {(mutant.function, mutant.after) for mutant in sample("toy", SOURCE)}
    assert changes == {
        ("<module>", "LEAST = 2.5"),
        ("f", "if x <= 0:"), ("f", "if x >= 0:"), ("f", "if x < 1:"),
        ("f", "return sqrt(x) - max(x, LEAST)"), ("f", "return sqrt(x) + min(x, LEAST)"),
        ("f", "return cbrt(x) + max(x, LEAST)"), ("f", "return (sqrt(x) + max(x, LEAST)) * 1.001"),
    }  # fmt: skip
    assert count(SOURCE) == len(changes)


def test_a_smaller_sample_is_part_of_a_larger_one_and_line_numbers_do_not_matter():
    keys = [{mutant.key for mutant in sample("toy", SOURCE, k)} for k in (1, 3, None)]
    assert keys[0] < keys[1] < keys[2]
    assert {mutant.key for mutant in sample("toy", "\n\n" + SOURCE, 3)} == keys[1]


JUDGE = """
from dataclasses import replace
from tests.mutants.operators import sample
from tests.mutants.reach import Reach
from tests.mutants.run import judge
from tests.mutants.targets import path_of

class Fixed(Reach):
    def tests(self, path, line, budget):
        return list(self.seconds)

test = "theory/norms/dense.py::theory.norms.dense.norm_2_1"
reach = Fixed(data=None, seconds={test: 0.1}, modules=["numpy", "pytest"], new=[])
source = path_of("theory.norms.dense").read_text()
changed = [m for m in sample("theory.norms.dense", source) if m.function == "norm_2_1" and "1.001" in m.after]
for mutant in [*changed, replace(changed[0], source=source), replace(changed[0], source="import nothing_of_the_kind")]:
    print(judge(mutant, reach).outcome)
"""


def test_a_change_is_killed_and_the_unchanged_module_survives():
    done = subprocess.run([sys.executable, "-c", JUDGE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["killed", "survived", "killed"]


SURVIVORS = json.loads((ROOT / "docs" / "mutants.json").read_text())["survivors"]


def test_every_survivor_is_explained():
    known = explanations()
    assert {row["key"] for row in SURVIVORS} <= set(known)
    assert {kind for kind, _ in known.values()} <= set(KINDS) - {"open"}
