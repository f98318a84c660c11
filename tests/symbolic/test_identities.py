"""Every identity of every closed form simplifies to zero, and false ones do not."""

import numpy as np
import pytest
import sympy as sp

from theory import symbolic
from theory.symbolic import _symbols as x
from theory.symbolic._blocks import BlockMatrix, softmax_columns
from theory.symbolic._zero import vanishes

IDENTITIES = [(form.name, identity) for form in symbolic.closed_forms() for identity in form.identities]


@pytest.mark.parametrize("identity", [i for _, i in IDENTITIES], ids=[f"{n}: {i.name}" for n, i in IDENTITIES])
def test_identity_is_zero(identity):
    assert identity.verify()
    assert identity.scope


def test_every_form_has_an_identity():
    assert {name for name, _ in IDENTITIES} == {form.name for form in symbolic.closed_forms()}


LAST = dict(IDENTITIES)


@pytest.mark.parametrize("identity", LAST.values(), ids=LAST)
def test_identity_does_not_hold_with_a_term_added(identity):
    expression = identity.expression
    # A small symbolic term on the last entry: the reduction must not lose it.
    term = sp.Rational(1, 1000) * x.n_g
    if isinstance(expression, sp.MatrixBase):
        expression = expression.as_mutable()
        expression[len(expression) - 1] += term
    else:
        expression = expression + term
    assert not vanishes(expression)


LAM = sp.sqrt(x.lam_W * x.lam_H)
MARGIN = sp.log((x.K - 1) * (sp.sqrt(x.n_g * x.K / ((x.K - 1) * x.lam_W * x.lam_H)) / x.N - 1))
SLOPE = -x.n_g / x.N * (x.K - 1) / (sp.exp(x.t) + x.K - 1) + LAM * sp.sqrt(x.n_g * (x.K - 1) / x.K)
DEEP = symbolic.get("deep_stationarity").expression.subs(x.sigma, sp.sqrt(x.n_g) * (x.L - 1) / x.L)
GLOBAL, LOCAL = symbolic.get("deep_threshold").expression, symbolic.get("deep_local_threshold").expression


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param(SLOPE.subs(x.t, MARGIN), SLOPE.subs(x.t, MARGIN.subs(x.lam_H, x.lam_W)), id="margin of lam_W"),
        pytest.param(SLOPE.subs(x.t, MARGIN), SLOPE.subs(x.t, MARGIN.subs(x.K - 1, x.K)), id="margin with K for K - 1"),
        pytest.param(DEEP.subs(x.Lam, GLOBAL), DEEP.subs(x.Lam, LOCAL), id="the local threshold for the global one"),
        pytest.param(
            sp.exp(x.a * (1 - 1 / x.K_A)) * sp.exp(-x.a) - sp.exp(-x.a / x.K_A),
            sp.exp(x.a * (1 - 1 / x.K_A)) * sp.exp(-x.a) - sp.exp(-x.a / x.K_B),
            id="exponents",
        ),
        pytest.param(
            sp.sqrt(x.n_A + sp.sqrt(x.n_B)) ** 3 / (x.n_A + sp.sqrt(x.n_B)) - sp.sqrt(x.n_A + sp.sqrt(x.n_B)),
            sp.sqrt(x.n_A + sp.sqrt(x.n_B)) ** 3 / (x.n_A + x.n_B) - sp.sqrt(x.n_A + sp.sqrt(x.n_B)),
            id="nested radicals",
        ),
        pytest.param(
            x.sigma ** ((1 - x.L) / (1 + x.L)) - x.sigma ** (2 / (x.L + 1)) / x.sigma,
            x.sigma ** ((1 - x.L) / (1 + x.L)) - x.sigma ** (2 / (x.L + 1)),
            id="symbolic powers",
        ),
        pytest.param(sp.Integer(0), sp.nan, id="nan is not zero"),
    ],
)  # fmt: skip
def test_the_zero_test_tells_right_from_wrong(right, wrong):
    assert vanishes(right)
    assert not vanishes(wrong)


def test_the_zero_test_agrees_with_numbers():
    # vanishes() is asked about random polynomials in radicals and exponentials, half of them zero by construction.
    rng = np.random.default_rng(3)
    atoms = [x.K, x.n, sp.sqrt(x.n), sp.sqrt(x.K * x.n), sp.exp(-x.t), sp.exp(x.t / x.K), sp.sqrt(x.K + x.n)]
    for trial in range(8):
        a, b, c = (sum(int(rng.integers(-3, 4)) * atoms[i] for i in rng.choice(7, 3)) for _ in range(3))
        zero = (a + b) * c / (x.K + 1) - a * c / (x.K + 1) - sp.expand(b * c) / (x.K + 1)
        other = zero + (b + 7) * trial
        value = other.subs({x.K: sp.Rational(7, 3), x.n: sp.Rational(11, 5), x.t: sp.Rational(3, 7)})
        assert vanishes(zero)
        assert vanishes(other) == (abs(sp.N(value, 30)) < 1e-20)


def dense(matrix: BlockMatrix, values: dict) -> np.ndarray:
    """The K x K matrix of a block matrix at numbers."""
    sizes = [int(sp.sympify(s).subs(values)) for s in matrix.sizes]
    group = np.repeat(np.arange(len(sizes)), sizes)
    out = np.empty((len(group), len(group)))
    for i, g in enumerate(group):
        for j, h in enumerate(group):
            entry = matrix.own(g) if i == j else matrix.other(g) if g == h else matrix.across(g, h)
            out[i, j] = float(sp.N(sp.sympify(entry).subs(values)))
    return out


@pytest.mark.parametrize("sizes", [(3, 2), (1, 4), (2, 1), (5,), (2, 1, 3)])
def test_block_algebra_is_matrix_algebra(sizes):
    rng = np.random.default_rng(sum(sizes))
    G = len(sizes)

    def random_block() -> BlockMatrix:
        own, other = rng.integers(-5, 6, (2, G))
        across = sp.Matrix(G, G, [int(v) for v in rng.integers(-5, 6, G * G)])
        return BlockMatrix.from_entries([sp.Integer(s) for s in sizes], [sp.Integer(int(v)) for v in own],
                                        [sp.Integer(int(v)) for v in other], across)  # fmt: skip

    A, B = random_block(), random_block()
    a, b = dense(A, {}), dense(B, {})
    np.testing.assert_allclose(dense(A @ B, {}), a @ b, atol=1e-12)
    np.testing.assert_allclose(dense(A.T - B.times(sp.Integer(3)), {}), a.T - 3 * b, atol=1e-12)
    assert float(A.trace) == pytest.approx(np.trace(a))
    shifted = np.exp(a - a.max(axis=0))
    np.testing.assert_allclose(dense(softmax_columns(A), {}), shifted / shifted.sum(axis=0), atol=1e-12)
    P = np.eye(sum(sizes)) - 1 / sum(sizes)
    np.testing.assert_allclose(dense(BlockMatrix.centering([sp.Integer(s) for s in sizes]), {}), P, atol=1e-12)
    # gaps with their multiplicities, and the singular values of the small matrix, are all singular values
    small = np.linalg.svd(np.array(A.between, dtype=float), compute_uv=False)
    gaps = np.repeat([abs(float(g)) for g in A.gaps], [s - 1 for s in sizes])
    np.testing.assert_allclose(np.sort([*small, *gaps]), np.sort(np.linalg.svd(a, compute_uv=False)), atol=1e-9)
