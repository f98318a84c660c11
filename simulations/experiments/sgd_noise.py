"""``sgd-noise``: how much SGD keeps moving at the end of training, by linear response and measured; and the witness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments._one_thread import one_thread
from simulations.experiments._sgd_replicas import SIZES, WIDTH, Setting, run_one
from simulations.experiments._work import Checks, Work
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "sgd-noise"
CLAIM = EXPERIMENTS[NAME]
VERSION = 1
LINEAR = Setting(kind="linear", batch=2, step=0.05, lam=0.03)
SMOOTH = Setting(kind="relu^2", batch=2, step=0.01, lam=0.05)
FULL = replace(SMOOTH, batch=2 * SIZES["relu^2"][1], sampling="afresh", relaxations=20.0)
RELU = replace(SMOOTH, kind="relu")
RATIO = (0.1, "relative: linear response errs by the order of the step times the curvature, sampling by about 3 %")
QUIET = (1e-6, "over the root mean square output: the start's 1 % after 20 relaxation times")
VANISHING = (1e-3, "the start's 1 percent after eight relaxation times")
SURE = (1e-9, "rounding: the floor is derived")


@one_thread()
def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    store: ResultsStore | None = None,
    callback: Callable[[str], Any] | None = None,
) -> ExperimentResult:
    """Run replicas of SGD near minima, and compare.

    Parameters
    ----------
    quick : two batch sizes, one weight decay, 40 replicas.
    seeds : data sets and minima; default 2, quick 1.
    """
    seeds = (1 if quick else 2) if seeds is None else seeds
    chosen = settings_of(quick)
    work = Work(NAME, VERSION, len(chosen) * seeds, store, callback)
    found = {
        s: [work(_name(s), replace(s, seed=seed).key(), partial(run_one, replace(s, seed=seed)))
            for seed in range(seeds)]
        for s in chosen
    }  # fmt: skip
    checks = Checks()
    for s, runs in found.items():
        confront(checks, s, runs)
    decayed = [run for s, runs in found.items() if s.lam > 0 for run in runs]
    checks.add("lam > 0: minima at which all batches rest", 0.0, [sum(run["is_fixed"] for run in decayed)], SURE,
               "common_fixed_point")  # fmt: skip
    checks.add("lam > 0: first layer's noise over its floor", 1.0,
               [min(run["first_layer_noise"] / run["floor"] for run in decayed)], SURE, "common_fixed_point",
               "at least")  # fmt: skip
    settings = {
        "quick": quick, "version": VERSION, "seeds": seeds, "replicas": chosen[0].replicas, "dtype": "float64",
        "data": "two normal classes at distance 2, mean square norm 1, targets -1 and +1; inputs, samples of each: "
        + ", ".join(f"{kind} {size}" for kind, size in SIZES.items()),
        "networks": f"linear; two layers of width {WIDTH} with relu^2 or ReLU; no biases",
        "training": "gradient flow to a minimum, then independent runs of SGD from there for eight relaxation times of "
        "its slowest direction (ReLU: of the weight decay); the second half is measured, in NumPy",
        "tolerances": checks.stated(),
        "tuned": "relu^2 beside ReLU, because a trial's ReLU minima all had units on their kinks, where linear "
        "response does not apply; lengths of runs, for time",
    }  # fmt: skip
    return ExperimentResult(
        name=NAME, claim=CLAIM, settings=settings, agreement=checks.agreement(),
        table=tuple(_row(s, runs) for s, runs in found.items()), curves=_curves(found), notes=tuple(_notes(found)),
    )  # fmt: skip


def settings_of(quick: bool) -> list[Setting]:
    """All that are run."""
    if quick:
        chosen = (
            replace(LINEAR, lam=0.0),
            LINEAR,
            SMOOTH,
            replace(SMOOTH, batch=8),
            replace(SMOOTH, sampling="shuffle"),
        )
        return [replace(s, replicas=40) for s in (*chosen, FULL)]
    return [
        *(replace(LINEAR, lam=lam) for lam in (0.0, 0.01, 0.03, 0.1)),
        *(replace(SMOOTH, batch=batch) for batch in (1, 2, 4, 8)),
        *(replace(SMOOTH, step=step) for step in (0.005, 0.02, 0.04)),
        *(replace(SMOOTH, lam=lam) for lam in (0.03, 0.1)),
        replace(SMOOTH, sampling="afresh"), replace(SMOOTH, sampling="shuffle"), FULL,
        RELU, replace(RELU, batch=8), replace(RELU, step=0.005), replace(RELU, step=0.02),
    ]  # fmt: skip


def confront(checks: Checks, s: Setting, runs: list[dict[str, Any]]) -> None:
    """The checks of one setting over seeds; none where the theory has no number."""
    if s.lam == 0:
        checks.add(f"{_name(s)}: outputs", 0.0, [r["outputs"] for r in runs], VANISHING, "common_fixed_point")
        return
    if any(r["predicted"] is None for r in runs):
        return
    if s.batch == FULL.batch and s.sampling != "replacement":
        checks.add(f"{_name(s)}: outputs", 0.0, [r["outputs"] for r in runs], QUIET, "sgd_fluctuation", "at most")
        return
    for key in ("weights", "outputs"):
        ratio = [r[key] / r["predicted"][key] for r in runs]
        checks.add(f"{_name(s)}: {key}, measured / predicted", 1.0, ratio, RATIO, "sgd_fluctuation",
                   "at most" if s.sampling == "shuffle" else "equal")  # fmt: skip


def _name(s: Setting) -> str:
    how = {"replacement": "", "afresh": ", without replacement", "shuffle": ", shuffled epochs"}[s.sampling]
    return f"{s.kind}, batch {s.batch}, step {s.step:g}, lam {s.lam:g}{how}"


def _mean(runs: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([r[key] for r in runs]))


def _told(runs: list[dict[str, Any]], key: str) -> float | None:
    if any(r["predicted"] is None for r in runs):
        return None
    return float(np.mean([r["predicted"][key] for r in runs]))


def _row(s: Setting, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "network": s.kind, "batch": s.batch, "step": s.step, "weight decay": s.lam, "batches": s.sampling,
        "outputs": _mean(runs, "outputs"), "predicted": _told(runs, "outputs"), "weights": _mean(runs, "weights"),
        "predicted weights": _told(runs, "weights"), "excess": _mean(runs, "excess"),
        "predicted excess": _told(runs, "excess"), "shift of the mean": _mean(runs, "shift"),
        "noise at rest": _mean(runs, "noise"), "floor": _mean(runs, "floor"), "updates": runs[0]["updates"],
    }  # fmt: skip


def _curves(found: dict[Setting, list[dict[str, Any]]]) -> dict[str, np.ndarray]:
    """Per sweep: x, measured (points, seeds), predicted (points, seeds; NaN where there is none)."""
    curves: dict[str, np.ndarray] = {}
    for kind, axis in (("relu^2", "batch"), ("relu^2", "step"), ("relu^2", "lam"), ("linear", "lam"), ("relu", "batch"),
                       ("relu", "step")):  # fmt: skip
        rest = {"batch": SMOOTH.batch, "step": SMOOTH.step if kind != "linear" else LINEAR.step, "lam": SMOOTH.lam}
        del rest[axis]
        if kind == "linear":
            rest["batch"] = LINEAR.batch
        rows = [
            (s, runs) for s, runs in found.items()
            if s.kind == kind and s.sampling == "replacement" and all(getattr(s, k) == v for k, v in rest.items())
        ]  # fmt: skip
        rows.sort(key=lambda row: float(getattr(row[0], axis)))
        name = f"{kind} | {axis}"
        curves[f"{name} | x"] = np.array([float(getattr(s, axis)) for s, _ in rows])
        curves[f"{name} | measured"] = np.array([[r["outputs"] for r in runs] for _, runs in rows])
        curves[f"{name} | predicted"] = np.array(
            [[np.nan if r["predicted"] is None else r["predicted"]["outputs"] for r in runs] for _, runs in rows]
        )
    return curves


def _notes(found: dict[Setting, list[dict[str, Any]]]) -> list[str]:
    notes = []
    plain = {s: runs for s, runs in found.items() if s.sampling == "replacement" and s.lam > 0}
    ratios = [r["outputs"] / r["predicted"]["outputs"] for runs in plain.values() for r in runs
              if r["predicted"] is not None]  # fmt: skip
    notes.append(f"With replacement the outputs fluctuate {min(ratios):.3g} to {max(ratios):.3g} times as predicted.")
    decayed = float(np.mean([r["noise"] for s, runs in plain.items() if s.kind == "linear" for r in runs]))
    for s, runs in found.items():
        if s.sampling == "shuffle":
            share = np.mean([r["outputs"] / r["predicted"]["outputs"] for r in runs])
            notes.append(
                f"Shuffled epochs ({_name(s)}): {share:.2g} of what batches drawn afresh are predicted to do; batches "
                "of an epoch compensate each other, which the prediction does not describe."
            )
        if s.batch == FULL.batch and s.sampling == "afresh":
            notes.append(f"Full batch: outputs of all replicas agree to {_mean(runs, 'outputs'):.1g}.")
        if s.lam == 0:
            notes.append(
                f"Without decay ({_name(s)}) the gradients of all batches vanish together at the interpolating minimum "
                f"(noise {_mean(runs, 'noise'):.1g}; with decay {decayed:.2g}), and the outputs' fluctuation "
                f"ends at {_mean(runs, 'outputs'):.1g}."
            )
    refused = [(s, r) for s, runs in found.items() for r in runs if r["predicted"] is None]
    if refused:
        notes.append(f"No prediction in {len(refused)} runs ({refused[0][0].kind}): {refused[0][1]['reason']}")
        for axis in ("batch", "step"):
            rows = sorted((float(getattr(s, axis)), _mean(runs, "outputs")) for s, runs in found.items()
                          if s.kind == "relu" and all(getattr(s, k) == getattr(RELU, k)
                                                      for k in ("batch", "step") if k != axis))  # fmt: skip
            x, y = np.log(np.array(rows)).T
            notes.append(f"ReLU: measured outputs fluctuate like {axis}^{np.polyfit(x, y, 1)[0]:.2f}.")
    s, runs = next((s, runs) for s, runs in found.items() if s.lam > 0)
    i, j = runs[0]["witness"]
    notes.append(f"Witness ({_name(s)}): samples {i} and {j}, cosine {runs[0]['cosine']:.3g}: their gradients cannot "
                 "both balance the decay.")  # fmt: skip
    return notes


def draw(result: ExperimentResult, figure: Figure) -> None:
    """Fluctuation of the outputs against batch size, step and weight decay; a line and points per data set."""
    figure.set_size_inches(11, 4)
    axes = figure.subplots(1, 3)
    labels = {"batch": "batch size", "step": "step size", "lam": r"weight decay $\lambda$"}
    for ax, axis in zip(axes, labels, strict=True):
        for kind, marker, color in (("relu^2", "o", "k"), ("linear", "s", "0.45"), ("relu", "^", "0.55")):
            _sweep(ax, result, kind, axis, marker, color)
        if axis == "lam":
            ax.set_xscale("symlog", linthresh=0.01)
            ax.set_ylim(0, None)
        else:
            ax.set_xscale("log")
            ax.set_yscale("log")
            _ticks(ax, result.curves[f"relu^2 | {axis} | x"])
        ax.set_xlabel(labels[axis])
        ax.legend(fontsize=7, frameon=False)
    axes[0].set_ylabel("fluctuation of an output (rms)")
    agreement = result.agreement
    figure.suptitle(f"SGD at the end of training, linear response and measured: {agreement.verdict} "
                    f"({agreement.agreeing} of {len(agreement.checks)} checks agree)")  # fmt: skip


def _ticks(ax: Axes, x: np.ndarray) -> None:
    """Plain numbers: the settings below, and 1, 2 and 5 of each decade beside."""
    ax.set_xticks(x, [f"{value:g}" for value in x])
    low, high = ax.get_ylim()
    levels = [m * 10.0**k for k in range(-6, 1) for m in (1, 2, 3, 5) if low <= m * 10.0**k <= high]
    ax.set_yticks(levels, [f"{level:g}" for level in levels])
    ax.minorticks_off()


def _sweep(ax: Axes, result: ExperimentResult, kind: str, axis: str, marker: str, color: str) -> None:
    x = result.curves.get(f"{kind} | {axis} | x")
    if x is None or not len(x):
        return
    measured, predicted = (result.curves[f"{kind} | {axis} | {key}"] for key in ("measured", "predicted"))
    for seed in range(measured.shape[1]):
        first = seed == 0
        if np.isfinite(predicted).all():
            ax.plot(x, predicted[:, seed], "-", color=color, lw=1.1, label=f"{kind}, predicted" if first else None)
        ax.plot(x, measured[:, seed], marker, ls="", ms=4.5, mfc="w", mec=color,
                label=f"{kind}, measured" if first else None)  # fmt: skip
