"""``solve``: one face over every model of the last layer."""

from __future__ import annotations

import time
from importlib import import_module

import numpy as np

from theory._arrays import as_count, as_positive
from theory._errors import InvalidInput
from theory.peeled._options import Callback, Options
from theory.peeled._specification import Specification
from theory.peeled.solution import PeeledSolution

# Each module has METHODS and solve_model(model, options).
SOLVERS = {
    "LayerPeeledModel": "_layer_peeled",
    "UnconstrainedFeaturesModel": "_unconstrained",
    "SELIModel": "_seli",
    "DeepLinearModel": "_deep_linear",
    "SoftmaxCodeModel": "_softmax_code",
}


def solve(
    model: Specification,
    *,
    method: str = "auto",
    rtol: float = 1e-9,
    max_steps: int = 150,
    rng: int | np.random.Generator | None = 0,
    callback: Callback | None = None,
) -> PeeledSolution:
    r"""The optimum of a model of the last layer, with a proof of its accuracy.

    ====================================  ==========================================================================
    :class:`LayerPeeledModel`             budgets on W and H; cross-entropy or squared error
    :class:`UnconstrainedFeaturesModel`   penalties on W and H (and a bias); cross-entropy, smoothed labels, squared
                                          error, focal loss; free or nonnegative features
    :class:`SELIModel`                    the unconstrained-features support vector machine
    :class:`DeepLinearModel`              several linear layers; squared error, or a bracket for cross-entropy
    :class:`SoftmaxCodeModel`             fewer dimensions than classes, on the sphere
    ====================================  ==========================================================================

    The layer-peeled model, for p >= rank(Z*), equals the convex program over logits Z = W H with
    :math:`\|Z\|_* \le T = K\sqrt{E_W E_H}` (*derived*; srebro2004maximum for the variational form of the nuclear
    norm), whose Frank-Wolfe gap certifies any feasible point (*proved*: jaggi2013revisiting). The other models'
    certificates are derived in their modules. ``status`` says "optimal" only where the certificate closes.

    Parameters
    ----------
    model : the specification.
    method : ``auto`` takes the first that applies. Of the layer-peeled model with cross-entropy:
        ``closed-form`` (balanced simplex frame, or all but the largest classes exactly zero),
        ``groups`` (Newton on G + G^2 unknowns for G distinct class masses),
        ``dense`` (the same without use of symmetry, K^2 unknowns),
        ``factored`` (p below the rank: descent on W and H; a local solution, reported with the honest gap),
        ``sdp`` (the 2K x 2K semidefinite program in cvxpy; the independent reference).
        An unknown method is refused with the list of those that the model has.
    rtol : the certified gap over the objective. The Newton methods also strive for it over T times the multiplier
        (the decrease that the budget buys); ``certificate.residuals["gap_of_decrease"]`` says what they reached.
    max_steps : Newton steps (``groups``, ``dense``), or descent steps per start (``factored``, at least 1000).
    rng : seed or generator for the starts of ``factored``.
    callback : called as ``callback(step, relative_gap)`` at each new certificate.

    Raises
    ------
    InvalidInput : an unknown method, a tolerance that is not positive.
    PreconditionError : the method does not apply to this model; too many distinct counts.
    NotConverged : the tolerance was not reached; ``error.partial`` is the solution with its honest certificate.

    Examples
    --------
    >>> from theory.peeled import LayerPeeledModel
    >>> s = solve(LayerPeeledModel(counts=[10] * 5 + [1] * 5, E_W=1, E_H=5))
    >>> round(s.groups[1].cos_within, 8)
    0.51749628
    """
    module = SOLVERS.get(type(model).__name__)
    if module is None:
        raise InvalidInput(f"solve takes one of {', '.join(SOLVERS)}, but was given {type(model).__name__}.")
    solver = import_module(f"theory.peeled.{module}")
    if method not in solver.METHODS:
        raise InvalidInput(f"method must be one of {', '.join(solver.METHODS)}, but is {method!r}.")
    options = Options(
        method=method, rtol=as_positive("rtol", rtol), max_steps=as_count("max_steps", max_steps),
        rng=np.random.default_rng(rng), callback=callback, began=time.perf_counter(),
    )  # fmt: skip
    return solver.solve_model(model, options)
