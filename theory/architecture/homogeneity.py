r"""Degrees of homogeneity in the weights, normalisations included: what a rescaling of a layer does to the output.

A group is the parameters of one node (weight and bias). The output has degree d in a group if multiplying it by any
c > 0 multiplies the output by c^d, for all inputs and weights; degree 0 is scale invariance. *derived*, node by node:

- a linear map without bias adds 1 to its own group; with a bias, every other group must have degree 0 before it;
- a homogeneous activation multiplies by its own degree, another one asks for degree 0; pools change nothing;
- terms of a sum must agree;
- x over its own root mean square (FilterResponseNorm, or LayerNorm, at eps = 0) has degree 0 in all that had a degree
  before it, its own weight and bias have degree 1;
- for all parameters at once the same, a bias having degree 1: it asks for what it is added to to have degree 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from theory._errors import PreconditionError
from theory.architecture.activation import Activation
from theory.architecture.graph import INPUT, Architecture, Node
from theory.architecture.operations import (
    Add,
    Attention,
    BatchNorm,
    Bias,
    Conv,
    FilterResponseNorm,
    LayerNorm,
    Linear,
    Scale,
)  # fmt: skip

ALL = ""  # the group of all parameters at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Homogeneity:
    """Degrees of a network's output.

    Attributes
    ----------
    total : in all parameters at once, or None where it has no degree.
    layers : in the parameters of each node, or None.
    failures : for each group without a degree (all parameters: the empty name), the hypothesis that fails.
    """

    total: int | None
    layers: Mapping[str, int | None]
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def invariant(self) -> tuple[str, ...]:
        """Nodes whose weights may be rescaled without any effect: their norms say nothing."""
        return tuple(name for name, degree in self.layers.items() if degree == 0)

    def require(self) -> int:
        """The total degree.

        Raises
        ------
        PreconditionError : there is none; the message names the hypothesis that fails.
        """
        if self.total is None:
            raise PreconditionError(f"a network homogeneous in its parameters is wanted: {self.failures[ALL]}.")
        return self.total

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"total": self.total, "layers": dict(self.layers), "failures": dict(self.failures)}

    def __repr__(self) -> str:
        return f"Homogeneity(total {self.total}, invariant {', '.join(self.invariant) or 'none'})"


def homogeneity(architecture: Architecture, *, negligible_eps: bool = False) -> Homogeneity:
    """Degrees of homogeneity in the parameters of each node and in all of them at once.

    *derived*: the rules of the module, which are sufficient; a degree that is not found may exist by coincidence.
    Running means and variances are no parameters: BatchNorm in evaluation mode shifts by a constant, which leaves no
    degree before it.

    Parameters
    ----------
    negligible_eps : your word that the eps of normalisations is as good as 0; without it eps > 0 leaves no degree.

    Raises
    ------
    InvalidInput : never for an architecture that was built.

    Cost: nodes times groups. When not to trust it: a channel that is zero throughout, where x over its size jumps.

    Examples
    --------
    >>> from theory.architecture.operations import Flatten
    >>> nodes = [Conv(2, 3, bias=False), FilterResponseNorm(eps=0), Activation("relu"), Flatten()]
    >>> found = homogeneity(Architecture.sequential([*nodes, Linear(2, bias=False)], input_shape=(1, 8)))
    >>> found.total, dict(found.layers)
    (2, {'conv1': 0, 'filterresponsenorm1': 1, 'linear1': 1})
    """
    groups = [node.name for node in architecture.nodes if node.parameters]
    found = {name: _follow(architecture, name, negligible_eps) for name in (ALL, *groups)}
    failures = {name: result for name, result in found.items() if isinstance(result, str)}
    degrees = {name: None if isinstance(result, str) else result for name, result in found.items()}
    return Homogeneity(total=degrees[ALL], layers={name: degrees[name] for name in groups}, failures=failures)


def _follow(graph: Architecture, group: str, negligible: bool) -> int | str:
    """The output's degree in one group, or the hypothesis that fails first on its way."""
    values: dict[str, int | str] = {INPUT: 0}
    for node in graph.nodes:
        reads = [values[name] for name in node.inputs]
        bad = next((d for d in reads if isinstance(d, str)), None)
        degrees = [d for d in reads if isinstance(d, int)]
        values[node.name] = bad if bad is not None else _node(node, degrees, group in (ALL, node.name), negligible)
    return values[graph.output]


def _node(node: Node, reads: list[int], own: bool, negligible: bool) -> int | str:
    op, d, name = node.operation, reads[0], node.name
    if isinstance(op, Add):
        alike = len(set(reads)) == 1
        return d if alike else f"terms of one degree are added at {name!r}, but they have {sorted(set(reads))}"
    if isinstance(op, Activation):
        degree = op.facts.degree
        if d == 0 or degree is not None:
            return d * (degree or 0)
        return f"a positively homogeneous activation is wanted at {name!r}, but it is {op.name}"
    if isinstance(op, Linear | Conv | Scale):
        weighted = d + own
        biased = "bias" in node.parameters or f"{name}.bias" in node.parameters
        return weighted if not biased or weighted == own else _bias(name, weighted, own)
    if isinstance(op, Bias):
        return d if d == own else _bias(name, d, own)
    if isinstance(op, BatchNorm):
        return int(own) if d == 0 else f"no subtraction of a running mean is wanted, but {name!r} has one"
    if isinstance(op, FilterResponseNorm | LayerNorm):
        if d == 0 or op.eps == 0 or negligible:
            return int(own)
        return f"eps = 0 is wanted in the normalisation {name!r}, but it is {op.eps:g}"
    if isinstance(op, Attention):
        return f"no attention is wanted, but {name!r} is one" if d or own else 0
    return d


def _bias(name: str, degree: int, own: bool) -> str:
    return f"what {name!r} adds its bias to must have degree {int(own)}, but has {degree}"
