"""``square-loss-collapse``: collapse, equal margins, rho and their rates under the square loss against theory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments._one_thread import one_thread
from simulations.experiments._square_collapse_networks import SCALE, Setting, predictions, train_one
from simulations.experiments._work import Checks, Work
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "square-loss-collapse"
CLAIM = EXPERIMENTS[NAME]
VERSION = 3
LINEAR = Setting(inputs="orthonormal", activation="identity", normalisation="none", classes=5, per_class=8, width=20,
                 step=0.25)  # fmt: skip
UNIT = replace(LINEAR, normalisation="lagrange")
RELU = replace(LINEAR, activation="relu", horizon=12.0)
WIDE = replace(RELU, width=200)
DIGITS = Setting(inputs="digits", activation="relu", normalisation="none", classes=10, per_class=20, width=64, step=0.1,
                 horizon=24.0, momentum=0.9)  # fmt: skip
FREE = (0.01, "relative or absolute: e^-8 of a start of order 1 is left of what the theory lets die out")
OWN = (0.05, "relative or absolute: E is measured, and features are not free")
FLOOR = (1e-9, "rounding: no network lies below")
RATE = (0.05, "relative: other modes have not quite died out in the half of the run that is fitted")


@one_thread()
def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    store: ResultsStore | None = None,
    callback: Callable[[str], Any] | None = None,
) -> ExperimentResult:
    """Train, and compare.

    Parameters
    ----------
    quick : one weight decay on free inputs, no digits.
    seeds : networks per setting and weight decay; default 2, quick 1.
    """
    seeds = (1 if quick else 2) if seeds is None else seeds
    jobs = [(s, lam) for s in (LINEAR, UNIT, RELU) for lam in ((0.03,) if quick else (0.005, 0.02, 0.08))]
    jobs += [] if quick else [(WIDE, 0.02), (DIGITS, 0.005), (DIGITS, 0.02)]
    work = Work(NAME, VERSION, len(jobs) * seeds, store, callback)
    found = {
        (s, lam): [
            work(f"{s.name}, lam {lam:g}", {**s.key(), "lam": lam, "seed": seed}, partial(train_one, s, lam, seed))
            for seed in range(seeds)
        ]
        for s, lam in jobs
    }
    checks = Checks()
    for (s, lam), runs in found.items():
        confront(checks, s, lam, runs)
    settings = {
        "quick": quick, "version": VERSION, "seeds": seeds, "dtype": "float64",
        "networks": [asdict(s) | {"name": s.name} for s in dict.fromkeys(s for s, _ in found)],
        "weight decay": {s.name: [lam for t, lam in found if t == s] for s, _ in found},
        "free inputs": f"orthonormal directions times {SCALE:g}, one per sample, so that E = c^2/N is known beforehand",
        "architecture": "one hidden layer without biases, PyTorch's default start, one-hot targets",
        "training": "full batch; plain weights by PyTorch, unit layers by theory.flow.descend",
        "tolerances": checks.stated(),
        "tuned": "length of the ReLU runs, three times those of the linear ones, after a trial in which variation "
        "within classes had not died out; at three times the length it is reported as found. Rates are those of "
        "descent at its step, after a trial that was held against those of the flow and was 5 % off at step 0.25. "
        "Momentum, length and weight decays on digits, after trials that were far from stationary. The wide ReLU "
        "network, after a trial that showed width, and not the scale of the start, to matter",
    }  # fmt: skip
    return ExperimentResult(
        name=NAME, claim=CLAIM, settings=settings, agreement=checks.agreement(),
        table=tuple(_row(s, lam, runs) for (s, lam), runs in found.items()), curves=_curves(found),
        notes=tuple(_notes(found)),
    )  # fmt: skip


def told(s: Setting, lam: float, run: dict[str, Any]) -> dict[str, float]:
    """The theory's numbers: before training on free inputs, at the measured E on digits."""
    return predictions(s, lam, None if s.inputs == "orthonormal" else run["E"])


def confront(checks: Checks, s: Setting, lam: float, runs: list[dict[str, Any]]) -> None:
    """The checks of one setting and weight decay over seeds."""
    name, allowed = f"{s.name}, lam {lam:g}", FREE if s.inputs == "orthonormal" else OWN
    theirs = [told(s, lam, r) for r in runs]
    for key, word, source in (
        ("rho", "rho", "equilibrium of the collapsed network"), ("mu", "mean normalised margin mu", "collapse_targets"),
        ("fit", "loss", "equilibrium of the collapsed network"),
    ):  # fmt: skip
        ratio = [r[key] / t[key] for r, t in zip(runs, theirs, strict=True)]
        checks.add(f"{name}: {word}, measured / predicted", 1.0, ratio, allowed, source)
    for key, word in (
        ("sigma_over_mu", "sigma / mu of the outputs"), ("margin_spread", "spread of margins / mean"),
        ("nc1", "NC1, tr Sw / tr Sb"), ("cosine", "NC2, cosines of class means off the right angle"),
        ("duality", "NC3, classifier against class means"), ("nc4", "NC4, disagreement with the nearest mean"),
    ):  # fmt: skip
        checks.add(f"{name}: {word}", 0.0, [r[key] for r in runs], allowed, "collapse_targets")
    if s.inputs == "orthonormal":
        ratio = [r["rate"] / t["rate"] for r, t in zip(runs, theirs, strict=True)]
        formula = "4 lam" if s.normalisation == "none" else "4 lam rho^2"
        checks.add(f"{name}: rate of NC1, measured / predicted", 1.0, ratio, RATE, f"{formula}, derived here")
        over = [r["objective"] / t["least"] for r, t in zip(runs, theirs, strict=True)]
        checks.add(f"{name}: objective over the least", 1.0, [min(over)], FLOOR, "collapse_targets", "at least")


def _row(s: Setting, lam: float, runs: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(key: str) -> float:
        return float(np.mean([r[key] for r in runs]))

    theirs = [told(s, lam, r) for r in runs]

    def predicted(key: str) -> float:
        return float(np.mean([t[key] for t in theirs]))

    return {
        "network": s.name, "weight decay": lam, "rho": mean("rho"), "predicted": predicted("rho"), "mu": mean("mu"),
        "predicted mu": predicted("mu"), "loss": mean("fit"), "predicted loss": predicted("fit"),
        "sigma / mu": mean("sigma_over_mu"), "NC1": mean("nc1"), "cosine": mean("cosine"), "NC3": mean("duality"),
        "NC4": mean("nc4"), "rate": mean("rate"),
        "predicted rate": predicted("rate") if s.inputs == "orthonormal" else None, "E": mean("E"),
        "residual": max(r["residual"] for r in runs),
    }  # fmt: skip


def _curves(found: dict[tuple[Setting, float], list[dict[str, Any]]]) -> dict[str, np.ndarray]:
    curves: dict[str, np.ndarray] = {}
    for (s, lam), runs in found.items():
        name = f"{s.name} | {lam:g}"
        curves[f"{name} | time"] = np.array(runs[0]["time"], dtype=float)
        for key in ("within", "between"):
            curves[f"{name} | {key}"] = np.array([r[key] for r in runs], dtype=float)
        curves[f"{name} | rate"] = np.array([told(s, lam, runs[0])["rate"]])
    for s in dict.fromkeys(s for s, _ in found):
        lams = [lam for t, lam in found if t == s]
        curves[f"{s.name} | lam"] = np.array(lams)
        curves[f"{s.name} | fit"] = np.array([[r["fit"] for r in found[s, lam]] for lam in lams])
        curves[f"{s.name} | told fit"] = np.array([[told(s, lam, r)["fit"] for r in found[s, lam]] for lam in lams])
        curves[f"{s.name} | rho"] = np.array([[r["rho"] for r in found[s, lam]] for lam in lams])
        curves[f"{s.name} | told rho"] = np.array([[told(s, lam, r)["rho"] for r in found[s, lam]] for lam in lams])
    return curves


def _notes(found: dict[tuple[Setting, float], list[dict[str, Any]]]) -> list[str]:
    notes = []
    for s in dict.fromkeys(s for s, _ in found):
        runs = [r for (t, _), rs in found.items() if t == s for r in rs]
        ratios = [r["rho"] / told(s, lam, r)["rho"] for (t, lam), rs in found.items() if t == s for r in rs]
        notes.append(
            f"{s.name}: NC1 {min(r['nc1'] for r in runs):.2g} to {max(r['nc1'] for r in runs):.2g}, sigma/mu "
            f"{min(r['sigma_over_mu'] for r in runs):.2g} to {max(r['sigma_over_mu'] for r in runs):.2g}; rho over the "
            f"collapsed network's {min(ratios):.3g} to {max(ratios):.3g}."
        )
        if s.inputs == "orthonormal":
            over = [
                r["objective"] / told(s, lam, r)["least"] - 1 for (t, lam), rs in found.items() if t == s for r in rs
            ]
            notes.append(
                f"{s.name}: the objective ends {100 * min(over):.2g} to {100 * max(over):.2g} % above its least."
            )
        if s.activation == "relu" and s.inputs == "orthonormal":
            share = [100 * r["mixed"] for r in runs]
            notes.append(
                f"{s.name}: {min(share):.0f} to {max(share):.0f} % of the pairs of a unit and a class that it sees "
                "have samples for which it is off; on orthonormal inputs such a feature gets no gradient and stays off."
            )
        late = max(r["residual"] for r in runs)
        if late > 0.05:
            notes.append(f"{s.name}: not stationary everywhere (relative gradient up to {late:.2g}), so that what "
                         "is left may still die out.")  # fmt: skip
    return notes


def draw(result: ExperimentResult, figure: Figure) -> None:
    """Variation within classes along training with predicted rates (left); rho at rest against weight decay (right)."""
    figure.set_size_inches(10.5, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    names = [s["name"] for s in result.settings["networks"]]
    for name, marker in zip(names, "os^vD" if len(names) == 5 else "os^", strict=True):
        lams = result.settings["weight decay"][name]
        if "digits" not in name:
            for lam, shade in zip(lams, np.linspace(0, 0.6, len(lams)), strict=True):
                _decay(left, result, f"{name} | {lam:g}", marker, str(shade), f"{name}, $\\lambda$ = {lam:g}")
        x = np.array(lams)
        rho, line = (result.curves[f"{name} | {key}"] for key in ("rho", "told rho"))
        order, mean = np.argsort(x), rho.mean(axis=1)
        right.plot(x[order], line.mean(axis=1)[order], "k-" if "unit" not in name else "k--", lw=1)
        right.errorbar(x, mean, yerr=(mean - rho.min(axis=1), rho.max(axis=1) - mean), fmt=marker, ms=5, mfc="none",
                       mec="0.5" if "digits" in name else "k", ecolor="0.4", capsize=2, label=name)  # fmt: skip
    left.set_yscale("log")
    left.set_ylim(1e-8, 3)
    left.set_xlim(0, 18)
    left.set_xlabel("time x predicted rate (lines: $e^{-x}$ from the middle of the linear runs)")
    left.set_ylabel("variation within classes / at the start")
    left.legend(fontsize=6, frameon=False)
    right.plot([], [], "k-", lw=1, label="theory, plain weights")
    right.plot([], [], "k--", lw=1, label="theory, unit layers")
    right.set_xscale("log")
    right.set_yscale("log")
    ticks = sorted({lam for lams in result.settings["weight decay"].values() for lam in lams})
    right.set_xticks(ticks, [f"{lam:g}" for lam in ticks])
    levels = [level for level in (1, 2, 3, 5, 10, 20) if right.get_ylim()[0] <= level <= right.get_ylim()[1]]
    right.set_yticks(levels, [str(level) for level in levels])
    right.minorticks_off()
    right.set_xlabel(r"weight decay $\lambda$")
    right.set_ylabel(r"$\rho$ at the end")
    right.legend(fontsize=7, frameon=False)
    agreement = result.agreement
    figure.suptitle(f"Collapse under the square loss: {agreement.verdict} "
                    f"({agreement.agreeing} of {len(agreement.checks)} checks agree)")  # fmt: skip


def _decay(ax: Axes, result: ExperimentResult, key: str, marker: str, color: str, label: str) -> None:
    x = result.curves[f"{key} | time"] * result.curves[f"{key} | rate"]
    within = result.curves[f"{key} | within"][0]
    y = within / within[0]
    ax.plot(x, y, marker, ls="", ms=3.2, mfc="none", mec=color, mew=0.7, label=label)
    if "ReLU" not in key:
        middle = len(x) // 2
        ax.plot(x[middle:], y[middle] * np.exp(x[middle] - x[middle:]), "-", color=color, lw=1)
