"""``rho-dynamics``: rho(t), its rest point and margins by theory against trained ReLU networks; the least rho."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments import _rho_networks as networks
from simulations.experiments._one_thread import one_thread
from simulations.experiments._work import Checks, Work
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult
from theory.square_loss import BalancedRho, equilibrium

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "rho-dynamics"
CLAIM = EXPERIMENTS[NAME]
VERSION = 1
FINER = 8  # times smaller steps, where descent parts from the flow
ALGORITHMS = ("lagrange", "none", "weight")
NORMALISATIONS = ("lagrange", "weight-norm", "none")
PATH = (0.02, "relative: descent leaves the flow by O(step), and the largest curvature times the step is about 0.05")
REST = (0.02, "relative: rho trails its moving rest point by the speed of V over the rate of rho")
IDENTITY = (0.01, "relative: second order in the distance of rho from rest")
EXCESS = (0.02, "relative: as for the path")
FLOOR = (1e-9, "relative, rounding: nothing lies below the minimum over all networks")
WORDS = {"lagrange": "unit layers times rho", "none": "plain weights", "weight": "weight normalisation",
         "weight-norm": "weight normalisation"}  # fmt: skip


@one_thread()
def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    store: ResultsStore | None = None,
    callback: Callable[[str], Any] | None = None,
) -> ExperimentResult:
    """Integrate, train, and compare.

    Parameters
    ----------
    quick : one weight decay, a shorter time, one start.
    seeds : data sets and starts per setting; default 2, quick 1.
    """
    seeds = (1 if quick else 2) if seeds is None else seeds
    lams = (0.03,) if quick else (0.003, 0.01, 0.03)
    steps, time = (1500, 60.0) if quick else (6000, 500.0)
    least_lams, scales = ((0.0, 0.03), (1.0,)) if quick else ((0.0, 0.003, 0.03), (0.1, 1.0))
    parts = seeds * (len(lams) * 5 + len(least_lams) * len(scales) * 3)
    work = Work(NAME, VERSION, parts, store, callback)
    checks, table = Checks(), []
    closer: list[str] = []
    curves: dict[str, np.ndarray] = {"time": networks.STEP * np.array(networks.looks(steps))}

    for lam in lams:
        for algorithm in ALGORITHMS:
            flows, runs = [], []
            for seed in range(seeds):
                config = {"lam": lam, "seed": seed, "steps": steps}
                if algorithm != "weight":
                    flows.append(work(f"flow, {algorithm}, lam {lam:g}", {"flow": algorithm, **config},
                                      partial(networks.run_flow, algorithm, lam, seed, steps)))  # fmt: skip
                runs.append(work(f"training, {algorithm}, lam {lam:g}", {"trained": algorithm, **config},
                                 partial(networks.run_trained, algorithm, lam, seed, steps)))  # fmt: skip
            table += confront(checks, algorithm, lam, flows, runs)
            if algorithm == "none":
                closer += _finer(work, lam, flows, runs, steps)
            name = f"{algorithm} {lam:g}"
            curves[f"{name} | measured"] = np.array([r["at"] for r in runs])
            if flows:
                for key in ("t", "rho", "rho_eq"):
                    curves[f"{name} | {key}"] = np.array(flows[0][key], dtype=float)

    R = networks.orthogonal_problem()[3]
    for normalisation in NORMALISATIONS:
        for lam in least_lams:
            for scale in scales:
                found = [
                    work(f"least rho, {normalisation}, lam {lam:g}",
                         {"least": normalisation, "lam": lam, "scale": scale, "seed": seed, "time": time},
                         partial(networks.run_least, normalisation, lam, scale, seed, time))
                    for seed in range(seeds)
                ]  # fmt: skip
                table.append(_least(checks, normalisation, lam, scale, found, R))
    for key in ("weight decay", "excess of rho", "flow excess"):
        for normalisation in NORMALISATIONS:
            curves[f"least {normalisation} | {key}"] = np.array(
                [row[key] for row in table if row["what"] == "least rho" and row["normalisation"] == normalisation],
                dtype=float,
            )
    settings = {
        "quick": quick, "version": VERSION, "seeds": seeds, "weight decay": lams, "steps": steps, "dtype": "float64",
        "network": f"two-layer ReLU, {networks.D}-{networks.WIDTH}-{networks.K}, no biases, PyTorch's default start",
        "data": f"three normal classes of {networks.PER_CLASS} at mean square norm 1, one-hot targets",
        "training": f"full batch, step {networks.STEP:g} (rate {2 * networks.STEP:g} in the trainer, whose loss is "
        "half the theory's); 'lagrange' by theory.flow.descend, 'none' and 'weight' by PyTorch",
        "least rho": f"{networks.ORTHOGONAL} orthonormal inputs, half of each sign, width {networks.ORTHOGONAL_WIDTH}, "
        f"starts of scale {scales}, time {time:g}, step {networks.ORTHOGONAL_STEP:g}; the least rho is {R:.6g}",
        "tolerances": checks.stated(),
        "tuned": "times and weight decays, on one trial run, so that rho is at rest by the end for the larger two; "
        "no tolerance was changed after a run",
    }  # fmt: skip
    return ExperimentResult(
        name=NAME,
        claim=CLAIM,
        settings=settings,
        agreement=checks.agreement(),
        table=tuple(table),
        curves=curves,
        notes=tuple(_notes(table, R) + closer),
    )


def confront(
    checks: Checks, algorithm: str, lam: float, flows: list[dict[str, Any]], runs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Checks and table row of one algorithm and weight decay, over seeds."""
    name = f"{algorithm}, lam {lam:g}"
    told, identity = zip(*(rest(algorithm, lam, r) for r in runs), strict=True)
    ratio = [r["at"][-1] / rho for r, rho in zip(runs, told, strict=True)]
    formula = "mu / (M + lam)" if algorithm == "lagrange" else "stable root of BalancedRho"
    checks.add(f"{name}: rho at the end over its rest point", 1.0, ratio, REST, f"equilibrium, {formula}")
    checks.add(f"{name}: loss over that at rest", 1.0, identity, IDENTITY, "equilibrium and its loss identity")
    row: dict[str, Any] = {
        "what": "path", "normalisation": algorithm, "weight decay": lam, "start": None,
        "rho": _mean(r["at"][-1] for r in runs), "rest point": _mean(told), "flow": None, "path deviation": None,
        "least margin": _mean(r["least_margin"][-1] for r in runs), "flow margin": None, "excess of rho": None,
        "flow excess": None, "settled at": None, "residual": max(r["residual"] for r in runs),
        "least direction": _mean(r["least_direction"] for r in runs) if algorithm == "weight" else None,
    }  # fmt: skip
    if flows:
        paths = [max(abs(np.array(r["at"]) / f["at"] - 1)) for r, f in zip(runs, flows, strict=True)]
        margins = [
            np.abs(np.subtract(r["least_margin"], f["least_margin"])).max() / f["mean_margin"][-1]
            for r, f in zip(runs, flows, strict=True)
        ]
        checks.add(f"{name}: largest deviation of rho(t)", 0.0, paths, PATH, "integrate_rho")
        checks.add(f"{name}: least margin(t), deviation over the mean margin", 0.0, margins, PATH, "integrate_rho")
        row |= {"flow": _mean(f["at"][-1] for f in flows), "path deviation": max(paths),
                "flow margin": _mean(f["least_margin"][-1] for f in flows)}  # fmt: skip
    return [row]


def _finer(
    work: Work, lam: float, flows: list[dict[str, Any]], runs: list[dict[str, Any]], steps: int
) -> list[str]:  # fmt: skip
    """Where descent parted from the flow: how far smaller steps part."""
    notes = []
    for seed, (flow, run) in enumerate(zip(flows, runs, strict=True)):
        apart = abs(np.array(run["at"]) / flow["at"] - 1)
        if apart.max() > PATH[0]:
            config = {"finer": FINER, "lam": lam, "seed": seed, "steps": steps}
            again = work(f"smaller steps, lam {lam:g}", config,
                         partial(networks.run_finer, lam, seed, steps, FINER))  # fmt: skip
            left = abs(np.array(again["at"]) / flow["at"] - 1).max()
            when = networks.STEP * networks.looks(steps)[int(apart.argmax())]
            notes.append(
                f"plain weights, lam = {lam:g}, seed {seed}: rho(t) is {100 * apart.max():.2g} % off the flow at "
                f"t = {when:.3g} and {100 * apart[-1]:.2g} % at the end; with steps {FINER} times smaller never more "
                f"than {100 * left:.2g} %."
            )
    return notes


def rest(algorithm: str, lam: float, run: dict[str, Any]) -> tuple[float, float]:
    """The rest point of rho for the network's mu and M at the end, and its loss over the loss predicted there."""
    if algorithm == "lagrange":
        at = equilibrium(run["mu"], run["M"], lam, target_square=run["target_square"])
        return at.rho, run["fit"] / at.fit
    rests = BalancedRho(depth=2, mu=run["mu"], M=run["M"], lam=lam, rho0=1.0).equilibria
    rho = max(point.rho for point in rests if point.stable)
    fit = run["target_square"] - 2 * run["mu"] * rho + run["M"] * rho**2
    return rho, run["fit"] / fit


def _least(
    checks: Checks, normalisation: str, lam: float, scale: float, found: list[dict[str, Any]], R: float
) -> dict[str, Any]:
    least, rho = networks.best(normalisation, lam, R)
    flow = [f["flow_rho"] / rho - 1 for f in found]
    name = f"least rho, {normalisation}, lam {lam:g}, start {scale:g}"
    trained = None
    if normalisation != "weight-norm":
        trained = _mean(f["rho"] / rho - 1 for f in found)
        both = [f["rho"] / f["flow_rho"] for f in found]
        checks.add(f"{name}: rho of descent over the flow's", 1.0, both, EXCESS, "integrate_rho")
    if lam > 0:
        over = [f[key] / least - 1 for f in found for key in ("flow_objective", "objective") if f[key] is not None]
        checks.add(f"{name}: objective above the minimum", 0.0, [min(over)], FLOOR, "variation norm", "at least")
    elif max(f["flow_fit"] for f in found) < 1e-9:
        checks.add(f"{name}: rho above the least", 0.0, [min(flow)], (1e-4, "relative: the root of the fit"),
                   "minimum_rho_two_layer", "at least")  # fmt: skip
    return {
        "what": "least rho", "normalisation": normalisation, "weight decay": lam, "start": scale,
        "rho": None if trained is None else _mean(f["rho"] for f in found), "rest point": None,
        "flow": _mean(f["flow_rho"] for f in found), "path deviation": None, "least margin": None,
        "flow margin": None, "excess of rho": trained, "flow excess": _mean(flow),
        "settled at": _mean(f["settled"] for f in found), "residual": None, "least direction": None,
    }  # fmt: skip


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _notes(table: list[dict[str, Any]], R: float) -> list[str]:
    path = [row for row in table if row["what"] == "path"]
    notes = []
    for algorithm in ("lagrange", "none"):
        rows = [row for row in path if row["normalisation"] == algorithm]
        worst = max(row["path deviation"] for row in rows)
        late = [f"{row['weight decay']:g}" for row in rows if row["residual"] > 0.05]
        note = f"{WORDS[algorithm]}: rho(t) of training stays within {100 * worst:.2g} % of the flow"
        notes.append(note + (f"; not stationary by the end at lam = {', '.join(late)}." if late else "."))
    for row in path:
        if row["normalisation"] == "weight":
            off = row["rho"] / row["rest point"] - 1
            grown = networks.STEP / row["least direction"] ** 2
            notes.append(
                f"weight normalisation, lam = {row['weight decay']:g}: rho is {100 * off:+.2g} % from its rest point. "
                f"Decay also shrinks the directions, the shortest to {row['least direction']:.2g}, so that their step "
                f"has grown from {networks.STEP:g} to {grown:.3g} (residual {row['residual']:.2g})."
            )
    rows = [row for row in table if row["what"] == "least rho"]
    for lam, scale in sorted({(row["weight decay"], row["start"]) for row in rows}):
        chosen = [row for row in rows if (row["weight decay"], row["start"]) == (lam, scale)]
        nearest = min(chosen, key=lambda row: float(row["flow excess"]))
        quickest = min(chosen, key=lambda row: float(row["settled at"]))
        each = ", ".join(f"{WORDS[row['normalisation']]} {row['flow excess']:.3g} (settled at t = "
                         f"{row['settled at']:.3g})" for row in chosen)  # fmt: skip
        notes.append(
            f"least rho, lam = {lam:g}, start of scale {scale:g}: relative excess of rho over the best network's: "
            f"{each}. Nearest: {WORDS[nearest['normalisation']]}; first at rest: {WORDS[quickest['normalisation']]}."
        )
    below = min(row["flow excess"] for row in rows if row["weight decay"] == 0)
    notes.append(f"Without decay the flows end at a rho of at least {1 + below:.5g} times the least one, {R:.6g}.")
    return notes


def draw(result: ExperimentResult, figure: Figure) -> None:
    """rho(t) with the flow as a line (left), and the excess over the least rho against weight decay (right)."""
    figure.set_size_inches(9.6, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _paths(left, result)
    _excess(right, result)
    agreement = result.agreement
    figure.suptitle(f"rho of ReLU networks under the square loss: {agreement.verdict} "
                    f"({agreement.agreeing} of {len(agreement.checks)} checks agree)")  # fmt: skip


def _paths(ax: Axes, result: ExperimentResult) -> None:
    time, lams = result.curves["time"], result.settings["weight decay"]
    shades = np.linspace(0.0, 0.55, len(lams))
    for algorithm, marker, dashes in (("lagrange", "o", "-"), ("none", "s", "--"), ("weight", "x", "")):
        for lam, shade in zip(lams, shades, strict=True):
            name, color = f"{algorithm} {lam:g}", str(shade)
            first = lam == lams[0]
            if dashes:
                ax.plot(result.curves[f"{name} | t"], result.curves[f"{name} | rho"], dashes, color=color, lw=1.2,
                        label=f"flow, {WORDS[algorithm]}" if first else None)  # fmt: skip
            points = result.curves[f"{name} | measured"][0]
            ax.plot(time, points, marker, ls="", ms=3.5, mfc="w", mec=color, mew=0.9,
                    label=f"trained, {WORDS[algorithm]}" if first else None)  # fmt: skip
            if algorithm != "weight":
                ax.annotate(rf"$\lambda$={lam:g}", (time[-1], points[-1]), xytext=(4, 0), textcoords="offset points",
                            fontsize=7, va="center")  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(time[0], 2.6 * time[-1])
    ax.set_ylim(0, None)
    ax.set_xlabel("time (step size x updates)")
    ax.set_ylabel(r"$\rho = \prod_k \|W_k\|_F$")
    ax.legend(fontsize=7, frameon=False, loc="upper left")


def _excess(ax: Axes, result: ExperimentResult) -> None:
    ticks: list[float] = []
    for i, normalisation in enumerate(NORMALISATIONS):
        curves = {key: result.curves[f"least {normalisation} | {key}"]
                  for key in ("weight decay", "excess of rho", "flow excess")}  # fmt: skip
        ticks = sorted(set(curves["weight decay"].tolist()))
        place = np.searchsorted(ticks, curves["weight decay"]) + 0.12 * (i - 1)
        color, marker = ("k", "0.4", "0.6")[i], ("o", "", "s")[i]
        ax.plot(place, 100 * curves["flow excess"], "_", ms=13, mew=1.6, color=color)
        ax.plot([], [], "_", ms=13, mew=1.6, color=color, label=f"flow, {WORDS[normalisation]}")
        if marker:
            ax.plot(place, 100 * curves["excess of rho"], marker, ls="", ms=5, mfc="none", mec=color, label="trained")
    ax.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
    ax.set_xlabel(r"weight decay $\lambda$")
    ax.set_ylabel(r"$\rho$ above that of the best network (%)")
    ax.axhline(0, color="k", lw=0.6)
    ax.legend(fontsize=7, frameon=False)
