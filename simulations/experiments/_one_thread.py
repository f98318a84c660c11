"""One thread for a while: small matrices are fastest so, and results do not depend on the number of cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from simulations._torch import import_torch


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of PyTorch, BLAS and OpenMP inside, as many as before afterwards."""
    # a dependency of scikit-learn, which has the digits
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    torch = import_torch("an experiment")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
