"""The list of bounds; each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from theory._errors import InvalidInput

if TYPE_CHECKING:
    from theory.bounds._bound import Bound

# module, class, whether it takes a radius of the inputs that is known before the sample
_CERTIFICATES = (
    ("compression", "Compression", False),
    ("pac_bayes_kl", "PacBayesKL", False),
    ("group_norm", "GroupNorm", False),
    ("frobenius", "Frobenius", False),
    ("row_norm", "RowNorm", False),
    ("operator_frobenius", "OperatorFrobenius", False),
    ("convolutional", "Convolutional", False),
    ("path_norm", "PathNormBound", False),
    ("covering", "CoveringBound", False),
    ("parameter_net", "ParameterDudley", False),
    ("parameter_net", "ParameterNet", True),
    ("pac_bayes_spectral", "PacBayesSpectral", True),
    ("two_layer", "TwoLayer", False),
    ("growth_function", "GrowthFunction", False),
    ("vc_dimension", "VCDimension", False),
)
_PUBLISHED = (
    ("path_norm", "PathNormPublished", False),
    ("published", "BartlettFixed", False),
    ("published", "BartlettPostHoc", False),
    ("published", "GolowichFrobenius", False),
    ("published", "GolowichRows", False),
    ("published", "Galanti", False),
    ("published", "GrafNorms", False),
    ("published", "GrafParameters", False),
    ("published", "Ledent", False),
    ("published", "LinZhang", False),
    ("published", "GoukRows", False),
    ("published", "GoukFrobenius", False),
    ("published", "Xu", False),
)


def certificates(*, radius: float | None = None) -> tuple[Bound, ...]:
    """Every certificate.

    Parameters
    ----------
    radius : an upper bound of the norm of every input, known before the sample; without it the bounds that need one
        refuse.
    """
    return tuple(_make(*entry, radius) for entry in _CERTIFICATES)


def published_forms(*, radius: float | None = None) -> tuple[Bound, ...]:
    """Bounds as printed or as programs have them, for comparison."""
    return tuple(_make(*entry, radius) for entry in _PUBLISHED)


def all_bounds(*, radius: float | None = None) -> tuple[Bound, ...]:
    """Certificates, then published forms."""
    return certificates(radius=radius) + published_forms(radius=radius)


def get(name: str, *, radius: float | None = None) -> Bound:
    """The bound of that name.

    Raises
    ------
    InvalidInput : no such name; the message lists them.

    Examples
    --------
    >>> get("frobenius").status
    'certificate'
    """
    known = {bound.name: bound for bound in all_bounds(radius=radius)}
    if name not in known:
        raise InvalidInput(f"no bound is called {name!r}; there are {', '.join(known)}.")
    return known[name]


def _make(module: str, name: str, takes_radius: bool, radius: float | None) -> Bound:
    kind = getattr(importlib.import_module(f"theory.bounds.{module}"), name)
    return kind(radius=radius) if takes_radius else kind()
