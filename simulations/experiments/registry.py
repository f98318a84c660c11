"""The experiments of ``theory validate``, by name; each is imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theory._errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simulations.experiments.result import ExperimentResult

EXPERIMENTS = {
    "neural-collapse": "balanced classes, past zero training error: features and classifier form a simplex",
    "minority-collapse": "rare classes merge at the imbalance that the theory computes; oversampling parts them again",
    "unconstrained-features": "descent from many starts meets the certified optimum, and the thresholds of the penalty",
    "bounds-along-training": "certificates and measures against the true gap, epoch by epoch, random labels included",
    "dense-versus-convolutional": "on compositionally sparse targets sparse networks win, in error and in bound",
    "depth-and-rank": "with depth, training finds fewer large singular values than the simplex has",
    "rho-dynamics": "rho(t), its rest point and margins under the square loss, with and without normalisation",
    "low-rank": "weight decay and small batches bound the rank of trained weights; how loosely",
    "sgd-noise": "under weight decay SGD never rests: its fluctuation by linear response, none for full batches",
    "square-loss-collapse": "square loss and weight decay: collapse, equal margins, and their rate",
    "increasing-complexity": "a network first knows what a linear classifier knows, keeps it, and then learns the rest",
    "connectivity": "two trained networks are joined without a barrier once half of their neurons can be separated",
    "path-kernel": "most of what a network has learned is in its gates: their path kernel nearly matches it",
    "steepest-descent": "descents in l_1, l_2, l_inf and spectral norm go to the largest margin in their own norm",
}


@dataclass(frozen=True, slots=True)
class Experiment:
    """``run(quick=, seeds=, store=, callback=)`` returns the result, ``draw(result, figure)`` its figure."""

    name: str
    run: Callable[..., ExperimentResult]
    draw: Callable[[ExperimentResult, Figure], Any]


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises
    ------
    InvalidInput : no experiment has it. PreconditionError : PyTorch is missing.
    """
    if name not in EXPERIMENTS:
        raise InvalidInput(f"no experiment is called {name!r}; there are {', '.join(EXPERIMENTS)}.")
    from simulations._torch import import_torch

    import_torch(f"experiment {name!r}")
    module = importlib.import_module(f"simulations.experiments.{name.replace('-', '_')}")
    return Experiment(name, module.run, module.draw)
