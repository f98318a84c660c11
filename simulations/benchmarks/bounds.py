"""Certificates of a ResNet-18-sized network: seconds for each bound, peak memory, against exact spectra of its layers.

Random weights, 11 million parameters, 32 x 32 inputs, outputs given (their cost is the network's own, not the
bounds'). The peer is what a careful user does today: a batched SVD of all Fourier blocks for each convolution
(sedghi2019singular). Run as ``python -m simulations.benchmarks.bounds``.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from theory.architecture import Activation, Add, Architecture, BatchNorm, Conv, GlobalAvgPool, GraphBuilder, Linear
from theory.bounds import Sample, certificates, compare
from theory.norms import conv_spectral_norm


def resnet18(classes: int = 10, widths: tuple[int, ...] = (64, 128, 256, 512), side: int = 32) -> Architecture:
    """The residual network of 18 layers for small images: 3 x 3 stem, four stages of two blocks."""
    g = GraphBuilder((3, side, side))

    def conv(x: str, channels: int, name: str, kernel: int = 3, stride: int = 1) -> str:
        op = Conv(channels, kernel, stride=stride, padding=kernel // 2, bias=False)
        return g.add(BatchNorm(), g.add(op, x, name=name), name=f"{name}_bn")

    x = g.add(Activation("relu"), conv(g.input, widths[0], "stem"))
    for i, width in enumerate(widths):
        for j in range(2):
            stride = 2 if i and not j else 1
            name = f"stage{i + 1}_{j + 1}"
            branch = g.add(Activation("relu"), conv(x, width, f"{name}a", stride=stride))
            branch = conv(branch, width, f"{name}b")
            skip = conv(x, width, f"{name}s", kernel=1, stride=stride) if stride > 1 else x
            x = g.add(Activation("relu"), g.add(Add(), branch, skip))
    g.add(Linear(classes), g.add(GlobalAvgPool(), x), name="head")
    return g.build()


def problem(n: int = 100, seed: int = 0) -> tuple[Architecture, dict[str, np.ndarray], Sample]:
    """Network, weights and a sample whose outputs are drawn, not computed."""
    rng = np.random.default_rng(seed)
    net = resnet18()
    weights = net.random_weights(rng=rng)
    y = rng.integers(10, size=n)
    scores = rng.standard_normal((n, 10)) + 5 * np.eye(10)[y]
    return net, weights, Sample(X=rng.standard_normal((n, 3, 32, 32)), y=y, outputs=scores)


def full_spectra(net: Architecture, weights: dict[str, np.ndarray]) -> float:
    """Seconds of the batched SVD of all Fourier blocks of every convolution (circular, stride ignored)."""
    began = time.perf_counter()
    for node in net.nodes:
        if isinstance(node.operation, Conv):
            size = node.input_shapes[0][1:]
            blocks = np.fft.fft2(weights[f"{node.name}.weight"], size, axes=(2, 3)).transpose(2, 3, 0, 1)
            np.linalg.svd(blocks, compute_uv=False).max()
    return time.perf_counter() - began


def main() -> None:
    """Print a table."""
    net, weights, sample = problem()
    times: list[tuple[str, float]] = []
    began = time.perf_counter()

    def tick(done: int, total: int, name: str) -> None:
        times.append((name, time.perf_counter()))

    result = compare(net, weights, sample, bounds=certificates(radius=100.0), callback=tick)
    end = time.perf_counter()
    print(f"{net.n_parameters / 1e6:.1f} million parameters, n = {result.n}")
    stops = [t for _, t in times[1:]] + [end]
    for (name, start), stop in zip(times, stops, strict=True):
        print(f"  {name:<24}{stop - start:8.2f} s")
    print(f"  {'all certificates':<24}{end - began:8.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024) / 1024
    print(f"  {'peak memory':<24}{peak:8.2f} GiB")
    began = time.perf_counter()
    for node in net.nodes:
        if isinstance(node.operation, Conv):
            op = node.operation
            conv_spectral_norm(
                weights[f"{node.name}.weight"], node.input_shapes[0][1:], stride=op.stride, padding=op.paddings(2)
            )
    ours = time.perf_counter() - began
    if "--quick" not in sys.argv:
        peer = full_spectra(net, weights)
        print(f"  operator norms alone: {ours:.2f} s; batched SVD of all blocks {peer:.2f} s, ratio {peer / ours:.1f}")


if __name__ == "__main__":
    main()
