"""How much smaller the bound of a convolutional network is for its few connections, against the dense statement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from theory._arrays import as_positive
from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Architecture
from theory.bounds import _layered as lay
from theory.bounds._network import Network
from theory.bounds.convolutional import Convolutional, first_positions, groups_of, taps_of
from theory.bounds.frobenius import Frobenius

if TYPE_CHECKING:
    import sympy as sp


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseDense:
    """The ratio of two complexity terms for one architecture.

    Attributes
    ----------
    ratio : convolutional over dense; below 1 where sparse connections help.
    log10 : of the ratio.
    expression : the ratio in symbols: kappa_l connections of an output of layer l per channel, P_l positions, A_l
        norm of the average pools it reads through, N_1 patches of the first layer, v share of the inputs' energy in
        the heaviest patch, L and K.
    values : of the symbols.
    """

    ratio: float
    log10: float
    expression: sp.Expr
    values: Mapping[str, float] = field(repr=False)

    def latex(self) -> str:
        """The ratio in LaTeX."""
        import sympy as sp

        return sp.latex(self.expression)

    def to_json(self) -> dict[str, object]:
        """Plain numbers, and the expression as text."""
        return {
            "ratio": self.ratio, "log10": self.log10, "expression": str(self.expression), "values": dict(self.values)
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"SparseDense(ratio={self.ratio:.4g})"


def sparse_dense_ratio(architecture: Architecture, *, patch_share: float | None = None) -> SparseDense:
    r"""Convolutional bound over dense bound, both in the Frobenius norms of the kernels.

    .. math:: \frac{\text{sparse}}{\text{dense}} = \sqrt{v}\;\sqrt{\frac{\prod_{l \ge 2} \kappa_l}{\prod_l P_l A_l^2}}
        \;\frac{\theta((L-1) \ln 2 + \ln N_1 + \ln K)}{\theta((L-1) \ln 2 + \ln K)}

    theta = ``cosh_factor``. *derived*: with ``G_l <= sqrt(kappa_l) F_l`` (equality where all taps are equally long) the
    convolutional peeling has ``prod F_l sqrt(prod_(l>=2) kappa_l) theta sqrt(V_1)``; the network as one of explicit
    matrices, each of Frobenius norm at most ``sqrt(P_l) F_l`` (equality where every tap stays inside the map), has
    ``prod F_l sqrt(prod P_l A_l^2) theta X_F``; norms and margin cancel. The comparison of sparse with dense
    connections is that of xu2023dynamics and galanti2023norm, with the constants of our peelings: their statement is
    the first root, of order kappa/P for each layer, here with its logarithm.

    Parameters
    ----------
    architecture : layers in order with a convolution among them, homogeneous activations, no max-pooling.
    patch_share : v, between 0 and 1: ``max_p sum_i ||patch_p(x_i)||^2 / sum_i ||x_i||^2``. By default that of images
        whose energy is evenly spread over their entries.

    Raises
    ------
    PreconditionError : an architecture that one of the two bounds does not cover; the message names the hypothesis.
    InvalidInput : a share outside (0, 1].

    Cost: one pass over the layers.

    When not to trust it: as a ratio of the two certificates for given weights; those use the exact norms and pay for
    their grids. Biases, which both bounds read from a constant, are left out.

    Examples
    --------
    >>> from theory.architecture import Activation, Conv, Flatten, Linear
    >>> layers = [Conv(4, 2, stride=2), Activation("relu"), Flatten(), Linear(1)]
    >>> found = sparse_dense_ratio(Architecture.sequential(layers, input_shape=(1, 8)), patch_share=1)
    >>> abs(found.ratio - math.sqrt(2 * math.log(2 * 4 * 2)) / math.sqrt(2)) < 1e-12
    True
    """
    network = Network.placeholder(architecture)
    for bound in (Convolutional(), Frobenius()):
        bound.check(network)
    layers = network.chain.layers
    taps, first = [taps_of(network, i) for i in range(1, len(layers))], layers[0]
    if patch_share is None:
        entries = first.weight[0].size if first.is_conv else math.prod(first.input_shape) // groups_of(first)
        patch_share = min(1.0, entries / math.prod(first.input_shape))
    v = as_positive("patch_share", patch_share)
    if v > 1:
        raise InvalidInput(f"patch_share must be at most 1, but is {v:g}.")
    pools = [lay.pool_norm(network, i) for i in range(len(layers))]
    if min(pools) == 0:
        raise PreconditionError("the ratio needs average pools that are not zero.")
    L, K, N_1 = len(layers), network.chain.outputs, first_positions(first)
    values = {
        "v": v, "L": float(L), "K": float(K), "N_1": float(N_1),
        **{f"kappa_{l}": float(k) for l, k in enumerate(taps, start=2)},
        **{f"P_{l}": float(layer.positions) for l, layer in enumerate(layers, start=1)},
        **{f"A_{l}": A for l, A in enumerate(pools, start=1) if l > 1},
    }  # fmt: skip
    log = math.log(v) / 2 + math.fsum(map(math.log, taps)) / 2
    log -= math.fsum(math.log(layer.positions) / 2 + math.log(A) for layer, A in zip(layers, pools, strict=True))
    c = (L - 1) * lay.LN2 + math.log(K)
    log += math.log(lay.cosh_factor(c + math.log(N_1)) / lay.cosh_factor(c))
    return SparseDense(ratio=math.exp(log), log10=log / math.log(10), expression=_expression(L), values=values)


def _expression(L: int) -> sp.Expr:
    """The formula in its symbols."""
    import sympy as sp

    v, K, N_1, depth = sp.symbols("v K N_1 L", positive=True)
    kappa, P, A = (
        [sp.Symbol(f"{letter}_{l}", positive=True) for l in range(start, L + 1)]
        for letter, start in (("kappa", 2), ("P", 1), ("A", 2))
    )
    c = (depth - 1) * sp.log(2) + sp.log(K)

    def theta(c: sp.Expr) -> sp.Expr:
        return sp.Min(sp.exp(c / 2), sp.sqrt(2 * (c + sp.log(2))))

    return sp.sqrt(v * sp.Mul(*kappa) / sp.Mul(*P)) / sp.Mul(*A) * theta(c + sp.log(N_1)) / theta(c)
