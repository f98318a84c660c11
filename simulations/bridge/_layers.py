"""Numbers of the weight matrices of a module: norms, ranks, and how balanced consecutive layers are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations._torch import import_torch

if TYPE_CHECKING:
    from torch import nn

torch = import_torch("simulations.bridge")

RANK_TOLERANCE = 1e-3  # singular values up to this share of the largest do not count towards the rank


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerNumbers:
    r"""One weight matrix W_l, as out x rest for a convolution, and its relation to the next one to run. *measure*.

    Attributes
    ----------
    name : of the weight, such as ``features.0.weight``.
    shape : (rows, columns).
    frobenius : ||W_l||_F.
    spectral : ||W_l||_2 of this matrix; for a convolution not the norm of the operator (``theory.norms`` has it).
    stable_rank : ||W_l||_F^2 / ||W_l||_2^2; NaN for a zero matrix.
    rank : singular values above 1e-3 of the largest. None, as the two before and the next, where ranks were not asked.
    singular_values : (min(rows, columns),) descending, from the Gram matrix in double precision: right to about
        1e-8 of the largest.
    balance : ||W_{l+1}||_F^2 - ||W_l||_F^2, which gradient flow keeps where the map from one layer to the next is
        positively homogeneous and neither has a bias, and weight decay drives to 0 (du2018algorithmic, *proved*
        for the flow). None for the last.
    gram_defect : ||W_{l+1}^T W_{l+1} - W_l W_l^T||_F for consecutive bias-free ``Linear`` layers whose shapes meet,
        else None. The flow keeps the matrix where no activation stands between, only its diagonal behind ReLU.
    """

    name: str
    shape: tuple[int, int]
    frobenius: float
    spectral: float | None = None
    stable_rank: float | None = None
    rank: int | None = None
    singular_values: np.ndarray | None = None
    balance: float | None = None
    gram_defect: float | None = None

    def numbers(self) -> dict[str, float]:
        """``{"name/frobenius": ..., ...}`` of the numbers that were computed."""
        names = ("frobenius", "spectral", "stable_rank", "rank", "balance", "gram_defect")
        values = {f"{self.name}/{name}": getattr(self, name) for name in names}
        return {name: float(value) for name, value in values.items() if value is not None}

    def to_json(self) -> dict[str, object]:
        """Return a dictionary of plain numbers and lists."""
        values = {name: getattr(self, name) for name in self.__slots__}
        kept = None if self.singular_values is None else self.singular_values.tolist()
        return values | {"shape": list(self.shape), "singular_values": kept}

    def __repr__(self) -> str:
        return f"LayerNumbers({self.name}, {self.shape[0]}x{self.shape[1]}, frobenius={self.frobenius:.4g})"


@dataclass(frozen=True, slots=True)
class _Weight:
    name: str
    owner: Any
    matrix: Any


def weight_matrices(module: nn.Module, order: Sequence[str] = ()) -> list[_Weight]:
    """All weights of two or more axes, as the forward uses them, in the running order of their modules.

    Where a module was not seen to run (it is scripted, or its weight is used by another one), all stand in the order
    in which they were registered.

    Parametrised weights (weight norm, spectral norm, orthogonal) are the computed ones; of the older hooks, the
    value of the last forward.
    """
    found = []
    for path, part in module.named_modules():
        if "parametrizations" in path.split("."):
            continue
        found += [(path, part, name) for name in _names(part)]
    ran = {path: i for i, path in enumerate(order)}
    if all(path in ran for path, _, _ in found):
        found.sort(key=lambda item: ran[item[0]])
    weights = []
    for path, part, name in found:
        tensor = getattr(part, name).detach()
        if tensor.ndim >= 2:
            if isinstance(part, torch.nn.modules.conv._ConvTransposeNd):
                tensor = tensor.transpose(0, 1)
            weights.append(_Weight(f"{path}.{name}".lstrip("."), part, tensor.flatten(1)))
    return weights


def _names(part: Any) -> list[str]:
    names = dict.fromkeys(name for name, value in part._parameters.items() if value is not None)
    for name in list(names):
        for ending in ("_orig", "_v", "_g"):
            base = name.removesuffix(ending)
            if base != name and isinstance(part.__dict__.get(base), torch.Tensor):
                del names[name]
                names[base] = None
                break
    return [*names, *getattr(part, "parametrizations", ())]


def norm_product(rows: Sequence[LayerNumbers]) -> float:
    """rho, the product of the Frobenius norms; infinite beyond the largest double."""
    if any(row.frobenius == 0 for row in rows):
        return 0.0
    total = sum(math.log(row.frobenius) for row in rows)
    return math.exp(total) if total < 709 else math.inf


def layer_numbers(weights: Sequence[_Weight], *, ranks: bool = True) -> tuple[LayerNumbers, ...]:
    """The record of each weight; without ``ranks`` only norms and balance, which cost one look at each weight."""
    squares = [_frobenius(w.matrix) ** 2 for w in weights]
    rows = []
    for i, weight in enumerate(weights):
        after = weights[i + 1] if i + 1 < len(weights) else None
        values = _singular_values(weight.matrix) if ranks else None
        top = None if values is None else float(values[0])
        rows.append(
            LayerNumbers(
                name=weight.name,
                shape=tuple(weight.matrix.shape),
                frobenius=math.sqrt(squares[i]),
                spectral=top,
                stable_rank=None if top is None else squares[i] / top**2 if top else math.nan,
                rank=None if values is None else int((values > RANK_TOLERANCE * values[0]).sum()),
                singular_values=values,
                balance=None if after is None else squares[i + 1] - squares[i],
                gram_defect=_gram_defect(weight, after) if ranks and after is not None else None,
            )
        )
    return tuple(rows)


def _frobenius(matrix: Any) -> float:
    return float(torch.linalg.vector_norm(_double(matrix)))


def _double(tensor: Any) -> Any:
    # Apple's devices have no double precision
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _singular_values(matrix: Any) -> np.ndarray:
    A = _double(matrix)
    if not torch.isfinite(A).all():
        return np.full(min(A.shape), np.nan)
    gram = A @ A.T if A.shape[0] <= A.shape[1] else A.T @ A
    values = torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).sqrt().cpu().numpy()
    values.setflags(write=False)
    return values


def _gram_defect(weight: _Weight, after: _Weight) -> float | None:
    linear = torch.nn.Linear
    if not (isinstance(weight.owner, linear) and isinstance(after.owner, linear)):
        return None
    if weight.owner.bias is not None or weight.matrix.shape[0] != after.matrix.shape[1]:
        return None
    first, second = _double(weight.matrix), _double(after.matrix)
    return float(torch.linalg.vector_norm(second.T @ second - first @ first.T))


def is_homogeneous(module: nn.Module, inputs: Any, *, degree: int) -> bool | None:
    r"""Whether f(s theta) = s^degree f(theta), measured on a few inputs at s^degree = 256.

    The parameters theta are moved a little first, so that biases which are still zero show. None where the module
    does not run with other parameters or its output is no tensor. The module's own parameters are not written.
    """
    if degree == 0:
        return None
    s = 256 ** (1 / degree)
    moved = {name: 1.1 * p.detach() + (0.1 if p.ndim < 2 else 0.0) for name, p in module.named_parameters()}
    try:
        once = torch.func.functional_call(module, moved, (inputs.clone(),))
        scaled = torch.func.functional_call(module, {name: s * p for name, p in moved.items()}, (inputs.clone(),))
        once, scaled = (_double(getattr(z, "logits", z)) for z in (once, scaled))
    except (RuntimeError, TypeError, AttributeError, ValueError):
        return None
    size = 256 * float(once.abs().max())
    defect = float((scaled - 256 * once).abs().max())
    return defect < 1e-3 * size if 0 < size < math.inf and math.isfinite(defect) else None
