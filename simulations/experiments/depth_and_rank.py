"""``depth-and-rank``: how many large singular values training finds, against the deep model's map in (K, L, lam)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments._depth_descent import LARGE, SCALE, descend, large_values, stable_rank
from simulations.experiments._depth_networks import told, train_one
from simulations.experiments._one_thread import one_thread
from simulations.experiments._work import Work
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "depth-and-rank"
CLAIM = EXPERIMENTS[NAME]
VERSION = 1
DEPTHS = (1, 2, 3, 4)
PARTS = ("linear model", "ReLU model", "digits")
CHOICES: dict[bool, dict[str, Any]] = {
    False: {
        "classes": (2, 4, 6, 10), "lams": (5e-3, 2e-2, 5e-2), "starts": 8, "width": 32, "steps": 2000,
        "decays": (5e-3, 2e-2), "hidden": 64, "per_class": 100, "epochs": 1500, "seeds": 2,
        "trial": {"K": 10, "widths": (256, 256, 64), "lam": 5e-3},
    },
    True: {
        "classes": (4, 10), "lams": (2e-2,), "starts": 4, "width": 32, "steps": 600,
        "decays": (2e-2,), "hidden": 64, "per_class": 30, "epochs": 400, "seeds": 1, "trial": None,
    },
}  # fmt: skip
RATE = 0.1
TOLERANCES = {
    "objective over the certified lower bound": (1e-9, "rounding; nothing lies below a certified bound"),
    "large values where the frame is proved optimal": (0.01, "a theorem, so every start"),
    "best start over the best point known": (1e-3, "relative; whether descent gets there at all from so many starts"),
    "large values": (0.5, "the mean over starts or seeds rounds to the same number"),
    "stable rank": (0.5, "half a direction"),
    "cells where training leaves the frame": (0.1, "one cell in ten may be wrong"),
}


def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    store: ResultsStore | None = None,
    callback: Callable[[str], Any] | None = None,
) -> ExperimentResult:
    """Descend on the models, train on digits, and compare.

    Parameters
    ----------
    quick : two numbers of classes, one penalty, fewer starts and steps.
    seeds : networks per cell on the digits; default 2, quick 1. Seed 0 has the first K digits, others draw them.
    """
    choices = CHOICES[quick]
    seeds = choices["seeds"] if seeds is None else seeds
    with one_thread():
        found = _measure(choices, seeds, store, callback)
    table = tuple(_row(cell) for cell in found)
    agreement = confront(found)
    settings = _settings(choices, quick, seeds)
    return ExperimentResult(
        name=NAME, claim=CLAIM, settings=settings, agreement=agreement, table=table, curves=_curves(found),
        notes=tuple(_notes(found)),
    )  # fmt: skip


def _measure(
    choices: dict[str, Any], seeds: int, store: ResultsStore | None, callback: Callable[[str], Any] | None
) -> list[dict[str, Any]]:
    """One dictionary per cell: part, K, L, lam, ``large``, ``stable`` and other lists over starts or seeds, told."""
    cells: list[dict[str, Any]] = []
    K_values = choices["classes"]
    options = {key: choices[key] for key in ("starts", "width", "steps")} | {"rate": RATE, "momentum": 0.9, "seed": 0}
    nets = [(K, (choices["hidden"],) * L, lam) for lam in choices["decays"] for K in K_values for L in DEPTHS]
    if choices["trial"] is not None:
        nets.append(tuple(choices["trial"].values()))
    models = [(part, K, L) for part in PARTS[:2] for K in K_values for L in DEPTHS]
    work = Work(NAME, VERSION, len(models) + len(nets) * seeds, store, callback)
    for part, K, L in models:
        activation = "identity" if part == PARTS[0] else "relu"
        config = {"part": part, "K": K, "L": L, "lams": choices["lams"], "scale": SCALE, **options}
        record = work(
            f"{part}, K = {K}, L = {L}", config,
            partial(descend, K, L, choices["lams"], activation=activation, **options,
                    callback=partial(work.tell, steps=choices["steps"])),
        )  # fmt: skip
        for i, lam in enumerate(choices["lams"]):
            mine = {name: np.array(values[i], float) for name, values in record.items()}
            theory = [_model(work, K, L, lam, lam / SCALE**2, 1)]
            cells.append({"part": part, "K": K, "L": L, "lam": lam, "told": theory, **_ranks(mine)})
    how = {"per_class": choices["per_class"], "epochs": choices["epochs"], "rate": RATE}
    for K, widths, lam in nets:
        records = []
        for seed in range(seeds):
            config = {"part": "digits", "K": K, "widths": widths, "lam": lam, "seed": seed, **how}
            label = f"digits, K = {K}, widths {'-'.join(map(str, widths))}, lam = {lam:g}"
            tell = partial(work.tell, steps=choices["epochs"])
            records.append(work(label, config, partial(train_one, K, widths, lam, seed=seed, **how, callback=tell)))
        mine = {name: np.array([r[name] for r in records], float) for name in records[0]}
        alive = [r["lam_H"] for r in records if r["lam_H"] is not None]
        deep = [_model(work, K, len(widths), lam, lam_H, choices["per_class"]) for lam_H in alive]
        extra = {} if set(widths) == {choices["hidden"]} else {"widths": "-".join(map(str, widths))}
        cells.append({"part": "digits", "K": K, "L": len(widths), "lam": lam, "told": deep, **extra, **_ranks(mine)})
    return cells


def _ranks(mine: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**mine, "large": large_values(mine["classifier"]), "stable": stable_rank(mine["classifier"])}


def _model(work: Work, K: int, L: int, lam: float, lam_H: float, count: int) -> dict[str, Any]:
    """What the model predicts, solved once."""
    return work.once({"model": [K, L, lam, lam_H, count]}, partial(told, K, L, lam, lam_H, count))


def _theirs(cell: dict[str, Any], name: str) -> float:
    return float(np.mean([t[name] for t in cell["told"]])) if cell["told"] else 0.0


def confront(found: list[dict[str, Any]]) -> Any:
    """The agreement of all cells with the model; arrays run over the cells of a depth."""
    from simulations.bridge import compare

    predicted: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    tolerance, relation, source = {}, {}, {}

    def check(part: str, rule: str, theirs: Any, mine: Any, how: str, origin: str, which: str = "") -> None:
        """``mine`` (cells, runs): the mean over runs is held against the model."""
        name = f"{part}{which}: {rule}"
        predicted[name], measured[name] = np.asarray(theirs, float), np.asarray(mine, float).T
        tolerance[name], relation[name], source[name] = TOLERANCES[rule][0], how, origin

    best_known = "theory.peeled.solve(DeepLinearModel): best point found, an upper bound"
    linear = [c for c in found if c["part"] == PARTS[0]]
    bound = [np.min(c["objective"]) / c["told"][0]["lower"] - 1 for c in linear]
    check(PARTS[0], "objective over the certified lower bound", np.zeros(len(linear)), np.array(bound)[:, None],
          "at least", "certificate: nuclear relaxation, entropy dual")  # fmt: skip
    sure = [c for c in linear if c["told"][0]["optimal"]]
    check(PARTS[0], "large values where the frame is proved optimal", [c["K"] - 1 for c in sure],
          [c["large"] for c in sure], "equal", "certified: L = 1 (zhu2021geometric), K = 2")  # fmt: skip
    for L in DEPTHS[1:]:
        here = [c for c in linear if c["L"] == L]
        check(PARTS[0], "best start over the best point known", np.zeros(len(here)),
              [[c["objective"].min() / c["told"][0]["objective"] - 1] for c in here], "at most", best_known,
              f", L = {L}")  # fmt: skip
    for part in PARTS:
        cells = [c for c in found if c["part"] == part and "widths" not in c]
        origin = best_known if part == PARTS[0] else best_known + "; linear layers, not proved for ReLU"
        for L in DEPTHS:
            here = [c for c in cells if c["L"] == L]
            check(part, "large values", [_theirs(c, "large") for c in here], [c["large"] for c in here], "equal",
                  origin, f", L = {L}")  # fmt: skip
            if part == PARTS[2]:
                check(part, "stable rank", [_theirs(c, "stable") for c in here], [c["stable"] for c in here], "equal",
                      origin, f", L = {L}")  # fmt: skip
        more = [c for c in cells if c["K"] > 2]
        check(
            part,
            "cells where training leaves the frame",
            1.0,
            np.array([same_side(more)]),
            "equal",
            "garrod2025persistence: from K >= 4, L >= 3 and K >= 6, L = 2 on; sukenik2024neural for ReLU and squares",
        )
    return compare(predicted, measured, tolerance=tolerance, relation=relation, source=source)


def leaves(cell: dict[str, Any]) -> bool:
    """Whether the mean number of large values is nearer to a lower rank than to K - 1."""
    return bool(cell["large"].mean() < cell["K"] - 1.5)


def same_side(cells: list[dict[str, Any]]) -> float:
    """Share of cells in which training leaves the frame if and only if the model's best point does."""
    return float(np.mean([leaves(c) == (_theirs(c, "large") < c["K"] - 1.5) for c in cells]))


def candidates(cell: dict[str, Any]) -> dict[str, float]:
    """Large values of the simplex frame, the pairing, the polygon and the model's best point."""
    K = cell["K"]
    return {"simplex": K - 1, "pairing": -(-K // 2), "polygon": min(2, K - 1), "best point": _theirs(cell, "large")}


def _row(cell: dict[str, Any]) -> dict[str, Any]:
    large = cell["large"]
    linear, model = cell["part"] == PARTS[0], cell["part"] != PARTS[2]
    return {
        "part": cell["part"] + (f" {cell['widths']}" if "widths" in cell else ""), "K": cell["K"], "L": cell["L"],
        "lam": cell["lam"], "simplex": cell["K"] - 1, "model": _theirs(cell, "large"),
        "model by": "/".join(sorted({t["method"] for t in cell["told"]})), "found": float(large.mean()),
        "least": int(large.min()), "most": int(large.max()),
        "best start": int(large[np.argmin(cell["objective"])]) if model else None,
        "stable rank": float(cell["stable"].mean()),
        "its model": _theirs(cell, "stable"),
        "best excess": float(cell["objective"].min() / cell["told"][0]["objective"] - 1) if linear else None,
        "mean excess": float(cell["objective"].mean() / cell["told"][0]["objective"] - 1) if linear else None,
        "error": float(cell["error"].mean()) if "error" in cell else None,
        "gradient": float(np.median(cell["gradient"])),
    }  # fmt: skip


def _curves(found: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    out = {}
    for c in found:
        key = f"{c['part']} | {c['K']} | {c['L']} | {c['lam']:g} | "
        key = key.replace(" | ", f" {c['widths']} | ", 1) if "widths" in c else key
        top = c["classifier"]
        size = np.maximum(np.linalg.norm(top, axis=-1, keepdims=True), 1e-12)
        out[key + "large"] = np.asarray(c["large"], float)
        out[key + "spectrum"] = top / size if c["part"] == PARTS[2] else (top / size).mean(axis=0)
        if c["told"]:
            s = np.array([t["classifier"] for t in c["told"]])
            s = (s / np.maximum(np.linalg.norm(s, axis=1, keepdims=True), 1e-12)).mean(axis=0)
            out[key + "told"], out[key + "told large"] = s, np.array(_theirs(c, "large"))
    return out


def _settings(choices: dict[str, Any], quick: bool, seeds: int) -> dict[str, Any]:
    return {
        "quick": quick, "version": VERSION, **choices, "seeds": seeds, "depths": DEPTHS,
        "L": "weight layers above the features behind the first hidden layer, so the number of hidden layers",
        "large": f"singular values of the classifier above {LARGE:g} of the largest; stable rank ||s||^2 / max s^2",
        "linear model": f"one sample a class, inputs {SCALE:g} e_k, lam_H = lam/{SCALE**2:g}: the deep linear model "
        "itself, full gradient, float64, PyTorch's default initial weights",
        "ReLU model": "the same with ReLU between the layers; held against the linear model's map, of "
        "which nothing is proved with ReLU",
        "digits": "bias-free ReLU perceptrons, all hidden layers of the width `hidden`, float32, full-batch SGD; the "
        "deep linear model at the penalty on the first hidden features that each run has",
        "optimiser": f"momentum 0.9, rate {RATE:g}, weight decay lam on every layer, cross-entropy; one thread",
        "tolerances": {name: f"{value:g}: {why}" for name, (value, why) in TOLERANCES.items()},
        "tuned": "epochs and weight decay 0.005 are the first trial's; 0.02 was added because there descent is nearer "
        "to stationary, 0.05 for the model's own descent; centred digits, and width 64 for time. One trial of the grid "
        "(1,000 epochs, one seed) was looked at before the tolerances were written; nothing was changed after.",
    }  # fmt: skip


def _notes(found: list[dict[str, Any]]) -> list[str]:
    notes = []
    for part in PARTS:
        cells = [c for c in found if c["part"] == part and c["K"] > 3]
        grid = [c for c in cells if "widths" not in c]
        miss = {
            name: np.mean([abs(c["large"].mean() - candidates(c)[name]) for c in grid])
            for name in ("simplex", "pairing", "polygon", "best point")
        }
        nearest = min(miss, key=lambda name: miss[name])
        words = ", ".join(f"{name} {value:.2f}" for name, value in miss.items())
        notes.append(
            f"{part}: mean distance of the number of large values from each candidate over {len(grid)} cells with "
            f"K > 3: {words}; nearest: {nearest}. In {100 * same_side(grid):.0f} % of the cells training leaves the "
            "frame just where the model does, or stays where it stays."
        )
        for K in sorted({c["K"] for c in grid}):
            at = [[c for c in grid if (c["K"], c["L"]) == (K, L)] for L in DEPTHS]
            mean = [(np.mean([c["large"].mean() for c in a]), np.mean([_theirs(c, "large") for c in a])) for a in at]
            words = ", ".join(f"{mine:.1f} ({theirs:.1f})" for mine, theirs in mean)
            notes.append(f"{part}: at K = {K} training finds {words} large values at L = 1 to 4 (model in brackets).")
        dead = sum(int((c["large"] == 0).sum()) for c in grid)
        if dead:
            notes.append(f"{part}: {dead} of {sum(len(c['large']) for c in grid)} runs fell to zero weights.")
        late = [c for c in cells if np.median(c["gradient"]) > 0.1]
        if late:
            notes.append(
                f"{part}: in {len(late)} of {len(cells)} cells with K > 3 the relative gradient of some layer is above "
                "0.1 (median run): not stationary"
                + ("." if part == PARTS[0] else ", or at kinks of the ReLU, where it need not vanish.")
            )
    beaten = [c for c in found if c["part"] == PARTS[0] and c["told"][0]["beaten"]]
    runs = sum(len(c["large"]) for c in beaten)
    stay = sum(int((c["large"] >= c["K"] - 1).sum()) for c in beaten)
    best = sum(int((c["objective"] <= c["told"][0]["objective"] * (1 + 1e-3)).sum()) for c in beaten)
    notes.append(
        f"linear model: where a lower rank is better than the frame, {stay} of {runs} descents end with the frame's "
        f"K - 1 large values all the same, and {best} within 0.1 % of the best point known."
    )
    for c in found:
        if "widths" in c:
            values = " ".join(f"{s:.2f}" for s in c["classifier"].mean(axis=0))
            notes.append(
                f"the first trial's {c['widths']} at lam = {c['lam']:g} on centred digits has singular values "
                f"{values}: {c['large'].mean():.1f} large ones; the model says {_theirs(c, 'large'):.1f}."
            )
    return notes


def draw(result: ExperimentResult, figure: Figure) -> None:
    """Top: large values against depth, for the models and the digits; bottom: spectra on the digits."""
    figure.set_size_inches(10, 6.8)
    choices = result.settings
    grid = figure.add_gridspec(2, 12)
    K_values = [K for K in choices["classes"] if K > 2]
    first = None
    for i, part in enumerate(PARTS):
        ax = figure.add_subplot(grid[0, 4 * i : 4 * i + 4], sharey=first)
        first = first or ax
        lam = min(choices["decays"])
        _ranks_panel(ax, result.curves, part, K_values, lam)
        ax.set(title=f"{part}, $\\lambda$ = {lam:g}", xlabel="hidden layers $L$", xticks=DEPTHS)
        if i == 0:
            ax.set_ylabel(r"singular values above $\sigma_1/2$")
        if i == 2:
            ax.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    K, lam = max(K_values), min(choices["decays"])
    for j, L in enumerate(DEPTHS):
        ax = figure.add_subplot(grid[1, 3 * j : 3 * j + 3])
        _spectrum_panel(ax, result.curves, K, L, lam)
        ax.set(title=f"digits, $K$ = {K}, $L$ = {L}", xlabel="index", ylim=(-0.03, 0.75))
        if j == 0:
            ax.set_ylabel(r"$\sigma_i(W)\,/\,\|W\|_F$")
            ax.legend(frameon=False, fontsize=8, loc="upper right")
        else:
            ax.set_yticklabels([])
    agreement = result.agreement
    figure.suptitle(
        f"Depth and rank, theory (lines) and training (points): {agreement.verdict} "
        f"({agreement.agreeing} of {len(agreement.checks)} checks agree)"
    )


def _ranks_panel(ax: Axes, curves: dict[str, np.ndarray], part: str, K_values: list[int], lam: float) -> None:
    x = np.array(DEPTHS, float)
    for i, K in enumerate(K_values):
        grey, marker = ("0.65", "0.4", "0.0")[-len(K_values) :][i], "^so"[-len(K_values) :][i]
        keys = [f"{part} | {K} | {L} | {lam:g} | " for L in DEPTHS]
        ax.plot(x, [float(curves[k + "told large"]) for k in keys], "-", color=grey, lw=1.3)
        ax.axhline(K - 1, color=grey, lw=0.7, ls=":")
        runs = [np.asarray(curves[k + "large"]) for k in keys]
        mean = np.array([r.mean() for r in runs])
        spread = np.array([[m - r.min() for m, r in zip(mean, runs, strict=True)],
                           [r.max() - m for m, r in zip(mean, runs, strict=True)]])  # fmt: skip
        ax.errorbar(x + 0.06 * (i - 1), mean, yerr=spread, fmt=marker, ms=5, mfc=grey, mec="k", mew=0.6, ecolor="0.4",
                    elinewidth=0.8, capsize=2, label=f"$K$ = {K}", zorder=3)  # fmt: skip
    ax.plot([], [], "k-", lw=1.3, label="deep linear model")
    ax.plot([], [], "k:", lw=0.7, label="simplex frame, $K - 1$")
    ax.set_ylim(0, max(K_values) + 2.5)


def _spectrum_panel(ax: Axes, curves: dict[str, np.ndarray], K: int, L: int, lam: float) -> None:
    key, index = f"digits | {K} | {L} | {lam:g} | ", np.arange(1, K + 1)
    edges = np.append(index, K + 1) - 0.5
    frame = np.where(index < K, 1 / np.sqrt(K - 1), 0.0)
    for values, style, label in ((frame, "k:", "simplex frame"), (curves[key + "told"], "k-", "deep model")):
        values = np.asarray(values)
        ax.step(edges, np.append(values, values[-1]), style, where="post", lw=1.2, label=label)
    runs = np.asarray(curves[key + "spectrum"])
    mean = runs.mean(axis=0)
    ax.errorbar(index, mean, yerr=(mean - runs.min(axis=0), runs.max(axis=0) - mean), fmt="o", ms=4.5, mfc="0.6",
                mec="k", mew=0.6, ecolor="0.4", elinewidth=0.8, capsize=2, label="trained network")  # fmt: skip
    ax.set_xticks(index[:: 1 if K < 8 else 3])
