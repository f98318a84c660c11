"""Which samples a step of SGD sees."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 256  # draws made at once


def batches(N: int, size: int, *, replacement: bool, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Indices (at most ``size``) for ever.

    With replacement every draw is uniform; without, each epoch is a fresh permutation of the N samples cut into
    pieces, the last of which is shorter where ``size`` does not divide N.
    """
    while replacement:
        yield from rng.integers(N, size=(BLOCK, size))
    while True:
        order = rng.permutation(N)
        for start in range(0, N, size):
            yield order[start : start + size]
