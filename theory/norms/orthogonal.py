r"""Orthogonal and unitary layers: operator norm one, and what products of norms become."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Architecture, Linear, fold
from theory.norms._record import NormBracket
from theory.norms._rounding import UNIT, gamma
from theory.norms.dense import as_matrix, frobenius_norm, norm_2_1, spectral_norm

TOLERANCE = 1e-6  # float32 weights that were orthogonalised are off by about 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Orthogonality:
    r"""How far the rows or the columns of a matrix, whichever are fewer, are from orthonormal.

    Attributes
    ----------
    side : ``"rows"`` (W W^T = I, at least as many columns), ``"columns"`` (W^T W = I: an isometry), ``"both"``.
    defect : ``||G - I||_2`` of the Gram matrix G of that side, from above.
    rank : of that side, ``min(out, in)``.
    """

    side: str
    defect: float
    rank: int

    @property
    def orthogonal(self) -> bool:
        """Whether the defect is at most 1e-6."""
        return self.defect <= TOLERANCE

    @property
    def norm(self) -> NormBracket:
        """Operator norm: every singular value lies within ``sqrt(1 - defect)`` and ``sqrt(1 + defect)``."""
        return NormBracket(
            upper=math.sqrt(1 + self.defect) * (1 + gamma(4)),
            lower=math.sqrt(max(0.0, 1 - self.defect)) * (1 - gamma(4)),
            method="Gram matrix against the identity",
        )

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"side": self.side, "defect": self.defect, "rank": self.rank, "orthogonal": self.orthogonal}

    def __repr__(self) -> str:
        return f"Orthogonality({self.side}, defect {self.defect:.3g})"


def real_form(U: ArrayLike) -> np.ndarray:
    r"""The real matrix (2 out, 2 in) of a complex one: unitary exactly where this is orthogonal, of the same norm.

    .. math:: A + i B \mapsto \begin{pmatrix} A & -B \\ B & A \end{pmatrix}

    *derived*: it acts on (Re x, Im x), whose length is that of x.

    Raises
    ------
    InvalidInput : not a finite matrix with entries.

    Examples
    --------
    >>> orthogonality(real_form([[1j, 0], [0, -1]])).defect < 1e-14
    True
    """
    try:
        array = np.asarray(U, dtype=np.complex128)
    except (TypeError, ValueError):
        raise InvalidInput("U must be a matrix of numbers.") from None
    if array.ndim != 2:
        raise InvalidInput(f"U must have 2 dimension(s), but has shape {array.shape}.")
    A, B = as_matrix(array.real), as_matrix(array.imag)
    return np.block([[A, -B], [B, A]])


def orthogonality(W: ArrayLike) -> Orthogonality:
    r"""Distance of a matrix from orthonormal rows or columns, from above.

    .. math:: |\sigma_i^2 - 1| \le \|W W^\top - I\|_2 \quad \text{for every singular value}

    *derived*: eigenvalues of the Gram matrix; its computed entries are off by at most ``gamma ||W||_F^2`` in Frobenius
    norm, which is added.

    Parameters
    ----------
    W : matrix (out, in); ``real_form`` for a complex one.

    Raises
    ------
    InvalidInput : not a finite matrix with entries; entries so large that squares overflow.

    Cost: ``out in m + 5 m^3``, m the smaller side.

    Examples
    --------
    >>> found = orthogonality([[0.6, 0.8], [-0.8, 0.6]])
    >>> found.side, found.orthogonal, found.norm.ratio < 1 + 1e-14
    ('both', True, True)
    >>> round(orthogonality([[2.0, 0.0]]).defect, 12)
    3.0
    """
    matrix = as_matrix(W)
    if np.abs(matrix).max() > 1e150:
        raise InvalidInput("entries must be below 1e150, or their squares overflow.")
    out, inside = matrix.shape
    A = matrix if out <= inside else matrix.T
    with np.errstate(under="ignore"):
        G = A @ A.T
    error = gamma(A.shape[1] + 4) * frobenius_norm(A) ** 2 + 2 * UNIT * math.sqrt(len(A))
    side = "both" if out == inside else "rows" if out < inside else "columns"
    found = (spectral_norm(G - np.eye(len(A))).upper + error) * (1 + gamma(4))
    return Orthogonality(side=side, defect=float(found), rank=len(A))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrthogonalProducts:
    r"""What the products in norm-based bounds are for orthogonal layers.

    Attributes
    ----------
    layers : ``Orthogonality`` of each dense layer, in order.
    log_spectral : ln of the product of operator norms, from above: ``sum ln(1 + defect) / 2``.
    log_frobenius : ln of the product of Frobenius norms; ``sum ln(rank) / 2`` up to the defects.
    ratios : (2,1) over operator norm, as the covering bound has them; ``out`` for orthonormal rows.
    """

    layers: tuple[Orthogonality, ...]
    log_spectral: float
    log_frobenius: float
    ratios: tuple[float, ...]

    @property
    def covering(self) -> float:
        """``(sum ratios^(2/3))^(3/2)``: all that remains of the spectral complexity of bartlett2017spectrally."""
        return math.fsum(ratio ** (2 / 3) for ratio in self.ratios) ** 1.5

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "layers": [layer.to_json() for layer in self.layers], "log_spectral": self.log_spectral,
            "log_frobenius": self.log_frobenius, "ratios": list(self.ratios), "covering": self.covering,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"OrthogonalProducts({len(self.layers)} layers, ln prod F = {self.log_frobenius:.4g})"


def orthogonal_products(architecture: Architecture, weights: Mapping[str, ArrayLike]) -> OrthogonalProducts:
    r"""Products of norms over the dense layers of a network whose hidden layers are orthogonal.

    .. math:: \prod_l \|W_l\|_2 \le \prod_l \sqrt{1 + d_l}, \qquad \prod_l \|W_l\|_F = \prod_l \sqrt{r_l (1 \pm d_l)}

    *derived* from ``orthogonality``. Bounds through operator norms lose all growth with the product; those through
    Frobenius norms keep ``h^(L/2)`` for width h, though no layer stretches any vector.

    Parameters
    ----------
    weights : by name, as ``architecture.parameters``; normalisations are folded first. All dense layers but the last
        must be orthogonal; the last one counts with its own norms.

    Raises
    ------
    InvalidInput : weights that do not fit; no dense layer.
    PreconditionError : a hidden dense layer that is not orthogonal to 1e-6; it is named with its defect.

    Cost: that of ``orthogonality`` for each layer.

    Examples
    --------
    >>> net = Architecture.sequential([Linear(4, bias=False)] * 3, input_shape=4)
    >>> found = orthogonal_products(net, {f"linear{l}.weight": np.eye(4) for l in (1, 2, 3)})
    >>> found.log_spectral < 1e-14, round(math.exp(found.log_frobenius), 9), [round(b, 9) for b in found.ratios]
    (True, 8.0, [4.0, 4.0, 4.0])
    """
    graph, named = fold(architecture, weights)
    nodes = [node for node in graph.nodes if isinstance(node.operation, Linear)]
    if not nodes:
        raise InvalidInput("the network has no dense layer.")
    found, spectral, frobenius, ratios = [], 0.0, 0.0, []
    for node in nodes:
        W = named[f"{node.name}.weight"]
        each = orthogonality(W)
        found.append(each)
        if not each.orthogonal and node is not nodes[-1]:
            raise PreconditionError(
                f"orthogonal hidden layers are wanted, but {node.name!r} has a Gram matrix {each.defect:.3g} from I."
            )
        s = each.norm.upper if each.orthogonal else spectral_norm(W).upper
        F = frobenius_norm(W)
        spectral += math.log(s) if s > 0 else -math.inf
        frobenius += math.log(F) if F > 0 else -math.inf
        ratios.append(norm_2_1(W) / s if s > 0 else 0.0)
    return OrthogonalProducts(
        layers=tuple(found), log_spectral=spectral, log_frobenius=frobenius, ratios=tuple(ratios)
    )
