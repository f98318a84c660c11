r"""Bound of ledent2021norm for multi-class convolutional networks, with norms of patches in the sample.

With a_l the sum of lengths of filters of K_l - M_l (last layer: Frobenius), B_l the largest patch that layer l + 1
reads anywhere in the sample (B_L = gamma), s_l spectral norms (last layer: largest row), O_l output positions, m_l
output channels, d_l = sqrt(O_l), rho_l = max_{i > l} d_l prod_{l < j <= i} s_j / B_i (1/gamma for the last), r_l =
B_{l-1} rho_l a_l, Gamma = max r_l O_l m_l, W = max O_l m_l,

.. math:: \frac1n \sum_i \phi_\gamma(M_i) + \frac8n + \frac{1536 \ln n}{\sqrt n} \Bigl(\sum_l r_l^{2/3}\Bigr)^{3/2}
          \sqrt{\log_2(32 \Gamma n^2 + 7 W n)} + 3 \sqrt{\frac{\ln(2/\delta)}{2 n}}

*published form* as programs have it, with the last rho_l (which one of them sets to B_{L-1}/gamma) read as 1/gamma.
The B_l are those of the sample, the norms those found by training: no union over them is paid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from theory._errors import PreconditionError
from theory.architecture import INPUT, Architecture, Conv, node_values, outputs
from theory.bounds._chain import Layer
from theory.bounds._layered import conv_arguments
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import Assumption
from theory.bounds.published._form import PublishedForm, listed, log, log_sum, numbered, two_thirds_log
from theory.bounds.published._maps import distances, kernel_hypotheses, operator_norms, rows_2_1
from theory.norms import frobenius_norm

if TYPE_CHECKING:
    import sympy as sp


def patch_complexity(
    a: Sequence[float], s: Sequence[float], B: Sequence[float], positions: Sequence[int], channels: Sequence[int], *,
    n: int, gamma: float,
) -> float:  # fmt: skip
    """Logarithm of the complexity term; B has the patches that layers 1 to L read."""
    L, after = len(a), [*map(log, B[1:]), math.log(gamma)]
    r = []
    for i in range(L):
        reach = [math.fsum(map(log, s[i + 1 : k + 1])) - after[k] for k in range(i + 1, L)]
        rho = max(reach) + math.log(positions[i]) / 2 if reach else -math.log(gamma)
        r.append(log(B[i]) + rho + log(a[i]))
    sizes = [o * m for o, m in zip(positions, channels, strict=True)]
    Gamma = max(v + math.log(w) for v, w in zip(r, sizes, strict=True))
    bits = log_sum([math.log(32) + Gamma + 2 * math.log(n), math.log(7 * max(sizes) * n)]) / math.log(2)
    scale = log(1536 * math.log(n) / math.sqrt(n)) + log(bits) / 2
    return log_sum([math.log(8 / n), scale + two_thirds_log(r)])


class Ledent(PublishedForm):
    """Norms of filters and of patches.

    *published form*: see the module. Cost: one pass through the network for the patches.
    """

    name = "ledent"
    title = "filters and patches, multi-class (Ledent, Mustafa, Lei, Kloft)"
    source = "published form; ledent2021norm"
    meaning = (
        ("a_l", "distances of filters"),
        ("s_l", "spectral norms"),
        ("B_l", "largest patch that layer l reads"),
    )

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Kernels in a row, homogeneous activations, no biases, no pooling."""
        return kernel_hypotheses(network)

    def norms(self, problem: Problem) -> dict[str, float]:
        """Distances, spectral norms and patches; B_1 is that of the inputs."""
        moved, s = distances(problem), operator_norms(problem)
        a = [rows_2_1(d) for d in moved[:-1]] + [frobenius_norm(moved[-1])]
        s[-1] = float(np.linalg.norm(problem.chain.layers[-1].weight, axis=1).max())
        B = problem.remember("largest patches", lambda: _patches(problem))
        if min(B) <= 0:
            raise PreconditionError(f"{self.name} needs activations that do not vanish on the sample: a layer's do.")
        return {**numbered("a", a), **numbered("s", s), **numbered("B", B)}

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``patch_complexity``."""
        layers = network.chain.layers
        a, s, B = (listed(norms, letter, len(layers)) for letter in "asB")
        positions, channels = [v.positions for v in layers], [v.output_shape[0] for v in layers]
        return patch_complexity(a, s, B, positions, channels, n=n, gamma=gamma)

    def complexity(self, network: Network) -> sp.Expr:
        """The middle terms of the module's formula."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        layers = network.chain.layers
        L = len(layers)
        a, S, B = (s.layer_symbols(letter, L) for letter in "asB")
        after = [*B[1:], s.gamma]
        r = [B[-1] / s.gamma * a[-1]]
        for i in range(L - 1):
            reach = sp.Max(*(sp.prod(S[i + 1 : k + 1]) / after[k] for k in range(i + 1, L)))
            r.insert(i, B[i] * sp.sqrt(layers[i].positions) * reach * a[i])
        sizes = [v.positions * v.output_shape[0] for v in layers]
        Gamma = sp.Max(*(v * w for v, w in zip(r, sizes, strict=True)))
        bits = sp.log(32 * Gamma * s.n**2 + 7 * max(sizes) * s.n, 2)
        R = sum(v ** sp.Rational(2, 3) for v in r) ** sp.Rational(3, 2)
        return 8 / s.n + 1536 * sp.log(s.n) / sp.sqrt(s.n) * R * sp.sqrt(bits)


def _patches(problem: Problem) -> list[float]:
    """The largest length of a patch that each layer reads, over positions and samples."""
    chain, graph = problem.chain, problem.graph
    reads = {layer.name: graph[layer.name].inputs[0] for layer in chain.layers}
    keep = tuple(name for name in reads.values() if name != INPUT)
    largest = [0.0] * len(chain)
    for start in range(0, problem.n, 256):
        X = problem.X[start : start + 256]
        values = {INPUT: X, **(node_values(graph, problem.named, X, keep=keep) if keep else {})}
        for i, layer in enumerate(chain.layers):
            largest[i] = max(largest[i], _largest(layer, values[reads[layer.name]]))
    return largest


def _largest(layer: Layer, z: np.ndarray) -> float:
    top = float(np.abs(z).max()) or 1.0  # squares of large weights would overflow
    squares = (z / top) ** 2
    if not layer.is_conv:
        return top * math.sqrt(float(squares.reshape(len(z), -1).sum(axis=1).max()))
    shape = {**conv_arguments(layer), "groups": 1}
    window = Architecture.sequential(
        {"sum": Conv(1, layer.weight.shape[2:], bias=False, **shape)}, input_shape=layer.input_shape
    )
    ones = {"sum.weight": np.ones(window.parameters["sum.weight"])}
    return top * math.sqrt(float(outputs(window, ones, squares).max()))
