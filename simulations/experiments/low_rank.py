"""``low-rank``: ranks of trained weights against batch size and weight decay, and the certificate beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments import _low_rank_networks as networks
from simulations.experiments._one_thread import one_thread
from simulations.experiments._work import Checks, Work
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "low-rank"
CLAIM = EXPERIMENTS[NAME]
VERSION = 1
KINDS = ("dense", "convolutional")
STEP, SAMPLES = 0.1, 200
BOUND = (1e-12, "rounding: the certificate is proved")
IDENTITY = (1e-12, "relative, rounding of 64 updates in float64")
ORDER = (0.0, "a direction only: the means over layers and seeds are compared")


@one_thread()
def run(
    *,
    quick: bool = False,
    seeds: int | None = None,
    store: ResultsStore | None = None,
    callback: Callable[[str], Any] | None = None,
) -> ExperimentResult:
    """Train, take ranks, and check the certificates.

    Parameters
    ----------
    quick : eight networks of 500 updates instead of sixty of 1500.
    seeds : networks per setting; default 2, quick 1.
    """
    seeds = (1 if quick else 2) if seeds is None else seeds
    batches, lams = ((1, 16), (0.003, 0.012)) if quick else ((1, 2, 4, 8, 16), (0.003, 0.006, 0.012))
    updates = 500 if quick else 1500
    work = Work(NAME, VERSION, len(KINDS) * len(batches) * len(lams) * seeds, store, callback)
    runs: dict[tuple[str, int, float], list[dict[str, Any]]] = {}
    for kind in KINDS:
        for batch in batches:
            for lam in lams:
                chosen = [
                    networks.Setting(kind=kind, batch=batch, lam=lam, seed=seed, step=STEP, updates=updates, n=SAMPLES)
                    for seed in range(seeds)
                ]
                runs[kind, batch, lam] = [
                    work(f"{kind}, batch {batch}, lam {lam:g}", s.key(), partial(networks.train_one, s)) for s in chosen
                ]

    checks = Checks()
    for kind in KINDS:
        confront(checks, kind, batches, lams, runs)
    table = [_row(*key, layer, found) for key, found in runs.items() for layer in range(len(found[0]["layers"]))]
    settings = {
        "quick": quick, "version": VERSION, "seeds": seeds, "networks": len(KINDS) * len(batches) * len(lams) * seeds,
        "batch": batches, "weight decay": lams, "step": STEP, "updates": updates, "samples": SAMPLES,
        "architecture": f"ReLU without biases: dense {networks.DENSE}; convolutional, channels {networks.CHANNELS}, "
        "3 x 3 kernels of stride 2 and a dense layer; weights start at 1.5 times PyTorch's default",
        "data": "digits at mean square norm 1, one-hot targets", "dtype": "float64",
        "training": "SGD on mean ||f - y||^2 + lam ||W||^2, batches drawn with replacement, no momentum",
        "certificate": f"of each of the last {networks.KEPT} updates and weights",
        "ranks": f"numerical: singular values above {networks.RTOL:g} of the largest; srank with delta = 0.01",
        "tolerances": checks.stated(),
        "tuned": "weight decays: at 0.03 a trial's dense networks fell to the rank-one fit of the class means; "
        "the factor 1.5 of the start keeps three layers from falling to zero at once; directions are read off the rank "
        "within 0.1 and not the numerical rank, which a trial found full in every hidden layer",
    }  # fmt: skip
    return ExperimentResult(
        name=NAME, claim=CLAIM, settings=settings, agreement=checks.agreement(), table=tuple(table),
        curves=_curves(batches, lams, runs), notes=tuple(_notes(runs)),
    )  # fmt: skip


def confront(
    checks: Checks, kind: str, batches: tuple[int, ...], lams: tuple[float, ...],
    runs: dict[tuple[str, int, float], list[dict[str, Any]]],
) -> None:  # fmt: skip
    """The certificate on every layer of every network of a kind, and the directions that it suggests."""
    layers = [layer for key, found in runs.items() if key[0] == kind for run in found for layer in run["layers"]]
    source = "rank_certificate"
    checks.add(f"{kind}: true distance over the bound, largest excess", 0.0, [-min(x["slack"] for x in layers)], BOUND,
               source, "at most")  # fmt: skip
    checks.add(f"{kind}: unrolled identity, largest residual", 0.0, [max(x["identity"] for x in layers)], IDENTITY,
               source, "at most")  # fmt: skip
    for key, word in (("stable", "stable rank"), ("near_rank", f"rank within {networks.NEAR:g}")):

        def mean(chosen: Callable[[int, float], bool], key: str = key) -> float:
            return float(np.mean([share(run, key) for (k, batch, lam), found in runs.items()
                                  if k == kind and chosen(batch, lam) for run in found]))  # fmt: skip

        small, large = mean(lambda batch, _: batch == batches[0]), mean(lambda batch, _: batch == batches[-1])
        checks.add(f"{kind}: {word} / full, smallest less largest batch", 0.0, [small - large], ORDER,
                   "rank_bound grows with the batch", "at most")  # fmt: skip
        strong, weak = mean(lambda _, lam: lam == lams[-1]), mean(lambda _, lam: lam == lams[0])
        checks.add(f"{kind}: {word} / full, largest less smallest decay", 0.0, [strong - weak], ORDER,
                   "rank_bound falls with the decay", "at most")  # fmt: skip


def share(run: dict[str, Any], key: str) -> float:
    """A rank over min_dim, mean over layers."""
    return float(np.mean([layer[key] / layer["min_dim"] for layer in run["layers"]]))


def _row(kind: str, batch: int, lam: float, layer: int, found: list[dict[str, Any]]) -> dict[str, Any]:
    layers = [run["layers"][layer] for run in found]

    def mean(key: str) -> float:
        return float(np.mean([x[key] for x in layers]))

    return {
        "network": kind, "batch": batch, "weight decay": lam, "layer": layer + 1, "full": layers[0]["min_dim"],
        "uses": layers[0]["uses"], "stable": mean("stable"), "srank": mean("srank"), "numerical": mean("numerical"),
        "within 0.1": mean("near_rank"), "bound at 0.1": layers[0]["certified"],
        "least bound below full": min((x["distance"][-1] for x in layers if x["distance"]), default=None),
        "true distance there": min((x["tail"][-1] for x in layers if x["tail"]), default=None),
        "fit": float(np.mean([run["fit"] for run in found])), "error": float(np.mean([run["error"] for run in found])),
    }  # fmt: skip


def _curves(
    batches: tuple[int, ...], lams: tuple[float, ...], runs: dict[tuple[str, int, float], list[dict[str, Any]]]
) -> dict[str, np.ndarray]:
    curves: dict[str, np.ndarray] = {}
    for kind in KINDS:
        for key in ("stable", "near_rank"):
            curves[f"{kind} {key}"] = np.array(
                [[[share(run, key) for run in runs[kind, batch, lam]] for lam in lams] for batch in batches]
            )  # (batches, weight decays, seeds)
        layers = [x for (k, _, _), found in runs.items() if k == kind for run in found for x in run["layers"]]
        for key in ("distance", "tail"):
            curves[f"{kind} all {key}"] = np.array(
                [value for x in layers for value in x[key][:: max(1, len(x[key]) // 6)]]
            )
    shown = runs["dense", batches[0], lams[-1]][0]["layers"][1]
    for key in ("profile", "rank", "distance"):
        curves[f"shown {key}"] = np.array(shown[key], dtype=float)
    return curves


def _notes(runs: dict[tuple[str, int, float], list[dict[str, Any]]]) -> list[str]:
    layers = [x for found in runs.values() for run in found for x in run["layers"]]
    broken = sum(not x["holds"] for x in layers)
    checked, below = sum(x["checked"] for x in layers), sum(x["below_full"] for x in layers)
    vacuous = sum(x["vacuous"] for x in layers)
    notes = [
        f"{len(layers)} weight matrices of {sum(map(len, runs.values()))} networks: the bound is violated on {broken}; "
        f"{checked} pairs of rank and distance, of which {below} lie below the full rank.",
        f"At a distance of {networks.NEAR:g} the bound on the rank reaches the full one on {vacuous} of {len(layers)} "
        f"(from {min(x['certified'] for x in layers)}, where full is at most {max(x['min_dim'] for x in layers)}).",
    ]
    used = max(2 * STEP * lam for _, _, lam in runs)
    full = max(x["min_dim"] for x in layers)
    needed = 1 - networks.NEAR ** (1 / (full - 1))
    notes.append(
        f"To say more at that distance with one sample a step, 2 step lam would have to be at least {needed:.2g} for a "
        f"full rank of {full}; here it is at most {used:.2g}."
    )
    said = [x for x in layers if x["distance"]]
    if said:
        best = min(said, key=lambda x: float(x["distance"][-1]))
        notes.append(
            f"Tightest below the full rank: at most {best['distance'][-1]:.3g} from rank {best['rank'][-1]} of "
            f"{best['min_dim']}, truly {best['tail'][-1]:.3g}."
        )
    flat = [f"{k}, batch {b}, lam {lam:g}" for (k, b, lam), found in runs.items()
            if min(run["error"] for run in found) > 0.5]  # fmt: skip
    if flat:
        notes.append(f"Networks that do not fit (error above 0.5), so that a low rank is no merit: {'; '.join(flat)}.")
    return notes


def draw(result: ExperimentResult, figure: Figure) -> None:
    """Ranks against weight decay and batch (left), one weight with its bound, and all bounds against the truth."""
    figure.set_size_inches(12, 4.2)
    left, middle, right = figure.subplots(1, 3)
    _ranks(left, result)
    curves = result.curves
    profile = curves["shown profile"]
    middle.plot(np.arange(len(profile) - 1), profile[:-1], "o", ms=3.5, mfc="w", mec="k", label="trained weight")
    middle.plot(curves["shown rank"], curves["shown distance"], "k-", lw=1.3, label="bound $q^n$")
    middle.set_xlabel(f"rank (full: {len(profile) - 1})")
    middle.set_ylabel("distance / norm (Frobenius)")
    middle.set_ylim(0, 1.05)
    middle.set_title(f"dense layer 2, batch {result.settings['batch'][0]}, "
                     rf"$\lambda$ = {result.settings['weight decay'][-1]:g}", fontsize=9)  # fmt: skip
    middle.legend(fontsize=7.5, frameon=False)
    for kind, marker, color in (("dense", "o", "k"), ("convolutional", "s", "0.5")):
        right.plot(curves[f"{kind} all tail"], curves[f"{kind} all distance"], marker, ls="", ms=3, mfc="none",
                   mec=color, mew=0.6, label=kind)  # fmt: skip
    right.plot([0, 1], [0, 1], "k-", lw=1)
    right.annotate("violated", (0.75, 0.6), fontsize=8, rotation=40, color="0.3")
    right.set_xlabel("true distance / norm")
    right.set_ylabel("bound on it")
    right.set_title(f"all bounds below the full rank, {result.settings['networks']} networks", fontsize=9)
    right.legend(fontsize=7.5, frameon=False, loc="lower right")
    agreement = result.agreement
    figure.suptitle(f"Rank of trained weights and the bound: {agreement.verdict} "
                    f"({agreement.agreeing} of {len(agreement.checks)} checks agree)")  # fmt: skip


def _ranks(ax: Axes, result: ExperimentResult) -> None:
    lams, batches = np.array(result.settings["weight decay"]), result.settings["batch"]
    shades = np.linspace(0.0, 0.65, len(batches))
    for kind, marker in zip(KINDS, ("o", "s"), strict=True):
        values = result.curves[f"{kind} stable"]
        for i, (batch, shade) in enumerate(zip(batches, shades, strict=True)):
            mean, low, high = values[i].mean(axis=1), values[i].min(axis=1), values[i].max(axis=1)
            ax.errorbar(lams * (1 + 0.03 * (i - len(batches) / 2)), mean, yerr=(mean - low, high - mean), fmt=marker,
                        ls=":", lw=0.7, ms=4, mfc="w" if kind == "dense" else str(shade), mec=str(shade),
                        color=str(shade), capsize=2, label=f"{kind}, batch {batch}")  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(lams, [f"{lam:g}" for lam in lams])
    ax.minorticks_off()
    ax.set_ylim(0, None)
    ax.set_xlabel(r"weight decay $\lambda$")
    ax.set_ylabel("stable rank / full rank, mean over layers")
    ax.set_title("trained networks", fontsize=9)
    ax.legend(fontsize=6, frameon=False, ncols=2)
