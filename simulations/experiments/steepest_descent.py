"""``steepest-descent``: limits of descents in several norms against convex programs, and the margins they end with."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments import _steepest_cases as cases
from simulations.experiments._one_thread import one_thread
from simulations.experiments._work import Checks, Work
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "steepest-descent"
CLAIM = EXPERIMENTS[NAME]
VERSION = 1
UNTIL = 1e5
SAMPLES, WIDTH = 12, 20
SOLVED = (1e-4, "of the largest entry: asked for before the run; the direction's error falls like 1 / log(1/loss)")
ROUNDING = (1e-9, "relative, rounding and the integrator's error: derived for the flow")
SMALL_STEPS = (1e-6, "relative: derived for the flow, and the steps change margins by far less than one")
HALF = (0.0, "a residual that falls to half or less, by our choice: no rate is derived")
MOSTLY = (0.25, "by our choice: only stationarity is known of networks, not the largest margin")
STYLES = {"l1": ("k", "-", "o"), "l2": ("0.4", "--", "s"), "linf": ("0.0", ":", "^"), "spectral": ("0.6", "-.", "D"),
          "1.5": ("0.55", "-", "v"), "3.0": ("0.7", "--", "D")}  # fmt: skip
LABELS = {"l1": r"$\ell_1$", "l2": r"$\ell_2$", "linf": r"$\ell_\infty$", "spectral": "spectral",
          "1.5": r"$\ell_{1.5}$", "3.0": r"$\ell_3$"}  # fmt: skip

Records = list[dict[str, Any]]


def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    store: ResultsStore | None = None,
    callback: Callable[[str], Any] | None = None,
) -> ExperimentResult:
    """Follow flows and algorithms, solve the convex programs, compare.

    Parameters
    ----------
    quick : one Gaussian task and shorter descents.
    seeds : tasks of each kind; default 4, quick 1.
    """
    seeds = (1 if quick else 4) if seeds is None else seeds
    tasks = [("gaussian", seed) for seed in range(seeds)] + ([] if quick else [("wine", 0)])
    linear_steps, steps = (1000, 8000) if quick else (4000, 40000)
    norms, count = cases.LINEAR_NORMS, len(cases.NORMS)
    work = Work(NAME, VERSION, len(tasks) * len(norms) + 2 * seeds * count, store, callback)
    flows: dict[str, Records] = {}
    linear: dict[str, Records] = {}
    networks: dict[str, Records] = {}
    with one_thread():
        for norm in norms:
            flows[str(norm)] = [
                work(f"flow in {norm}, {task} {seed}", {"flow": norm, "task": task, "seed": seed, "until": UNTIL},
                     partial(cases.follow_flow, task, seed, norm, UNTIL)) for task, seed in tasks
            ]  # fmt: skip
        for norm in cases.NORMS:
            linear[norm] = [
                work(f"{cases.ALGORITHMS[norm]}, linear", {"linear": norm, "seed": seed, "steps": linear_steps},
                     partial(cases.descend_linear, seed, norm, linear_steps)) for seed in range(seeds)
            ]  # fmt: skip
            networks[norm] = [
                work(f"{cases.ALGORITHMS[norm]}, network {seed + 1} of {seeds}",
                     {"network": norm, "seed": seed, "steps": steps, "n": SAMPLES, "width": WIDTH},
                     partial(cases.descend_network, seed, norm, SAMPLES, WIDTH, steps, callback))
                for seed in range(seeds)
            ]  # fmt: skip
    checks = Checks()
    confront_linear(checks, flows, linear, linear_steps)
    confront_networks(checks, networks)
    settings = {
        "quick": quick, "version": VERSION, "seeds": seeds, "dtype": "float64",
        "flows": f"steepest_flow to log(1/loss) = {UNTIL:g}, exponential loss, on {tasks}: 12 Gaussian samples in "
        "dimension 5; wine, first class against the others, standardised, 178 samples in dimension 13",
        "linear algorithms": f"{linear_steps} updates of length k^(-1/2), cross-entropy, 12 samples of 3 classes",
        "networks": f"3 - {WIDTH} - 1, squared ReLU (degree {cases.DEGREE}), {SAMPLES} samples labelled by the sign of "
        "x_1 x_2 and a constant input; exponential loss",
        "network algorithms": f"{steps} updates of length c k^(-2/3) in the norm, from one start for all, c = "
        f"{cases.FIRST}",
        "tolerances": checks.stated(),
        "tuned": "the first steps c, for log(1/loss) of some hundreds without oscillation; the width, from 12, and the "
        "activation: with ReLU a trial's iterates jumped around kinks, so that residuals of the loss's own multipliers "
        "were noise and coordinate descent stuck on some seeds; samples, from 16 at 0.15 from the axes to 12 at 0.3, "
        "for wider margins; all tolerances but 1e-4 were written after these trials of one to three seeds",
    }  # fmt: skip
    return ExperimentResult(
        name=NAME, claim=CLAIM, settings=settings, agreement=checks.agreement(),
        table=tuple(_table(tasks, flows, linear, networks)), curves=_curves(flows, networks),
        notes=tuple(_notes(flows, linear, networks)),
    )  # fmt: skip


def confront_linear(checks: Checks, flows: dict[str, Records], linear: dict[str, Records], steps: int) -> None:
    """Limits of linear models against the convex programs."""
    source = "gunasekar2018characterizing; cvxpy"
    for norm, found in flows.items():
        checks.add(f"flow in {norm}: direction less the convex program's", 0.0, [max(r["direction"] for r in found)],
                   SOLVED, source, "at most")  # fmt: skip
    every = [record for found in flows.values() for record in found]
    above = max(record["margin"] / record["upper"] - 1 for record in every)
    checks.add("flows: margin above the certified largest", 0.0, [above], ROUNDING, "norm_max_margin", "at most")
    checks.add("flows: largest fall of the smoothed margin after separation", 0.0, [max(r["fall"] for r in every)],
               ROUNDING, "steepest_flow", "at most")  # fmt: skip
    short = (math.log(steps) / math.sqrt(steps), "log T / sqrt T, the order of the rate for these steps, with constant "
             "one by our choice")  # fmt: skip
    for norm, found in linear.items():
        checks.add(f"{cases.ALGORITHMS[norm]}, linear: margin / largest", 1.0, [r["margin"] / r["best"] for r in found],
                   short, source)  # fmt: skip


def confront_networks(checks: Checks, networks: dict[str, Records]) -> None:
    """Margins that grow and residuals that fall, as derived; and who ends with the largest margin in which norm."""
    source = "tsilivis2025flavors"
    for norm, found in networks.items():
        done = [record for record in found if record["separated"]]
        if not done:
            continue
        name = cases.ALGORITHMS[norm]
        checks.add(f"{name}, network: largest fall of the smoothed margin", 0.0, [max(r["fall"] for r in done)],
                   SMALL_STEPS, source, "at most")  # fmt: skip
        checks.add(f"{name}, network: residual at the end / at separation", 0.5,
                   [r["residual"][-1] / r["residual"][0] for r in done], HALF, source, "at most")  # fmt: skip
    won = winners(networks)
    if won:
        checks.add("networks: share of norms whose largest margin is their own algorithm's", 1.0,
                   [float(np.mean([best == norm for norm, best in one.items()])) for one in won], MOSTLY,
                   "expected, not proved", "at least")  # fmt: skip


def compared(networks: dict[str, Records]) -> list[int]:
    """Seeds on which every algorithm separates the samples."""
    count = len(next(iter(networks.values())))
    return [seed for seed in range(count) if all(found[seed]["separated"] for found in networks.values())]


def winners(networks: dict[str, Records]) -> list[dict[str, str]]:
    """For each seed that is compared: in each norm, the algorithm with the largest margin."""
    return [
        {norm: max(networks, key=lambda own: networks[own][seed]["margins"][norm]) for norm in networks}
        for seed in compared(networks)
    ]


def _table(
    tasks: list[tuple[str, int]], flows: dict[str, Records], linear: dict[str, Records], networks: dict[str, Records]
) -> Records:
    rows = []

    def add(what: str, norm: str, task: str, **values: Any) -> None:
        keys = ("log(1/loss)", "margin", "largest", "direction", "velocity", "residual", "at separation", "fall")
        rows.append({"what": what, "norm": norm, "task": task} | {key: values.get(key) for key in keys})

    for norm, found in flows.items():
        for (task, seed), r in zip(tasks, found, strict=True):
            add("flow", norm, f"{task} {seed}", margin=r["margin"], largest=r["best"], direction=r["direction"],
                velocity=r["velocity"], fall=r["fall"], **{"log(1/loss)": r["u"][-1]})  # fmt: skip
    for norm, found in linear.items():
        for seed, r in enumerate(found):
            add("algorithm, linear", norm, f"classes {seed}", margin=r["margin"], largest=r["best"])
    for norm, found in networks.items():
        for seed, r in enumerate(found):
            if r["separated"]:
                best = max(f[seed]["margins"][norm] for f in networks.values() if f[seed]["separated"])
                add("algorithm, network", norm, f"product {seed}", margin=r["margins"][norm], largest=best,
                    residual=r["residual"][-1], fall=r["fall"],
                    **{"log(1/loss)": r["u"][-1], "at separation": r["residual"][0]})  # fmt: skip
            else:
                add("algorithm, network", norm, f"product {seed}")
    return rows


def _curves(flows: dict[str, Records], networks: dict[str, Records]) -> dict[str, np.ndarray]:
    curves: dict[str, np.ndarray] = {}
    for norm, found in flows.items():
        curves[f"flow {norm} u"], curves[f"flow {norm} error"] = (np.array(found[0][key]) for key in ("u", "along"))
    for norm, found in networks.items():
        for seed, r in enumerate(found):
            if r["separated"]:
                curves[f"network {norm} {seed} u"] = np.array(r["u"])
                curves[f"network {norm} {seed} residual"] = np.array(r["residual"])
    seeds = compared(networks)
    if seeds:
        margins = np.array([[[networks[own][seed]["margins"][norm] for norm in networks] for own in networks]
                            for seed in seeds])  # fmt: skip
        curves["margins over the largest"] = (margins / margins.max(axis=1, keepdims=True)).mean(axis=0)
    return curves


def _notes(flows: dict[str, Records], linear: dict[str, Records], networks: dict[str, Records]) -> list[str]:
    every = [record for found in flows.values() for record in found]
    notes = [
        f"{len(every)} flows: the direction differs from the convex program's by at most "
        f"{max(r['direction'] for r in every):.1e} of its largest entry, the velocity by "
        f"{max(r['velocity'] for r in every):.1e}; polyhedral norms met "
        f"{sum(r['events'] for r in every)} ties and releases.",
        "Linear algorithms end at a share of the largest margin of " + ", ".join(
            f"{min(r['margin'] / r['best'] for r in found):.3f} ({cases.ALGORITHMS[norm]})"
            for norm, found in linear.items()) + ", at least.",
    ]  # fmt: skip
    done = {norm: [r for r in found if r["separated"]] for norm, found in networks.items()}
    notes.append("Networks: residual 1 - beta^2, median at separation and at the end: " + "; ".join(
        f"{cases.ALGORITHMS[norm]} {np.median([r['residual'][0] for r in found]):.2g} and "
        f"{np.median([r['residual'][-1] for r in found]):.2g}" for norm, found in done.items() if found
    ) + ". None is zero: the algorithms are on their way.")  # fmt: skip
    count, won = len(next(iter(networks.values()))), winners(networks)
    for norm in networks:
        counts = {own: sum(one[norm] == own for one in won) for own in networks}
        best = max(counts, key=lambda own: counts[own])
        if won:
            notes.append(f"Margin in {norm}: largest for {cases.ALGORITHMS[best]} on {counts[best]} of {len(won)}.")
    if len(won) < count:
        notes.append(f"On {count - len(won)} of {count} tasks some algorithm did not separate the samples; left out.")
    return notes


def draw(result: ExperimentResult, figure: Figure) -> None:
    """Directions of linear flows, residuals of networks, and margins of each algorithm in each norm."""
    figure.set_size_inches(12, 4.2)
    left, middle, right = figure.subplots(1, 3)
    curves = result.curves
    for norm in map(str, cases.LINEAR_NORMS):
        shade, line, marker = STYLES[norm]
        u, error = curves[f"flow {norm} u"], curves[f"flow {norm} error"]
        left.plot(u, error, line, color=shade, marker=marker, ms=3.5, mfc="w", markevery=6, lw=1, label=LABELS[norm])
    left.axhline(SOLVED[0], color="k", lw=0.7)
    left.set_xlim(0.5, 2 * UNTIL)
    left.annotate("asked for", (0.6, 1.1 * SOLVED[0]), fontsize=7.5, va="bottom")
    left.set_ylim(1e-7, 3)
    left.set_xlabel("log(1/loss)")
    left.set_ylabel("distance of direction from the convex program's")
    left.set_title("linear model, 12 samples in dimension 5", fontsize=9)
    for norm in cases.NORMS:
        shade, line, _ = STYLES[norm]
        shown = [key for key in curves if key.startswith(f"network {norm} ") and key.endswith("residual")]
        for k, key in enumerate(shown):
            middle.plot(curves[key.replace("residual", "u")], curves[key], line, color=shade, lw=1.6 if k == 0 else 0.7,
                        label=f"{cases.ALGORITHMS[norm]} ({LABELS[norm]})" if k == 0 else None)  # fmt: skip
    middle.set_xlim(0.3, None)
    middle.set_xlabel("log(1/loss)")
    middle.set_ylabel(r"residual $1 - \beta^2$ in the own norm")
    middle.set_title("squared-ReLU network, each task a line", fontsize=9)
    for ax in (left, middle):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.legend(fontsize=7, frameon=False, loc="lower left")
    if "margins over the largest" in curves:
        _margins(right, curves["margins over the largest"])
    agreement = result.agreement
    figure.suptitle(f"Steepest descent finds wide margins in its own norm: {agreement.verdict} "
                    f"({agreement.agreeing} of {len(agreement.checks)} checks agree)")  # fmt: skip


def _margins(ax: Axes, share: np.ndarray) -> None:
    """A table of greys: one row an algorithm, one column a norm."""
    ax.imshow(share, cmap="Greys", vmin=0, vmax=1.25)
    for (i, j), value in np.ndenumerate(share):
        ax.annotate(f"{value:.2f}", (j, i), ha="center", va="center", fontsize=9, color="w" if value > 0.7 else "k",
                    weight="bold" if i == share[:, j].argmax() else "normal")  # fmt: skip
    names = [LABELS[norm] for norm in cases.NORMS]
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), ["coordinate\ndescent", "normalised\ngradient", "sign\ndescent", "orthogonalised"],
                  fontsize=8)  # fmt: skip
    ax.set_xlabel("norm of the margin")
    ax.set_title("network: margin / largest of the four\n(bold: largest of the column; mean over tasks)", fontsize=9)
