"""Certificates of residual networks up to the size of ResNet-18: seconds, and the norms of their convolutions.

Random weights, 32 x 32 inputs, outputs given (their cost is the network's own, not the bounds'). The peer is what a
careful user does: a batched SVD of all Fourier blocks of each convolution (sedghi2019singular), which has circular
padding and no stride, and is no bound of the layer as it stands.
Run as ``python -m simulations.benchmarks.bounds [--quick]``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from simulations.benchmarks._comparison import OURS, Comparison, Entry, against
from simulations.benchmarks._measure import gemm_rate, read_rate, timed, version
from simulations.benchmarks._report import print_tables
from theory.architecture import Activation, Add, Architecture, BatchNorm, Conv, GlobalAvgPool, GraphBuilder, Linear
from theory.bounds import Sample, certificates
from theory.bounds import compare as compare_bounds
from theory.norms import NormBracket, conv_spectral_norm

FOURIER = "batched SVD of all Fourier blocks"
RADIUS = 100.0


def resnet18(classes: int = 10, widths: tuple[int, ...] = (64, 128, 256, 512), side: int = 32) -> Architecture:
    """The residual network for small images, 18 layers at four widths: 3 x 3 stem, a stage of two blocks per width."""
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


def problem(widths: tuple[int, ...], n: int = 100, seed: int = 0) -> tuple[Architecture, dict[str, np.ndarray], Sample]:
    """Network, weights and a sample whose outputs are drawn, not computed."""
    rng = np.random.default_rng(seed)
    net = resnet18(widths=widths)
    weights = net.random_weights(rng=rng)
    y = rng.integers(10, size=n)
    scores = rng.standard_normal((n, 10)) + 5 * np.eye(10)[y]
    return net, weights, Sample(X=rng.standard_normal((n, 3, 32, 32)), y=y, outputs=scores)


def compare(quick: bool = False, callback: Callable[[str], None] | None = None) -> list[Comparison]:
    """All norms of the convolutions, and all certificates, of networks of rising width."""
    say = callback or (lambda line: None)
    widths = ((4,), (8,)) if quick else ((16, 32, 64, 128), (64, 128, 256, 512))
    if not quick:
        _certified(*problem((2,), n=10))  # what is imported at the first use is not part of the times
    norms: list[Entry] = []
    bounds: list[Entry] = []
    flops, reads = {}, {}
    for width in widths:
        net, weights, sample = problem(width)
        size = float(f"{net.n_parameters / 1e6:.3g}")
        say(f"norms, {size:g} million parameters")
        norms += _norms(net, weights, size)
        flops[size] = _application(net, weights)
        if quick and width != widths[-1]:
            continue
        say(f"certificates, {size:g} million parameters")
        bounds.append(_certificates(net, weights, sample, size))
        reads[size] = 8 * net.n_parameters / read_rate()
    settings = "Random weights, 32 x 32 inputs, batch norm; one thread, float64, seed 0."
    first = Comparison(
        name="resnet_norms",
        claim="Norms of all convolutions of a residual network: "
        f"{against(norms, 'M', np.inf)}, for circular padding without strides",
        entries=tuple(norms), floor=flops, size_label="million parameters M",
        error_label="worst layer: (upper − lower) / lower; of the peer, its distance to our bracket / lower",
        floor_label="one application of every convolution and of its transpose to one image, at the rate of a product.",
        settings=settings + " Zero padding and strides as in the network for ours.",
    )  # fmt: skip
    last = bounds[-1]
    second = Comparison(
        name="certificates",
        claim=f"All certificates of a network of {last.size:g} million parameters in {last.outcome} s",
        entries=tuple(bounds), floor=reads, size_label="million parameters", error_label="none: each is a bound",
        floor_label="one read of the weights.", settings=f"{settings} No other program that we know computes these.",
    )  # fmt: skip
    return [first, second]


def _norms(net: Architecture, weights: dict[str, np.ndarray], size: float) -> list[Entry]:
    found, seconds = timed(lambda: {name: _norm(net, weights, name) for name in _convolutions(net)})
    peer, peer_seconds = timed(lambda: {name: fourier(net, weights, name) for name in found})
    width = max(norm.upper / norm.lower - 1 for norm in found.values())
    away = max(
        max(value - found[name].upper, found[name].lower - value, 0.0) / found[name].lower
        for name, value in peer.items()
    )
    installed = str(version("numpy", "scipy"))
    return [
        Entry(method=OURS, version=installed, size=size, seconds=seconds, error=width,
              note=f"{len(found)} convolutions, bounds on both sides"),
        Entry(method=FOURIER, version=str(version("numpy")), size=size, seconds=peer_seconds, error=away,
              note="circular padding, stride ignored: another operator"),
    ]  # fmt: skip


def _convolutions(net: Architecture) -> list[str]:
    return [node.name for node in net.nodes if isinstance(node.operation, Conv)]


def _application(net: Architecture, weights: dict[str, np.ndarray]) -> float:
    """Seconds of every convolution and its transpose on one image; each output takes one multiplication per weight."""
    work = 0.0
    for name in _convolutions(net):
        kernel = weights[f"{name}.weight"]
        work += 4 * np.prod(net[name].shape[1:]) * kernel.size
    return work / gemm_rate()


def _norm(net: Architecture, weights: dict[str, np.ndarray], name: str) -> NormBracket:
    node = net[name]
    op, shape = node.operation, node.input_shapes[0][1:]
    assert isinstance(op, Conv)
    return conv_spectral_norm(weights[f"{name}.weight"], shape, stride=op.stride, padding=op.paddings(2))


def fourier(net: Architecture, weights: dict[str, np.ndarray], name: str) -> float:
    """The largest singular value of all Fourier blocks of one convolution (circular, stride ignored)."""
    size = net[name].input_shapes[0][1:]
    blocks = np.fft.fft2(weights[f"{name}.weight"], size, axes=(2, 3)).transpose(2, 3, 0, 1)
    return float(np.linalg.svd(blocks, compute_uv=False).max())


def _certificates(net: Architecture, weights: dict[str, np.ndarray], sample: Sample, size: float) -> Entry:
    spent, seconds = timed(lambda: _certified(net, weights, sample))
    slowest = sorted(spent, key=lambda name: -spent[name])[:3]
    note = f"{len(spent)} bounds; slowest " + ", ".join(f"{name} {spent[name]:.2f} s" for name in slowest)
    return Entry(method=OURS, version=str(version("numpy", "scipy")), size=size, seconds=seconds, error=None, note=note)


def _certified(net: Architecture, weights: dict[str, np.ndarray], sample: Sample) -> dict[str, float]:
    """Seconds of each certificate."""
    stops: list[tuple[str, float]] = []
    compare_bounds(net, weights, sample, bounds=certificates(radius=RADIUS),
                   callback=lambda done, total, name: stops.append((name, time.perf_counter())))  # fmt: skip
    ends = [t for _, t in stops[1:]] + [time.perf_counter()]
    return {name: end - start for (name, start), end in zip(stops, ends, strict=True)}


def main() -> None:
    """Print both tables."""
    print_tables(compare)


if __name__ == "__main__":
    main()
