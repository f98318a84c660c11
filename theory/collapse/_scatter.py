"""Second pass: within-class scatter in the span of the class means, and nearest-mean decisions; mergeable."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_labels
from theory._errors import InvalidInput, PreconditionError
from theory.collapse._batches import classifier_and_bias, pieces
from theory.collapse._geometry import logit_shape, self_duality, shape_fields
from theory.collapse._means import ClassMeans
from theory.collapse._record import CollapseMetrics

_EPS = float(np.finfo(np.float64).eps)
_SMALLEST = 1e-150  # squares of a smaller spread underflow


class ScatterAccumulator:
    r"""Collapse metrics from a second look at the samples, once the class means are known.

    .. math:: \tfrac1K \mathrm{Tr}(S_w S_b^+) =
              \frac1N \sum_i \bigl\| S^{-1} V^\top (h_i - \mu_{y_i}) \bigr\|^2, \qquad M = U S V^\top

    with the thin singular value decomposition of the K x d centred class means over its numerically
    nonzero values. *derived*: S_b = V S^2 V^T / K, hence S_b^+ = K V S^{-2} V^T. A sum of squares, it
    cannot be negative, and it squares no condition number, where a pseudo-inverse of the d x d covariance
    does. About the sample mean S_b gains one rank-one term inside the same span, so the second
    normalisation is a Sherman-Morrison correction. The attributes of the result are described in
    ``CollapseMetrics``.

    Parameters
    ----------
    class_means : result of the first pass over the same samples.
    classifier : array of shape (K, d), or None.
    bias : array of shape (K,), or None for zero; needs a classifier.
    global_mean : ``class`` or ``sample``.

    Raises
    ------
    InvalidInput : shapes that do not fit, values that are not finite, an unknown global mean.
    PreconditionError : all class means coincide (Sb = 0), so NC1 has no meaning.

    Notes
    -----
    Cost O(N K d + K^2 d), memory O(K (K + d)) and a piece of a batch.

    Examples
    --------
    >>> from theory.collapse import MeansAccumulator
    >>> X, y = [[0.0], [2.0], [10.0], [12.0]], [0, 0, 1, 1]
    >>> means = MeansAccumulator(2, 1).add(X, y).finish()
    >>> record = ScatterAccumulator(means).add(X, y).finish()   # Sw = 1, Sb = 25
    >>> record.nc1_papyan, round(record.nc1_ratio, 15)
    (0.02, 0.04)
    """

    __slots__ = (
        "_basis",
        "_bias",
        "_centred",
        "_class_means",
        "_classifier",
        "_coordinates",
        "_counts",
        "_direction",
        "_disagreements",
        "_distances",
        "_global_mean",
        "_rank",
        "_tilt",
        "_tilted",
        "_tolerance",
        "_traces",
        "_values",
        "_whitened",
    )

    def __init__(
        self,
        class_means: ClassMeans,
        *,
        classifier: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        global_mean: str = "class",
    ) -> None:
        from scipy.spatial.distance import pdist, squareform

        means, (K, d) = class_means.means, class_means.means.shape
        centre = class_means.centre(global_mean)
        self._class_means, self._global_mean = class_means, global_mean
        self._classifier, self._bias = classifier_and_bias(classifier, bias, K, d)
        self._centred = means - centre
        left, values, directions = np.linalg.svd(self._centred, full_matrices=False)
        self._tolerance = float(_EPS * max(max(K, d) * values[0], 8 * np.linalg.norm(means)))
        self._rank = min(K - 1, int((values > self._tolerance).sum()))
        if self._rank == 0 or values[0] < _SMALLEST:
            raise PreconditionError(
                "NC1 needs class means that differ, but all class means coincide (Sb = 0)."
            )
        # one product with the basis serves all: the class means have no part outside its span
        self._basis = np.ascontiguousarray(directions[: self._rank].T)
        self._values = values[: self._rank]
        self._coordinates = self._values[:, None] * left[:, : self._rank].T
        shift = (centre - class_means.centre("sample")) @ self._basis / self._values
        length = float(np.linalg.norm(shift))
        self._tilt = K * length**2
        self._direction = shift / length if length else shift
        self._distances = squareform(pdist(means, "sqeuclidean"))
        self._counts = np.zeros(K, dtype=np.int64)
        self._traces = np.zeros(K)
        self._whitened = self._tilted = 0.0
        self._disagreements = 0

    def add(
        self, features: ArrayLike, labels: ArrayLike, decisions: ArrayLike | None = None
    ) -> ScatterAccumulator:
        """Take in a batch: features (n, d) and labels (n,); returns self. A refused batch changes nothing.

        ``decisions`` (n,) are the classes that the classifier chose, where they are known; they spare NC4 the
        product with the classifier. Default argmax(W h + b).

        Raises
        ------
        InvalidInput : NaN or infinity, shapes that do not meet, a label out of range, no samples.
        """
        chosen = None if decisions is None else as_labels("decisions", decisions)
        if chosen is not None and len(chosen) != len(np.asarray(labels)):
            raise InvalidInput(f"there are {len(chosen)} decisions but {len(np.asarray(labels))} labels.")
        means = self._class_means.means
        K, d = means.shape
        counts, traces = self._counts.copy(), self._traces.copy()
        whitened, tilted, disagreements = self._whitened, self._tilted, self._disagreements
        for part, classes in pieces(features, labels, num_classes=K, dimension=d):
            deviations = part - means[classes]
            inside = deviations @ self._basis
            white = inside / self._values
            counts += np.bincount(classes, minlength=K)
            traces += np.bincount(classes, np.einsum("ij,ij->i", deviations, deviations), minlength=K)
            whitened += float(np.einsum("ij,ij->", white, white))
            tilted += float(np.square(white @ self._direction).sum())
            if self._classifier is not None:
                # -||h - mu_k||^2 / 2 up to a term that all classes share
                nearness = inside @ self._coordinates - self._distances[classes] / 2
                if chosen is None:
                    decided = (part @ self._classifier.T + self._bias).argmax(axis=1)
                else:
                    decided, chosen = chosen[: len(part)], chosen[len(part) :]
                disagreements += int((decided != nearness.argmax(axis=1)).sum())
        self._counts, self._traces = counts, traces
        self._whitened, self._tilted, self._disagreements = whitened, tilted, disagreements
        return self

    def __add__(self, other: ScatterAccumulator) -> ScatterAccumulator:
        """Return a new accumulator of the samples of both; class means and classifier must be the same.

        Raises
        ------
        InvalidInput : accumulators about different means, classifiers or global means.
        """
        if not isinstance(other, ScatterAccumulator):
            return NotImplemented
        if not self._is_alike(other):
            raise InvalidInput(
                "accumulators must share class means, classifier, bias and global mean, but differ."
            )
        merged = ScatterAccumulator(
            self._class_means, classifier=self._classifier, bias=self._bias, global_mean=self._global_mean
        )
        merged._counts = self._counts + other._counts
        merged._traces = self._traces + other._traces
        merged._whitened = self._whitened + other._whitened
        merged._tilted = self._tilted + other._tilted
        merged._disagreements = self._disagreements + other._disagreements
        return merged

    @classmethod
    def combine(cls, shards: Iterable[ScatterAccumulator]) -> ScatterAccumulator:
        """Return the sum of one or more accumulators."""
        parts = list(shards)
        if not parts:
            raise InvalidInput("combine needs at least one accumulator, but got none.")
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def finish(self) -> CollapseMetrics:
        """Return the metrics.

        Raises
        ------
        InvalidInput : the second pass did not see as many samples of each class as the first.
        """
        first, second = self._class_means.counts, self._counts
        if (wrong := np.flatnonzero(first != second)).size:
            k = wrong[0]
            raise InvalidInput(
                f"both passes must see the same samples, but of class {k} the first saw {first[k]} "
                f"and the second {second[k]}."
            )
        N, (K, d) = int(second.sum()), self._centred.shape
        across = max(self._whitened - self._tilted, 0.0)
        return CollapseMetrics(
            num_samples=N,
            num_classes=K,
            dimension=d,
            global_mean=self._global_mean,
            rank=self._rank,
            rank_tolerance=self._tolerance,
            nc1_papyan=self._whitened / N,
            nc1_zhu=(across + self._tilted / (1 + self._tilt)) / N,
            nc1_ratio=float(self._traces.sum() / N / (np.linalg.norm(self._centred) ** 2 / K)),
            nc1_cdnv=self._distance_normalized_variance(),
            **shape_fields(self._centred, "means", "nc2_etf_means"),
            **self._head_fields(N),
        )

    def _head_fields(self, N: int) -> dict[str, float]:
        """Return the metrics of the classifier, or nothing."""
        if self._classifier is None:
            return {}
        W, means = self._classifier, self._class_means
        logits = W @ means.centre(self._global_mean) + self._bias
        return {
            **shape_fields(W, "classifier", "nc2_zhu"),
            "nc3_papyan": self_duality(W, self._centred),
            "nc3_zhu": logit_shape(W, means.means - means.centre("sample")),
            "bias_collapse": float(np.linalg.norm(logits)),
            "nc4": self._disagreements / N,
        }

    def _distance_normalized_variance(self) -> float:
        """Mean over pairs of (v_i + v_j) / (2 ||mu_i - mu_j||^2); infinite where two means coincide."""
        first, second = np.triu_indices(len(self._traces), 1)
        squares = self._distances[first, second]
        if (squares <= self._tolerance**2).any():
            return float("inf")
        variances = self._traces / self._counts
        return float(((variances[first] + variances[second]) / (2 * squares)).mean())

    def _is_alike(self, other: ScatterAccumulator) -> bool:
        """Whether both accumulate about the same means, for the same classifier."""
        mine, theirs = self._class_means, other._class_means
        pairs = [
            (mine.counts, theirs.counts),
            (mine.means, theirs.means),
            (self._classifier, other._classifier),
            (self._bias, other._bias),
            (self._global_mean, other._global_mean),
        ]
        # two absent classifiers are equal, an absent and a present one are not
        return all(np.array_equal(np.asarray(left), np.asarray(right)) for left, right in pairs)

    def __repr__(self) -> str:
        K, d = self._centred.shape
        return f"ScatterAccumulator(K={K}, d={d}, N={int(self._counts.sum())})"
