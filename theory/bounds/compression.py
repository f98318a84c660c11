r"""Compression: a network that a short string describes is one of few, so its error on the sample is nearly its error.

.. math:: \mathrm{err}(f) \le \mathrm{kl}^{-1}\Bigl(\hat R(f), \frac{b \ln 2 + \ln(1/\delta)}{n}\Bigr)

for every network f that some stream of b bits decodes to, R(f) its share of mistakes on the sample (ties count).
*derived*: streams are prefix-free, so 2^-b sums to at most 1 (Kraft); each network fails at the level delta 2^-b by
Chernoff's one-sided bound; the union over all streams. In the line of lotfi2022pac, whose ``b + 2 log2 b`` for strings
that do not mark their end is no code length; the streams here do mark it. The decoder, the architecture and the
reference are fixed before the sample; methods, settings, scales and codebooks are in the stream and paid by it, so the
best of any number of tries is taken at no cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from theory._arrays import as_positive
from theory._errors import InvalidInput
from theory.bounds._bound import Bound, Found
from theory.bounds._evaluate import computable, mistakes, moderate, multiplications
from theory.bounds._kl import SLACK, kl_inverse
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._quantise import Quantised, codebook, finite_precision, sparse, uniform_quantise
from theory.bounds._report import CERTIFICATE, Assumption

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound

LEVELS = (3, 5, 7, 9, 11, 15, 21, 31, 63, 127, 255)
CENTRES = (3, 4, 5, 7, 9, 16, 32, 64)
DENSITIES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2)
MANTISSA = (0, 1, 2, 3, 5, 8, 23)
THINNED = 20_000  # of larger networks so many weights are rounded first, to see whether the rest is worth it
WORTH = 0.999  # no description is looked at that could not bring the bound below this
NOTHING = "speaks of the float32 weights, not evaluated: descriptions are too long for n, or too dear to try"
Rounding: TypeAlias = Callable[[dict[str, np.ndarray]], Quantised]
METHODS = ("quantised", "codebook", "sparse", "finite-precision")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """A decoded network and what the certificate knows of it.

    Attributes
    ----------
    R : its share of mistakes on the sample; 1 where it was not evaluated.
    bits : length of its description.
    weights : by name, for the folded graph; None where the network is the given one in float32.
    said : in words.
    """

    R: float
    bits: int
    weights: dict[str, np.ndarray] | None
    said: str


@dataclass(frozen=True, eq=False, repr=False)
class Compression(Bound):
    """The error of the network that the stream decodes to.

    *derived*: see the module.

    Parameters
    ----------
    method : ``"best"`` of all, or one of quantised (equidistant levels), codebook, sparse, finite-precision.
    most : operations that evaluating the decoded networks may take; beyond it no more are tried (with none, the bound
        is 1).

    Raises
    ------
    InvalidInput : another method, ``most`` not positive.

    Cost: for each setting that can still improve the bound, rounding and coding the weights (0.1 to 1 s for 2,000 to
    100,000 of them) and one pass over the sample; the others are passed over by their length alone.

    When not to trust it: for the network as trained; ``choose`` gives the decoded one.

    Examples
    --------
    >>> from theory.architecture import Architecture, Linear
    >>> net = Architecture.sequential([Linear(2, bias=False)], input_shape=2)
    >>> data = np.tile(np.eye(2), (500, 1)), np.tile([0, 1], 500)
    >>> report = Compression("quantised").evaluate(net, {"linear1.weight": [[1.0, -0.9], [-1.0, 1.1]]}, data)
    >>> exact = -np.expm1(-(report.quantities["b"] * np.log(2) + np.log(100)) / 1000)
    >>> report.terms["empirical"], bool(abs(report.value - exact) < 1e-13)
    (0.0, True)
    """

    method: str = "best"
    most: float = 1e12

    name = "compression"
    title = "length of the network's description"
    status = CERTIFICATE
    source = "derived; Occam's bound in the line of lotfi2022pac"

    def __post_init__(self) -> None:
        if self.method not in ("best", *METHODS):
            raise InvalidInput(f"method must be 'best' or one of {', '.join(METHODS)}, but is {self.method!r}.")
        as_positive("most", self.most)

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Activations and weights that can be evaluated; an architecture and a reference fixed before the sample."""
        given, count = network.reference is not None, len(network.named)
        return (
            Assumption(name="weights to describe", holds=count > 0, reason=f"there are {count} arrays of them"),
            computable(network),
            moderate(network),
            Assumption(
                name="a decoder fixed before the sample", holds=True,
                reason="architecture" + (" and reference" if given else "") + " taken at your word",
            ),
        )  # fmt: skip

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """The bound in the length b, the share R of mistakes, n and delta."""
        import sympy as sp

        from theory.bounds._symbolic import R, SymbolicBound, delta, n
        from theory.bounds._symbolic import kl_inverse as inverse

        b = sp.Symbol("b", positive=True)
        return SymbolicBound(
            name=self.name, complexity=b * sp.log(2) / n,
            expression=inverse(R, (b * sp.log(2) + sp.log(1 / delta)) / n),
            meaning={
                "b": "bits of the description", "R": "mistakes of the decoded network, as a share", "n": "samples",
                "delta": "failure probability",
            },
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """A margin is not used: the loss is the error itself."""
        n, chosen = problem.n, self.choose(problem, delta)
        sure, whole = limit(chosen.R, 0, n, delta), limit(chosen.R, chosen.bits, n, delta)
        return Found(
            terms={"empirical": chosen.R, "complexity": whole - sure, "confidence": sure - chosen.R, "union": 0.0},
            log10=math.log10(whole), notes=(chosen.said,),
            quantities={"R": chosen.R, "b": float(chosen.bits), "n": float(n), "delta": delta},
        )  # fmt: skip

    def choose(self, problem: Problem, delta: float) -> Chosen:
        """The decoded network with the least bound."""
        return problem.remember(("compression", self.method, self.most, delta), lambda: self._choose(problem, delta))

    def _choose(self, problem: Problem, delta: float) -> Chosen:
        n, M = problem.n, problem.reference
        moved = problem.named if M is None else {key: W - M[key] for key, W in problem.named.items()}
        size = sum(W.size for W in moved.values())
        step = max(1, size // THINNED)
        few = {key: W.ravel()[::step] for key, W in moved.items()}
        # the float32 weights as they are, a fixed length, and no claim about the sample
        best, kept = WORTH, Chosen(R=1.0, bits=24 + 32 * size, weights=None, said=NOTHING)
        left = self.most / (multiplications(problem.graph) * n)
        for family in self._families():
            for rounding in family:
                if step > 1 and least(0.8 * step * rounding(few).bits, n, delta) >= best:
                    break  # a guess from some of the weights may pass a setting over, never shorten a description
                found = rounding(moved)
                if least(found.bits, n, delta) >= best:
                    break  # too long, even without a mistake; finer ones are longer still
                if (left := left - 1) < 0:
                    return kept
                decoded = found.weights if M is None else {key: W + M[key] for key, W in found.weights.items()}
                R = mistakes(problem.graph, decoded, problem.X, problem.y) / n
                if (value := limit(R, found.bits, n, delta)) < best:
                    said = f"{found.method}, {found.setting}: {found.bits} bits for {found.parameters} weights"
                    best = value
                    kept = Chosen(R=R, bits=found.bits, weights=decoded, said=f"speaks of the decoded network ({said})")
        return kept

    def _families(self) -> Iterator[list[Rounding]]:
        """Roundings from short to long."""
        if self.method in ("best", "quantised"):
            yield [partial(uniform_quantise, levels=levels) for levels in LEVELS]
        if self.method in ("best", "codebook"):
            yield [partial(codebook, size=size) for size in CENTRES]
        if self.method in ("best", "sparse"):
            for levels in (7, 15):
                yield [partial(sparse, density=density, levels=levels) for density in DENSITIES]
        if self.method in ("best", "finite-precision"):
            yield [partial(finite_precision, mantissa=mantissa) for mantissa in MANTISSA]

    __repr__ = Bound.__repr__


def limit(R: float, bits: float, n: int, delta: float) -> float:
    """``kl^{-1}(R, (bits ln 2 + ln(1/delta)) / n)``."""
    return float(kl_inverse(R, (bits * math.log(2) + math.log(1 / delta)) / n * (1 + SLACK)))


def least(bits: float, n: int, delta: float) -> float:
    """The limit at R = 0, in closed form: what no description of that length can get below."""
    return -math.expm1(-(bits * math.log(2) + math.log(1 / delta)) / n)
