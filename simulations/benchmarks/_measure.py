"""Clocks, versions and the rates of this machine, the same for every benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from typing import TypeVar

import numpy as np

T = TypeVar("T")


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of BLAS, OpenMP and, where it is installed, PyTorch; as many as before afterwards."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    try:
        import torch
    except ImportError:
        with threadpool_limits(1):
            yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def timed(call: Callable[[], T], repeats: int = 1) -> tuple[T, float]:
    """The last value and the least wall time of ``repeats`` calls."""
    best = np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        value = call()
        best = min(best, time.perf_counter() - began)
    return value, float(best)


def timed_for(call: Callable[[], T], seconds: float = 0.2, most: int = 50) -> tuple[T, float]:
    """The same, repeated for about ``seconds``, at least once and at most ``most`` times."""
    value, best = timed(call)
    return timed(call, min(most, int(seconds / max(best, 1e-9)))) if best < seconds / 2 else (value, best)


def version(*packages: str) -> str | None:
    """``"cvxpy 1.7.3, clarabel 0.11.1"``; None where one is not installed."""
    try:
        return ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    except metadata.PackageNotFoundError:
        return None


@cache
def gemm_rate(dtype: str = "float64", n: int = 1024) -> float:
    """Floating-point operations per second of one product of n x n matrices on one thread, best of five."""
    A = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
    with one_thread():
        return 2 * n**3 / timed(lambda: A @ A, 5)[1]


@cache
def read_rate(mebibytes: int = 256) -> float:
    """Bytes per second of one sum over an array far larger than the caches, on one thread, best of five."""
    data = np.ones(mebibytes * 2**17)
    return data.nbytes / timed(lambda: data.sum(), 5)[1]
