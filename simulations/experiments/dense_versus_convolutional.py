"""``dense-versus-convolutional``: sparse against dense networks on a tree of functions, in error and in bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments import _sparse_networks as networks
from simulations.experiments._bounds_ranking import binomial_limits
from simulations.experiments._one_thread import one_thread
from simulations.experiments._sparse_networks import LEARNERS, Job
from simulations.experiments.registry import EXPERIMENTS
from simulations.experiments.result import ExperimentResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.store import ResultsStore

NAME = "dense-versus-convolutional"
CLAIM = EXPERIMENTS[NAME]
VERSION = 1
SPARSE = tuple(name for name in LEARNERS if name != "dense")
EXACT = ("tree", "local")  # every tap stays inside the map, so that the predicted ratio is a theorem
DEFAULT = {"aligned": (128, 256, 512, 1024, 2048), "misaligned": (128, 512, 2048), "teacher": (128, 512, 2048)}
QUICK = {"aligned": (256, 1024), "misaligned": (1024,)}
ERROR = 0.01
UNTRAINED = 0.1  # an error on the sample above this is told in the notes
GRID = 0.05
WHY = {
    "errors": "0.01: about twice the binomial deviation of a difference of two errors on 4,000 samples, three targets",
    "ratio of one network": "5 % of the prediction: the certificates round norms up to powers of 1.05",
    "ratio of two networks": "the same",
    "certificates": "0: one below the error's lower 99.5 % limit would refute it",
}
Records = dict[Job, dict[str, Any]]
Value = Callable[[dict[str, Any]], float]


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
    quick : two sizes of the aligned target and one of the misaligned; one seed.
    seeds : targets; each has its own tree (or teacher), samples and initial weights. Default 3, quick 1.
    """
    from simulations.bridge import Relative, compare

    grid: dict[str, tuple[int, ...]] = dict(QUICK if quick else DEFAULT)
    seeds = (1 if quick else 3) if seeds is None else seeds
    jobs = [
        Job(target=target, learner=learner, n=n, seed=seed)
        for target, sizes in grid.items() for n in sizes for learner in LEARNERS for seed in range(seeds)
    ]  # fmt: skip
    records = _train_all(jobs, store, callback)

    def all_seeds(target: str, learner: str, value: Value) -> np.ndarray:
        found = [value(row) for job, row in records.items() if (job.target, job.learner) == (target, learner)]
        return np.array(found).reshape(-1, seeds).T

    predicted: list[dict[str, Any]] = [{} for _ in range(seeds)]
    measured: list[dict[str, Any]] = [{} for _ in range(seeds)]
    tolerance: dict[str, Any] = {}
    relation: dict[str, str] = {}
    source: dict[str, str] = {}

    def check(name: str, told: np.ndarray, found: np.ndarray, allowed: Any, how: str, origin: str) -> None:
        """Arrays (seeds, sizes)."""
        tolerance[name], relation[name], source[name] = allowed, how, origin
        for seed in range(seeds):
            predicted[seed][name], measured[seed][name] = told[seed], found[seed]

    for target in grid:
        how = "at most" if target == "aligned" else "at least"
        origin = "the dense network's error; " + ("xu2023dynamics" if target == "aligned" else "no tree to profit from")
        dense = all_seeds(target, "dense", _error)
        for learner in SPARSE:
            check(f"{target}: error of {learner}", dense, all_seeds(target, learner, _error), ERROR, how, origin)
    ratios = _ratios(all_seeds)
    for learner in SPARSE:
        told, own, trained = (ratios[f"{learner} | {key}"] for key in ("predicted", "own", "trained"))
        if learner in EXACT:
            check(f"bound ratio of one network, {learner}", told, own, Relative(GRID), "at most", "sparse_dense_ratio")
        check(f"bound ratio to the dense network, {learner}", told, trained, Relative(GRID), "at most",
              "sparse_dense_ratio, if norms over margin were the same")  # fmt: skip
    slack = np.full(seeds, min(_slacks(records).values()))  # the least of all seeds, not a mean
    check("least certificate minus error", np.zeros(seeds), slack, 0.0, "at least", "every certificate")

    agreement = compare(predicted, measured, tolerance=tolerance, relation=relation, source=source)
    curves = {f"{target} | n": np.array(sizes, float) for target, sizes in grid.items()}
    for target in grid:
        curves |= {f"{target} | {name} | error": all_seeds(target, name, _error) for name in LEARNERS}
    curves |= ratios
    return ExperimentResult(
        name=NAME, claim=CLAIM, settings=_settings(quick, seeds, grid), agreement=agreement,
        table=tuple(_table(records, grid, seeds)), curves=curves, notes=tuple(_notes(records, curves, grid)),
    )  # fmt: skip


def _train_all(jobs: list[Job], store: ResultsStore | None, callback: Callable[[str], Any] | None) -> Records:
    records, began = {}, time.monotonic()
    for i, job in enumerate(jobs):
        epochs = job.plan().epochs

        def tell(epoch: int, i: int = i, job: Job = job, epochs: int = epochs) -> None:
            if callback is not None and (epoch == 0 or epoch * job.n % 12800 < job.n):
                done, spent = (i + epoch / epochs) / len(jobs), time.monotonic() - began
                left = f", about {spent * (1 - done) / done:.0f} s left" if done and spent > 2 else ""
                callback(f"{job.target}, {job.learner}, n = {job.n}: network {i + 1} of {len(jobs)}, "
                         f"epoch {epoch} of {epochs}{left}")  # fmt: skip

        def compute(job: Job = job, tell: Callable[[int], None] = tell) -> dict[str, Any]:
            return networks.train_one(job, callback=tell)

        config = {"experiment": NAME, "version": VERSION, "job": asdict(job), "plan": job.plan().to_json()}
        records[job] = compute() if store is None else store.once(config, compute)
    return records


def _error(row: dict[str, Any]) -> float:
    return row["test_errors"] / row["held_out"]


def _ratios(all_seeds: Callable[..., np.ndarray]) -> dict[str, np.ndarray]:
    """Predicted; of one network's two bounds; and of the trained sparse network to the trained dense one.

    NaN where a median margin is not positive; the check then disagrees.
    """
    nan = float("nan")
    dense = all_seeds("aligned", "dense", lambda row: row["complexity"].get("frobenius", nan))
    out: dict[str, np.ndarray] = {}
    for learner in SPARSE:
        out[f"{learner} | predicted"] = all_seeds("aligned", learner, lambda row: row.get("predicted", nan))
        out[f"{learner} | own"] = all_seeds("aligned", learner, lambda row: row.get("ratio", nan))
        sparse = all_seeds("aligned", learner, lambda row: row["complexity"].get("convolutional", nan))
        out[f"{learner} | trained"] = sparse / dense
    return out


def _slacks(records: Records) -> dict[tuple[Job, str], float]:
    """Certificate minus the lower binomial limit of the error, over all networks that have certificates."""
    out: dict[tuple[Job, str], float] = {}
    for job, row in records.items():
        low = float(binomial_limits(row["test_errors"], row["held_out"])[0])
        out |= {(job, name): 10 ** min(log10, 300.0) - low for name, log10 in row.get("certificates", {}).items()}
    return out


def _table(records: Records, grid: dict[str, tuple[int, ...]], seeds: int) -> list[dict[str, Any]]:
    table = []
    for target, sizes in grid.items():
        for learner in LEARNERS:
            for n in sizes:
                rows = [row for job, row in records.items() if (job.target, job.learner, job.n) == (target, learner, n)]
                errors = np.array([_error(row) for row in rows])
                line: dict[str, Any] = {
                    "target": target, "learner": learner, "n": n, "weights": rows[0]["parameters"],
                    "error": float(errors.mean()), "spread": float(errors.std(ddof=1)) if seeds > 1 else None,
                    "error on sample": float(np.mean([row["error"] for row in rows])),
                }  # fmt: skip
                for name in ("frobenius", "convolutional", "path-norm", "parameter-dudley", "parameter-net"):
                    told = [row.get("certificates", {}).get(name) for row in rows]
                    line[name] = None if None in told else 10 ** float(np.mean(told))
                table.append(line)
    return table


def _settings(quick: bool, seeds: int, grid: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    plan = Job(target="aligned", learner="dense", n=128, seed=0).plan()
    return {
        "quick": quick, "version": VERSION, "seeds": seeds, "n": {key: list(value) for key, value in grid.items()},
        "targets": {
            "aligned": f"binary tree of depth {networks.DEPTH} of functions of two variables, one function a level "
            "(simulations.data.compositional), two classes at its median, inputs uniform on the cube",
            "misaligned": "the same, leaves in bit-reversed order: siblings meet at the root only",
            "teacher": f"random dense ReLU network {'-'.join(map(str, networks.TEACHER))} on normal inputs",
        },
        "trees": [networks.data_of("aligned", 128, seed).notes for seed in range(seeds)],
        "learners": "four weight layers, no biases (a channel of ones instead), ReLU, float32; tree: kernel 2, stride "
        f"2, {networks.WIDTH} channels, shared; local: the same connections, not shared; dense: as many units a layer, "
        "all connected; convnet: kernel 3, stride 2",
        "optimiser": f"SGD, batches of {plan.batch_size}, learning rate {plan.learning_rate:g} falling by a cosine, "
        f"momentum {plan.momentum:g}, weight decay {plan.weight_decay:g}, cross-entropy, about {networks.STEPS} steps "
        "for every n: the same for all learners",
        "held out": networks.HELD_OUT,
        "certificates": f"at {networks.DELTA:g} / (number of certificates), without {', '.join(networks.SLOW)}",
        "bound ratio": "complexity terms at each network's median margin: convolutional over frobenius of the same "
        "weights, and convolutional of the sparse network over frobenius of the dense one",
        "tolerances": WHY,
        "tuned": "depth 3 of the tree, for at depth 4 no learner was better than chance with 512 samples; step size "
        "and steps, in trials on errors of trees 0 to 3; nothing after a bound was evaluated.",
    }  # fmt: skip


def _notes(records: Records, curves: dict[str, np.ndarray], grid: dict[str, tuple[int, ...]]) -> list[str]:
    notes = []
    for target, sizes in grid.items():
        errors = {name: curves[f"{target} | {name} | error"].mean(axis=0) for name in LEARNERS}
        told = ", ".join(f"{name} {values[-1]:.3f}" for name, values in errors.items())
        notes.append(f"{target}: held-out error at n = {sizes[-1]}: {told}.")
        for name in SPARSE:
            better = [n for n, e, d in zip(sizes, errors[name], errors["dense"], strict=True) if e < d - ERROR]
            pairs = curves[f"{target} | {name} | error"] < curves[f"{target} | dense | error"] - ERROR
            notes.append(
                f"{target}: {name} errs less than dense by more than {ERROR:g} on average at n = "
                + (", ".join(map(str, better)) if better else "none of the sizes")
                + f", and in {pairs.sum()} of {pairs.size} single runs."
            )
        if len(sizes) > 1:
            slopes = {name: np.polyfit(np.log(sizes), np.log(values), 1)[0] for name, values in errors.items()}
            notes.append(f"{target}: error falls like n to the power "
                         + ", ".join(f"{slope:.2f} ({name})" for name, slope in slopes.items())
                         + "; the bounds at fixed norms and margin have -0.5 for all.")  # fmt: skip
    late = [f"{j.learner} on {j.target} {j.seed}, n = {j.n} ({row['error']:.2f})" for j, row in records.items()
            if row["error"] > UNTRAINED]  # fmt: skip
    notes.append(f"Not trained to an error below {UNTRAINED:g} on the sample: " + ("; ".join(late) or "none") + ".")
    for name in SPARSE:
        told, own, trained = (curves[f"{name} | {key}"].mean(axis=0) for key in ("predicted", "own", "trained"))
        notes.append(
            f"bound, {name}: predicted to shrink to {told[-1]:.3f} of the dense statement; on its own weights "
            f"{own[-1]:.3f}, against the trained dense network {trained.min():.3g} to {trained.max():.3g}: the sparse "
            f"network's norms over margin are {_range(trained / own)} times those of the dense one."
        )
    slack = _slacks(records)
    (job, name), value = min(slack.items(), key=lambda item: item[1])
    notes.append(f"In {len(slack)} evaluations the certificate nearest to the error's lower limit is {name}, "
                 f"{value:.3g} above it ({job.target}, {job.learner}, n = {job.n}).")  # fmt: skip
    return notes


def _range(values: np.ndarray) -> str:
    return f"{values.min():.2g} to {values.max():.2g}"


STYLES = {"dense": ("s", "0.75", "-"), "tree": ("o", "k", "-"), "local": ("^", "w", "--"), "convnet": ("D", "0.4", ":")}


def draw(result: ExperimentResult, figure: Figure) -> None:
    """Held-out error against n with and without a tree to follow, and the ratio of bounds."""
    get = {key: np.asarray(value, float) for key, value in result.curves.items()}
    targets = [target for target in networks.TARGETS if f"{target} | n" in get]
    figure.set_size_inches(3.7 * (len(targets) + 1) + 0.6, 4.3)
    axes = figure.subplots(1, len(targets) + 1)
    titles = {"aligned": "a tree, leaves in order", "misaligned": "the same tree, leaves scattered",
              "teacher": "a random dense network"}  # fmt: skip
    for ax, target in zip(axes, targets, strict=False):
        for name in LEARNERS:
            _points(ax, get[f"{target} | n"], get[f"{target} | {name} | error"], name, STYLES[name][2])
        ax.sharey(axes[0])
        _log(ax, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5))
        ax.set_title(titles[target], fontsize=10.5)
    axes[0].set_ylabel(f"error on {networks.HELD_OUT:,} held-out samples")
    axes[0].legend(fontsize=8.5, frameon=False)
    ax = axes[-1]
    for name in SPARSE:
        _points(ax, get["aligned | n"], get[f"{name} | trained"], name, "none")
        ax.plot(get["aligned | n"], get[f"{name} | predicted"].mean(axis=0), color="k", ls=STYLES[name][2], lw=1.3,
                label=f"{name}, predicted")  # fmt: skip
        if name in EXACT:
            ax.plot(get["aligned | n"], get[f"{name} | own"].mean(axis=0), "k+", ms=7)
    ax.plot([], [], "k+", label="both bounds of one network")
    ax.axhline(1, color="0.7", lw=0.8, zorder=0)
    _log(ax, (0.2, 0.5, 1, 2, 5))
    ax.set_ylabel("bound: convolutional / dense")
    ax.set_title("ratio of bounds at the median margin", fontsize=10.5)
    ax.legend(fontsize=7.5, frameon=False, ncols=2)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xlabel("samples n  (bars: range over targets)")
        sizes = get["aligned | n"]
        ax.set_xticks(sizes, [f"{n:g}" for n in sizes])
        ax.set_xlim(sizes.min() / 1.15, sizes.max() * 1.15)
        ax.minorticks_off()
    agreement = result.agreement
    figure.suptitle(
        f"Sparse against dense networks: {agreement.verdict} ({agreement.agreeing} of {len(agreement.checks)} checks)"
    )


def _log(ax: Axes, ticks: tuple[float, ...]) -> None:
    ax.set_yscale("log")
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def _points(ax: Axes, n: np.ndarray, values: np.ndarray, name: str, line: str) -> None:
    """Mean over seeds, and their range."""
    mean, low, high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
    marker, fill, _ = STYLES[name]
    beside = n * 2 ** (0.07 * (LEARNERS.index(name) - 1.5))  # so that bars do not hide each other
    ax.errorbar(beside, mean, yerr=(mean - low, high - mean), fmt=marker, ls=line, color="k", mfc=fill, mec="k", ms=5,
                lw=1, ecolor="0.5", elinewidth=0.8, capsize=1.5, label=name)  # fmt: skip
