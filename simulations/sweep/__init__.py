"""Sweeps: a task over many configurations, on this machine or a cluster, into a store that a killed run goes on from.

``Study``, ``Sample``, ``read_study``   which configurations, in Python or from a YAML file
``run_study``     computes them, one row of a ``ResultsStore`` each
``TASKS``         what can be computed by name
``read_table``    the rows as columns

Names load on first use, so ``import simulations.sweep`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulations.sweep.run import SweepSummary, run_study
    from simulations.sweep.study import Sample, Study, read_study, shipped_studies
    from simulations.sweep.table import Table, read_table
    from simulations.sweep.tasks import TASKS, Task

_FILES = {
    "study": ("Sample", "Study", "read_study", "shipped_studies"),
    "run": ("SweepSummary", "run_study"),
    "table": ("Table", "read_table"),
    "tasks": ("TASKS", "Task"),
}
_HOME = {name: file for file, names in _FILES.items() for name in names}
__all__ = [
    "TASKS",
    "Sample",
    "Study",
    "SweepSummary",
    "Table",
    "Task",
    "read_study",
    "read_table",
    "run_study",
    "shipped_studies",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"simulations.sweep.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'simulations.sweep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
