"""The norm benchmark: each method against the explicit matrix, on which side it lies, and the claim of a table."""

import numpy as np
import pytest

from simulations.benchmarks import operator_norms
from simulations.benchmarks._comparison import NOT_INSTALLED, OURS, Entry
from simulations.benchmarks._measure import version
from simulations.benchmarks._norm_peers import (
    CIRCULAR,
    DENSE,
    PADDED,
    Layer,
    Method,
    power_iteration,
    random_layer,
    true_norm,
)

LAYERS = {
    "dense": (random_layer(9), DENSE),
    "circular": (random_layer(3, 5, "circular"), CIRCULAR),
    "zeros": (random_layer(3, 5, "zeros"), PADDED),
}
EXACT = {"SVD", "SVD of each frequency", "SVD of the explicit matrix"}


def explicit(layer):
    """The matrix, column by column, by a loop over pixels and taps."""
    if layer.mode == "dense":
        return layer.W
    (O, C, k, _), n = layer.W.shape, layer.map
    A = np.zeros((O, n, n, C, n, n))
    for i, j, a, b in np.ndindex(n, n, k, k):
        at = i + a - k // 2, j + b - k // 2
        if layer.mode == "circular":
            at = at[0] % n, at[1] % n
        if 0 <= min(at) and max(at) < n:
            A[:, i, j, :, at[0], at[1]] += layer.W[:, :, a, b]
    return A.reshape(O * n * n, -1)


@pytest.mark.parametrize("mode", LAYERS)
def test_each_method_lies_on_the_side_that_is_claimed(mode):
    layer, methods = LAYERS[mode]
    truth = np.linalg.norm(explicit(layer), 2)
    assert abs(true_norm(layer) / truth - 1) < 1e-12
    for method in methods:
        if version(*method.packages) is None:
            continue
        found = method.estimate(layer)
        off = found.value / truth - 1
        if method.name in EXACT:
            assert abs(off) < 1e-12, method.name
        elif method.name.startswith("ours"):
            assert off > -1e-14, method.name
            assert off < (1e-9 if method.name == OURS else 0.2), method.name  # the border is not seen
            assert found.lower <= truth * (1 + 1e-14), method.name
        elif method.name.startswith(("power", "Lanczos")):
            assert off < 1e-12, method.name
            assert off > (-0.1 if "steps" in method.name else -1e-3), method.name
        else:
            assert off != 0, method.name  # the reshaped kernel, the frequencies as if circular: another map's norm


@pytest.mark.parametrize("mode", LAYERS)
def test_the_maps_are_the_matrix_and_its_transpose(mode):
    pytest.importorskip("torch")
    layer = LAYERS[mode][0]
    A, (forward, adjoint) = explicit(layer), layer.maps()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(A.shape[1]), rng.standard_normal(A.shape[0])
    assert np.abs(forward(x) - A @ x).max() < 1e-13
    assert np.abs(adjoint(y) - A.T @ y).max() < 1e-13
    assert np.abs(layer.explicit() - A).max() < 1e-14


def test_power_iteration_rises_and_says_how_long_it_took():
    layer = random_layer(40)
    values = [power_iteration(layer, steps=steps).value for steps in (1, 2, 5, 15, 60)]
    assert np.all(np.diff(values) > 0)
    assert values[-1] < np.linalg.norm(layer.W, 2)
    assert power_iteration(layer, steps=15).note == "15 steps"
    loose, tight = (power_iteration(layer, change=change) for change in (1e-2, 1e-9))
    assert loose.value < tight.value
    assert int(loose.note.split()[0]) < int(tight.note.split()[0]) < 1000


def test_power_iteration_is_the_norm_of_an_image_of_known_vectors():
    layer = Layer(np.diag([3.0, 1.0]))
    start = np.random.default_rng(1).standard_normal(2)
    v = np.array([9.0, 1.0]) ** 2 * start  # two steps of A^T A
    v /= np.linalg.norm(v)
    assert power_iteration(layer, steps=2).value == pytest.approx(np.hypot(3 * v[0], v[1]), rel=1e-14)


def test_a_side_is_read_off_the_sign():
    assert [operator_norms.side(off) for off in (1e-3, -1e-3, 1e-15)] == ["above", "below", "equal"]


def test_floors_are_positive_and_grow_with_the_arithmetic():
    small, large = (operator_norms.floor(random_layer(n)) for n in (64, 128))
    assert large / small == pytest.approx(8)
    assert small > 0
    by_map = [operator_norms.floor(random_layer(2, n, "zeros")) for n in (8, 16)]
    assert by_map[1] > 4 * by_map[0] > 0


def entry(method, size, seconds, error):
    return Entry(method=method, version="1", size=size, seconds=seconds, error=error)


def test_the_verdict_is_read_off_the_entries():
    found = [
        entry(OURS, 8, 1.0, 1e-10), entry(OURS, 16, 2.0, 1e-10), entry("SVD", 8, 4.0, 1e-15),
        entry("SVD", 16, 8.0, 1e-15), entry("SVD", 32, None, None), entry("Lanczos to 1e-06", 16, 0.5, 1e-12),
    ]  # fmt: skip
    text = operator_norms.verdict(found, {OURS: [1e-10, 2e-10], "power iteration, 15 steps": [-0.01, -0.2]})
    assert text == (
        "ours is above the norm by at most 2e-10; at 16 the SVD is 4.00 times slower; at 16 Lanczos to 1e-06 is 4.00 "
        "times faster; power iteration is below by up to 2e-01"
    )
    wrong = operator_norms.verdict(found, {OURS: [-1e-3, 1e-3]})
    assert wrong.startswith("ours is below the norm by up to 1e-03")
    assert "power" not in wrong


def test_a_comparison_has_a_line_for_what_is_missing():
    missing = Method("missing", ("no-such-package",), lambda layer: pytest.fail("it is not installed"))
    layers = {4: random_layer(4), 8: random_layer(8)}
    found = operator_norms._compare("tiny", "Tiny", "n", layers, (*DENSE, missing), 10.0, str)
    assert [e.note for e in found.entries if e.method == "missing"] == [NOT_INSTALLED]
    assert sum(e.method == OURS for e in found.entries) == 2
    assert all("above" in e.note and "lower end" in e.note for e in found.entries if e.method == OURS)
    assert set(found.floor) == {4, 8}
