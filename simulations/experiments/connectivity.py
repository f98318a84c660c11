"""``connectivity``: the barrier between two trained networks on the constructed path, and on straight lines."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments import _connectivity_networks as networks
from simulations.experiments._work import Checks, Work
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "connectivity"
CLAIM = EXPERIMENTS[NAME]
VERSION = 1
LABELS = {"half": "constructed", "linear": "straight", "aligned": "straight, neurons reordered"}

PROVED = (1e-9, "rounding: derived of every pair of networks")
COUNTED = (0.0, "a whole number")
CONTRAST = (0.0, "a direction only: a barrier as large as the loss of the networks themselves, by our choice")

Runs = dict[int, list[dict[str, Any]]]


def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    store: ResultsStore | None = None,
    callback: Callable[[str], Any] | None = None,
) -> ExperimentResult:
    """Train pairs of several widths, join each in three ways.

    Parameters
    ----------
    quick : one pair of two widths on 100 digits.
    seeds : pairs of networks per width; default 3, quick 1.
    """
    pairs = (1 if quick else 3) if seeds is None else seeds
    widths = (6, 24) if quick else (6, 8, 12, 16, 20, 32, 64)
    samples, epochs, steps = (100, 100, 300) if quick else (200, 200, 1000)
    work = Work(NAME, VERSION, len(widths) * pairs, store, callback)
    runs: Runs = {}
    for width in widths:
        chosen = [
            networks.Setting(width=width, pair=pair, samples=samples, epochs=epochs, points=1000, max_steps=steps)
            for pair in range(pairs)
        ]
        runs[width] = [
            work(f"width {width}, pair {s.pair + 1} of {pairs}", s.key(), partial(networks.join_pair, s, callback))
            for s in chosen
        ]
    checks = Checks()
    confront(checks, runs)
    settings = {
        "quick": quick, "version": VERSION, "pairs": pairs, "widths": widths,
        "networks": "64 - w - w - 10, ReLU, biases; float32 training, paths in float64",
        "data": f"{samples} digits, {samples // 10} of each class, other ones for each pair; training loss throughout",
        "training": f"SGD at {networks.RATE:g}, momentum {networks.MOMENTUM:g}, batches of {networks.BATCH}, {epochs} "
        "epochs, no weight decay",
        "paths": f"1000 points or more each; networks on top by at most {steps} steps of L-BFGS from 3 halves",
        "tolerances": checks.stated(),
        "tuned": "widths, after a trial of one pair each at 8, 16, 32 and 64 on 300 digits: narrower ones added, where "
        "the construction fails; fewer digits, for the time of the linear programs; half the rate, as narrow networks "
        "died at 0.1",
    }  # fmt: skip
    return ExperimentResult(
        name=NAME, claim=CLAIM, settings=settings, agreement=checks.agreement(), table=tuple(_table(runs)),
        curves=_curves(runs), notes=tuple(_notes(runs, samples)),
    )  # fmt: skip


def confront(checks: Checks, runs: Runs) -> None:
    """What is derived of every pair, and the neurons that are asked for against those that did."""
    every = [run for found in runs.values() for run in found]
    source = "connect (derived in the manner of nguyen2021connected)"
    excess = max(run["paths"]["half"]["maximum"] - max(*run["ends"], run["eps"]) for run in every)
    checks.add("largest loss on the path above max(ends, eps)", 0.0, [excess], PROVED, source, "at most")
    general = sum(kind not in ("convex", "constant") for run in every for kind in run["kinds"])
    checks.add("segments that are neither convex nor constant", 0, [general], COUNTED, source, "at most")
    enough = [run for run in every if suffices(run)]
    if enough:
        worst = max(run["paths"]["half"]["barrier_upper"] for run in enough)
        checks.add("constructed path: largest barrier where the counts suffice", 0.0, [worst], PROVED,
                   "neuron_counts", "at most")  # fmt: skip
        ratio = min(run["paths"]["linear"]["barrier"] / max(run["ends"]) for run in enough)
        checks.add("straight line: least barrier / loss of the networks, there", 1.0, [ratio], CONTRAST,
                   "comparison", "at least")  # fmt: skip
        asked, free = first_width(runs, suffices), first_width(runs, without_barrier)
        if asked < math.inf:
            checks.add("least width from which no pair has a barrier", asked, [free], COUNTED, "neuron_counts",
                       "at most")  # fmt: skip


def suffices(run: dict[str, Any]) -> bool:
    """Whether every layer has the neurons that the separable construction needs."""
    return all(count["enough"] for count in run["counts"])


def without_barrier(run: dict[str, Any]) -> bool:
    """Whether the constructed path never rises above both networks."""
    return run["paths"]["half"]["barrier_upper"] <= PROVED[0]


def first_width(runs: Runs, true: Callable[[dict[str, Any]], bool]) -> float:
    """The least width from which on ``true`` holds of every pair; infinite where it fails at the widest."""
    least = math.inf
    for width in sorted(runs, reverse=True):
        if not all(map(true, runs[width])):
            break
        least = width
    return least


def _table(runs: Runs) -> list[dict[str, Any]]:
    rows = []
    for width, found in runs.items():
        for pair, run in enumerate(found):
            counts = run["counts"]
            rows.append({
                "width": width, "pair": pair + 1, "loss": max(run["ends"]), "eps": run["eps"],
                "condition": run["holds"],
                **{f"barrier, {way}": run["paths"][way]["barrier"] for way in networks.WAYS},
                "certified": run["paths"]["half"]["barrier_upper"],
                **{f"needed, layer {count['layer']}": count["needed"] for count in counts},
                **{f"used, layer {k + 1}": used for k, used in enumerate(run["occupied"])},
                "suffices": suffices(run),
            })  # fmt: skip
    return rows


def _curves(runs: Runs) -> dict[str, np.ndarray]:
    curves: dict[str, np.ndarray] = {"width": np.array(list(runs), dtype=float)}
    for way in networks.WAYS:
        curves[f"{way} barrier"] = np.array(
            [[run["paths"][way]["barrier"] for run in found] for found in runs.values()]
        )
    for key in ("needed", "separable"):
        for layer in (0, 1):
            curves[f"{key} {layer + 1}"] = np.array(
                [[_number(run["counts"][layer][key]) for run in found] for found in runs.values()]
            )  # (widths, pairs)
    for layer in (0, 1):
        curves[f"used {layer + 1}"] = np.array(
            [[run["occupied"][layer] for run in found] for found in runs.values()], dtype=float
        )
    counts = next(iter(runs.values()))[0]["counts"]
    curves["asked"] = np.array([counts[0]["generic"], counts[0]["wide"]], dtype=float)
    shown = first_width(runs, without_barrier)
    width = max(runs) if shown == math.inf else int(shown)
    curves["shown width"] = np.array([width], dtype=float)
    for way in networks.WAYS:
        path = runs[width][0]["paths"][way]
        curves[f"shown {way} s"], curves[f"shown {way} loss"] = np.array(path["s"]), np.array(path["losses"])
    return curves


def _number(value: Any) -> float:
    """A count; of the two networks the larger; NaN where a layer is not separable."""
    values = value if isinstance(value, list | tuple) else [value]
    return math.nan if None in values else float(max(values))


def _notes(runs: Runs, samples: int) -> list[str]:
    every = [run for found in runs.values() for run in found]
    free, asked = first_width(runs, without_barrier), first_width(runs, suffices)
    counts = every[0]["counts"]
    notes = [
        f"{len(every)} pairs: no barrier in {sum(map(without_barrier, every))}, where the counts suffice in "
        f"{sum(map(suffices, every))}; from width {free:g} and {asked:g} on in every pair.",
        f"For {samples} samples the theorem's generic order (constant not stated) is {counts[0]['generic']} neurons in "
        f"a layer, and {counts[0]['wide']} in one layer make all sublevel sets connected.",
        "Barriers, median: " + "; ".join(
            f"width {width}: " + ", ".join(
                f"{LABELS[way]} {np.median([run['paths'][way]['barrier'] for run in found]):.2g}"
                for way in networks.WAYS
            )
            for width, found in runs.items()
        ) + ".",
        "A barrier on the constructed path says that the networks on top were not found, not that there is no path.",
    ]  # fmt: skip
    bad = [f"width {width}" for width, found in runs.items() if max(max(run["errors"]) for run in found) > 0]
    if bad:
        notes.append(f"Networks with training errors left, so that low barriers are no merit: {', '.join(bad)}.")
    return notes


def draw(result: ExperimentResult, figure: Figure) -> None:
    """Loss along the paths, barriers against width, neurons asked for and needed."""
    figure.set_size_inches(12, 4.2)
    left, middle, right = figure.subplots(1, 3)
    curves = result.curves
    styles = {"half": ("k", "-", "o"), "linear": ("0.45", "--", "s"), "aligned": ("0.65", "-.", "^")}
    for way, (shade, line, _) in styles.items():
        left.plot(curves[f"shown {way} s"], curves[f"shown {way} loss"], line, color=shade, label=LABELS[way], lw=1.3)
    left.axhline(max(curves["shown half loss"][[0, -1]]), color="k", lw=0.6, ls=":")
    left.set_yscale("log")
    left.set_xlabel("place on the path, from one network to the other")
    left.set_ylabel("training loss (cross-entropy, nats)")
    left.set_title(f"width {curves['shown width'][0]:.0f}, one pair (dotted: the larger end)", fontsize=9)
    left.legend(fontsize=7.5, frameon=False)
    widths = curves["width"]
    for k, (way, (shade, line, marker)) in enumerate(styles.items()):
        values = curves[f"{way} barrier"]
        mean = np.median(values, axis=1)
        spread = (mean - values.min(axis=1), values.max(axis=1) - mean)
        middle.errorbar(widths * (1 + 0.03 * (k - 1)), mean, yerr=spread, fmt=marker, ls=line, color=shade, ms=4.5,
                        mfc="w", lw=0.8, capsize=2, label=LABELS[way])  # fmt: skip
    middle.set_yscale("symlog", linthresh=1e-3)
    middle.set_ylim(-2e-4, None)
    middle.set_ylabel("barrier above the larger end (nats)")
    middle.set_title("median and range over pairs (axis linear below 0.001)", fontsize=9)
    middle.legend(fontsize=7.5, frameon=False)
    _neurons(right, result)
    for ax in (middle, right):
        ax.set_xscale("log")
        ax.set_xticks(widths, [f"{w:.0f}" for w in widths])
        ax.minorticks_off()
        ax.set_xlabel("width w of both hidden layers")
    agreement = result.agreement
    figure.suptitle(f"Paths between trained networks: {agreement.verdict} "
                    f"({agreement.agreeing} of {len(agreement.checks)} checks agree)")  # fmt: skip


def _neurons(ax: Axes, result: ExperimentResult) -> None:
    curves, widths = result.curves, result.curves["width"]
    for layer, marker in ((1, "o"), (2, "s")):
        for key, face, label in (("needed", "k", "needed (separable)"), ("used", "w", "in use at once")):
            values = curves[f"{key} {layer}"]
            some = ~np.isnan(values).any(axis=1)
            mean = values[some].mean(axis=1)
            spread = (mean - values[some].min(axis=1), values[some].max(axis=1) - mean)
            ax.errorbar(widths[some], mean, yerr=spread, fmt=marker, color="k" if key == "needed" else "0.5", mfc=face,
                        ms=4.5, capsize=2, elinewidth=0.7, label=f"{label}, layer {layer}")  # fmt: skip
    ax.plot(widths, widths, "k-", lw=1)
    ax.annotate("there are", (widths[-1], widths[-1]), fontsize=7.5, ha="right", va="bottom")
    for value, label in zip(curves["asked"], (r"$\lceil\sqrt{N}\,\rceil$, generic order", "N + 1, one wide layer"),
                            strict=True):  # fmt: skip
        ax.axhline(value, color="0.4", lw=0.8, ls=":")
        ax.annotate(label, (widths[0], value), fontsize=7, va="bottom", annotation_clip=False)
    ax.set_yscale("log")
    ax.set_ylabel("neurons of a layer")
    ax.set_ylim(4, 8 * curves["asked"].max())
    ax.set_title("asked for, needed, used", fontsize=9)
    ax.legend(fontsize=6.5, frameon=False, loc="upper left", ncols=2)
