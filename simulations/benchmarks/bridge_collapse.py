"""Collapse metrics of a module against the usual per-sample program, and what a monitor costs a training.

The usual program loops over the samples twice, for class sums and for one d x d outer product each, in single
precision, and takes a pseudo-inverse (the algorithm of the script of zhu2021geometric, written anew). It runs on one
part in 25 of the samples, its seconds scaled up; its NC1 and ours on that part are compared with least squares in
double precision. All in one process, on the same batches through the same module. Peaks are of the arrays that Python
allocates beyond the data, the tensors of one batch not counted, with no features kept between the passes; the default
keeps up to 64 MiB. The second table trains a perceptron on scikit-learn's digits under a monitor at its default, whose
share is its seconds over the seconds of the training without it.
Run as ``OPENBLAS_NUM_THREADS=1 python -m simulations.benchmarks.bridge_collapse [--quick]``; PyTorch is set to one
thread, and threads of NumPy that wait for each other cost more than they bring.
"""

from __future__ import annotations

import itertools
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from simulations._torch import import_torch

PART, LEAST = 25, 1000  # of the samples for the usual program


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
            features = heard.pop()
            for i in range(len(labels)):
                k = labels[i].item()
                sums[k] += features[i]
                total += features[i]
                counts[k] += 1
        N = sum(counts)
        means, centre = sums / torch.tensor(counts)[:, None], total / N
        for inputs, labels in batches:
            module(inputs)
            features = heard.pop()
            for i in range(len(labels)):
                deviation = features[i] - means[labels[i].item()]
                within += torch.outer(deviation, deviation)
        between = (means - centre).T @ (means - centre) / K
        value = torch.trace(within / N @ torch.linalg.pinv(between)) / K
    handle.remove()
    return float(value)


def collapse_rows(samples: tuple[int, ...] = (12_500, 50_000), seed: int = 0) -> list[dict[str, float]]:
    """Return seconds, ratio and peak memory of both for 100 classes in 512 dimensions, and errors of NC1."""
    return [_collapse_row(N, np.random.default_rng(seed)) for N in samples]


def _collapse_row(N: int, rng: np.random.Generator, K: int = 100, d: int = 512, size: int = 500) -> dict[str, float]:
    torch = import_torch("this benchmark")
    from simulations.benchmarks.collapse_metrics import reference_nc1
    from simulations.bridge import last_layer_features

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(d, K))
    centres = rng.standard_normal((K, d)) / np.sqrt(d) * 5
    y = np.arange(N) % K
    X = np.empty((N, d), dtype=np.float32)
    for i in range(0, N, size):
        X[i : i + size] = centres[y[i : i + size]] + 0.1 * rng.standard_normal((size, d))
    batches = [(torch.from_numpy(X[i : i + size]), torch.from_numpy(y[i : i + size])) for i in range(0, N, size)]
    record, seconds = _timed(lambda: last_layer_features(module, batches), 3)
    tracemalloc.start()
    last_layer_features(module, batches, cache=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    few = batches[: max(N // PART, LEAST) // size]
    small = len(few) * size
    truth = reference_nc1(X[:small], y[:small], K)
    ours = last_layer_features(module, few).metrics.nc1_zhu
    usual, usual_seconds = _timed(lambda: usual_nc1(module, few, K), 1)
    return {
        "samples": N,
        "seconds": seconds,
        "usual_seconds": usual_seconds * N / small,
        "times_faster": usual_seconds * N / small / seconds,
        "peak_mib": peak / 2**20,
        "nc1": record.metrics.nc1_zhu,
        "relative_error": abs(ours / truth - 1),
        "usual_relative_error": abs(usual / truth - 1),
    }


def monitor_rows(epochs: int = 200, seed: int = 0) -> list[dict[str, float]]:
    """Return what the monitor cost two trainings on digits, by its own clock."""
    rows = []
    for batch in (32, 128):
        monitor = _watched_training(epochs, batch, seed)
        rows.append(
            {
                "batch": batch,
                "epochs": epochs,
                "training_seconds": monitor.training_seconds,
                "looks": len(monitor.records),
                "seconds_per_look": monitor.seconds / len(monitor.records),
                "share": monitor.seconds / monitor.training_seconds,
            }
        )
    return rows


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


def _timed(call: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """Return the value and the least wall time."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        value = call()
        best = min(best, time.perf_counter() - start)
    return value, best


def main() -> None:
    """Print both tables."""
    torch = import_torch("this benchmark")
    quick, threads = "--quick" in sys.argv[1:], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        print(f"{'samples':>9}{'ours s':>9}{'usual s':>9}{'ratio':>8}{'peak MiB':>10}{'our err':>10}{'usual err':>11}")
        for row in collapse_rows((5_000, 10_000) if quick else (12_500, 50_000)):
            print(
                f"{row['samples']:9.0f}{row['seconds']:9.3f}{row['usual_seconds']:9.1f}{row['times_faster']:8.1f}"
                f"{row['peak_mib']:10.1f}{row['relative_error']:10.1e}{row['usual_relative_error']:11.1e}"
            )
        print(f"\n{'batch':>9}{'epochs':>9}{'training s':>12}{'looks':>7}{'s per look':>12}{'share':>8}")
        for row in monitor_rows(60 if quick else 200):
            print(
                f"{row['batch']:9.0f}{row['epochs']:9.0f}{row['training_seconds']:12.2f}{row['looks']:7.0f}"
                f"{row['seconds_per_look']:12.4f}{row['share']:8.2%}"
            )
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
