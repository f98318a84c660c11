"""``bounds-along-training``: every certificate and measure against the true gap, along training and over networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments import _bounds_ranking as rank
from simulations.experiments._bounds_networks import DELTA, RADIUS, SCALED, TEACHER, Setting, train_one
from simulations.experiments._one_thread import one_thread
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "bounds-along-training"
CLAIM = EXPERIMENTS[NAME]
VERSION = 1
BASE = Setting()
EPOCHS, QUICK_EPOCHS = (0, 2, 8, 32, 128), (0, 1, 8, 64)
SIZES: dict[str, tuple[int, ...]] = {
    "n": (80, 160, 320, 640, 1280), "width": (16, 32, 64, 128), "depth": (2, 3, 4, 6)
}  # fmt: skip
QUICK_SIZES: dict[str, tuple[int, ...]] = {"n": (80, 320), "width": (16, 64), "depth": (2, 3)}
SLOPE = 0.25
RANKED = ("n", "width", "depth", "n, teacher", "training")
SHOWN = ("compression", "pac-bayes-kl", "parameter-net", "vc-dimension", "parameter-dudley", "frobenius", "path-norm",
         "covering")  # fmt: skip
WHY = {
    "certificates": "0: a certificate below the error would refute it (all hold together with probability 0.99 on each "
    "sample, and the error is taken at its lower 99.5 % binomial limit; on random labels it is 1 - 1/K exactly)",
    "exponents": "0.25: laws of different bounds differ by halves of a power; per layer, a factor of 1.8",
}


@one_thread()
def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    store: ResultsStore | None = None,
    callback: Callable[[str], Any] | None = None,
) -> ExperimentResult:
    """Train, evaluate, and compare.

    Parameters
    ----------
    quick : two values of n, width and depth, four epochs, one seed.
    seeds : networks per setting; default 2, quick 1. A seed has its own split, initial weights and order.
    """
    from simulations.bridge import Agreement, compare

    sizes = QUICK_SIZES if quick else SIZES
    epochs = QUICK_EPOCHS if quick else EPOCHS
    seeds = (1 if quick else 2) if seeds is None else seeds
    axes = {variable: [_resized(variable, size) for size in values] for variable, values in sizes.items()}
    ends = [setting for axis in axes.values() for setting in (axis[0], axis[-1])]
    randoms = [BASE, axes["n"][0]] if quick else list(dict.fromkeys([BASE, *ends]))
    pairs = [(setting, replace(setting, labels="random")) for setting in randoms]
    teachers = [] if quick else [replace(BASE, data="teacher", n=n) for n in (80, 320, 1280)]
    trues = list(dict.fromkeys([BASE, *(setting for axis in axes.values() for setting in axis)]))
    settings = [*trues, *(random for _, random in pairs), *teachers]
    records = _train_all([(s, seed) for s in settings for seed in range(seeds)], epochs, store, callback)

    def theory() -> dict[str, Any]:
        return rank.predicted_slopes(axes, BASE)

    config = {"experiment": NAME, "version": VERSION, "theory": {k: list(v) for k, v in sizes.items()}}
    predicted = theory() if store is None else store.once(config, theory)

    least = _least_slacks(records)
    names = {labels: list(found) for labels, found in least.items()}
    valid = compare(
        {f"certificate minus error, {labels} labels": np.zeros(len(found)) for labels, found in least.items()},
        {f"certificate minus error, {labels} labels": np.array([v for v, _ in found.values()])
         for labels, found in least.items()},
        tolerance=0.0, relation="at least", source="each certificate, least over networks, epochs and seeds",
    )  # fmt: skip
    words = {"n": "exponent in n", "width": "exponent in width", "depth": "log10 per layer"}
    told = {f"{name}: {words[v]}": predicted[v][name] for v in axes for name in SCALED}
    grown = compare(
        told,
        [{f"{name}: {words[v]}": rank.measured_slope(records, axes[v], v, name, seed) for v in axes for name in SCALED}
         for seed in range(seeds)],
        tolerance=SLOPE, source="theory.bounds.scaling: random weights, unit inputs and margins",
    )  # fmt: skip
    taus = _taus(records, axes, teachers, trues, pairs, seeds)
    table = _table(records, taus, least)
    return ExperimentResult(
        name=NAME, claim=CLAIM,
        settings=_settings(quick, seeds, epochs, sizes, settings, names),
        agreement=Agreement(checks=valid.checks + grown.checks), table=tuple(table),
        curves=_curves(records, seeds, taus), notes=tuple(_notes(records, axes, table, least, grown, seeds)),
    )  # fmt: skip


def _resized(variable: str, size: int) -> Setting:
    return replace(BASE, **{variable: size})  # type: ignore[arg-type]


def _train_all(
    jobs: list[tuple[Setting, int]], epochs: tuple[int, ...], store: ResultsStore | None,
    callback: Callable[[str], Any] | None,
) -> rank.Records:  # fmt: skip
    records, began = {}, time.monotonic()
    effort = np.cumsum([0.0] + [len(epochs) * 300 + setting.n for setting, _ in jobs])
    for i, (setting, seed) in enumerate(jobs):

        def tell(epoch: int, i: int = i, setting: Setting = setting) -> None:
            if callback is not None and (epoch in epochs or epoch % 8 == 0):
                done = effort[i] + (effort[i + 1] - effort[i]) * epoch / epochs[-1]
                spent = time.monotonic() - began
                left = f", about {spent * (effort[-1] - done) / done:.0f} s left" if done and spent > 2 else ""
                callback(f"network {i + 1} of {len(jobs)}, epoch {epoch} of {epochs[-1]}{left}")

        def compute(setting: Setting = setting, seed: int = seed, tell: Callable[[int], None] = tell) -> dict[str, Any]:
            return train_one(setting, epochs, seed, callback=tell)

        config = {"experiment": NAME, "version": VERSION, "setting": asdict(setting), "epochs": list(epochs),
                  "plan": setting.plan(epochs[-1], seed).to_json()}  # fmt: skip
        records[setting, seed] = compute() if store is None else store.once(config, compute)
    return records


def _least_slacks(records: rank.Records) -> dict[str, dict[str, tuple[float, str]]]:
    """By labels and certificate the least slack, and where it is."""
    least: dict[str, dict[str, tuple[float, str]]] = {"true": {}, "random": {}}
    for (setting, _), record in records.items():
        for row in record["rows"]:
            for name, value in rank.slacks(setting, row).items():
                if name not in least[setting.labels] or value < least[setting.labels][name][0]:
                    least[setting.labels][name] = (value, f"{_said(setting)}, epoch {row['epoch']}")
    return least


def _said(setting: Setting) -> str:
    return f"{setting.data}, n = {setting.n}, width {setting.width}, depth {setting.depth}"


def _taus(
    records: rank.Records, axes: dict[str, list[Setting]], teachers: list[Setting], trues: list[Setting],
    pairs: list[tuple[Setting, Setting]], seeds: int,
) -> dict[str, list[dict[str, float]]]:  # fmt: skip
    along = {**axes, "n, teacher": teachers}
    out = {key: [rank.taus_along(records, axis, seed) for seed in range(seeds)] for key, axis in along.items()}
    out["training"] = [rank.taus_in_training(records, trues, seed) for seed in range(seeds)]
    out["random above true"] = [rank.random_above_true(records, pairs, seed) for seed in range(seeds)]
    return out


def _table(
    records: rank.Records, taus: dict[str, list[dict[str, float]]], least: dict[str, dict[str, tuple[float, str]]]
) -> list[dict[str, Any]]:
    names = {name: None for record in records.values() for row in record["rows"] for name in rank.scores(row)}
    ends = [rank.scores(record["rows"][-1]) for (setting, _), record in records.items() if setting == BASE]
    certificates = least["true"]
    table = []
    for name in sorted(names, key=lambda name: name not in certificates):
        row: dict[str, Any] = {"quantity": name, "kind": "certificate" if name in certificates else "measure"}
        final = rank.mean([end[name] for end in ends if name in end])
        row["at the end"] = 10**final if name in certificates else final
        for key, found in taus.items():
            row[key if key == "random above true" else f"tau, {key}"] = rank.mean([f.get(name, np.nan) for f in found])
        for labels in ("true", "random"):
            row[f"least slack, {labels}"] = least[labels].get(name, (np.nan, ""))[0]
        table.append({key: None if isinstance(v, float) and np.isnan(v) else v for key, v in row.items()})
    return table


def _curves(records: rank.Records, seeds: int, taus: dict[str, list[dict[str, float]]]) -> dict[str, np.ndarray]:
    curves: dict[str, np.ndarray] = {}
    for labels in ("true", "random"):
        setting = replace(BASE, labels=labels)
        runs = [records[setting, seed]["rows"] for seed in range(seeds)]
        curves["epochs"] = np.array([row["epoch"] for row in runs[0]], float)
        for key, value in (("error", lambda row: row["error"]), ("gap", rank.gap)):
            curves[f"{labels} | {key}"] = np.array([[value(row) for row in rows] for rows in runs])
        k, n = (np.array([[row[key] for row in rows] for rows in runs]) for key in ("test_errors", "held_out"))
        curves[f"{labels} | test"], limits = k / n, rank.binomial_limits(k, n)
        curves[f"{labels} | test low"], curves[f"{labels} | test high"] = limits
        for name in runs[0][0]["certificates"]:
            curves[f"{labels} | log10 {name}"] = np.array(
                [[row["certificates"].get(name, {}).get("log10", np.nan) for row in rows] for rows in runs]
            )
    for key, found in taus.items():
        for name in found[0]:
            curves[f"tau | {key} | {name}"] = np.array([one[name] for one in found])
    return curves


def _settings(
    quick: bool, seeds: int, epochs: tuple[int, ...], sizes: dict[str, tuple[int, ...]], settings: list[Setting],
    names: dict[str, list[str]],
) -> dict[str, Any]:  # fmt: skip
    return {
        "quick": quick, "version": VERSION, "seeds": seeds, "epochs": list(epochs), "base": asdict(BASE),
        "sizes": {key: list(value) for key, value in sizes.items()}, "networks": [asdict(s) for s in settings],
        "architecture": "ReLU perceptrons without biases, float32, PyTorch's default initialisation",
        "optimiser": "SGD, batches of 20, learning rate 0.05, momentum 0.9, no weight decay, cross-entropy",
        "data": f"digits, pixels divided by 16 (radius {RADIUS:g}), the first n of a seeded shuffle, all others held "
        f"out; a random ReLU network {'-'.join(map(str, TEACHER))} on normal inputs, where bounds with a radius refuse",
        "random labels": "uniform, independent of everything: the error of every classifier is 1 - 1/K",
        "certificates": f"at {DELTA:g} / (number of certificates), reference = the initial weights; compression with "
        "equidistant levels only, at the start and the end, pac-bayes-kl with 100 drawings; both are "
        "held against the error of the network that they speak of (decoded; noisy)",
        "order of the certificates in the checks": names,
        "measures": "as their authors rank by them, divided by n (norms, pac-bayes, sharpness, cushions)",
        "gap": "error on held-out samples minus error on the sample; limits are Clopper-Pearson, 99 %",
        "exponents": "of the complexity term at the median margin of each trained network",
        "tau": "Kendall's tau-b between quantity and gap; in training: over epochs, mean over networks of true labels",
        "tolerances": WHY,
        "tuned": "batch size and step size in one trial before bounds were evaluated; epochs 128 and not 64, where "
        "random labels of n = 320 were not fully learnt; for time, fewer epochs, drawings and widths than first.",
    }  # fmt: skip


def _notes(
    records: rank.Records, axes: dict[str, list[Setting]], table: list[dict[str, Any]],
    least: dict[str, dict[str, tuple[float, str]]], grown: Any, seeds: int,
) -> list[str]:  # fmt: skip
    notes = []
    for labels, found in least.items():
        name = min(found, key=lambda name: found[name][0])
        rows = [row for (s, _), record in records.items() if s.labels == labels for row in record["rows"]]
        count = sum(len(row["certificates"]) for row in rows)
        what = "the error's lower limit" if labels == "true" else "the error 1 - 1/K of random labels"
        notes.append(f"{labels} labels: in {count} evaluations the certificate that comes nearest to {what} is {name}, "
                     f"at a distance of {found[name][0]:.3g} ({found[name][1]}).")  # fmt: skip
    ends = [(s, record["rows"][-1]) for (s, _), record in records.items() if s.labels == "true"]
    value, name, where, row = min(
        ((10 ** found["log10"], name, s, row) for s, row in ends for name, found in row["certificates"].items()),
        key=lambda one: one[0],
    )
    notes.append(f"Smallest certificate of a trained network: {name} = {value:.3g} ({_said(where)}), where the network "
                 f"errs on {row['test_errors'] / row['held_out']:.3g} of the held-out samples.")  # fmt: skip
    for variable, axis in axes.items():
        gaps = [[rank.gap(records[s, seed]["rows"][-1]) for seed in range(seeds)] for s in axis]
        means = np.mean(gaps, axis=1)
        held = [records[s, 0]["rows"][-1] for s in axis]
        low, high = rank.binomial_limits([r["test_errors"] for r in held], [r["held_out"] for r in held])
        sizes = [getattr(s, variable) for s in axis]
        notes.append(
            f"gap over {variable} = {sizes[0]}..{sizes[-1]}: {means[0]:.3g} to {means[-1]:.3g}, range "
            f"{np.ptp(means):.2g} against a binomial half-width of {np.mean(high - low) / 2:.2g}"
            + (": the order there is mostly noise." if np.ptp(means) < np.mean(high - low) else ".")
        )
    for key in RANKED:
        told = [(row["quantity"], row[f"tau, {key}"]) for row in table if row.get(f"tau, {key}") is not None]
        if told:
            notes.append(
                f"tau with the gap over {key}: right ({_listed(told, lambda t: t >= 0.5)}); "
                f"wrong ({_listed(told, lambda t: t <= -0.5)})."
            )
    below = [row["quantity"] for row in table if row["random above true"] is not None and row["random above true"] < 1]
    ended = [(s, record["rows"][-1]["error"]) for (s, _), record in records.items() if s.labels == "random"]
    late = [f"{_said(s)} ({error:.2f})" for s, error in ended if error >= rank.LEARNT]
    notes.append(f"Random labels learnt to an error below {rank.LEARNT:g} on the sample in {len(ended) - len(late)} of "
                 f"{len(ended)} networks" + (f"; not in {'; '.join(late)}." if late else "."))  # fmt: skip
    notes.append("Larger on random labels than on true ones in every pair where they were learnt: all quantities"
                 + (f" but {', '.join(below)}." if below else "."))  # fmt: skip
    worst = max(grown.checks, key=lambda check: check.deviation if np.isfinite(check.deviation) else -1.0)
    notes.append(f"Architecture alone and trained networks part most in {worst.name}: {float(worst.predicted):.2f} "
                 f"predicted, {float(worst.measured):.2f} measured.")  # fmt: skip
    return notes


def _listed(told: list[tuple[str, float]], keep: Callable[[float], bool]) -> str:
    return ", ".join(f"{name} {t:+.2f}" for name, t in told if keep(t)) or "none"


def draw(result: ExperimentResult, figure: Figure) -> None:
    """Error and certificates along training, rank correlations, and the growth of complexity terms with size."""
    figure.set_size_inches(11.5, 9.2)
    axes = figure.subplots(2, 2, height_ratios=(1, 1.15))
    get = {key: np.asarray(value, float) for key, value in result.curves.items()}
    for ax, labels in zip(axes[0], ("true", "random"), strict=True):
        _errors(ax, get, labels)
    axes[0, 1].sharey(axes[0, 0])
    axes[0, 0].set_ylabel("error probability, and its bounds")
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)
    _correlations(axes[1, 0], result)
    _slopes(axes[1, 1], result)
    agreement = result.agreement
    valid = all(check.agrees for check in agreement.checks if check.name.startswith("certificate"))
    met = f"{sum(check.agrees for check in agreement.checks[2:])} of {len(agreement.checks) - 2} met"
    figure.suptitle(
        f"Certificates {'never' if valid else 'SOMETIMES'} fall below the error; growth with size predicted from the "
        f"architecture alone: {met} ({agreement.verdict})"
    )


def _errors(ax: Axes, get: dict[str, np.ndarray], labels: str) -> None:
    epochs = get["epochs"]
    styles = ("-", "--", "-.", ":")
    for i, name in enumerate(SHOWN):
        values = 10 ** np.minimum(get[f"{labels} | log10 {name}"], 300).mean(axis=0)
        there = np.isfinite(values)
        ax.plot(
            epochs[there],
            values[there],
            color=f"{0.1 + 0.08 * i:.2f}",
            ls=styles[i % 4],
            lw=1.2 + 0.8 * (i < 4),
            label=name,
        )
    test = get[f"{labels} | test"].mean(axis=0)
    low, high = get[f"{labels} | test low"].min(axis=0), get[f"{labels} | test high"].max(axis=0)
    ax.errorbar(epochs, test, yerr=(np.maximum(test - low, 0), np.maximum(high - test, 0)), fmt="ko", ms=4.5, capsize=2,
                label="held-out error, 99 %", zorder=3)  # fmt: skip
    train = np.maximum(get[f"{labels} | error"].mean(axis=0), 1e-3)
    ax.plot(epochs, train, "ws", mec="k", ms=4, label="error on the sample (0 drawn at 0.001)", zorder=3)
    ax.axhline(1, color="0.7", lw=0.8, zorder=0)
    if labels == "random":
        ax.axhline(0.9, color="k", lw=0.8, ls=(0, (1, 1)), zorder=0)
        ax.annotate("chance", (epochs[-1], 0.86), fontsize=8, va="top", ha="right")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(-0.4, 1.4 * epochs[-1])
    ticks = [epoch for epoch in (0, 1, 8, 64) if epoch <= epochs[-1]]
    ax.set_xticks(ticks, [str(epoch) for epoch in ticks])
    ax.minorticks_off()
    ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_title(f"digits, {labels} labels (n = {BASE.n}, width {BASE.width}, depth {BASE.depth})", fontsize=10)


def _correlations(ax: Axes, result: ExperimentResult) -> None:
    rows = list(reversed(result.table))
    marks = dict(zip(RANKED, ("ko", "ws", "w^", "w*", "kx"), strict=True))
    for key, mark in marks.items():
        points = [(row.get(f"tau, {key}"), i) for i, row in enumerate(rows)]
        found = [(x, i) for x, i in points if x is not None]
        if found:
            ax.plot(*zip(*found, strict=True), mark, mec="k", ms=5, label=key, alpha=0.85)
    ax.axvline(0, color="0.6", lw=0.8, zorder=0)
    ax.axhline(sum(row["kind"] == "measure" for row in rows) - 0.5, color="0.6", lw=0.8)
    ax.set_yticks(range(len(rows)), [row["quantity"] for row in rows], fontsize=7.5)
    ax.set_xlim(-1.08, 1.08)
    ax.set_xlabel("Kendall's tau with the true gap")
    ax.set_title("which quantity ranks networks as the gap does, over", fontsize=10, pad=22)
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, frameon=False, borderpad=0,
              columnspacing=0.9, handletextpad=0.2)  # fmt: skip


def _slopes(ax: Axes, result: ExperimentResult) -> None:
    """Predicted slopes as bars, measured ones as points with their spread."""
    names = list(reversed(SCALED))
    for offset, (words, marker, fill) in zip(
        (0.25, 0.0, -0.25),
        (("exponent in n", "o", "k"), ("exponent in width", "s", "w"), ("log10 per layer", "^", "w")),
        strict=True,
    ):
        checks = [result.agreement[f"{name}: {words}"] for name in names]
        y = np.arange(len(names)) + offset
        spread = [0.0 if check.spread is None else float(check.spread) for check in checks]
        ax.errorbar([float(c.measured) for c in checks], y, xerr=spread, fmt=marker, mfc=fill, mec="k", color="k", ms=5,
                    lw=0.8, capsize=2, label=words)  # fmt: skip
        ax.plot([float(c.predicted) for c in checks], y, "|", color="k", ms=12, mew=2)
    ax.plot([], [], "|", color="k", ms=10, mew=2, ls="", label="predicted")
    for i in range(len(names) - 1):
        ax.axhline(i + 0.5, color="0.85", lw=0.8, zorder=0)
    ax.axvline(0, color="0.6", lw=0.8, zorder=0)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_xlabel("slope of log complexity at the median margin")
    ax.set_title("growth with size: architecture alone, and trained networks", fontsize=10, pad=22)
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, borderpad=0,
              columnspacing=0.9, handletextpad=0.2)  # fmt: skip
