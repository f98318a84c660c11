r"""Spectral margin bounds of bartlett2017spectrally: for a fixed class, and with the union that they print.

With s_l spectral norms, t_l = ||W_l - M_l|| summed over the lengths of rows, W the largest width (inputs and scores
included), X_F^2 = sum ||x_i||^2, natural logarithms, ``R_A = (sum_l (t_l prod_{j != l} s_j)^{2/3})^{3/2}``,

.. math:: \frac1n \sum_i \phi_\gamma(M_i) + \frac8n + \frac{72 X_F \ln(2 W) \ln n}{\gamma n} R_A
          + 3 \sqrt{\frac{\ln(1/\delta)}{2 n}}

(their Lemma A.8 by the reference: norms and margin fixed before the sample), and post hoc (A.9)

.. math:: \frac1n \sum_i \phi_\gamma(M_i) + \frac8n + \frac{144 \ln n \ln(2 W)}{\gamma n} (1 + X_F) \Bigl[\sum_l \bigl(
          (\tfrac1L + t_l) \prod_{j \ne l} (\tfrac1L + s_j)\bigr)^{2/3}\Bigr]^{3/2}
          + \sqrt{\frac9{2 n}} \Bigl(\ln\frac1\delta + \ln\frac{2 n}\gamma
          + 2 \ln(2 + X_F) + 2 \sum_l \ln(2 + L t_l) + 2 \sum_l \ln(2 + L s_l)\Bigr)^{1/2}

*published form*. Convolutions enter through their Toeplitz matrices, biases of dense networks as a unit of value 1.
The ramp is given the constant 2/gamma (sqrt(2)/gamma would do), and the cover drops a ceiling: ``covering`` is the
certificate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import Assumption
from theory.bounds.published._form import (
    PublishedForm,
    listed,
    log,
    log_sum,
    numbered,
    replaced,
    replaced_logs,
    two_thirds_log,
)  # fmt: skip
from theory.bounds.published._maps import inputs, matrices, matrix_hypotheses, rms

if TYPE_CHECKING:
    import sympy as sp


def spectral_complexity(s: Sequence[float], t: Sequence[float]) -> float:
    """``R_A = (sum_l (t_l prod_{j != l} s_j)^{2/3})^{3/2}``.

    Examples
    --------
    >>> round(spectral_complexity([2, 1.5, 1.2], [20, 12, 5]), 7)
    135.4962258
    """
    return math.exp(two_thirds_log(replaced_logs(t, s)))


def fixed_complexity(s: Sequence[float], t: Sequence[float], *, x_rms: float, W: int, n: int, gamma: float) -> float:
    """Logarithm of ``8/n + 72 X_F ln(2W) ln(n) R_A / (gamma n)``."""
    product = two_thirds_log(replaced_logs(t, s)) + log(72 * x_rms * math.log(2 * W) * math.log(n) / math.sqrt(n))
    return log_sum([math.log(8 / n), product - math.log(gamma)])


def post_hoc_complexity(s: Sequence[float], t: Sequence[float], *, x_rms: float, W: int, n: int, gamma: float) -> float:
    """Logarithm of the complexity of A.9."""
    one = 1 / len(s)
    product = two_thirds_log(replaced_logs([one + v for v in t], [one + v for v in s]))
    scale = log(144 * math.log(n) * math.log(2 * W) / n * (1 + x_rms * math.sqrt(n)))
    return log_sum([math.log(8 / n), product + scale - math.log(gamma)])


class BartlettFixed(PublishedForm):
    """Spectral margin bound for norms and a margin fixed before the sample.

    *published form*: see the module. When not to trust it: for norms found by training, as here.
    """

    name = "bartlett-fixed"
    title = "spectral norms, fixed class (Bartlett, Foster, Telgarsky A.8)"
    source = "published form; bartlett2017spectrally"
    meaning = (("s_l", "spectral norms"), ("t_l", "sum of row lengths of W_l - M_l"), ("W", "largest width"))

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """One layer after the other, homogeneous activations."""
        return matrix_hypotheses(network)

    def norms(self, problem: Problem) -> dict[str, float]:
        """Of explicit matrices."""
        found = matrices(problem)
        return {
            **numbered("s", (m.spectral for m in found)), **numbered("t", (m.distance_2_1 for m in found)),
            "W": max(m.width for m in found), "x_rms": rms(inputs(problem)),
        }  # fmt: skip

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``fixed_complexity``."""
        return fixed_complexity(**_arguments(network, norms), n=n, gamma=gamma)

    def complexity(self, network: Network) -> sp.Expr:
        """``8/n + 72 X_F ln(2W) ln(n) R_A / (gamma n)``."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        L, W = len(network.chain), sp.Symbol("W", positive=True)
        terms = replaced(s.layer_symbols("t", L), s.layer_symbols("s", L))
        R_A = sum(v ** sp.Rational(2, 3) for v in terms) ** sp.Rational(3, 2)
        return 8 / s.n + 72 * s.x_rms * sp.sqrt(s.n) * sp.log(2 * W) * sp.log(s.n) / (s.gamma * s.n) * R_A

    def confidence(self, norms: dict[str, float], n: int, delta: float, gamma: float) -> tuple[float, float]:
        """``3 sqrt(ln(1/delta) / (2n))``, as printed."""
        return 3 * math.sqrt(math.log(1 / delta) / (2 * n)), 0.0

    def confidence_form(self, network: Network) -> sp.Expr:
        """The same."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        return s.confidence(sp.Integer(0))


class BartlettPostHoc(BartlettFixed):
    """Spectral margin bound with the union over norms and margin that the paper prints.

    *published form*: see the module.
    """

    name = "bartlett"
    title = "spectral norms, post hoc (Bartlett, Foster, Telgarsky A.9)"

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``post_hoc_complexity``."""
        return post_hoc_complexity(**_arguments(network, norms), n=n, gamma=gamma)

    def complexity(self, network: Network) -> sp.Expr:
        """The complexity of A.9."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        L, W = len(network.chain), sp.Symbol("W", positive=True)
        one = sp.Rational(1, L)
        terms = replaced([one + v for v in s.layer_symbols("t", L)], [one + v for v in s.layer_symbols("s", L)])
        R_A = sum(v ** sp.Rational(2, 3) for v in terms) ** sp.Rational(3, 2)
        return 8 / s.n + 144 * sp.log(s.n) * sp.log(2 * W) / (s.gamma * s.n) * (1 + s.x_rms * sp.sqrt(s.n)) * R_A

    def confidence(self, norms: dict[str, float], n: int, delta: float, gamma: float) -> tuple[float, float]:
        """The part of delta, and what norms and margin add."""
        L = sum(name.startswith("s_") for name in norms)
        cost = math.log(2 * n / gamma) + 2 * math.log(2 + norms["x_rms"] * math.sqrt(n))
        cost += 2 * math.fsum(math.log(2 + L * v) for v in listed(norms, "t", L) + listed(norms, "s", L))
        alone = 3 * math.sqrt(math.log(1 / delta) / (2 * n))
        return alone, 3 * math.sqrt(max(0.0, math.log(1 / delta) + cost) / (2 * n)) - alone

    def confidence_form(self, network: Network) -> sp.Expr:
        """Both together."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        L = len(network.chain)
        cost = sp.log(2 * s.n / s.gamma) + 2 * sp.log(2 + s.x_rms * sp.sqrt(s.n))
        cost += 2 * sum(sp.log(2 + L * v) for v in (*s.layer_symbols("t", L), *s.layer_symbols("s", L)))
        return 3 * sp.sqrt(sp.Max(0, sp.log(1 / s.delta) + cost) / (2 * s.n))


def _arguments(network: Network, norms: dict[str, float]) -> dict:
    L = len(network.chain)
    return {"s": listed(norms, "s", L), "t": listed(norms, "t", L), "x_rms": norms["x_rms"], "W": int(norms["W"])}
