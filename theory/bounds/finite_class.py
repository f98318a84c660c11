r"""Ternary, quantised and pruned networks: the class is finite, and the weights say how large it is.

.. math:: \mathrm{err} \le \mathrm{kl}^{-1}\Bigl(\widehat{\mathrm{err}}, \frac{\sum_l c_l + \ln(1/\delta)}{n}\Bigr)

with c_l the logarithm of the number of arrays that the l-th one is told apart from: P entries, s of them nonzero, of m
sizes (q signed values),

.. math:: c = \ln 6 + \ln(P + 1) + \ln\binom Ps + \min\{s \ln 2 m + \ln m(m + 1) + 31\, m \ln 2,\
          s \ln q + \ln q(q + 1) + 32\, q \ln 2\}

or ``ln 6 + 32 P ln 2``, every entry as it is (values beyond float32 take 32 bits more each). *derived*: Occam's bound
with weights e^-c, which sum to at most 1 over all arrays: three codes in two precisions at 1/6 each; s at 1/(P + 1);
m at 1/(m(m + 1)); the sets of positions, the values and their assignment uniformly. Each network fails at the level
delta e^-c by Chernoff's one-sided bound; the union over all. So the number of levels, their values and the support may
be those of training. The network is the trained one itself, not a rounding of it.

Layers one after the other without biases and with positively homogeneous activations: scaling one by a positive number
leaves every decision, so an array of one size counts no bits for it, and ln 3 for ln 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from theory._arrays import as_floats
from theory._errors import InvalidInput
from theory.bounds._bound import Bound, Found
from theory.bounds._calculus import scored
from theory.bounds._kl import SLACK, kl_inverse
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound

LN2 = math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many arrays one is told apart from.

    Attributes
    ----------
    size, nonzero : P and s.
    sizes, values : m distinct absolute values and q distinct values among the nonzero entries.
    nats : c, the logarithm of the inverse weight of this array in the class.
    code : ``"sizes"`` (signs and sizes), ``"values"``, or ``"plain"`` (every entry as it is).
    """

    size: int
    nonzero: int
    sizes: int
    values: int
    nats: float
    code: str

    @property
    def bits(self) -> float:
        """``nats / ln 2``."""
        return self.nats / LN2

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "size": self.size, "nonzero": self.nonzero, "sizes": self.sizes, "values": self.values,
            "bits": self.bits, "code": self.code,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"Count({self.nonzero} of {self.size} nonzero, {self.sizes} sizes: {self.bits:.1f} bits)"


def log_supports(size: int, nonzero: int) -> float:
    r"""``ln binom(P, s)``, from above.

    Examples
    --------
    >>> abs(log_supports(5, 2) - math.log(10)) < 1e-12, log_supports(5, 0)
    (True, 0.0)
    """
    if nonzero in (0, size):
        return 0.0
    parts = [float(gammaln(k + 1)) for k in (size, nonzero, size - nonzero)]
    return max(0.0, parts[0] - parts[1] - parts[2] + 1e-14 * sum(parts))


def count_array(W: ArrayLike, *, free_scale: bool = False) -> Count:
    """The count of the module's text for one array.

    Parameters
    ----------
    free_scale : whether a positive factor leaves every decision, so that a single size costs no bits.

    Raises
    ------
    InvalidInput : not a finite array with entries.

    Cost: one sort.

    Examples
    --------
    >>> found = count_array([[1, 0, -1, 0]], free_scale=True)
    >>> found.code, found.nonzero, found.sizes
    ('sizes', 2, 1)
    >>> abs(found.nats - math.log(3 * 5 * 6 * 2**2 * 2)) < 1e-12  # codes, s, supports, signs, m
    True
    """
    array = as_floats("W", W)
    if array.size == 0:
        raise InvalidInput(f"W must have entries, but has shape {array.shape}.")
    kept = array[array != 0]
    P, s = array.size, kept.size
    values = np.unique(kept)
    m, q = np.unique(np.abs(kept)).size, values.size
    with np.errstate(over="ignore", under="ignore"):
        exact = bool((values.astype(np.float32).astype(np.float64) == values).all())
    more = 0 if exact else 32  # a float64 takes 64 bits
    support = math.log(P + 1) + log_supports(P, s)
    free = free_scale and m == 1
    nats = {"plain": (32 + more) * P * LN2}
    if s == 0:
        nats["sizes"] = support
    else:
        nats["sizes"] = support + s * math.log(2 * m) + math.log(m * (m + 1)) + (0 if free else (31 + more) * m * LN2)
        nats["values"] = support + s * math.log(q) + math.log(q * (q + 1)) + (32 + more) * q * LN2
    # the precision is said, too, but for an array that needs none
    code = min(nats, key=nats.__getitem__)
    total = (math.log(3) + nats[code] + (0 if free and code == "sizes" else LN2)) * (1 + 1e-13)
    return Count(size=P, nonzero=s, sizes=m, values=q, nats=total, code=code)


def count_network(network: Network) -> dict[str, Count]:
    """The count of every parameter array, as given (normalisations are not folded)."""
    free = scored(network).one_scalar and not any(key.endswith(".bias") for key in network.weights)
    return {
        key: count_array(W, free_scale=free and np.ndim(W) > 1) for key, W in network.weights.items()
    }  # fmt: skip


class FiniteClass(Bound):
    """The error of a network whose weights take few values or are mostly zero.

    *derived*: see the module. Any architecture, any loss, no norm and no margin.

    Cost: sorting the weights and one pass over the sample. When not to trust it: an architecture that was searched
    for on the sample. Weights of full precision cost 32 bits each, and the bound is then above 1 unless n is
    far larger.

    Examples
    --------
    >>> from theory.architecture import Architecture, Linear
    >>> net = Architecture.sequential([Linear(1, bias=False)], input_shape=4)
    >>> x = np.random.default_rng(0).standard_normal((2000, 4))
    >>> report = FiniteClass().evaluate(net, {"linear1.weight": [[1, 0, 0, -1]]}, (x, (x[:, 0] > x[:, 3]).astype(int)))
    >>> growth = (report.quantities["b"] * np.log(2) + np.log(100)) / 2000
    >>> bool(abs(report.value + np.expm1(-growth)) < 1e-12), round(2 ** report.quantities["b"])
    (True, 720)
    """

    name = "finite-class"
    title = "number of networks with so many levels and nonzero weights"
    status = CERTIFICATE
    source = "derived; Occam's bound, counting the weights' own levels and supports"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """An architecture fixed before the sample; the reference is not used."""
        few = sum(np.unique(W).size for W in network.weights.values())
        count = sum(W.size for W in network.weights.values())
        return (
            Assumption(name="weights to count", holds=count > 0, reason=f"{count} entries take {few} values"),
            Assumption(name="an architecture fixed before the sample", holds=True, reason="taken at your word"),
        )

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """The bound in the bits b, the training error R, n and delta."""
        import sympy as sp

        from theory.bounds._symbolic import R, SymbolicBound, delta, n
        from theory.bounds._symbolic import kl_inverse as inverse

        b = sp.Symbol("b", positive=True)
        return SymbolicBound(
            name=self.name, complexity=b * sp.log(2) / n,
            expression=inverse(R, (b * sp.log(2) + sp.log(1 / delta)) / n),
            meaning={
                "b": "bits that the weights' levels and supports take", "R": "training error", "n": "samples",
                "delta": "failure probability",
            },
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """A margin is not used."""
        counts: Mapping[str, Count] = problem.remember(("finite class",), lambda: count_network(problem))
        bits = math.fsum(count.bits for count in counts.values())
        R, n = problem.margins.errors, problem.n
        sure, whole = (
            float(kl_inverse(R, (b * LN2 + math.log(1 / delta)) / n * (1 + SLACK))) for b in (0.0, bits)
        )
        codes = ", ".join(f"{key}: {count.code}, {count.bits:.0f} bits" for key, count in list(counts.items())[:6])
        return Found(
            terms={"empirical": R, "complexity": whole - sure, "confidence": sure - R, "union": 0.0},
            log10=math.log10(whole), notes=(codes,), quantities={"R": R, "b": bits, "n": float(n), "delta": delta},
        )  # fmt: skip
