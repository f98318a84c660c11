"""Operator norms: certified brackets against the exact SVD, Lanczos, power iteration and the reshaped kernel.

Dense matrices, circular and zero-padded convolutions, by channels and by maps. Only ours says how far it can be off;
power iteration and Lanczos stay below the norm by an amount that they do not know. Run as
``python -m simulations.benchmarks --only operator_norms [--quick]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from math import log2

from simulations.benchmarks._comparison import OURS, Comparison, Entry, not_installed, number, walk
from simulations.benchmarks._measure import gemm_rate, one_thread, timed_for, version
from simulations.benchmarks._norm_peers import CIRCULAR, DENSE, LANCZOS, PADDED, Layer, Method, random_layer, true_norm
from simulations.benchmarks._report import table

Callback = Callable[[str], None]
LIMIT = 2.0  # seconds at one size after which larger ones are not tried
ROUNDING = 1e-13  # of the true norm
ERROR = "|value / true norm - 1|; of ours, its upper end"
SETTINGS = (
    "One thread, float64, Gaussian entries, seed 0. A method that takes more than {limit:g} s is not tried at the next "
    "sizes. Power iteration stops after 15 steps, as PyTorch's does at its start, or at a relative change of 1e-6. The "
    "true norm is ARPACK's to rounding."
)
GRAM = (
    "what a proof needs, the product of the matrix and its transpose, n^3 operations by symmetry, at the rate of a "
    "1024 x 1024 product; what is faster proves nothing."
)
FREQUENCIES = (
    "what a proof needs, the Fourier transform of the kernel and one Gram matrix for half of the frequencies, at the "
    "rate of a 1024 x 1024 product; what is faster proves nothing."
)


def compare(quick: bool = False, callback: Callback | None = None) -> list[Comparison]:
    """Five comparisons; ``quick`` takes three of them, at small sizes."""
    tell = callback or (lambda text: None)
    squares = (64, 128, 256) if quick else (64, 128, 256, 512, 1024, 2048, 4096)
    channels = (8, 16) if quick else (8, 16, 32, 64, 128, 256)
    maps = (8, 16, 32, 64)
    limit = 0.5 if quick else LIMIT
    found = [
        _compare(
            "norm_dense", "Dense matrices", "n (matrix n x n)",
            {n: random_layer(n) for n in squares}, DENSE, limit, tell,
        ),
        _compare(
            "norm_circular", "Circular convolutions by channels", "channels (3 x 3 kernels, 16 x 16 maps, circular)",
            {C: random_layer(C, 16, "circular") for C in channels}, CIRCULAR, limit, tell,
        ),
        _compare(
            "norm_padded", "Zero-padded convolutions by channels", "channels (3 x 3 kernels, 8 x 8 maps, zero-padded)",
            {C: random_layer(C, 8, "zeros") for C in channels}, PADDED, limit, tell,
        ),
    ]  # fmt: skip
    if quick:
        return found
    return [
        *found,
        _compare(
            "norm_circular_maps", "Circular convolutions by maps", "side of the map (32 channels, 3 x 3, circular)",
            {n: random_layer(32, n, "circular") for n in maps}, CIRCULAR, limit, tell,
        ),
        _compare(
            "norm_padded_maps", "Zero-padded convolutions by maps", "side of the map (32 channels, 3 x 3, zero-padded)",
            {n: random_layer(32, n, "zeros") for n in maps}, PADDED, limit, tell,
        ),
    ]  # fmt: skip


def _compare(
    name: str, what: str, size_label: str, layers: Mapping[int, Layer], methods: tuple[Method, ...], limit: float,
    tell: Callback,
) -> Comparison:  # fmt: skip
    """Each method along rising sizes."""
    truths: dict[float, float] = {}
    for size, layer in layers.items():
        tell(f"{name} at {size}: true norm")
        truths[size] = true_norm(layer)
    found: list[Entry] = []
    signed: dict[str, list[float]] = {}
    for method in methods:
        installed = version(*method.packages)
        if installed is None:
            found.append(not_installed(method.name, " and ".join(method.packages), min(layers)))
            continue

        def run(size: float, method: Method = method, installed: str = installed) -> Entry:
            tell(f"{name} at {size:g}: {method.name}")
            made, seconds = timed_for(lambda: method.estimate(layers[int(size)]), 0.1, 5)
            off = made.value / truths[size] - 1
            signed.setdefault(method.name, []).append(off)
            lower = "" if made.lower is None else f"its lower end {1 - made.lower / truths[size]:.0e} below"
            notes = (side(off), lower, made.note)
            return Entry(method=method.name, version=installed, size=size, seconds=seconds, error=abs(off),
                         note="; ".join(note for note in notes if note))  # fmt: skip

        found += walk(method.name, installed, layers, run, limit)
    return Comparison(
        name=name, claim=f"{what}: {verdict(found, signed)}", size_label=size_label, error_label=ERROR,
        entries=tuple(found), floor={size: floor(layer) for size, layer in layers.items()},
        floor_label=GRAM if methods is DENSE else FREQUENCIES, settings=SETTINGS.format(limit=limit),
    )  # fmt: skip


def side(off: float) -> str:
    """On which side of the true norm a value lies, rounding of the reference aside."""
    return "equal" if abs(off) <= ROUNDING else "above" if off > 0 else "below"


def floor(layer: Layer) -> float:
    """Seconds of the arithmetic alone."""
    O, C, F = len(layer.W), layer.W.shape[1], max(1, layer.map) ** 2
    operations = float(O * O * C)  # a symmetric product, half of 2 O O C
    if layer.map:
        operations = 5 * O * C * F * log2(F) + F / 2 * 4 * operations  # complex: four real products
    return operations / gemm_rate()


def verdict(found: list[Entry], signed: Mapping[str, list[float]]) -> str:
    """What the entries say: where ours and power iteration lie, and ours beside an exact SVD and Lanczos in time."""
    mine = signed[OURS]
    above = f"ours is above the norm by at most {max(mine):.0e}"
    parts = [above if min(mine) >= -ROUNDING else f"ours is below the norm by up to {-min(mine):.0e}"]
    exact = [e for e in found if e.method.startswith("SVD") and e.error is not None and e.error < 1e-9]
    for peers in (exact, [e for e in found if e.method == LANCZOS]):
        times = {e.size: (e.seconds, e.method) for e in peers if e.seconds is not None}
        own = {e.size: e.seconds for e in found if e.method == OURS and e.seconds is not None and e.size in times}
        if own:
            last = max(own)
            seconds, method = times[last]
            ratio = max(own[last] / seconds, seconds / own[last])
            relation = "slower" if seconds > own[last] else "faster"
            parts.append(f"at {last:g} the {method} is {number(ratio)} times {relation}".replace("the Lan", "Lan"))
    power = [off for name, values in signed.items() if name.startswith("power") for off in values]
    if power and min(power) < -ROUNDING:
        parts.append(f"power iteration is below by up to {-min(power):.0e}")
    return "; ".join(parts)


def main() -> None:
    """Print the tables."""
    began = time.perf_counter()
    with one_thread():
        for comparison in compare(quick="--quick" in sys.argv[1:]):
            print(table(comparison) + "\n", flush=True)
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
