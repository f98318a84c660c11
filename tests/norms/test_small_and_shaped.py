"""Norms where rounding is as large as the number itself, and shapes on which a wrong axis or size would show."""

import numpy as np
import pytest

from theory.architecture import Activation, Architecture, BatchNorm, Conv, Flatten, GraphBuilder, Linear, MaxPool
from theory.norms import (
    bi_lipschitz,
    conv_spectral_norm,
    filter_norm_2_1,
    frobenius_norm,
    norm_1_inf,
    norm_2_1,
    self_correlation_norm,
    size_free_norm,
    tap_norms,
    unfolding_norm,
)
from theory.norms.lipschitz import difference_lipschitz, network_lipschitz
from theory.norms.path import path_norm

LEAST = 5e-324  # the smallest positive float64


@pytest.mark.parametrize("method", ["auto", "grid", "gram", "toeplitz", "size-free", "unfoldings"])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_brackets_of_the_smallest_numbers_are_rounded_outwards(method, mode):
    found = conv_spectral_norm([[[3 * LEAST]]], 4, padding_mode=mode, method=method)
    assert found.lower <= 3 * LEAST <= found.upper
    two = conv_spectral_norm([[[LEAST], [3 * LEAST]]], 4, padding_mode=mode, method=method)
    assert two.lower <= 3 * LEAST < two.upper  # sqrt(10) LEAST lies between 3 and 4 of them


def test_lengths_of_the_smallest_numbers_are_rounded_up():
    K = [[[LEAST], [3 * LEAST]]]
    assert tap_norms(K)[0, 0] >= 4 * LEAST and filter_norm_2_1(K) >= 4 * LEAST
    assert frobenius_norm([[LEAST, 3 * LEAST]]) >= 4 * LEAST and norm_2_1([[LEAST, 3 * LEAST]]) >= 4 * LEAST
    assert norm_1_inf([[LEAST, 2 * LEAST]]) >= 3 * LEAST


@pytest.mark.parametrize("bound", [size_free_norm, unfolding_norm, self_correlation_norm])
def test_bounds_for_every_size_of_the_smallest_numbers_and_of_nothing(bound):
    assert 3 * LEAST <= bound([[[3 * LEAST]]]) <= 5 * LEAST
    assert bound(np.zeros((2, 2, 3))) == 0


def test_a_coarse_grid_is_the_one_that_it_says():
    # the symbol of [1, 0, -1] has its peak 2 at a quarter turn, on a grid of 4 but not on one of 2
    assert size_free_norm([[[1.0, 0.0, -1.0]]], points=4) == pytest.approx(2 * np.sqrt(2), rel=1e-12)


def test_the_least_slope_of_a_leaky_activation_is_its_default():
    net = Architecture.sequential([Activation("leaky_relu")], input_shape=3)
    assert bi_lipschitz(net, {}).lower == pytest.approx(0.01)


def test_a_convolution_that_no_skip_bypasses_keeps_its_least_singular_value():
    net = Architecture.sequential([Conv(1, 3, padding=1, bias=False), Flatten()], input_shape=(1, 9))
    K = np.array([[[0.5, 2.0, 0.5]]])
    assert bi_lipschitz(net, {"conv1.weight": K}).lower == pytest.approx(2 - np.cos(np.pi / 10), rel=1e-9)


def test_the_least_number_added_against_underflow_does_not_show():
    net = Architecture.sequential([Linear(1, bias=False), Linear(2, bias=False)], input_shape=1)
    weights = {"linear1.weight": [[1e-10]], "linear2.weight": [[1e-15], [3e-15]]}
    assert difference_lipschitz(net, weights, norm="l2")[0, 1] == pytest.approx(2e-25, rel=1e-12, abs=0)
    assert network_lipschitz(net, weights) == pytest.approx(np.sqrt(10) * 1e-25, rel=1e-9, abs=0)


def test_a_maximum_over_a_square_window_counts_both_axes():
    net = Architecture.sequential([MaxPool(3, 1, padding=1), Flatten()], input_shape=(1, 5, 5))
    assert network_lipschitz(net, {}) == pytest.approx(3)  # an entry is read by 9 windows


@pytest.mark.parametrize("q", [1, 2])
def test_a_normalisation_between_two_activations_weighs_each_channel(q):
    g = GraphBuilder((3, 2))
    g.add(
        Linear(4), g.add(Flatten(), g.add(Activation("relu"), g.add(BatchNorm(eps=1e-300), g.add(Activation("relu")))))
    )
    net, rng = g.build(), np.random.default_rng(0)
    weights = {key: rng.standard_normal(shape) for key, shape in net.parameters.items()}
    weights["batchnorm1.running_var"] = np.array([0.25, 1.0, 4.0])
    scale = weights["batchnorm1.weight"] / [0.5, 1.0, 2.0]
    shift = weights["batchnorm1.bias"] - scale * weights["batchnorm1.running_mean"]
    reach = np.repeat(np.abs(scale) ** q + np.abs(shift) ** q, 2)
    total = (np.abs(weights["linear1.weight"]) ** q @ reach + np.abs(weights["linear1.bias"]) ** q).sum()
    assert path_norm(net, weights, exponent=q).value == pytest.approx(total ** (1 / q), rel=1e-12)
