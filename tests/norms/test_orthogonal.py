"""Orthogonal layers: singular values within the defect, unitary matrices in real form, products of norms."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import ortho_group, unitary_group

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Linear
from theory.bounds import get
from theory.bounds._problem import Problem
from theory.norms.orthogonal import orthogonal_products, orthogonality, real_form


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (1, 4)])
@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-3, 0.5])
def test_defect_brackets_all_singular_values(shape, noise):
    rng = np.random.default_rng(0)
    m = max(shape)
    W = ortho_group.rvs(m, random_state=rng)[: shape[0], : shape[1]] + noise * rng.standard_normal(shape)
    found, sizes = orthogonality(W), np.linalg.svd(W)[1]
    assert found.defect >= np.abs(sizes**2 - 1).max()
    assert found.defect == pytest.approx(np.abs(sizes**2 - 1).max(), rel=1e-6, abs=1e-13)
    assert found.norm.lower <= sizes[-1] and sizes[0] <= found.norm.upper
    assert found.orthogonal == (noise < 1e-6) and found.rank == min(shape)
    assert found.side == ("both" if shape[0] == shape[1] else "rows" if shape[0] < shape[1] else "columns")


def test_float32_weights_are_recognised():
    W = ortho_group.rvs(64, random_state=1).astype(np.float32)
    found = orthogonality(W)
    assert found.orthogonal and 1e-9 < found.defect < 1e-6 and found.norm.upper < 1 + 5e-7
    assert not orthogonality(W * 1.001).orthogonal


def test_unitary_is_orthogonal_in_real_form():
    U = unitary_group.rvs(4, random_state=2)
    assert orthogonality(real_form(U)).defect < 1e-13
    M = U * 1.5
    M[0] *= 2
    assert np.linalg.norm(real_form(M), 2) == pytest.approx(np.linalg.norm(M, 2), rel=1e-12)
    z = np.array([1 + 2j, 3 - 1j, 0.5j, -1])
    assert real_form(M) @ np.concatenate([z.real, z.imag]) == pytest.approx(
        np.concatenate([(M @ z).real, (M @ z).imag])
    )


def network(L: int, h: int = 6):
    net = Architecture.sequential(
        [*([Linear(h, bias=False), Activation("relu")] * L), Linear(1, bias=False)], input_shape=h
    )
    W = {f"linear{l}.weight": ortho_group.rvs(h, random_state=l) for l in range(1, L + 1)}
    return net, W | {f"linear{L + 1}.weight": np.eye(h)[:1]}


@pytest.mark.parametrize("L", [1, 3, 6])
def test_products_and_what_the_bounds_see(L):
    net, W = network(L)
    found = orthogonal_products(net, W)
    assert abs(found.log_spectral) < 1e-12
    assert found.log_frobenius == pytest.approx(L * math.log(6) / 2, rel=1e-12)
    assert found.covering == pytest.approx((L * 6 ** (2 / 3) + 1) ** 1.5, rel=1e-12)
    rng = np.random.default_rng(0)
    problem = Problem(net, W, (rng.standard_normal((50, 6)), rng.integers(0, 2, 50)))
    q = get("parameter-dudley").report(problem, 0.05, 1.0).quantities
    # the operator norms multiply to one: nothing but the grid of the margin is left of them
    assert math.prod(q[f"s_{l}"] for l in range(1, L + 2)) == pytest.approx(1, rel=1e-9)
    assert abs(q["j"]) <= 1
    inside = get("frobenius").report(problem, 0.05, 1.0).quantities
    assert inside["j"] == pytest.approx(found.log_frobenius / math.log(1.05), abs=1.5)
    json.dumps(found.to_json())


def test_a_layer_that_is_none_is_named():
    net, W = network(2)
    W["linear2.weight"] = W["linear2.weight"] * 1.1
    with pytest.raises(PreconditionError, match=r"'linear2' has a Gram matrix 0\.21 from I"):
        orthogonal_products(net, W)
    with pytest.raises(InvalidInput, match="1e150"):
        orthogonality([[1e200]])
    with pytest.raises(InvalidInput, match="dimension"):
        real_form([1j])
