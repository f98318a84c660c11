r"""PAC-Bayes for the network whose weights are drawn afresh at every prediction.

Posterior Q: every folded weight is drawn around its trained value, tensor l with deviation sigma_l. Prior P: around
the reference (or zero), tensor l with variance lam_l of the grid ``largest e^(-j_l / per_e)``, j_l >= 1. With
probability at least 1 - delta over the sample and the drawings,

.. math:: \mathrm{err}(Q) \le \mathrm{kl}^{-1}\Bigl(\mathrm{kl}^{-1}\bigl(\hat R, \tfrac1m \ln\tfrac1{s \delta}\bigr),
          \tfrac1n\bigl[\mathrm{KL} + \sum_l (\ln\tfrac{\pi^2}6 + 2 \ln j_l)
          + \ln\tfrac{2 \sqrt n}{(1 - s) \delta}\bigr]\Bigr)

Natural logarithms; kl^{-1} as in ``_kl``; s is the share of delta left to the Monte-Carlo step.

*derived*, from maurer2004note (outer inverse; the prior (j_l) gets the share prod 6 / (pi^2 j_l^2) of (1 - s) delta).
The inner one: the sample is cut into blocks of at most b samples, each scored with its own independent drawing. With
mean_B the error of a block and p_B its expectation, E exp(lam (|B|/b) mean_B) <= (1 - p_B + p_B e^lam)^(|B|/b) by two
uses of Jensen's inequality; the product over blocks is at most (1 - p + p e^lam)^(n/b) by concavity of the logarithm,
p = sum |B| p_B / n = the empirical risk of Q. Hence Chernoff's bound as for m = n / b tosses of a coin (times the
number of repetitions): fresh weights for every sample are worth n draws at the price of one pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from theory._arrays import as_count, as_floats, as_positive, as_real
from theory._errors import InvalidInput
from theory.bounds._bound import Bound, Found
from theory.bounds._evaluate import computable, mistakes, moderate, multiplications
from theory.bounds._kl import SLACK, PriorScale, gaussian_kl, kl_inverse, prior_scale
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound

GAUSSIAN = 20  # multiplications that take as long as one normal number
FLOOR = 1e-6  # least deviation: a tensor that is zero and never moved still has one
NOTE = (
    "speaks of the randomised network, whose weights are drawn afresh at every prediction; "
    "the hold-out limit beside it is that of the network as trained"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Posterior:
    """One noise level: deviations and prior variances by tensor, and what they cost in nats."""

    sigmas: dict[str, float]
    priors: dict[str, PriorScale]
    KL: float
    price: float


@dataclass(frozen=True, eq=False, repr=False)
class PacBayesKL(Bound):
    """The error of the randomised network; every argument is fixed before the sample is seen.

    *derived*: see the module. The noise level is chosen with drawings of its own, so that choice costs nothing.

    Parameters
    ----------
    draws : independent drawings of the weights, at least about that many (m = n / b with b = n // draws, repeated where
        n is smaller).
    noise : levels tried; sigma_l = level * max(root mean square of W_l, of W_l - M_l, 1e-6).
    largest, per_e : the grid of prior variances; coarser than that of dziugaite2017computing (0.1, 100), which costs a
        tensor of d weights at most d/1600 nats more and each tensor 2 ln 10 less.
    share : of delta, for the Monte-Carlo step.
    rng : seed or generator of the drawings; a generator must be independent of sample and weights.
    most : operations beyond which the bound refuses; raise it to wait longer.

    Raises
    ------
    InvalidInput : an argument outside its domain.

    Cost: (1 + a few) passes over the sample and ``draws`` drawings of all weights; 1 s for 5000 weights, 1800 samples.

    When not to trust it: for the network as trained. A large network gets the trivial bound, since KL grows with the
    number of weights.

    Examples
    --------
    >>> from theory.architecture import Architecture, Linear
    >>> net = Architecture.sequential([Linear(2)], input_shape=2)
    >>> bound = PacBayesKL(draws=50)
    >>> report = bound.evaluate(net, net.random_weights(rng=0), (np.eye(2), np.array([0, 1])))
    >>> abs(report.value - float(bound.symbolic(net).evaluate(report.quantities))) < 1e-12
    True
    """

    draws: int = 1000
    noise: tuple[float, ...] = field(default=tuple(2.0 ** (i / 2) for i in range(-12, 6)))
    largest: float = 1e4
    per_e: int = 10
    share: float = 0.1
    rng: np.random.Generator | int = 0
    most: float = 1e11

    name = "pac-bayes-kl"
    title = "PAC-Bayes for the network with Gaussian noise on its weights"
    status = CERTIFICATE
    source = "derived from maurer2004note; grid of dziugaite2017computing, corrected"

    def __post_init__(self) -> None:
        as_count("draws", self.draws)
        as_count("per_e", self.per_e)
        as_positive("largest", self.largest)
        as_positive("most", self.most)
        if not 0 < as_real("share", self.share) < 1:
            raise InvalidInput(f"share must lie strictly between 0 and 1, but is {self.share:g}.")
        levels = as_floats("noise", self.noise, ndim=1)
        if levels.size == 0 or (levels <= 0).any():
            raise InvalidInput("noise must hold at least one level, all of them positive.")

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Activations and weights that can be evaluated, a cost within the limit, a reference not of the sample."""
        cost = self._cost(network)
        said = f"about {cost:.1e}" + ("; raise the argument most to wait for it" if cost > self.most else "")
        given = network.reference is not None
        return (
            computable(network),
            moderate(network),
            Assumption(name=f"at most {self.most:.1e} operations", holds=cost <= self.most, reason=said),
            Assumption(
                name="a prior mean fixed independently of the sample", holds=True,
                reason="the given reference, taken at your word" if given else "it is zero",
            ),
        )  # fmt: skip

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """The bound in the deviations sigma_l, distances D_l and grid indices j_l of the tensors."""
        import sympy as sp

        from theory.bounds._symbolic import R, SymbolicBound, delta, index, layer_symbols, n
        from theory.bounds._symbolic import kl_inverse as inverse

        tensors = network.graph.parameters
        sigma, D = layer_symbols("sigma", len(tensors)), layer_symbols("D", len(tensors))
        j = [index(f"j_{i + 1}") for i in range(len(tensors))]
        m, share = sp.Symbol("m", positive=True), sp.Rational(self.share)
        KL, price = sp.Integer(0), sp.Integer(0)
        for s, d, i, shape in zip(sigma, D, j, tensors.values(), strict=True):
            lam = sp.Rational(self.largest) * sp.exp(-i / sp.Integer(self.per_e))
            KL += sp.Rational(int(np.prod(shape)), 2) * (sp.log(lam / s**2) + s**2 / lam - 1) + d**2 / (2 * lam)
            price += sp.log(sp.pi**2 / 6) + 2 * sp.log(i)
        risk = inverse(R, sp.log(1 / (share * delta)) / m)
        named = {
            "R": "mistakes of the drawn networks, as a share", "m": "independent drawings", "n": "samples",
            "delta": "failure probability",
        }  # fmt: skip
        for l, tensor in enumerate(tensors):
            named |= {
                f"sigma_{l + 1}": f"deviation of the posterior of {tensor}",
                f"D_{l + 1}": f"distance of {tensor} from the prior mean",
                f"j_{l + 1}": f"grid index of the prior variance of {tensor}",
            }
        return SymbolicBound(
            name=self.name, meaning=named, complexity=KL / n,
            expression=inverse(risk, (KL + price + sp.log(2 * sp.sqrt(n) / ((1 - share) * delta))) / n),
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """A margin is not used: the loss is the error itself."""
        rng, n = self._generator(), problem.n
        choice = self._choose(problem, delta, rng)
        block, times = max(1, n // self.draws), max(1, -(-self.draws // n))
        mean = np.mean([self._score(problem, choice.sigmas, block, np.arange(n), rng) for _ in range(times)])
        m = times * n / block
        risk = kl_inverse(min(1.0, float(mean)), math.log(1 / (self.share * delta)) / m * (1 + SLACK))
        sure = math.log(2 * math.sqrt(n) / ((1 - self.share) * delta))
        steps = [sure, sure + choice.KL, sure + choice.KL + choice.price]
        bare, paid, whole = np.asarray(kl_inverse(float(risk), np.array(steps) / n * (1 + SLACK)))
        means, priors = self._means(problem), choice.priors
        quantities = {"R": float(mean), "m": m, "n": float(n), "delta": delta}
        for l, key in enumerate(problem.named, start=1):
            quantities[f"sigma_{l}"] = choice.sigmas[key]
            quantities[f"D_{l}"] = float(np.linalg.norm(problem.named[key] - means[key]))
            quantities[f"j_{l}"] = float(priors[key].index)
        return Found(
            terms={
                "empirical": float(mean), "complexity": float(paid - bare), "confidence": float(bare - mean),
                "union": float(whole - paid),
            },
            log10=math.log10(whole), quantities=quantities, notes=(NOTE,),
        )  # fmt: skip

    def _generator(self) -> np.random.Generator:
        """A stream of its own for a seed: data or weights made from ``default_rng(seed)`` would be drawn again."""
        return np.random.default_rng([self.rng, STREAM] if isinstance(self.rng, int | np.integer) else self.rng)

    def _cost(self, network: Network) -> float:
        n = network.n if isinstance(network, Problem) else self.draws
        weights = sum(value.size for value in network.named.values())
        passes = max(n, self.draws) + min(n, PILOT * BLOCK) * len(self.noise)
        return multiplications(network.graph) * passes + GAUSSIAN * weights * (2 * self.draws + PILOT * len(self.noise))

    def _means(self, problem: Problem) -> dict[str, np.ndarray]:
        return problem.reference or {key: np.zeros_like(value) for key, value in problem.named.items()}

    def _posterior(self, problem: Problem, level: float) -> _Posterior:
        means, sigmas, priors, KL = self._means(problem), {}, {}, 0.0
        for key, W in problem.named.items():
            M = means[key]
            moved = float(np.mean((W - M) ** 2))
            sigma = level * max(math.sqrt(moved), math.sqrt(float(np.mean(W**2))), FLOOR)
            prior = prior_scale(sigma**2 + moved, largest=self.largest, per_e=self.per_e)
            KL += gaussian_kl(W, M, sigma, math.sqrt(prior.variance))
            sigmas[key], priors[key] = sigma, prior
        return _Posterior(sigmas=sigmas, priors=priors, KL=KL, price=sum(prior.cost for prior in priors.values()))

    def _choose(self, problem: Problem, delta: float, rng: np.random.Generator) -> _Posterior:
        """The level with the least bound on a few drawings, none of which is used again."""
        some = rng.permutation(problem.n)[: PILOT * BLOCK]
        block = max(1, len(some) // PILOT)
        best, answer = math.inf, None
        for level in sorted(self.noise, reverse=True):
            posterior = self._posterior(problem, level)
            cost = (posterior.KL + posterior.price + math.log(2 * math.sqrt(problem.n) / delta)) / problem.n
            if answer is not None and float(kl_inverse(0.0, cost)) >= best:
                break  # less noise costs more still
            value = float(kl_inverse(self._score(problem, posterior.sigmas, block, some, rng), cost))
            if value < best or answer is None:
                best, answer = value, posterior
        assert answer is not None
        return answer

    def _score(
        self, problem: Problem, sigmas: dict[str, float], block: int, rows: np.ndarray, rng: np.random.Generator
    ) -> float:
        """Share of mistakes, each block of samples under a drawing of its own."""
        wrong = 0
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            drawn = {key: W + sigmas[key] * rng.standard_normal(W.shape) for key, W in problem.named.items()}
            wrong += mistakes(problem.graph, drawn, problem.X[part], problem.y[part])
        return wrong / len(rows)

    __repr__ = Bound.__repr__


STREAM = 1998  # tells the drawings of a seed from whatever else the seed was used for
PILOT, BLOCK = 16, 32  # drawings, and samples under each, by which a noise level is judged
