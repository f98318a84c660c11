"""Sweeps: a task over many configurations, on this machine or a cluster, into a store that a killed run goes on from.

``Study``, ``Sample``, ``read_study``   which configurations, in Python or from a YAML file
``run_study``     computes them, one row of a ``ResultsStore`` each
``TASKS``         what can be computed by name
``read_table``, ``plot_table``, ``read_export``   the rows as columns, any of them as a figure, an exported .parquet
``stored_table``  the table of a shipped study, computed before; its figures and laws: ``threshold_map_figure``,
                  ``bounds_scaling_figure``, ``growth``

Names load on first use, so ``import simulations.sweep`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulations.sweep._plot import plot_table
    from simulations.sweep._plot_studies import Growth, bounds_scaling_figure, growth, threshold_map_figure
    from simulations.sweep._table_export import read_export, stored_table
    from simulations.sweep.run import SweepSummary, run_study
    from simulations.sweep.study import Sample, Study, read_study, shipped_studies
    from simulations.sweep.table import Table, read_table
    from simulations.sweep.tasks import TASKS, Task

_FILES = {
    "study": ("Sample", "Study", "read_study", "shipped_studies"),
    "run": ("SweepSummary", "run_study"),
    "table": ("Table", "read_table"),
    "tasks": ("TASKS", "Task"),
    "_plot": ("plot_table",),
    "_plot_studies": ("Growth", "bounds_scaling_figure", "growth", "threshold_map_figure"),
    "_table_export": ("read_export", "stored_table"),
}
_HOME = {name: file for file, names in _FILES.items() for name in names}
__all__ = [
    "TASKS",
    "Growth",
    "Sample",
    "Study",
    "SweepSummary",
    "Table",
    "Task",
    "bounds_scaling_figure",
    "growth",
    "plot_table",
    "read_export",
    "read_study",
    "read_table",
    "run_study",
    "shipped_studies",
    "stored_table",
    "threshold_map_figure",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"simulations.sweep.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'simulations.sweep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
