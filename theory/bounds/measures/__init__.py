"""Measures of a trained network: numbers that have been used to rank networks. None of them is a bound.

>>> import numpy as np
>>> from theory.architecture import Activation, Architecture, Linear
>>> net = Architecture.sequential([Linear(3), Activation("relu"), Linear(2)], input_shape=2)
>>> found = measures(net, net.random_weights(rng=0), (np.eye(2), [0, 1]), names=["norms"])
>>> {m.status for m in found}, found[0]
({'measure'}, Measure(parameter-count: 17))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Architecture
from theory.bounds._network import Weights
from theory.bounds._problem import Data, Problem
from theory.bounds.measures import all_layer_margin, cushions, jacobians, jiang, sharpness
from theory.bounds.measures._record import Measure
from theory.bounds.measures.all_layer_margin import AllLayerMargins, all_layer_margins, all_layer_measures
from theory.bounds.measures.cushions import Cushions, cushion_measures
from theory.bounds.measures.jacobians import JacobianNorms, jacobian_measures, jacobian_norms
from theory.bounds.measures.jiang import magnitude_kl, noise_measures, norm_measures
from theory.bounds.measures.sharpness import Radius, noise_sigma, sharpness_measures, worst_radius

__all__ = [
    "FAMILIES", "AllLayerMargins", "Cushions", "JacobianNorms", "Measure", "Radius", "all_layer_margins",
    "jacobian_norms", "magnitude_kl", "measures", "measures_of", "noise_sigma", "worst_radius",
]  # fmt: skip

FAMILIES: dict[str, tuple[str, ...]] = {
    jiang.NORMS: jiang.NORM_NAMES,
    jiang.NOISE: jiang.NOISE_NAMES,
    sharpness.FAMILY: sharpness.NAMES,
    jacobians.FAMILY: jacobians.NAMES,
    cushions.FAMILY: cushions.NAMES,
    all_layer_margin.FAMILY: all_layer_margin.NAMES,
}  # names by family; those of one layer are followed by a colon and its name


def measures(
    architecture: Architecture, weights: Weights, data: Data, reference: Weights | None = None,
    *, names: Iterable[str] | None = None, rng: np.random.Generator | int = 0,
) -> tuple[Measure, ...]:  # fmt: skip
    """Measures of a trained network on its sample.

    Parameters
    ----------
    weights, data, reference : as for a bound; distances from the reference need it.
    names : families or measures, from ``FAMILIES``. None: every family that the network allows; one that needs
        derivatives is left out where there are none (LayerNorm, attention), cushions where it is not a chain.
    rng : of the random noise and probes.

    Raises
    ------
    InvalidInput : weights or data that do not fit, an unknown name, a distance asked for without a reference.
    PreconditionError : a family that was asked for by name and does not apply.

    Cost: sharpness and noise need hundreds of evaluations of up to 1000 samples; ``names=["norms"]`` is quick.
    """
    return measures_of(Problem(architecture, weights, data, reference), names=names, rng=rng)


def measures_of(
    problem: Problem, *, names: Iterable[str] | None = None, rng: np.random.Generator | int = 0
) -> tuple[Measure, ...]:
    """The same for a problem that was prepared already."""
    asked = None if names is None else _asked(names, problem)
    seed = int(np.random.default_rng(rng).integers(2**63))
    compute: dict[str, Callable[[], tuple[Measure, ...]]] = {
        jiang.NORMS: lambda: norm_measures(problem),
        jiang.NOISE: lambda: noise_measures(problem, rng=seed),
        sharpness.FAMILY: lambda: sharpness_measures(problem),
        jacobians.FAMILY: lambda: jacobian_measures(problem),
        cushions.FAMILY: lambda: cushion_measures(problem, rng=seed),
        all_layer_margin.FAMILY: lambda: all_layer_measures(problem),
    }
    found: list[Measure] = []
    for family, run in compute.items():
        if asked is not None and not asked & {family, *FAMILIES[family]}:
            continue
        try:
            part = run()
        except PreconditionError:
            if asked is not None:
                raise
            continue
        found += [m for m in part if asked is None or asked & {family, m.name.split(":")[0]}]
    return tuple(found)


def _asked(names: Iterable[str], problem: Problem) -> set[str]:
    asked = {names} if isinstance(names, str) else {str(name) for name in names}
    known = {*FAMILIES, *(name for family in FAMILIES.values() for name in family)}
    unknown = sorted(asked - known)
    if unknown:
        raise InvalidInput(f"unknown measure {unknown[0]!r}; families are {', '.join(FAMILIES)}.")
    far = sorted(name for name in asked if name.endswith(("-distance", "-initial")))
    if far and problem.reference is None:
        raise InvalidInput(f"{far[0]!r} needs reference weights.")
    return asked
