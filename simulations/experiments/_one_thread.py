"""One thread for PyTorch while small networks are trained: fastest alone, and far from it beside other work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread inside, on as many as before outside.

    With two threads on two busy cores the threads wait for each other at every operation on tensors this small:
    ``unconstrained-features`` then took twenty times the processor time.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
