"""Collapse metrics of a PyTorch module against the usual loop over samples, and what a monitor costs a training.

The usual program hears the features through a hook and loops over the samples twice, for class sums and for one d x d
outer product each, in single precision, and takes a pseudo-inverse (zhu2021geometric's algorithm, written anew).
Run as ``python -m simulations.benchmarks.bridge_collapse [--quick]``.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

from simulations._torch import import_torch
from simulations.benchmarks._comparison import OURS, Comparison, Entry, against, walk
from simulations.benchmarks._measure import gemm_rate, read_rate, timed, timed_for, version
from simulations.benchmarks._peers_collapse import exact_nc1
from simulations.benchmarks._report import print_tables
from simulations.benchmarks.collapse_metrics import CLASSES, DIMENSION, features

BATCH = 500
USUAL = "hook and loop over samples, float32, pinv"


def usual_nc1(module: Any, batches: list[tuple[Any, Any]], K: int) -> float:
    """Return Tr(Sw pinv(Sb))/K, summed sample by sample in single precision."""
    torch = import_torch("this benchmark")
    heard: list[Any] = []
    handle = module[-1].register_forward_hook(lambda layer, args, output: heard.append(args[0]))
    d = module[-1].in_features
    sums, counts, total = torch.zeros(K, d), [0] * K, torch.zeros(d)
    within = torch.zeros(d, d)
    with torch.no_grad():
        for inputs, labels in batches:
            module(inputs)
            found = heard.pop()
            for i in range(len(labels)):
                k = labels[i].item()
                sums[k] += found[i]
                total += found[i]
                counts[k] += 1
        N = sum(counts)
        means, centre = sums / torch.tensor(counts)[:, None], total / N
        for inputs, labels in batches:
            module(inputs)
            found = heard.pop()
            for i in range(len(labels)):
                deviation = found[i] - means[labels[i].item()]
                within += torch.outer(deviation, deviation)
        between = (means - centre).T @ (means - centre) / K
        value = torch.trace(within / N @ torch.linalg.pinv(between)) / K
    handle.remove()
    return float(value)


def compare(quick: bool = False, callback: Callable[[str], None] | None = None) -> list[Comparison]:
    """Metrics of a module over batches, and a training under a monitor.

    Raises
    ------
    PreconditionError : PyTorch is not installed.
    """
    import_torch("this benchmark")
    say = callback or (lambda line: None)
    return [_metrics((1000, 3000) if quick else (2500, 25_000), say), _monitor(30 if quick else 200, say)]


def _metrics(sizes: tuple[int, ...], say: Callable[[str], None], limit: float = 20.0) -> Comparison:
    torch = import_torch("this benchmark")
    from simulations.bridge import last_layer_features

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(DIMENSION, CLASSES))
    entries, floor, truth, loaders = [], {}, {}, {}
    torch_version = str(version("torch"))
    for N in sizes:
        say(f"ours, {N} samples")
        X, y = features(N)
        loaders[N] = batches = [
            (torch.from_numpy(X[i : i + BATCH]), torch.from_numpy(y[i : i + BATCH])) for i in range(0, N, BATCH)
        ]
        truth[N] = exact_nc1(X, y, CLASSES)
        record, seconds = timed_for(lambda batches=batches: last_layer_features(module, batches), 1.0, 5)  # type: ignore[misc]
        tracemalloc.start()
        last_layer_features(module, batches, cache=0)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        entries.append(Entry(method=OURS, version=torch_version, size=N, seconds=seconds,
                             error=abs(record.metrics.nc1_zhu / truth[N] - 1),
                             note=f"NC1-NC4; peak of arrays {peak:.1f} MiB with no features kept"))  # fmt: skip
        floor[float(N)] = 2 * N * DIMENSION * (CLASSES - 1) / gemm_rate() + 2 * X.nbytes / read_rate()

    def at(N: float) -> Entry:
        say(f"{USUAL}, {N:g} samples")
        value, seconds = timed(lambda: usual_nc1(module, loaders[int(N)], CLASSES))
        return Entry(method=USUAL, version=torch_version, size=N, seconds=seconds, error=abs(value / truth[int(N)] - 1))

    entries += walk(USUAL, torch_version, sizes, at, limit)
    return Comparison(
        name="bridge_collapse", claim=f"Collapse metrics of a module over batches: {against(entries, 'N')}",
        entries=tuple(entries), floor=floor, size_label="samples N",
        error_label="|NC1 / NC1 in extended precision − 1|",
        floor_label="two reads of the float32 features and one float64 product with a basis of the class means.",
        settings=f"{DIMENSION} dimensions, {CLASSES} classes, batches of {BATCH} in memory; one thread, seed 0.",
    )  # fmt: skip


def _monitor(epochs: int, say: Callable[[str], None], seed: int = 0) -> Comparison:
    entries = []
    shares = []
    for batch in (32, 128):
        say(f"training under a monitor, batches of {batch}")
        monitor = _watched_training(epochs, batch, seed)
        alone, looks = monitor.training_seconds, len(monitor.records)
        shares.append(monitor.seconds / alone)
        note = f"{looks} looks of {monitor.seconds / looks:.4f} s, {shares[-1]:.1%} of the training"
        entries += [
            Entry(method=OURS, version=str(version("torch")), size=batch, seconds=alone + monitor.seconds, error=None,
                  note=note),
            Entry(method="the same training without a monitor", version=str(version("torch")), size=batch,
                  seconds=alone, error=None),
        ]  # fmt: skip
    return Comparison(
        name="collapse_monitor",
        claim=f"A collapse monitor at its default adds at most {max(shares):.1%} to a training on digits",
        entries=tuple(entries), size_label="samples per batch", error_label="none: both train the same network",
        settings=f"perceptron 64-256-256-10 on the digits of scikit-learn, {epochs} epochs of SGD, the monitor's own "
        f"clock; one thread, float32, seed {seed}.",
    )  # fmt: skip


def _watched_training(epochs: int, batch: int, seed: int) -> Any:
    """A perceptron 64-256-256-10 on 1,297 digits by SGD; the monitor."""
    torch = import_torch("this benchmark")
    from simulations.bridge import CollapseMonitor
    from simulations.data import digits

    data = digits(flat=True)
    X, y = torch.as_tensor(data.X, dtype=torch.float32), torch.as_tensor(data.y)
    layers: list[Any] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for before, after in itertools.pairwise((64, 256, 256, 10)):
            layers += [torch.nn.Linear(before, after, bias=False), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    monitor = CollapseMonitor((X, y))
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    with monitor.watch(model):
        for _ in range(epochs):
            for rows in torch.randperm(len(y), generator=generator).split(batch):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
                optimiser.step()
            monitor.step()
    return monitor


def main() -> None:
    """Print both tables."""
    print_tables(compare)


if __name__ == "__main__":
    main()
