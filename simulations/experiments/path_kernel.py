"""``path-kernel``: regression with the kernel of a network's gates against the network, and lazy training measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments import _path_kernel_networks as networks
from simulations.experiments import _path_kernel_wide as wide
from simulations.experiments._one_thread import one_thread
from simulations.experiments._work import Checks, Work
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "path-kernel"
CLAIM = EXPERIMENTS[NAME]
VERSION = 1
TASKS = {"product": "sign of $x_1 x_2$, 20 normal inputs", "digits": "digits"}
NEARLY = 0.02  # what "nearly matches" allows, and the least gap that can be shared out

IDENTITY = (1e-12, "of the largest output, asked for before the run: an identity in float64")
CLOSE = (NEARLY, "about two standard errors of an error of 0.05 on 500 samples")
ORDER = (0.0, "a direction only: means over widths and seeds")
MOST = (0.0, "'most' is more than half of the gap between the kernel of the first gates and the network")
EIGENVALUE = (0.05, "relative; a mean over neurons, whose spread at this width is below a third of it")
CURVE = (0.02, "of the residual at the start, by our choice: vanishes with the width, no constant is printed")
MOVED = (0.05, "relative, by our choice: the limit of infinite width")
SLOPE = (0.1, "by our choice: a power law read off finite widths")
PROVED = (1e-9, "rounding: derived for flows, and the steps are small")

Records = dict[tuple[Any, ...], list[dict[str, Any]]]


def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    store: ResultsStore | None = None,
    callback: Callable[[str], Any] | None = None,
) -> ExperimentResult:
    """Train, regress with five kernels; then wide two-layer networks beside their kernels.

    Parameters
    ----------
    quick : one width and narrower lazy networks.
    seeds : networks per setting, each with data of its own; default 4, quick 2.
    """
    seeds = (2 if quick else 4) if seeds is None else seeds
    widths, epochs = ((32,), 60) if quick else ((16, 64, 256), 100)
    lazy = (64, 256, 1024, 4096) if quick else (64, 256, 1024, 4096, 16384)
    certified = (2**16, 2**18) if quick else (2**14, 2**16, 2**18, 2**19)
    work = Work(NAME, VERSION, (len(TASKS) * len(widths) + len(lazy)) * seeds + len(certified), store, callback)
    runs: Records = {}
    with one_thread():
        for task in TASKS:
            for width in widths:
                chosen = [networks.Setting(task=task, width=width, seed=seed, epochs=epochs) for seed in range(seeds)]
                runs[task, width] = [
                    work(f"{task}, width {width}, network {s.seed + 1} of {seeds}", s.key(),
                         partial(networks.train_one, s)) for s in chosen
                ]  # fmt: skip
        layers: Records = {
            (width,): [
                work(f"two layers, width {width}", {"lazy": width, "seed": seed, "n": wide.N, "d": wide.D},
                     partial(wide.descend, width, seed)) for seed in range(seeds)
            ]
            for width in lazy
        }  # fmt: skip
        proofs = {
            width: work(f"certificate at width {width}", {"certified": width, "n": wide.N, "d": wide.D},
                        partial(wide.certify, width, 0)) for width in certified
        }  # fmt: skip
    checks = Checks()
    confront(checks, runs)
    confront_wide(checks, layers, proofs)
    settings = {
        "quick": quick, "version": VERSION, "seeds": seeds, "widths": widths, "hidden layers": 3,
        "networks": "ReLU, no biases, weights of variance 2 / fan-in; float32 training, kernels in float64",
        "data": f"{networks.TRAINED} samples to train networks and kernels; the ridge is chosen on "
        f"{networks.VALIDATED} others; tested on 1000 (product) and 500 (digits)",
        "training": f"cross-entropy, SGD at {networks.RATE:g}, momentum {networks.MOMENTUM:g}, batches of "
        f"{networks.BATCH}, {epochs} epochs, no weight decay",
        "kernels": "ridge regression on one-hot labels; tangent kernels are means over outputs; limit: infinite width",
        "ridges": networks.RIDGES,
        "wide networks": f"{wide.N} unit inputs in dimension {wide.D}, labels +-1 at random, first layer trained; "
        f"widths {lazy}; certificates at {certified}",
        "tolerances": checks.stated(),
        "tuned": "samples and inputs of the wide networks, from 6 and 10, after a trial in which nothing was proved up "
        "to width 65536; nothing of the deep networks; tolerances were written after a trial of a network per setting",
    }  # fmt: skip
    return ExperimentResult(
        name=NAME, claim=CLAIM, settings=settings, agreement=checks.agreement(), table=tuple(_table(runs)),
        curves=_curves(runs, layers), notes=tuple(_notes(runs, layers, proofs)),
    )  # fmt: skip


def errors_of(runs: Records, task: str, kernel: str | None) -> np.ndarray:
    """Test errors (widths, seeds) of a kernel, or of the networks where that is None."""
    return np.array([
        [r["network"] if kernel is None else r["kernels"][kernel]["test"] for r in found]
        for (name, _), found in runs.items() if name == task
    ])  # fmt: skip


def confront(checks: Checks, runs: Records) -> None:
    """The identity, and what the gates hold of the network."""
    source = "lakshminarayanan2020neural"
    worst = max(r["identity"] for found in runs.values() for r in found)
    checks.add("<features, value> less the output, largest", 0.0, [worst], IDENTITY, source, "at most")
    for task in TASKS:
        network, learned, initial = (
            errors_of(runs, task, kernel).mean(axis=0) for kernel in (None, "learned paths", "initial paths")
        )
        checks.add(f"{task}: test error, learned gates less network", 0.0, learned - network, CLOSE, source, "at most")
        checks.add(f"{task}: test error, learned less initial gates", 0.0, learned - initial, ORDER, source, "at most")
        gap = float(initial.mean() - network.mean())
        if gap > NEARLY:
            checks.add(f"{task}: share of the gap that learned gates close", 0.5,
                       [float(initial.mean() - learned.mean()) / gap], MOST, source, "at least")  # fmt: skip


def confront_wide(checks: Checks, layers: Records, proofs: dict[int, dict[str, Any]]) -> None:
    """The widest two-layer networks against their limit, all against what is derived."""
    widest = layers[max(layers)]
    source, limit = "tangent_trajectory", "arora2019fine"
    width = max(layers)[0]
    checks.add(f"width {width}: least eigenvalue / limit", 1.0, [r["eigenvalue"] for r in widest], EIGENVALUE, limit)
    checks.add(f"width {width}: residual less the limit kernel's, largest", 0.0, [r["curve"] for r in widest], CURVE,
               limit, "at most")  # fmt: skip
    checks.add(f"width {width}: movement / the limit kernel's", 1.0, [r["movement"] for r in widest], MOVED, limit)
    checks.add("largest movement of a neuron: power of the width", -0.5, slopes(layers), SLOPE, limit)
    every = [r for found in layers.values() for r in found]
    checks.add("residual / linear rate, largest", 1.0, [max(r["rate"] for r in every)], PROVED, source, "at most")
    checks.add("movement / its bound, largest", 1.0, [max(r["bound"] for r in every)], PROVED, source, "at most")
    held = [r for r in proofs.values() if r["holds"]]
    if held:
        checks.add("residual / certified rate, largest", 1.0, [max(r["excess"] for r in held)], PROVED,
                   "lazy_certificate", "at most")  # fmt: skip
        checks.add("neuron's movement / certified radius, largest", 1.0, [max(r["moved"] / r["radius"] for r in held)],
                   PROVED, "lazy_certificate", "at most")  # fmt: skip


def slopes(layers: Records) -> list[float]:
    """Log-log slope of the largest movement of a neuron against width, for each seed."""
    widths = np.log([width for (width,) in layers])
    moved = np.log([[r["neuron"] for r in found] for found in layers.values()])
    return [float(np.polyfit(widths, column, 1)[0]) for column in moved.T]


def _table(runs: Records) -> list[dict[str, Any]]:
    return [
        {"task": task, "width": width, "network": float(np.mean([r["network"] for r in found]))}
        | {name: float(np.mean([r["kernels"][name]["test"] for r in found])) for name in networks.KERNELS}
        | {"gates changed": float(np.mean([r["gates_changed"] for r in found])),
           "training error": float(np.mean([r["train_error"] for r in found])),
           "identity": max(r["identity"] for r in found)}
        for (task, width), found in runs.items()
    ]  # fmt: skip


def _curves(runs: Records, layers: Records) -> dict[str, np.ndarray]:
    curves = {"width": np.array(sorted({width for _, width in runs}), dtype=float)}
    for task in TASKS:
        curves[f"{task} network"] = errors_of(runs, task, None)
        for kernel in networks.KERNELS:
            curves[f"{task} {kernel}"] = errors_of(runs, task, kernel)
    curves["lazy width"] = np.array([width for (width,) in layers], dtype=float)
    for key in ("eigenvalue", "curve", "movement", "neuron", "kernel_change"):
        curves[f"lazy {key}"] = np.array([[r[key] for r in found] for found in layers.values()])
    return curves


def _notes(runs: Records, layers: Records, proofs: dict[int, dict[str, Any]]) -> list[str]:
    notes = []
    for task in TASKS:
        network, learned, initial, end, limit = (
            float(errors_of(runs, task, kernel).mean())
            for kernel in (None, "learned paths", "initial paths", "tangent, end", "tangent, limit")
        )
        gap = initial - network
        shown = (
            f"learned gates close {(initial - learned) / gap:.0%} of the gap." if gap > NEARLY
            else f"the initial gates are at most {NEARLY:g} worse than the network: no gap to share out here."
        )  # fmt: skip
        notes.append(
            f"{task}: mean test error {network:.3f} of the networks, {learned:.3f} with the learned gates, "
            f"{initial:.3f} with the initial ones, {end:.3f} with the tangent kernel at the end, {limit:.3f} with that "
            f"of infinite width; {shown}"
        )
        by = errors_of(runs, task, "learned paths").mean(axis=1) - errors_of(runs, task, None).mean(axis=1)
        notes.append(
            f"{task}: learned gates less network by width: "
            + ", ".join(f"{width} {value:+.3f}" for width, value in zip(sorted({w for _, w in runs}), by, strict=True))
            + "."
        )
    unfit = max(r["train_error"] for found in runs.values() for r in found)
    notes.append(
        f"Largest training error of a network: {unfit:g}. Gates saw the labels of the same samples that the kernels "
        "are fitted to, so small ridges would fit them twice; the ridge is chosen on others."
    )
    proved = [width for width, r in proofs.items() if r["holds"]]
    close = [width for (width,), found in layers.items() if np.mean([r["curve"] for r in found]) <= CURVE[0]]
    notes.append(
        f"Residuals stay within {CURVE[0]:g} of the limit kernel's from width "
        + (f"{min(close)}" if close else f"beyond {max(layers)[0]}") + "; a linear rate is proved "
        + (f"at width {min(proved)}" if proved else f"at none up to {max(proofs)}") + " of those tried: "
        + "; ".join(f"{width}: {r['rate']:.2g} of {r['least_eigenvalue']:.2g}" if r["holds"] else
                    f"{width}: falls short by {r['shortfall']:.2g}" for width, r in proofs.items()) + "."
    )  # fmt: skip
    return notes


def draw(result: ExperimentResult, figure: Figure) -> None:
    """Test errors of network and kernels for each task, and wide networks against their limit."""
    figure.set_size_inches(12, 4.2)
    axes = figure.subplots(1, 3)
    curves = result.curves
    for ax, (task, title) in zip(axes, TASKS.items(), strict=False):
        _errors(ax, curves, task)
        ax.set_title(title, fontsize=9)
    axes[0].legend(fontsize=7, frameon=False)
    right, widths = axes[2], curves["lazy width"]
    shown = (
        ("neuron", "largest movement of a neuron", "o", "k", lambda v: v),
        ("kernel_change", "change of the kernel", "s", "0.45", lambda v: v),
        ("curve", "residual less the limit's", "^", "0.45", lambda v: v),
        ("movement", "|movement / the limit's - 1|", "D", "0.65", lambda v: np.abs(v - 1)),
    )
    for key, label, marker, shade, of in shown:
        values = of(curves[f"lazy {key}"])
        mean = values.mean(axis=1)
        spread = (mean - values.min(axis=1), values.max(axis=1) - mean)
        right.errorbar(widths, mean, yerr=spread, fmt=marker, color=shade, mfc="w", ms=4.5, capsize=2, label=label)
    first = curves["lazy neuron"][0].mean()
    right.plot(widths, first * np.sqrt(widths[0] / widths), "k-", lw=0.9, label=r"width$^{-1/2}$")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("neurons (two layers, the first trained)")
    right.set_ylabel("relative size (movement: per weight's deviation)")
    right.set_title(f"{wide.N} samples, square loss: lazy training", fontsize=9)
    right.legend(fontsize=7, frameon=False)
    agreement = result.agreement
    figure.suptitle(f"What the gates of a network know: {agreement.verdict} "
                    f"({agreement.agreeing} of {len(agreement.checks)} checks agree)")  # fmt: skip


def _errors(ax: Axes, curves: dict[str, np.ndarray], task: str) -> None:
    styles = {"network": ("k", "-", "o", "k"), "learned paths": ("k", "--", "s", "w"),
              "initial paths": ("0.5", "--", "^", "w"), "tangent, end": ("0.3", ":", "D", "w"),
              "tangent, start": ("0.6", ":", "v", "w"), "tangent, limit": ("0.6", "-.", "x", "w")}  # fmt: skip
    widths = curves["width"]
    for k, (name, (shade, line, marker, face)) in enumerate(styles.items()):
        values = curves[f"{task} {name}"]
        mean = values.mean(axis=1)
        spread = (mean - values.min(axis=1), values.max(axis=1) - mean)
        label = {"network": "network", "tangent, limit": "tangent kernel, infinite width"}.get(name)
        if label is None:
            label = f"{name.split(',')[0]} kernel, {name.split(', ')[1]}" if "," in name else (
                f"path kernel, {name.split()[0]} gates")  # fmt: skip
        ax.errorbar(widths * (1 + 0.04 * (k - 2.5)), mean, yerr=spread, fmt=marker, ls=line, color=shade, mfc=face,
                    ms=4.5, lw=1, elinewidth=0.7, capsize=2, label=label)  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(widths, [f"{w:.0f}" for w in widths])
    ax.minorticks_off()
    ax.set_xlim(widths[0] / 1.4, widths[-1] * 1.4)
    ax.set_ylim(0, None)
    ax.set_xlabel("width of three hidden layers")
    ax.set_ylabel("test error (mean and range over seeds)")
