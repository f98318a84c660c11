"""What every bound is: hypotheses that are checked, a symbolic form, and an evaluation on a trained network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from theory._errors import PreconditionError
from theory.architecture import Architecture
from theory.bounds._frame import as_margin, log10_sum, safe_exp
from theory.bounds._kl import as_delta
from theory.bounds._network import Network, Weights
from theory.bounds._problem import Data, Problem
from theory.bounds._report import Assumption, BoundReport

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a bound computes: the parts of ``BoundReport`` that are its own."""

    terms: Mapping[str, float]
    log10: float
    quantities: Mapping[str, float]
    margin: float | None = None
    notes: tuple[str, ...] = field(default=())


def found(
    *, empirical: float, log_complexity: float, confidence: float, union: float, quantities: Mapping[str, float],
    margin: float | None = None, notes: tuple[str, ...] = (),
) -> Found:  # fmt: skip
    """The parts of an additive bound, the complexity by its logarithm so that it may overflow."""
    return Found(
        terms={"empirical": empirical, "complexity": safe_exp(log_complexity),
               "confidence": confidence, "union": union},
        log10=log10_sum(empirical, confidence, union, log_term=log_complexity),
        quantities=quantities, margin=margin, notes=notes,
    )  # fmt: skip


class Bound(ABC):
    """A bound of the probability of error of a trained classifier.

    Attributes
    ----------
    name : short, unique, such as ``frobenius``.
    title : one line in words.
    status : ``certificate`` (with probability at least 1 - delta over the sample, every constant included) or
        ``published form`` (as printed or as programs have it, unchecked).
    source : label (proved, derived, published form) and citation keys.
    """

    name: str
    title: str
    status: str
    source: str

    @abstractmethod
    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """The hypotheses of the theorem, checked on the structure (and where it matters the weights)."""

    @abstractmethod
    def symbolic_form(self, network: Network) -> SymbolicBound:
        """The formula for this network; hypotheses are taken to hold."""

    @abstractmethod
    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The bound; hypotheses are taken to hold. ``margin`` None: choose the best."""

    def assumptions(
        self, architecture: Architecture, weights: Weights | None = None, *, reference: Weights | None = None
    ) -> tuple[Assumption, ...]:
        """The hypotheses, each with whether it holds and why; without weights every declared bias counts."""
        return self.hypotheses(_network(architecture, weights, reference))

    def symbolic(self, architecture: Architecture) -> SymbolicBound:
        """The bound as a sympy expression in named norms, for this architecture.

        Raises
        ------
        PreconditionError : a hypothesis fails for this architecture; the message names it.
        """
        network = Network.placeholder(architecture)
        self.check(network)
        return self.symbolic_form(network)

    def evaluate(
        self, architecture: Architecture, weights: Weights, data: Data, delta: float = 0.01,
        margin: float | str = "best", reference: Weights | None = None,
    ) -> BoundReport:  # fmt: skip
        """The bound for a trained network.

        Parameters
        ----------
        weights : parameters by name, shapes as ``architecture.parameters``.
        data : a Sample, or (X, y): the n independent samples, all of them, un-augmented.
        delta : failure probability over the sample.
        margin : ``"best"`` (chosen after training, inside the union), or a number fixed before the sample.
        reference : weights fixed independently of the sample, such as the random initialisation; None for zero.

        Raises
        ------
        InvalidInput : weights, data or delta outside their domain.
        PreconditionError : a hypothesis fails; the message names it.
        """
        return self.report(Problem(architecture, weights, data, reference), delta, margin)

    def report(self, problem: Problem, delta: float, margin: float | str = "best") -> BoundReport:
        """The same for a problem that was prepared already."""
        level, fixed = as_delta(delta), as_margin(margin)
        assumptions = self.check(problem)
        result = self.compute(problem, level, fixed)
        return BoundReport(
            name=self.name, title=self.title, status=self.status, source=self.source,
            terms=result.terms, log10=result.log10, margin=result.margin, quantities=result.quantities,
            assumptions=assumptions, notes=result.notes, n=problem.n, delta=level,
            n_needed=_n_needed(self.symbolic_form(problem), result.quantities), holdout=problem.holdout(level),
        )  # fmt: skip

    def check(self, network: Network) -> tuple[Assumption, ...]:
        """The hypotheses; raises PreconditionError with the first one that fails."""
        assumptions = self.hypotheses(network)
        for assumption in assumptions:
            if not assumption.holds:
                raise PreconditionError(f"{self.name} needs {assumption.name}: {assumption.reason}.")
        return assumptions

    def __repr__(self) -> str:
        return f"<bound {self.name}: {self.title}>"


def _network(architecture: Architecture, weights: Weights | None, reference: Weights | None) -> Network:
    return Network.placeholder(architecture) if weights is None else Network(architecture, weights, reference)


def _n_needed(form: SymbolicBound, quantities: Mapping[str, float]) -> float | None:
    """From where the bound is below 1; None for inverted relative entropies, which are below 1 at any n."""
    from theory.bounds._symbolic import kl_inverse

    return None if form.expression.has(kl_inverse) else form.n_needed(quantities)
