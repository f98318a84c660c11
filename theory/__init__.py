"""Numerical theory of deep classifiers: analytic models solved exactly, every number with a certificate.

Subpackages load on first use, so ``import theory`` costs nothing:

``frames``     target geometries: simplex ETF, orthogonal frame; distance of a Gram matrix to a target
``collapse``   neural-collapse metrics NC1-NC4, in memory or streamed
``peeled``     the Layer-Peeled Model: certified solutions, thresholds, phase curves
``flow``       gradient flow of homogeneous networks through their kinks, margins and certified limits
``square_loss``  the norm of a deep classifier under weight decay: rho dynamics, low rank, SGD noise, collapse
``symbolic``   the closed forms as sympy expressions, with the identities behind them
``architecture``  feed-forward graphs: shapes, evaluation, normalisations folded away
``norms``      operator norms with a proof: matrices, convolutions, layers, paths
``bounds``     generalization bounds of a trained network, numeric and symbolic
``complexity`` how much of a network's performance simpler classifiers explain
``connectivity``  low-loss paths between two networks, and what they ask of their features
``kernels``    tangent kernels, analytic and of a network; path kernels; lazy training, measured and proved
``plots``      figures of the above
"""

from __future__ import annotations

import importlib
from types import ModuleType

from theory._certificate import Certificate
from theory._errors import InvalidInput, NotConverged, PreconditionError, TheoryError

__version__ = "0.1.0"

_SUBPACKAGES = (
    "architecture", "bounds", "collapse", "complexity", "connectivity", "flow", "frames", "kernels", "norms", "peeled",
    "plots", "square_loss", "symbolic",
)  # fmt: skip
__all__ = ["Certificate", "InvalidInput", "NotConverged", "PreconditionError", "TheoryError", *_SUBPACKAGES]


def __getattr__(name: str) -> ModuleType:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"theory.{name}")
    raise AttributeError(f"module 'theory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
