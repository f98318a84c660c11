r"""Leave-one-out nearest neighbours on features: an error bound that needs no norm and no training.

.. math:: R \le \hat R_{\mathrm{loo}} + \sqrt{\frac{1 + 6 c}{n \delta}},\qquad
    c = c_k \ (2\ \text{classes}), \quad c = k \ (\text{more})

*derived* in ``_neighbours`` (in the manner of devroye1979distribution, Markov's inequality on the squared difference).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count
from theory._errors import InvalidInput, PreconditionError
from theory.bounds._kl import as_delta
from theory.bounds._neighbours import leave_one_out, loo_variance, neighbours_upper
from theory.bounds._report import CERTIFICATE, Assumption, BoundReport

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestNeighbourBound:
    """The bound for the rule of k neighbours on features that do not depend on the sample.

    Parameters
    ----------
    k : neighbours, fixed before the sample.
    classes : of the problem, also those that the sample happens to lack.
    independent_features : your word that the features are a map fixed before this sample (pretrained on other data,
        random, or the raw inputs); without it the bound refuses.
    rng : seed or generator of the numbers that order equal distances.

    When not to trust it: k, the metric or the features chosen by looking at this sample. The confidence is paid as
    1/sqrt(delta), not as a logarithm: delta = 0.01 multiplies the deviation by 10.

    Examples
    --------
    >>> bound = NearestNeighbourBound(k=1, classes=2, independent_features=True)
    >>> report = bound.evaluate([[0.0], [1.0], [5.0], [6.0]], [0, 0, 1, 1], delta=0.5)
    >>> report.terms["empirical"], round(report.value**2, 12) == round(7 / 4 / 0.5, 12)
    (0.0, True)
    """

    k: int
    classes: int
    independent_features: bool = False
    rng: np.random.Generator | int = 0

    def __post_init__(self) -> None:
        as_count("k", self.k)
        as_count("classes", self.classes, minimum=2)

    @property
    def title(self) -> str:
        """One line in words."""
        return f"leave-one-out error of {self.k} nearest neighbour" + ("s" if self.k > 1 else "")

    def evaluate(self, features: ArrayLike, labels: ArrayLike, delta: float = 0.01) -> BoundReport:
        """The bound for the rule that uses all n samples.

        Parameters
        ----------
        features : (n, d).
        labels : 0..classes-1 (n).
        delta : failure probability over the sample and the order of equal distances.

        Raises
        ------
        InvalidInput : NaN, shapes that do not meet, labels out of range, n <= k, delta outside (0, 1).
        PreconditionError : the features are not declared independent of the sample.

        Cost: O(n^2 d).
        """
        level = as_delta(delta)
        if not self.independent_features:
            raise PreconditionError(
                "nearest-neighbour needs features independent of the sample: declare independent_features=True "
                "where they are, and never for features trained on these samples."
            )
        found = leave_one_out(features, labels, k=self.k, rng=self.rng)
        top = int(np.max(np.asarray(labels)))
        if top >= self.classes:
            raise InvalidInput(f"labels must lie in 0..{self.classes - 1}, but hold {top}.")
        value = neighbours_upper(found, self.classes, level)
        quantities = {"R": found.risk, "n": float(found.n), "delta": level}
        alone = math.sqrt(loo_variance(found.n, self.k, self.classes))
        return BoundReport(
            name="nearest-neighbour", title=self.title, status=CERTIFICATE,
            source="derived from devroye1979distribution",
            # the root mean square deviation; the rest is the price of confidence
            terms={
                "empirical": found.risk, "complexity": alone, "confidence": value - found.risk - alone, "union": 0.0,
            },
            log10=math.log10(value), n=found.n, delta=level, quantities=quantities,
            n_needed=self.symbolic().n_needed(quantities),
            assumptions=(
                Assumption(name="features independent of the sample", holds=True, reason="taken at your word"),
                Assumption(name="k and the metric fixed before the sample", holds=True, reason="taken at your word"),
            ),
        )  # fmt: skip

    def symbolic(self) -> SymbolicBound:
        """The bound in the leave-one-out error, n and delta; c_k as an exact fraction."""
        import sympy as sp

        from theory.bounds._symbolic import R, SymbolicBound, delta, n

        k, t = sp.Integer(self.k), sp.Integer(self.k // 2 + 1)
        c = k
        if self.classes == 2:
            # 0^0 = 1 where k = 1
            c = sp.Min(k, t * sp.binomial(k, t) * (t / k) ** t * (1 - t / k) ** (k - t))
        v = (1 + 6 * c) / n
        return SymbolicBound(
            name="nearest-neighbour", expression=R + sp.sqrt(v / delta), complexity=sp.sqrt(v),
            meaning={"R": "leave-one-out error", "n": "samples", "delta": "failure probability"},
        )  # fmt: skip
