"""Generalization bounds of trained classifiers: every constant included, valid for weights found on the same sample.

``compare(architecture, weights, data)`` evaluates all that apply. One bound alone: ``get(name).evaluate(...)`` for the
number, ``get(name).symbolic(architecture)`` for the formula, ``get(name).assumptions(architecture)`` for what must
hold. ``certificates()`` hold with probability 1 - delta; ``published_forms()`` stand beside them as printed; what
bounds nothing is in ``theory.bounds.measures``. Predictors that are no networks: ``theory.bounds.kernel``,
``theory.bounds.nearest_neighbour``, ``theory.bounds.neighbour_features``. Growth with the size of an architecture:
``scaling``; convolution against dense layers: ``sparse_dense_ratio``. Inputs that an adversary moves:
``theory.bounds.certified_radius``, ``theory.bounds.adversarial``. Few levels or few nonzero weights:
``theory.bounds.finite_class``, ``theory.bounds.sparse_growth``. Sample complexity by counting alone:
``theory.bounds.definable``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from theory.architecture import Architecture
from theory.bounds._bound import Bound
from theory.bounds._problem import Sample
from theory.bounds._registry import all_bounds, certificates, get, published_forms
from theory.bounds._report import Assumption, BoundReport, HoldOut
from theory.bounds.compare import Comparison, Refusal, compare

if TYPE_CHECKING:
    from theory.bounds._scaling import Scaling, scaling
    from theory.bounds.sparse_dense import sparse_dense_ratio

_LAZY = {"Scaling": "_scaling", "scaling": "_scaling", "sparse_dense_ratio": "sparse_dense"}

__all__ = [
    "Architecture", "Assumption", "Bound", "BoundReport", "Comparison", "HoldOut", "Refusal", "Sample", "Scaling",
    "all_bounds", "certificates", "compare", "get", "published_forms", "scaling", "sparse_dense_ratio",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _LAZY:
        found = getattr(importlib.import_module(f"theory.bounds.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'theory.bounds' has no attribute {name!r}")
