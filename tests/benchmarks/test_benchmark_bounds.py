"""The residual networks of the bounds benchmark, and the peer of their norms."""

import numpy as np
import pytest

from simulations.benchmarks import bounds as benchmark
from simulations.benchmarks._comparison import OURS
from simulations.benchmarks._measure import gemm_rate
from theory.norms import circular_norm

NET, WEIGHTS, SAMPLE = benchmark.problem((4, 8), n=6)


def test_the_network_at_full_width_is_a_resnet_18():
    net = benchmark.resnet18()
    names = benchmark._convolutions(net)
    assert len(names) == 20 and sum("s" == name[-1] for name in names) == 3  # 17 convolutions and 3 shortcuts
    kernels = sum(np.prod(net[name].parameters[f"{name}.weight"]) for name in names)
    assert kernels == 11_159_232 and 11.1e6 < net.n_parameters < 11.2e6
    assert SAMPLE.X.shape == (6, 3, 32, 32) and benchmark._convolutions(NET)[0] == "stem"


def test_peer_is_the_norm_of_the_circular_convolution_without_stride():
    name = "stage1_1a"
    norm = circular_norm(WEIGHTS[f"{name}.weight"], NET[name].input_shapes[0][1:])
    assert norm.lower * (1 - 1e-12) <= benchmark.fourier(NET, WEIGHTS, name) <= norm.upper * (1 + 1e-12)


def test_entries_of_norms_have_brackets_and_the_distance_of_the_peer():
    ours, peer = benchmark._norms(NET, WEIGHTS, 0.1)
    brackets = {name: benchmark._norm(NET, WEIGHTS, name) for name in benchmark._convolutions(NET)}
    assert ours.method == OURS and ours.error == max(b.upper / b.lower - 1 for b in brackets.values())
    stride = benchmark.fourier(NET, WEIGHTS, "stage2_1a")
    above = stride / brackets["stage2_1a"].upper - 1
    assert above > 0.1 and peer.error >= above  # ignoring the stride counts outputs that are not there


def test_floor_counts_one_multiplication_per_weight_and_output():
    """By hand for one block: stem 3 to 4 channels, two 4 to 4, all 3 x 3 on 32 x 32, forward and transposed."""
    net, weights, _ = benchmark.problem((4,), n=2)
    multiplications = (3 * 4 + 4 * (4 * 4)) * 9 * 32 * 32
    seconds = 2 * 2 * multiplications / gemm_rate()
    assert benchmark._application(net, weights) == pytest.approx(seconds, rel=1e-12, abs=0)
