r"""Bound of galanti2023norm for sparse and convolutional networks: norms of kernels, no Toeplitz repetition.

With rho = prod_l F_l over kernels, kappa_l inputs read by an output (kernel area; positions for a dense layer after
flattening), z_j(x) the channels of input position j, natural logarithms,

.. math:: \frac1n \#\{M_i \le \gamma\} + \frac{2 \sqrt2 (\rho + 1)}{\gamma n} \Bigl(1 + \sqrt{2 (L \ln 2
          + \textstyle\sum_l \ln \kappa_l + \ln K)}\Bigr) \sqrt{\textstyle\prod_l \kappa_l \max_j \sum_i \|z_j(x_i)\|^2}
          + 3 \sqrt{\frac{\ln(2 (\rho + 2)^2 / \delta)}{2 n}}

*published form* by the reference: gamma fixed before the sample, the union over rho included. A ramp in l2 would have
4/gamma where this has 2 sqrt(2)/gamma, and a Frobenius norm of the last layer costs sqrt(K) and not ln K: the derived
``convolutional`` has what can be proved. Here z_j has all channels (programs take single entries) of the inputs that
the network reads. K is 1 for a single output and for two classes, whose difference is one score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import Assumption
from theory.bounds.published._form import PublishedForm, listed, log, numbered, scores
from theory.bounds.published._maps import kernel_hypotheses
from theory.norms import frobenius_norm

if TYPE_CHECKING:
    import sympy as sp


def degrees(network: Network) -> list[int]:
    """kappa_l: positions that an output of layer l reads."""
    found, layers = [], network.chain.layers
    for index, layer in enumerate(layers):
        if layer.is_conv:
            found.append(math.prod(layer.weight.shape[2:]))
        else:
            found.append(layers[index - 1].positions if index else 1)
    return found


def norm_complexity(
    F: Sequence[float], kappa: Sequence[int], *, K: int, node_rms: float, n: int, gamma: float
) -> float:
    """Logarithm of the complexity term; ``node_rms`` is ``sqrt(max_j mean_i ||z_j(x_i)||^2)``."""
    rho = float(np.logaddexp(math.fsum(map(log, F)), 0.0))  # ln(rho + 1)
    paths = math.fsum(map(math.log, kappa))
    depth = 1 + math.sqrt(2 * (len(F) * math.log(2) + paths + math.log(K)))
    return math.log(2 * math.sqrt(2) / gamma * depth) + rho + paths / 2 + log(node_rms) - math.log(n) / 2


class Galanti(PublishedForm):
    """Norms of kernels and sparsity of connections.

    *published form*: see the module.
    """

    name = "galanti"
    title = "kernel norms of sparse networks (Galanti, Xu, Galanti, Poggio)"
    source = "published form; galanti2023norm"
    hard = True
    meaning = (("F_l", "Frobenius norms of kernels"), ("node_rms", "largest root mean square of an input position"))

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Kernels in a row, homogeneous activations, no biases, no pooling."""
        return kernel_hypotheses(network)

    def norms(self, problem: Problem) -> dict[str, float]:
        """Of kernels."""
        X = problem.inputs
        nodes = (X**2).sum(axis=1).reshape(problem.n, -1)  # over channels, or over all of a vector
        return {
            **numbered("F", (frobenius_norm(layer.weight) for layer in problem.chain.layers)),
            "node_rms": math.sqrt(float(nodes.mean(axis=0).max())),
        }

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``norm_complexity``."""
        kappa = degrees(network)
        F = listed(norms, "F", len(kappa))
        return norm_complexity(F, kappa, K=scores(network), node_rms=norms["node_rms"], n=n, gamma=gamma)

    def complexity(self, network: Network) -> sp.Expr:
        """The middle term of the module's formula."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        kappa = [sp.Integer(k) for k in degrees(network)]
        rho, node = sp.prod(s.layer_symbols("F", len(kappa))), sp.Symbol("node_rms", positive=True)
        inside = len(kappa) * sp.log(2) + sum(map(sp.log, kappa)) + sp.log(scores(network))
        root = sp.sqrt(sp.prod(kappa) / s.n) * node
        return 2 * sp.sqrt(2) * (rho + 1) / s.gamma * (1 + sp.sqrt(2 * inside)) * root

    def confidence(self, norms: dict[str, float], n: int, delta: float, gamma: float) -> tuple[float, float]:
        """With the printed union over whole numbers above rho."""
        logs = math.fsum(log(v) for name, v in norms.items() if name.startswith("F_"))
        alone = 3 * math.sqrt(math.log(2 / delta) / (2 * n))
        cost = 2 * float(np.logaddexp(logs, math.log(2)))
        return alone, 3 * math.sqrt((math.log(2 / delta) + cost) / (2 * n)) - alone

    def confidence_form(self, network: Network) -> sp.Expr:
        """Both together."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        rho = sp.prod(s.layer_symbols("F", len(network.chain)))
        return 3 * sp.sqrt((sp.log(2 / s.delta) + 2 * sp.log(rho + 2)) / (2 * s.n))
