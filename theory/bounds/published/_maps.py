"""Norms of the layers as published forms read them: of explicit matrices, or of kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from theory.bounds._chain import Layer
from theory.bounds._homogenised import homogenised
from theory.bounds._hypotheses import homogeneous, layered, no_bias
from theory.bounds._layered import carries_one, conv_arguments, plain_spectral
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import Assumption
from theory.norms import (
    filter_norm_2_1,
    frobenius_norm,
    norm_1_inf,
    norm_2_1,
    spectral_norm,
    toeplitz_frobenius,
    toeplitz_norm_2_1,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """Upper norms of the matrix of a layer: spectral, Frobenius, rows of the difference from the reference, (1,inf)."""

    spectral: float
    frobenius: float
    distance_2_1: float
    row: float
    width: int


def matrices(network: Network) -> tuple[Map, ...]:
    """Explicit matrices: biases of dense networks carried by a unit of value 1, convolutions as Toeplitz matrices."""
    return network.remember("published matrices", lambda: _matrices(network))


def _matrices(network: Network) -> tuple[Map, ...]:
    chain = network.chain
    if chain.dense:
        pairs = zip(homogenised(chain, centre=False), homogenised(chain, centre=False, reference=True), strict=True)
        return tuple(_dense(W, M) for W, M in pairs)
    return tuple(
        _conv(network, layer) if layer.is_conv else _dense(layer.weight, _start(layer)) for layer in chain.layers
    )


def _dense(W: np.ndarray, M: np.ndarray) -> Map:
    return Map(
        spectral=spectral_norm(W).upper, frobenius=frobenius_norm(W), distance_2_1=norm_2_1(W - M), row=norm_1_inf(W),
        width=max(W.shape),
    )  # fmt: skip


def _conv(network: Network, layer: Layer) -> Map:
    K, shape = layer.weight, conv_arguments(layer)
    return Map(
        spectral=plain_spectral(network, layer),
        frobenius=toeplitz_frobenius(K, layer.input_shape[1:], **shape),
        distance_2_1=toeplitz_norm_2_1(K - _start(layer), layer.input_shape[1:], **shape),
        row=float(np.abs(K).sum(axis=tuple(range(1, K.ndim))).max()) * (1 + K[0].size * 2.0**-52),
        width=max(math.prod(layer.input_shape), math.prod(layer.output_shape)),
    )  # fmt: skip


def _start(layer: Layer) -> np.ndarray:
    return np.zeros_like(layer.weight) if layer.reference is None else layer.reference


def operator_norms(network: Network) -> list[float]:
    """Spectral norms of the maps, from above; biases play no part."""
    return [plain_spectral(network, layer) for layer in network.chain.layers]


def distances(network: Network) -> list[np.ndarray]:
    """Kernels less those of the reference."""
    return [layer.weight - _start(layer) for layer in network.chain.layers]


def filter_distances(network: Network) -> list[float]:
    """``sum over outputs and kernel positions of the length over input channels`` of W - M."""
    return [filter_norm_2_1(d) if d.ndim > 2 else norm_2_1(d) for d in distances(network)]


def rows_2_1(kernel: np.ndarray) -> float:
    """Sum over filters of their lengths."""
    return norm_2_1(kernel.reshape(len(kernel), -1))


def sides(network: Network) -> list[tuple[int, int, int]]:
    """Input side (last axis; 1 for a dense layer), stride and input channels of each layer."""
    found = []
    for layer in network.chain.layers:
        if layer.is_conv:
            found.append((layer.input_shape[-1], conv_arguments(layer)["stride"][-1], layer.input_shape[0]))
        else:
            found.append((1, 1, layer.input_shape[0]))
    return found


def inputs(problem: Problem, *, carried: bool = True) -> np.ndarray:
    """Inputs (n, d) of the first weights, with a column of ones where dense layers have biases."""
    X = problem.inputs.reshape(problem.n, -1)
    return np.column_stack([X, np.ones(problem.n)]) if carried and problem.chain.has_bias else X


def rms(X: np.ndarray) -> float:
    """``sqrt(mean ||x_i||^2)``."""
    return math.sqrt(float((X**2).sum()) / len(X))


def plain_layers(network: Network) -> Assumption:
    """Dense layers and convolutions, none diagonal."""
    bad = [layer.name for layer in network.chain.layers if not layer.is_conv and layer.weight.ndim < 2]
    return Assumption(
        name="dense or convolutional layers", holds=not bad, reason=f"{bad[0]!r} is diagonal" if bad else "all are"
    )


def no_pools(network: Network) -> Assumption:
    """Nothing but activations between the layers."""
    bad = [layer.name for layer in network.chain.layers if layer.pools]
    reason = f"one follows {bad[0]!r}" if bad else "there is none"
    return Assumption(name="no pooling between the layers", holds=not bad, reason=reason)


def matrix_hypotheses(network: Network) -> tuple[Assumption, ...]:
    """One layer after the other, homogeneous activations, no pooling; biases in dense networks only."""
    first = layered(network)
    if not first.holds:
        return (first,)
    biases = carries_one(network) if network.chain.dense else no_bias(network)
    return (first, plain_layers(network), no_pools(network), homogeneous(network), biases)


def kernel_hypotheses(network: Network) -> tuple[Assumption, ...]:
    """One layer after the other, homogeneous activations, no pooling, no biases."""
    first = layered(network)
    if not first.holds:
        return (first,)
    return (first, plain_layers(network), no_pools(network), homogeneous(network), no_bias(network))
