"""``theory --help``: every subcommand is there, soon, and nothing heavy is imported for it."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

CALL = "from simulations.cli import main; main()"
HEAVY = (
    "numpy scipy cvxpy matplotlib sympy sklearn torch pandas joblib dask distributed yaml pyarrow "
    "theory.peeled theory.flow theory.bounds theory.norms"
)


def call(*words, code=CALL):
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_help_names_every_subcommand():
    done = call("--help")
    assert done.returncode == 0
    for name in (
        "peel",
        "threshold",
        "compare",
        "collapse-metrics",
        "flow",
        "bounds",
        "norms",
        "inspect",
        "rho",
        "complexity",
        "connect",
        "validate",
        "sweep",
        "results",
        "demo",
    ):
        assert name in done.stdout


def test_help_imports_nothing_heavy():
    code = f"import sys, simulations.cli; print([m for m in {HEAVY.split()!r} if m in sys.modules])"
    assert call(code=code).stdout.strip() == "[]"


def test_help_is_quick():
    """Processor time, so that a busy machine does not fail it: the promise is 0.5 s."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        call("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.5


@pytest.mark.parametrize(
    "name",
    [
        "peel",
        "threshold",
        "compare",
        "collapse-metrics",
        "flow",
        "bounds",
        "norms",
        "inspect",
        "rho",
        "complexity",
        "connect",
        "validate",
        "sweep",
        "results",
        "demo",
    ],
)
def test_help_of_each_subcommand_has_an_example(name):
    done = call(name, "--help")
    assert done.returncode == 0 and f"theory {name} " in done.stdout.replace("\n", " ")
