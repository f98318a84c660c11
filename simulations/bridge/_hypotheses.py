"""What each model of the last layer supposes, and what the trained network says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulations.bridge.measurement import LayerEnergy, Measured
from theory.peeled import DeepLinearModel, PeeledSolution, solve

STATIONARY = 0.05
BALANCED = 0.1
COLLAPSED = 0.05
HOMOGENEOUS = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """One supposition.

    Attributes
    ----------
    statement : in words, with the number that decides.
    holds : True, False, or None where it cannot be told.
    value, tolerance : the number that was measured and the one that it is held against, or None.
    needed_by : names of the predictions that rest on it.
    """

    statement: str
    holds: bool | None
    value: float | None = None
    tolerance: float | None = None
    needed_by: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "needed_by": list(self.needed_by)}

    def __str__(self) -> str:
        word = {True: "holds", False: "FAILS", None: "unknown"}[self.holds]
        numbers = "" if self.value is None else f" [{self.value:.3g}"
        numbers += "" if self.tolerance is None else f" against {self.tolerance:.3g}"
        return f"{word:<8}{self.statement}{numbers}{']' if numbers else ''}"


def hypotheses(
    solutions: Mapping[str, PeeledSolution], measured: Measured | None, weight_decay: float, *, width: int, biased: bool
) -> tuple[Hypothesis, ...]:
    """All of them, in the order from the data to the depth; unknown where nothing was measured."""
    names = tuple(solutions)
    deep = tuple(name for name in names if name.startswith("deep-"))
    flat = tuple(name for name in names if name not in deep)
    penalised = tuple(name for name in names if name in ("free", "relu") or name in deep)
    unbiased = tuple(name for name in names if name != "free")
    found = [_width(solutions, width)]
    if biased:
        found.append(Hypothesis(statement="the classifier has no bias", holds=False, needed_by=unbiased))
    found.append(
        Hypothesis(
            statement="the decay vanishes (the limit is approached only like 1/log(1/lam))",
            holds=weight_decay == 0, value=weight_decay, tolerance=0.0, needed_by=_those(names, "vanishing"),
        )
    )  # fmt: skip
    counts = np.asarray(next(iter(solutions.values())).model.counts)
    equal = bool(counts.min() == counts.max())
    found.append(
        Hypothesis(
            statement="the counts are equal: decay weighs samples alike, a budget weighs classes alike",
            holds=None if weight_decay == 0 and not equal else equal, value=float(counts.max() / counts.min()),
            tolerance=1.0, needed_by=_those(names, "layer-peeled"),
        )
    )  # fmt: skip
    found += _measured(measured, weight_decay, names, flat, penalised) if measured else _unknown(names, penalised)
    for name in deep:
        found += _depth(int(name.removeprefix("deep-")), name, solutions[name], measured, flat)
    return tuple(h for h in found if h.needed_by)


def _width(solutions: Mapping[str, PeeledSolution], width: int) -> Hypothesis:
    ranks = {name: solution.rank for name, solution in solutions.items()}
    most = max(ranks.values())
    short = tuple(name for name, rank in ranks.items() if rank > width)
    return Hypothesis(
        statement="the features have as many dimensions as the rank of the solution", holds=not short,
        value=float(width), tolerance=float(most), needed_by=short or tuple(ranks),
    )  # fmt: skip


def _measured(
    m: Measured, lam: float, names: tuple[str, ...], flat: tuple[str, ...], penalised: tuple[str, ...]
) -> list[Hypothesis]:
    decay = lam * m.weight_energy
    off = abs(decay - m.slope) / max(decay, abs(m.slope)) if decay or m.slope else float("nan")
    nc1 = float("nan") if m.metrics is None else m.metrics.nc1_ratio
    below, nonnegative = m.layers[-1].parameters_below, m.smallest_feature >= 0
    return [
        Hypothesis(
            statement="the classifier is stationary: lam ||W||^2 = - mean <loss'(z), W h>",
            holds=off <= STATIONARY, value=off, tolerance=STATIONARY, needed_by=penalised,
        ),
        Hypothesis(
            statement="the decay acts on the classifier's weight itself, not on a reparametrisation of it",
            holds=m.layers[-1].is_parameter, needed_by=penalised,
        ),
        Hypothesis(
            statement="the features take both signs", holds=not nonnegative, value=m.smallest_feature, tolerance=0.0,
            needed_by=_those(names, "free", "layer-peeled", "vanishing"),
        ),
        Hypothesis(
            statement="the features are nonnegative", holds=nonnegative, value=m.smallest_feature, tolerance=0.0,
            needed_by=_those(names, "relu"),
        ),
        Hypothesis(
            statement="the features of a class coincide (NC1: tr Sw / tr Sb)", holds=nc1 <= COLLAPSED, value=nc1,
            tolerance=COLLAPSED, needed_by=names,
        ),
        Hypothesis(
            statement="every sample is classified correctly (terminal phase)", holds=m.error == 0, value=m.error,
            tolerance=0.0, needed_by=_those(names, "layer-peeled", "vanishing"),
        ),
        Hypothesis(
            statement=f"the features are free: {below} trained parameters below the classifier",
            holds=None if below else False, needed_by=flat,
        ),
    ]  # fmt: skip


def _unknown(names: tuple[str, ...], penalised: tuple[str, ...]) -> list[Hypothesis]:
    """The same without a loader."""
    statements = {
        "the classifier is stationary": penalised,
        "the features take both signs": _those(names, "free", "layer-peeled", "vanishing"),
        "the features are nonnegative": _those(names, "relu"),
        "the features of a class coincide (NC1: tr Sw / tr Sb)": names,
        "every sample is classified correctly (terminal phase)": _those(names, "layer-peeled", "vanishing"),
        "the features are free": names,
    }
    return [Hypothesis(statement=s, holds=None, needed_by=needed) for s, needed in statements.items()]


def _depth(
    depth: int, name: str, solution: PeeledSolution, m: Measured | None, flat: tuple[str, ...]
) -> list[Hypothesis]:
    found = []
    if m is not None:
        tail = m.layers[-depth:]
        energies = np.array([part.weight_energy for part in tail])
        spread = float(np.ptp(energies) / energies.mean())
        defect = float(np.max([part.homogeneity_defect for part in tail]))
        found = [
            Hypothesis(
                statement=f"the last {depth} layers follow one another without an activation",
                holds=all(part.follows_linearly for part in tail[1:]), needed_by=(name,),
            ),
            Hypothesis(
                statement=f"the last {depth} layers are balanced: ||W_l||^2 are equal (spread over mean)",
                holds=spread <= BALANCED, value=spread, tolerance=BALANCED, needed_by=(name,),
            ),
            Hypothesis(
                statement=f"the logits are homogeneous of degree one in each of the last {depth} weights",
                holds=None if np.isnan(defect) else defect <= HOMOGENEOUS, value=defect, tolerance=HOMOGENEOUS,
                needed_by=(name,),
            ),
            Hypothesis(
                statement=f"the last {depth} layers have no bias and decay in their own weights",
                holds=_plain(tail), needed_by=(name,),
            ),
            Hypothesis(
                statement=f"the features that enter the last {depth} layers take both signs",
                holds=tail[0].smallest_input < 0, value=tail[0].smallest_input, tolerance=0.0, needed_by=(name,),
            ),
        ]  # fmt: skip
    return [*found, *_frame(depth, solution, flat)]


def _frame(depth: int, solution: PeeledSolution, flat: tuple[str, ...]) -> list[Hypothesis]:
    """Whether something cheaper than the frame of the one-layer models is known ``depth`` layers deep."""
    model = solution.model
    if not isinstance(model, DeepLinearModel) or model.loss != "cross_entropy" or not flat:
        return []
    frame = solve(model, method="collapsed").objective
    ratio = solution.objective / frame
    proved = solution.status == "optimal" and solution.method == "collapsed"
    return [
        Hypothesis(
            statement=(
                f"{depth} linear layers with this decay have nothing cheaper than the simplex frame; ratio of the best "
                "objective found to the frame's (garrod2025persistence: for K >= 4, L >= 3 and K >= 6, L = 2 there is)"
            ),
            holds=False if ratio < 1 - 1e-9 else True if proved else None, value=ratio, tolerance=1.0, needed_by=flat,
        )
    ]  # fmt: skip


def _plain(tail: tuple[LayerEnergy, ...]) -> bool:
    return not any(part.has_bias or not part.is_parameter for part in tail)


def _those(names: tuple[str, ...], *wanted: str) -> tuple[str, ...]:
    return tuple(name for name in names if name in wanted)
