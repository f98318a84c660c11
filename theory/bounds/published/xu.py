r"""Kernel-norm bound of xu2023dynamics: refused, since its constants are not known.

.. math:: \mathrm{err} \le \mathrm{err}_\gamma + c_1 \hat R_n + c_2 \sqrt{\frac{\ln(1/\delta)}{2 n}}

*published form*, by the reference without values of the universal constants c_1, c_2; putting 1 for them would be an
invention. The same authors' galanti2023norm supersedes it (``galanti``), and ``convolutional`` is the certificate in
kernel norms; the comparison of sparse with dense networks that the paper makes is ``sparse_dense_ratio``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from theory._errors import PreconditionError
from theory.bounds._bound import Bound, Found
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import PUBLISHED, Assumption

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


class Xu(Bound):
    """Refuses every network: no number without its constants.

    *published form*: see the module.

    Raises
    ------
    PreconditionError : always; it names what supersedes it.
    """

    name = "xu"
    title = "kernel norms of convolutions (Xu, Rangamani, Liao, Galanti, Poggio)"
    status = PUBLISHED
    source = "published form; xu2023dynamics"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Constants in print."""
        return (
            Assumption(
                name="universal constants with known values", holds=False,
                reason="none are known; 'galanti' supersedes it and 'convolutional' is the certificate in kernel norms",
            ),
        )  # fmt: skip

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """Refused."""
        raise PreconditionError(f"{self.name} needs {self.hypotheses(network)[0].name}: none are known.")

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """Refused."""
        raise PreconditionError(f"{self.name} needs {self.hypotheses(problem)[0].name}: none are known.")
