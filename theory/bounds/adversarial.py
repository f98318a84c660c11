r"""Margin bounds for inputs that an adversary moves: by eps each, or all of them by rho on average.

With Lambda a Lipschitz constant of every difference of two scores (that of the trained network, from above), an input
within eps of x has margin at least ``M(x) - eps Lambda``. With probability at least 1 - delta, for all networks and
margins gamma,

.. math:: P[\exists\, \|x' - x\| \le \epsilon:\ M(x') \le 0] \le \frac1n \sum_i \phi_\gamma(M_i - a^i \gamma)
          + \text{complexity}(\gamma) + \text{confidence at } \delta w_i, \qquad a^i \ge a \epsilon \Lambda / \gamma

.. math:: \sup_{W_p(Q, P) \le \rho} Q[M \le 0] \le \frac{a \rho \Lambda}{\gamma}
          + \frac1n \sum_i \phi_\gamma(M_i) + \text{complexity}(\gamma) + \text{confidence}, \qquad p \ge 1

where complexity and confidence are those of any bound of the mean ramp loss (see ``_frame``), and a = 1.05 since a
bound may have proved its statement for the next margin g of its grid, gamma / a <= g <= gamma. *derived*:

- The first. phi_1(u - tau) has the Lipschitz constant of phi_1, so a bound of the mean ramp loss that goes through
  contraction or covers of the class {f / g} holds for every tau fixed before the sample. tau is on the grid a^i,
  each point at the level delta w_i; ``{M <= eps Lambda}`` is inside ``{M <= tau g}``, and ``phi_1(M / g - tau)`` is
  at most ``phi_1(M / gamma - tau)``. Lambda is used after training, through a^i alone.
- The second. ``1{M(x') <= 0} <= min(1, (1 - M(x') / g)_+) <= phi_g(M(x)) + (Lambda / g) ||x' - x||``; the mean over a
  coupling of cost at most rho (W_1 <= W_p). The bound holds for all margins at once, so Lambda is free.
  This is the dual with lam = Lambda / g (blanchet2019quantifying).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

from theory._errors import InvalidInput, PreconditionError
from theory.bounds._bound import Bound, Found
from theory.bounds._frame import BASE, Margins, as_margin, index_cost, round_up, safe_exp
from theory.bounds._kl import as_delta
from theory.bounds._problem import Problem
from theory.bounds._registry import get
from theory.bounds._report import Assumption, BoundReport
from theory.bounds.certified_radius import as_distance, pair_constants
from theory.norms._rounding import gamma as roundings
from theory.norms.lipschitz import as_norm

# what proves each of these is contraction or a cover of the ramp of the margin, whatever the ramp is shifted by
OF_THE_RAMP = (
    "group-norm", "frobenius", "row-norm", "operator-frobenius", "convolutional", "path-norm", "covering",
    "parameter-dudley",
)  # fmt: skip
HAIR = 1e-10  # above all roundings of a logarithm on the way
STEPS = 60  # margins tried, between 1/300 and 1.2 times the largest


def robust_bound(
    problem: Problem, eps: float, *, bound: str | Bound = "frobenius", norm: str = "l2", delta: float = 0.01,
    margin: float | str = "best",
) -> BoundReport:  # fmt: skip
    r"""Bound of the probability that some input within eps of the drawn one is misclassified (ties count).

    *derived*: the first statement of the module. eps = 0 is the bound itself.

    Parameters
    ----------
    problem : ``Problem(architecture, weights, data)``.
    eps : radius of the closed ball around every input.
    bound : one of ``OF_THE_RAMP``, by name or itself.
    norm : of the perturbation, ``"l2"`` or ``"linf"``.
    margin : ``"best"`` or a number.

    Raises
    ------
    InvalidInput : eps negative, another norm, an unknown name.
    PreconditionError : a bound that is not of the mean ramp loss, a hypothesis of the bound, no Lipschitz constant.

    Cost: the bound's own norms once, then 60 margins.

    Examples
    --------
    >>> import numpy as np
    >>> from theory.architecture import Architecture, Linear
    >>> net = Architecture.sequential([Linear(1, bias=False)], input_shape=1)
    >>> x = np.where(np.arange(40_000) % 2, 1.0, -1.0)[:, None]
    >>> problem = Problem(net, {"linear1.weight": [[1.0]]}, (x, (x[:, 0] > 0).astype(int)))
    >>> robust_bound(problem, 0.25, delta=0.1).value < 0.2, robust_bound(problem, 1.0).value >= 1
    (True, True)
    """
    eps, made, level = as_distance("eps", eps), _of_the_ramp(bound), as_delta(delta)
    norm, fixed = as_norm(norm), as_margin(margin)
    assumptions = made.check(problem)
    slope = largest_slope(problem, norm)
    moved = eps * slope * (1 + roundings(4))
    if moved == 0:
        found, at = made.compute(problem, level, fixed), {"i": 0.0, "shift": 0.0}
        return _report(made, problem, level, found, at | {"eps": eps, "Lambda": slope}, assumptions, f"eps = {eps:g}")
    best: tuple[Found, dict[str, float]] | None = None
    for each in _margins(problem.margins.largest, moved) if fixed is None else [fixed]:
        index = round_up(math.log(moved) - math.log(each) + HAIR).index + 1
        shift = safe_exp(index * math.log(BASE) + math.log(each) + HAIR)
        if not 0 < shift < math.inf:
            continue
        found = made.compute(_shifted(problem, shift), level * math.exp(-index_cost(index)), each)
        if best is None or found.log10 < best[0].log10:
            best = found, {"i": float(index), "shift": shift}
    if best is None:
        raise PreconditionError("adversarial needs a shift of margins that float64 can hold: eps times Lambda is not.")
    named = best[1] | {"eps": eps, "Lambda": slope}
    return _report(made, problem, level, best[0], named, assumptions, f"every input moved by {eps:g} in {norm}")


def wasserstein_bound(
    problem: Problem, rho: float, *, bound: str | Bound = "frobenius", norm: str = "l2", delta: float = 0.01,
    margin: float | str = "best",
) -> BoundReport:  # fmt: skip
    r"""Bound of the error under every distribution within Wasserstein distance rho of the sampled one, labels kept.

    *derived*: the second statement of the module. The added term is ``transport``.

    Parameters, errors and cost as ``robust_bound``; ``rho`` is the radius, for any order of the distance.

    Examples
    --------
    >>> import numpy as np
    >>> from theory.architecture import Architecture, Linear
    >>> net = Architecture.sequential([Linear(1, bias=False)], input_shape=1)
    >>> x = np.where(np.arange(40_000) % 2, 1.0, -1.0)[:, None]
    >>> problem = Problem(net, {"linear1.weight": [[1.0]]}, (x, (x[:, 0] > 0).astype(int)))
    >>> report = wasserstein_bound(problem, 0.1, margin=0.5)
    >>> round(report.terms["transport"], 6)
    0.21
    """
    rho, made, level = as_distance("rho", rho), _of_the_ramp(bound), as_delta(delta)
    norm, fixed = as_norm(norm), as_margin(margin)
    assumptions = made.check(problem)
    slope = largest_slope(problem, norm)
    best: tuple[float, Found, float] | None = None
    for each in _margins(problem.margins.largest, 1.0) if fixed is None else [fixed]:
        found = made.compute(problem, level, each)
        transport = BASE * rho * slope / each * (1 + HAIR)
        total = sum(found.terms.values()) + transport
        if best is None or total < best[0]:
            best = total, found, transport
    assert best is not None
    report = _report(
        made, problem, level, best[1], {"rho": rho, "Lambda": slope}, assumptions,
        f"the distribution moved by {rho:g} in {norm}", transport=best[2],
    )  # fmt: skip
    return report


def largest_slope(problem: Problem, norm: str) -> float:
    """Lipschitz constant of the margin from above: the largest over pairs of classes."""
    return float(pair_constants(problem, norm).max())


def _of_the_ramp(bound: str | Bound) -> Bound:
    made = get(bound) if isinstance(bound, str) else bound
    if not isinstance(made, Bound):
        raise InvalidInput(f"bound must be a name or a Bound, but is {bound!r:.60}.")
    if made.name not in OF_THE_RAMP:
        raise PreconditionError(
            f"adversarial needs a bound of the mean ramp loss, one of {', '.join(OF_THE_RAMP)}; {made.name} is none."
        )
    return made


def _margins(largest: float, unit: float) -> Iterable[float]:
    """Margins such that ``unit / gamma`` is on the grid (a hair below it), about the largest margin."""
    top = math.log(largest) if largest > 0 else math.log(unit)
    first, last = ((top + math.log(x) - math.log(unit)) / math.log(BASE) for x in (1 / 300, 1.2))
    step = max(1, round((last - first) / STEPS))
    for index in range(math.floor(first), math.ceil(last) + 1, step):
        value = safe_exp(math.log(unit) + index * math.log(BASE) + 2 * HAIR)
        if 0 < value < math.inf:
            yield value


def _shifted(problem: Problem, shift: float) -> Problem:
    """The problem with every margin less ``shift``; norms that were computed are shared."""
    moved = copy.copy(problem)
    moved.__dict__["margins"] = Margins(problem.margins.values - shift)
    return moved


def _report(
    made: Bound, problem: Problem, level: float, found: Found, named: dict[str, float],
    assumptions: tuple[Assumption, ...], what: str, transport: float = 0.0,
) -> BoundReport:  # fmt: skip
    added = {"transport": transport} if transport else {}
    log10 = found.log10 if not transport else math.log10(10**min(found.log10, 300.0) + transport)
    return BoundReport(
        name=f"adversarial-{made.name}", title=f"{made.title}, {what}", status=made.status,
        source=f"derived from {made.source}", terms={**found.terms, **added}, log10=max(log10, found.log10),
        n=problem.n, delta=level, margin=found.margin, quantities={**found.quantities, **named},
        assumptions=assumptions, notes=found.notes,
    )  # fmt: skip
