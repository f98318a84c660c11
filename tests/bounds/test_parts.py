"""Parts of bounds against their definitions: layers as matrices, norms of graphs, grids, limits, reasons in words."""

import math

import numpy as np
import pytest

from theory.architecture import (
    Activation,
    Architecture,
    AvgPool,
    Conv,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    Scale,
)  # fmt: skip
from theory.bounds import BoundReport, Sample
from theory.bounds._calculus import log_fixed, operator_norms, scored
from theory.bounds._frame import round_up
from theory.bounds._growth import first_layer_log
from theory.bounds._homogenised import dense
from theory.bounds._hypotheses import layered, no_reference
from theory.bounds._kl import kl_inverse
from theory.bounds._layered import cosh_factor, hand_on, map_frobenius, map_spectral, plain_spectral, pools_last
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._symbolic import SymbolicBound, n
from theory.bounds.convolutional import groups_of, has_convolution
from theory.bounds.covering import CoveringBound, _reference_bias
from theory.bounds.frobenius import last_rows
from theory.bounds.growth_function import stages
from theory.bounds.operator_frobenius import _step
from theory.bounds.pac_bayes_kl import PacBayesKL
from theory.bounds.pac_bayes_spectral import PacBayesSpectral, divergence, sized
from theory.bounds.parameter_net import _near_kl_inverse
from theory.bounds.path_norm import PathNormPublished, levels
from theory.bounds.published import GolowichFrobenius, GolowichRows
from theory.bounds.published._maps import matrix_hypotheses, sides
from theory.bounds.published.galanti import degrees
from theory.bounds.row_norm import RowNorm, coordinate_root_mean_square, row_norm_rademacher
from theory.norms import toeplitz_matrix

RELU = Activation("relu")
CHAINS = {
    "conv": ([Conv(4, 3, padding=1), RELU, AvgPool(2), Conv(3, 2, stride=2), RELU, Flatten(), Linear(3)], (2, 8, 8)),
    "scaled map": ([Scale(), RELU, Conv(4, 3, dilation=2), RELU, Flatten(), Linear(2)], (2, 9)),
    "global": ([Conv(4, 3, bias=False), RELU, GlobalAvgPool(), Linear(5), RELU, Linear(3)], (2, 5, 5)),
    "one bias": ([Linear(4, bias=False), RELU, Linear(5), RELU, Linear(3, bias=False)], 3),
    "no bias": ([Linear(4, bias=False), RELU, Linear(5, bias=False), RELU, Linear(3, bias=False)], 3),
}


def problem(ops, shape, n=6, reference=False):
    net = Architecture.sequential(ops, input_shape=shape)
    first, second = (
        {k: np.random.default_rng(s).standard_normal(v) for k, v in net.parameters.items()} for s in (0, 1)
    )
    data = (np.random.default_rng(2).standard_normal((n, *net.input_shape)), np.arange(n) % max(2, net.output_shape[0]))
    return Problem(net, first, data, second if reference else None)


def explicit(layer):
    """The matrix of a layer, and the bias at every output."""
    op, size, axes = layer.operation, layer.input_shape[1:], len(layer.input_shape) - 1
    if isinstance(op, Linear):
        A = layer.weight
    elif isinstance(op, Scale):
        A = np.diag(np.repeat(layer.weight, math.prod(size)))
    else:
        A = toeplitz_matrix(layer.weight, size, stride=op.strides(axes), padding=op.paddings(axes),
                            dilation=op.dilations(axes), groups=op.groups).toarray()  # fmt: skip
    b = np.zeros(len(layer.weight)) if layer.bias is None else layer.bias
    return A, np.repeat(b, len(A) // len(b))


@pytest.mark.parametrize("name", CHAINS)
def test_norms_of_layers_are_those_of_their_matrices(name):
    p = problem(*CHAINS[name])
    biased = any(key.endswith(".bias") for key in p.named)
    assert p.chain.has_bias == biased
    pool = {("conv", 1): 1 / 2, ("global", 1): 1 / 3}  # windows of 2 x 2 and of 3 x 3 are averaged
    for index, layer in enumerate(p.chain.layers[:-1]):
        A, b = explicit(layer)
        A = A * pool.get((name, index), 1.0)
        whole = np.block([[A, b[:, None]], [np.zeros((1, A.shape[1])), np.ones((1, 1))]]) if biased else A
        assert map_frobenius(p, index) == pytest.approx(np.linalg.norm(whole), rel=1e-12)
        assert np.linalg.norm(whole, 2) * (1 - 1e-12) <= map_spectral(p, index)
        if isinstance(layer.operation, Linear):
            assert map_spectral(p, index) == pytest.approx(np.linalg.norm(whole, 2), rel=1e-9)


def test_operator_norms_of_weights_distances_and_references():
    for reference in (False, True):
        p = problem([Linear(4), RELU, Linear(3)], 5, reference=reference)
        net, W, M = scored(p), p.named, p.reference or {}

        def centred(source, name, shape):
            A = source.get(name, np.zeros(shape))
            return A - A.mean(axis=0) if name == "linear2.weight" else A

        for what, parts in (("weight", (1, 0)), ("distance", (1, -1)), ("reference", (0, 1))):
            found = operator_norms(p, net, what)
            for name in ("linear1", "linear2"):
                key = f"{name}.weight"
                exact = np.linalg.norm(
                    parts[0] * centred(W, key, W[key].shape) + parts[1] * centred(M, key, W[key].shape), 2
                )
                assert found[name] == pytest.approx(exact, rel=1e-9), (what, name)
        for node in net.layers:
            key = f"{node.name}.weight"
            np.testing.assert_allclose(
                net.difference(node), centred(W, key, W[key].shape) - centred(M, key, W[key].shape), rtol=1e-14
            )


def test_norms_of_the_last_layer_with_and_without_its_common_row_do_not_mix():
    p = problem([Linear(4, bias=False), RELU, Linear(3, bias=False)], 5)
    W = p.named["linear2.weight"]
    plain = plain_spectral(p, p.chain.layers[-1])
    centred = operator_norms(p, scored(p))["linear2"]
    assert plain == pytest.approx(np.linalg.norm(W, 2), rel=1e-9)
    assert centred == pytest.approx(np.linalg.norm(W - W.mean(axis=0), 2), rel=1e-9)


def test_constants_of_operations_without_weights_multiply():
    assert log_fixed(scored(problem(*CHAINS["conv"]))) == pytest.approx(math.log(1 / 2), rel=1e-12)
    assert log_fixed(scored(problem(*CHAINS["global"]))) == pytest.approx(math.log(1 / 3), rel=1e-12)


def test_grid_points_are_above_numbers_that_are_hardly_above_a_grid_point():
    step = math.log(1.05)
    for j in (*range(-400, 400, 7), 10**4, -(10**4)):
        just_above = math.nextafter(j * step, math.inf)
        assert round_up(just_above).log >= just_above


def test_patterns_of_few_points_are_at_most_all():
    for N, m in ((5, 3), (20, 18), (9, 8), (3, 7)):
        assert first_layer_log(N, m) <= N * math.log(2) * (1 + 1e-12)
    count = 2 * sum(math.comb(19, i) for i in range(4))
    assert first_layer_log(20, 3) == pytest.approx(math.log(count), rel=1e-12)


def test_the_least_sample_size_can_be_two():
    assert SymbolicBound(name="x", expression=1.5 / n, complexity=1 / n).n_needed({"n": 9}) == 2


def test_a_layer_of_zeros_hands_the_constant_on():
    assert hand_on(0.0, 3.0) == (1.0, 3.0)
    assert hand_on(2.0, 3.0) == (2.0, 6.0)


def test_a_report_is_clipped_at_one():
    given = {"name": "x", "title": "x", "status": "certificate", "source": "x", "log10": 0.0, "n": 9, "delta": 0.1}
    above, below = (BoundReport(terms={"empirical": value}, **given) for value in (3.0, 0.25))
    assert (above.clipped, below.clipped, above.vacuous, below.vacuous) == (1.0, 0.25, True, False)


def test_scores_of_one_output_may_be_a_vector():
    net = Architecture.sequential([Linear(1)], input_shape=2)
    weights, X, y = {"linear1.weight": [[1.0, 2.0]], "linear1.bias": [0.5]}, np.eye(2), [1, 0]
    flat = Problem(net, weights, Sample(X=X, y=y, outputs=[1.5, 2.5]))
    np.testing.assert_array_equal(flat.margins.values, Problem(net, weights, (X, y)).margins.values)


def test_reasons_say_what_is_the_case():
    chain, kernel = problem(*CHAINS["one bias"]), problem(*CHAINS["conv"])
    assert layered(chain).reason == "3 weight layers" and layered(chain).holds
    branched = problem([Linear(4), RELU, RELU, Linear(3)], 3)
    assert not layered(branched).holds and "follows another activation" in layered(branched).reason
    assert dense(chain).reason == "all are" and "kernel" in dense(kernel).reason
    assert no_reference(chain).reason == "none is given"
    assert no_reference(problem([Linear(3)], 3, reference=True)).reason == "the given reference is not used"
    pooled = problem([Linear(4), Activation("leaky_relu"), Linear(3)], 3)
    assert "leaky_relu is not" in [a.reason for a in PathNormPublished().hypotheses(pooled)]
    for reference, said in ((False, "it is zero"), (True, "the given reference, taken at your word")):
        reasons = [a.reason for a in PacBayesKL().hypotheses(problem([Linear(3)], 3, reference=reference))]
        assert said in reasons
    assert has_convolution(kernel).reason == "there is one" and "dense" in has_convolution(chain).reason
    late = problem([Conv(2, 3), AvgPool(2), RELU, Flatten(), Linear(3)], (1, 6, 6))
    assert pools_last(kernel).reason == "they are" and "follows a pool" in pools_last(late).reason


def test_covering_agrees_with_its_formula_where_the_logarithm_counts():
    p = problem([Linear(4), RELU, Linear(3)], 5, n=60)
    report = CoveringBound().report(p, 0.1, 1e5)  # a margin far above the norms
    assert report.terms["complexity"] < 0.5
    assert float(CoveringBound().symbolic_form(p).evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)


def test_biases_of_a_reference_are_measured():
    p = problem([Linear(4), RELU, Linear(3)], 5, reference=True)
    net = scored(p)
    assert _reference_bias(net, net.layers[0]) == pytest.approx(np.linalg.norm(p.reference["linear1.bias"]), rel=1e-12)
    bare = scored(problem([Linear(4), RELU, Linear(3)], 5))
    assert _reference_bias(bare, bare.layers[0]) == 0


def test_rows_are_counted_from_the_best_common_row():
    p = problem([Linear(3, bias=False)], 2)
    for W in (
        np.array([[100.0, 1.0], [100.0, 2.0], [100.0, -7.0]]),
        np.eye(3, 2),
        np.array([[1.0, 0], [1, 0], [50, 0]]),
    ):
        p.chain.layers[-1].weight[:] = W
        ways = [np.linalg.norm(W - c, axis=1).sum() for c in (0, W.mean(axis=0), np.median(W, axis=0))]
        assert last_rows(p) == pytest.approx(min(ways), rel=1e-12)


def test_a_layer_of_one_weight_is_a_layer():
    net = Architecture.sequential([Linear(1, bias=False), RELU, Linear(2)], input_shape=1)
    assert [stage.degree for stage in stages(Network.placeholder(net))] == [1, 2]


def test_groups_of_channels_that_rows_read():
    layers = problem([Scale(), RELU, Conv(4, 3, groups=2), RELU, Flatten(), Linear(3)], (2, 9)).chain.layers
    assert [groups_of(layer) for layer in layers] == [2, 2, 1]


def test_grid_of_operator_norms():
    assert _step(0.0, 0.0, 5) == 0
    for i in range(5):
        assert _step(1.2**-i * (1 - 1e-9), 1.0, 5) == i and _step(1.2**-i * (1 + 1e-9), 1.0, 5) == max(0, i - 1)
    assert _step(1e-9, 1.0, 5) == 4


def test_norms_that_gaussian_matrices_seldom_exceed():
    assert sized([(4, 9)]) == [5 + math.sqrt(2 * math.log(2))]
    assert sized([(4, 9), (1, 16)])[1] == 5 + math.sqrt(2 * math.log(4))
    assert divergence(500.0, [1.0], [1.0], 3.0, scalar=True) == math.inf  # its denominator underflows


@pytest.mark.parametrize("bias", [False, True])
def test_the_ball_of_the_inputs_holds_the_constant_of_the_biases(bias):
    p = problem([Linear(4, bias=bias), RELU, Linear(3, bias=bias)], 5)
    bound = PacBayesSpectral(radius=10.0)
    report = bound.report(p, 0.1, 3.0)
    assert report.quantities["B"] == (math.sqrt(101) if bias else 10.0)
    p = problem([Linear(4, bias=bias), RELU, Linear(3, bias=bias)], 5)
    p.y = p.outputs.argmax(axis=1)
    p.n = 10**7  # so that the divergence decides and not the clip at 1
    found = bound.compute(p, 0.1, float(p.margins.values[2]))
    assert 1e-6 < found.terms["complexity"] < 0.99
    value = float(bound.symbolic_form(p).evaluate(found.quantities))
    assert value == pytest.approx(sum(found.terms.values()), rel=1e-9)


def test_the_quick_kl_inverse_is_the_careful_one():
    for q, c in ((0.0, 0.1), (0.3, 0.02), (0.7, 0.5), (0.99, 1e-4), (1.0, 0.1)):
        assert _near_kl_inverse(q, c) == pytest.approx(float(kl_inverse(q, c)), abs=3e-9)


def test_a_maximum_over_one_pixel_is_no_step():
    for size, factors in (((2, 1, 1), ()), ((2, 1, 3), (6,))):
        net = Architecture.sequential([Conv(3, 1), GlobalMaxPool(), Linear(2)], input_shape=size)
        assert levels(Network.placeholder(net).graph).factors == factors


def test_printed_bounds_take_the_ramp_where_they_say_so():
    p = problem([Linear(4, bias=False), RELU, Linear(3, bias=False)], 5, n=30)
    form = GolowichFrobenius()
    found = form.compute(p, 0.1, 2.0)
    assert p.margins.ramp(2.0) < p.margins.share(2.0)
    assert found.terms["empirical"] == p.margins.ramp(2.0)
    assert form.symbolic_form(p).meaning["R"] == "mean ramp loss"


def test_sides_and_hypotheses_of_printed_bounds():
    dense_net, kernel = (
        problem(*CHAINS["one bias"]),
        problem([Conv(2, 3, stride=2), RELU, Flatten(), Linear(3)], (1, 9)),
    )
    assert sides(dense_net) == [(1, 1, 3), (1, 1, 4), (1, 1, 5)]
    assert sides(kernel) == [(9, 2, 1), (1, 1, 8)]
    assert "no biases" in [a.name for a in matrix_hypotheses(kernel) if not a.holds]
    assert all(a.holds for a in matrix_hypotheses(dense_net))
    assert degrees(dense_net) == [1, 1, 1]
    X = np.column_stack([dense_net.X, np.ones(dense_net.n)])
    assert GolowichRows().norms(dense_net)["column_rms"] == pytest.approx(np.sqrt((X**2).mean(axis=0).max()), rel=1e-14)


def test_row_norms_by_definition():
    theta = cosh_factor(2 * math.log(2) + math.log(5 * 3))
    found = row_norm_rademacher([2.0, 3.0, 4.0], 9.0, 5, 10, K=3)
    assert found == pytest.approx(24 * 3 * theta / 10, rel=1e-14)
    p = problem([Linear(4, bias=False), RELU, Linear(3, bias=False)], 5)
    wanted = np.sqrt((p.X**2).mean(axis=0).max())
    assert coordinate_root_mean_square(p) == pytest.approx(wanted, rel=1e-12)
    late = problem([Conv(2, 3), AvgPool(2), RELU, Flatten(), Linear(3)], (1, 6, 6))
    assert all(a.holds for a in RowNorm().hypotheses(late))  # rows of a pool sum to at most 1 wherever it stands
