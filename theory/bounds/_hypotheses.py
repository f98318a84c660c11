"""Hypotheses that several theorems share, each checked with its reason."""

from __future__ import annotations

from theory.architecture import Activation, Attention, FilterResponseNorm, GlobalMaxPool, LayerNorm, MaxPool
from theory.bounds._network import Network
from theory.bounds._report import Assumption


def layered(network: Network) -> Assumption:
    """One weight layer after the other: no skips, nothing shared over time."""
    reason = network.not_a_chain
    said = f"{len(network.chain)} weight layers" if reason is None else reason
    return Assumption(name="one weight layer after the other", holds=reason is None, reason=said)


def homogeneous(network: Network) -> Assumption:
    """Every activation is 1-Lipschitz and positively homogeneous of degree 1, as ReLU is."""
    bad = [a.name for a in _activations(network) if a.facts.degree != 1 or a.facts.lipschitz > 1]
    return Assumption(
        name="activations that are 1-Lipschitz and positively homogeneous", holds=not bad,
        reason=f"{bad[0]} is not" if bad else "all are",
    )  # fmt: skip


def piecewise_linear(network: Network) -> Assumption:
    """Every activation is piecewise linear with a known number of pieces."""
    bad = [a.name for a in _activations(network) if a.facts.breakpoints is None]
    return Assumption(
        name="piecewise-linear activations", holds=not bad, reason=f"{bad[0]} is not" if bad else "all are"
    )


def no_max_pool(network: Network) -> Assumption:
    """No maximum over windows."""
    bad = [node.name for node in network.graph.nodes if isinstance(node.operation, MaxPool | GlobalMaxPool)]
    return Assumption(name="no max-pooling", holds=not bad, reason=f"{bad[0]!r} is one" if bad else "there is none")


def lipschitz(network: Network) -> Assumption:
    """Every operation is Lipschitz on all inputs: no normalisation by the input itself, no attention."""
    bad = [n for n in network.graph.nodes if isinstance(n.operation, LayerNorm | FilterResponseNorm | Attention)]
    return Assumption(
        name="operations that are Lipschitz on all inputs", holds=not bad,
        reason=f"{bad[0].name!r} ({bad[0].operation.kind}) is not" if bad else "all are",
    )  # fmt: skip


def no_bias(network: Network) -> Assumption:
    """No bias, nor a normalisation; one that training left at zero counts, since the class was fixed before."""
    bad = [key for key in network.named if key.endswith(".bias")]
    return Assumption(name="no biases", holds=not bad, reason=f"{bad[0]!r} is one" if bad else "there are none")


def no_reference(network: Network) -> Assumption:
    """Norms are measured from zero: layers are rescaled, which a reference would not survive."""
    given = network.reference is not None
    return Assumption(
        name="reference matrices of zero", holds=True,
        reason="the given reference is not used" if given else "none is given",
    )  # fmt: skip


def _activations(network: Network) -> list[Activation]:
    return [node.operation for node in network.graph.nodes if isinstance(node.operation, Activation)]
