r"""Kernel predictors: a norm in the reproducing space and the trace of the kernel matrix bound the error.

For f = sum_j alpha_j k(x_j, .) with a kernel fixed before the sample, K_ij = k(x_i, x_j), B = sqrt(alpha' K alpha)
(several outputs: B^2 = sum_k alpha_k' K alpha_k) and kappa = B / gamma rounded up to a^j,

.. math:: \mathrm{err} \le \hat R_\gamma + \frac{2 a^j}{n} \sqrt{\mathrm{tr} K}
          + 3 \sqrt{\frac{\ln(1/\delta) + \ln 2(|j|+1)(|j|+2)}{2n}}

with ``4 a^j sqrt(K tr K) / n`` for K > 2 outputs. *derived*: E sup_{||f|| <= B} sum e_i f(x_i) is
B E ||sum e_i k(x_i, .)|| <= B sqrt(tr K) by Jensen (bartlett2002rademacher); for several outputs Cauchy-Schwarz over
them, then vector contraction as in ``_frame``; functions may be scaled, so the grid over kappa covers every margin. If
k(x, x) <= kappa_0 is known before the sample, tr K is replaced by n kappa_0 and the factor 3 by 1.

At gamma = 1 the interpolant of labels +-1 with the kernel of arora2019fine (tr H = n / 2 on the unit sphere) has the
complexity ``2 sqrt(y' H^{-1} y) sqrt(n/2) / n = sqrt(2 y' H^{-1} y / n)``, that paper's leading term.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from theory._arrays import as_floats, as_labels, as_positive, as_real
from theory._errors import InvalidInput, PreconditionError
from theory.bounds._frame import GridPoint, Margins, as_margin, choose_margin, margins, mcdiarmid
from theory.bounds._kl import as_delta
from theory.bounds._report import CERTIFICATE, Assumption, BoundReport

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound

EPS = float(np.finfo(float).eps)
SOURCE = "derived; linear classes in a reproducing space as in bartlett2002rademacher"


def relu_tangent_kernel(X: ArrayLike) -> np.ndarray:
    r"""Kernel matrix of wide two-layer ReLU networks whose first layer is trained.

    .. math:: H_{ij} = x_i \cdot x_j\, \frac{\pi - \theta_{ij}}{2 \pi},\qquad \theta_{ij} = \angle(x_i, x_j)

    *proved* in arora2019fine for unit inputs, where tr H = n/2; *derived* for others by homogeneity. Angles by
    ``2 atan2(|u - v|, |u + v|)``, accurate also for nearly parallel inputs.

    Parameters
    ----------
    X : (n, d).

    Returns
    -------
    H : (n, n), symmetric.

    Raises
    ------
    InvalidInput : not a matrix, NaN.

    Examples
    --------
    >>> relu_tangent_kernel([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]).round(3) + 0.0
    array([[0.5, 0. , 0. ],
           [0. , 0.5, 0. ],
           [0. , 0. , 0.5]])
    """
    x = as_floats("X", X, ndim=2)
    size = np.linalg.norm(x, axis=1)
    unit = x / np.where(size > 0, size, 1)[:, None]
    angle = 2 * np.arctan2(cdist(unit, unit), cdist(unit, -unit))
    H = x @ x.T * (np.pi - angle) / (2 * np.pi)
    H[np.diag_indices_from(H)] = size**2 / 2
    return (H + H.T) / 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelPredictor:
    """The predictor of coefficients alpha: its scores on the sample and its norm, with their rounding.

    Attributes
    ----------
    alpha : (n, q) coefficients; q = 1 for two classes.
    scores : (n, q) = K alpha.
    scores_slack : (n, q), at least the rounding error of the scores.
    norm : at least sqrt(sum_k alpha_k' K alpha_k).
    """

    alpha: np.ndarray
    scores: np.ndarray
    scores_slack: np.ndarray
    norm: float


def kernel_predictor(K: ArrayLike, alpha: ArrayLike) -> KernelPredictor:
    r"""Scores and norm of ``sum_j alpha_j k(x_j, .)``, the norm rounded upwards.

    .. math:: B^2 \le \alpha' K \alpha + (2n + 8)\, \epsilon\, |\alpha|' |K| |\alpha|

    *derived*: the usual error of two nested inner products. No inverse is taken: where K is ill-conditioned the
    predictor is the one that alpha really gives, not the one that it was meant to be.

    Parameters
    ----------
    K : (n, n) symmetric.
    alpha : (n,) or (n, q).

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN, K not symmetric.

    Examples
    --------
    >>> bool(0 <= kernel_predictor(np.eye(2), [3.0, 4.0]).norm - 5 < 1e-13)
    True
    """
    gram = _gram(K)
    a = as_floats("alpha", alpha)
    a = a[:, None] if a.ndim == 1 else a
    if a.ndim != 2 or len(a) != len(gram):
        raise InvalidInput(f"alpha must have {len(gram)} rows, one per sample, but has shape {np.shape(alpha)}.")
    scores, size = gram @ a, np.abs(gram) @ np.abs(a)
    n = len(gram)
    square = float(np.sum(a * scores)) + (2 * n + a.shape[1] + 8) * EPS * float(np.sum(np.abs(a) * size))
    return KernelPredictor(
        alpha=a, scores=scores, scores_slack=(n + 2) * EPS * size, norm=math.sqrt(max(0.0, square)) * (1 + 2 * EPS)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelBound:
    """The bound for kernels fixed before the sample; it speaks of a kernel predictor, not of a trained network.

    Parameters
    ----------
    classes : 2 (one score, label 1 positive) or more (one score each); fixed before the sample.
    diagonal : a number that k(x, x) never exceeds, known before the sample; None to use the trace of the sample.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((40, 3)); X /= np.linalg.norm(X, axis=1, keepdims=True)
    >>> report = KernelBound(diagonal=0.5).evaluate(relu_tangent_kernel(X), (X[:, 0] > 0).astype(int), ridge=0.1)
    >>> abs(report.value - float(KernelBound(diagonal=0.5).symbolic().evaluate(report.quantities))) < 1e-12
    True
    """

    classes: int = 2
    diagonal: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.classes, int) or self.classes < 2:
            raise InvalidInput(f"classes must be a whole number of at least 2, but is {self.classes!r}.")
        if self.diagonal is not None:
            as_positive("diagonal", self.diagonal)

    def evaluate(
        self, K: ArrayLike, y: ArrayLike, delta: float = 0.01, *, alpha: ArrayLike | None = None, ridge: float = 0.0,
        margin: float | str = "best",
    ) -> BoundReport:  # fmt: skip
        """The bound for the predictor of coefficients alpha, or of ridge regression on the labels.

        Parameters
        ----------
        K : (n, n) kernel matrix of the sample, symmetric and positive semidefinite.
        y : labels 0..classes-1 (n).
        alpha : (n,) for two classes, (n, classes) for more; None for ``(K + ridge)^-1 Y``, with Y of +-1 for two
            classes and the centred indicators of the labels for more.
        ridge : at least 0; 0 interpolates, by the pseudo-inverse.
        margin : ``"best"`` (chosen after training, inside the union), or a number fixed before the sample.

        Raises
        ------
        InvalidInput : shapes, labels or numbers outside their domain.
        PreconditionError : K is not positive semidefinite, or its diagonal exceeds the one declared.

        Cost: eigenvalues of K, O(n^3).
        """
        level, fixed, gram = as_delta(delta), as_margin(margin), _gram(K)
        n, labels = len(gram), as_labels("y", y)
        if len(labels) != n or labels.max() >= self.classes:
            held = f"{len(labels)} up to {labels.max()}"
            raise InvalidInput(f"y must hold {n} labels in 0..{self.classes - 1}, but holds {held}.")
        if as_real("ridge", ridge) < 0:
            raise InvalidInput(f"ridge must not be negative, but is {ridge:g}.")
        eigenvalues, vectors = eigh(gram)
        assumptions = self._assumptions(gram, eigenvalues)
        if alpha is None:
            shifted = np.maximum(eigenvalues, 0) + ridge
            kept = shifted > n * EPS * max(shifted[-1], 1e-300)
            alpha = vectors[:, kept] @ ((vectors[:, kept].T @ self._targets(labels)) / shifted[kept][:, None])
        predictor = kernel_predictor(gram, alpha)
        if predictor.alpha.shape[1] != self.outputs:
            raise InvalidInput(f"alpha must have {self.outputs} column(s), but has {predictor.alpha.shape[1]}.")
        return self._report(gram, labels, predictor, assumptions, level, fixed)

    @property
    def outputs(self) -> int:
        """Number of scores: 1 for two classes."""
        return 1 if self.classes == 2 else self.classes

    @property
    def title(self) -> str:
        """One line in words."""
        return "norm in the reproducing kernel space" + ("" if self.diagonal is None else ", diagonal known beforehand")

    def symbolic(self) -> SymbolicBound:
        """The bound in the mean of the kernel's diagonal, the grid index and n."""
        import sympy as sp

        from theory.bounds._symbolic import R, SymbolicBound, a, confidence, gamma, grid_cost, index, n

        k, B, j = sp.Symbol("k_mean", positive=True), sp.Symbol("B", positive=True), index()
        factor = 2 if self.outputs == 1 else 4 * sp.sqrt(self.outputs)
        meaning = {
            "R": "mean ramp loss", "B": "norm in the reproducing space", "gamma": "margin", "n": "samples",
            "k_mean": "tr K / n" if self.diagonal is None else "bound of k(x, x)", "j": "grid index of B / gamma",
            "delta": "failure probability",
        }  # fmt: skip
        return SymbolicBound(
            name="kernel", meaning=meaning, complexity=factor * B / gamma * sp.sqrt(k / n),
            expression=R + factor * a**j * sp.sqrt(k / n) + confidence(grid_cost(j), 3 if self.diagonal is None else 1),
        )  # fmt: skip

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        if self.outputs == 1:
            return np.where(labels == 1, 1.0, -1.0)[:, None]
        return np.eye(self.classes)[labels] - 1 / self.classes

    def _assumptions(self, gram: np.ndarray, eigenvalues: np.ndarray) -> tuple[Assumption, ...]:
        least, allowed = float(eigenvalues[0]), -10 * len(gram) * EPS * float(np.abs(eigenvalues).max())
        if least < allowed:
            raise PreconditionError(f"kernel needs a positive semidefinite K: its least eigenvalue is {least:.3g}.")
        top = float(gram.diagonal().max())
        if self.diagonal is not None and top > self.diagonal * (1 + 4 * EPS):
            raise PreconditionError(f"kernel needs k(x, x) <= {self.diagonal:g}, as declared, but K holds {top:.6g}.")
        return (
            Assumption(name="a positive semidefinite kernel", holds=True, reason=f"least eigenvalue {least:.3g}"),
            Assumption(name="a kernel fixed before the sample", holds=True, reason="taken at your word"),
        )

    def _report(
        self, gram: np.ndarray, labels: np.ndarray, predictor: KernelPredictor, assumptions: tuple[Assumption, ...],
        delta: float, margin: float | None,
    ) -> BoundReport:  # fmt: skip
        n = len(gram)
        mean = float(gram.diagonal().mean()) * (1 + n * EPS) if self.diagonal is None else self.diagonal
        # a margin is at least what it is in the worst case of rounding
        slack = predictor.scores_slack.max(axis=1) * (1 if self.outputs == 1 else 2)
        sample = Margins(margins(predictor.scores, labels) - slack)
        factor = 2.0 if self.outputs == 1 else 4 * math.sqrt(self.outputs)
        log_rest = math.log(factor * math.sqrt(mean / n)) if mean > 0 else -math.inf

        def parts(gamma: float, point: GridPoint) -> tuple[float, float, float, float]:
            alone, union = mcdiarmid(n, delta, point.log_cost, data_dependent=self.diagonal is None)
            return sample.ramp(gamma), point.log + log_rest, alone, union

        log_norm = math.log(predictor.norm) if predictor.norm > 0 else -math.inf
        choice = choose_margin(sample, log_norm, parts, margin)
        quantities = {
            "R": choice.terms["empirical"], "B": predictor.norm, "gamma": choice.gamma, "n": float(n), "k_mean": mean,
            "j": float(choice.point.index), "delta": delta,
        }  # fmt: skip
        return BoundReport(
            name="kernel", title=self.title, status=CERTIFICATE, source=SOURCE, terms=choice.terms, log10=choice.log10,
            n=n, delta=delta, margin=choice.gamma, quantities=quantities, assumptions=assumptions,
            n_needed=self.symbolic().n_needed(quantities),
        )  # fmt: skip


def _gram(K: ArrayLike) -> np.ndarray:
    gram = as_floats("K", K, ndim=2)
    if gram.shape[0] != gram.shape[1] or len(gram) == 0:
        raise InvalidInput(f"K must be a square matrix, but has shape {gram.shape}.")
    if np.abs(gram - gram.T).max() > 64 * EPS * np.abs(gram).max():
        raise InvalidInput("K must be symmetric.")
    return (gram + gram.T) / 2
