"""The tasks of ``sweep_functions.py`` as a user's module."""

import sys
from pathlib import Path

import pytest


@pytest.fixture
def functions(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(sys, "path", list(sys.path))  # what a task's loader adds goes again
    import sweep_functions

    sweep_functions.CALLS.clear()
    return sweep_functions
