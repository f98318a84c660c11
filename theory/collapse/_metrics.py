"""All collapse metrics of features that fit in memory (or in a memory map)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_labels
from theory._errors import InvalidInput
from theory.collapse._means import MeansAccumulator
from theory.collapse._record import CollapseMetrics
from theory.collapse._scatter import ScatterAccumulator


def collapse_metrics(
    features: ArrayLike,
    labels: ArrayLike,
    classifier: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    num_classes: int | None = None,
    global_mean: str = "class",
) -> CollapseMetrics:
    r"""Neural-collapse metrics NC1-NC4 of last-layer features and, where given, the classifier.

    .. math:: \mathrm{NC1} = \tfrac1K \mathrm{Tr}(S_w S_b^+), \quad
              S_w = \tfrac1N \sum_i (h_i - \mu_{y_i})(h_i - \mu_{y_i})^\top, \quad
              S_b = \tfrac1K \sum_k (\mu_k - \mu_G)(\mu_k - \mu_G)^\top

    and the others as ``CollapseMetrics`` defines them, each under the name of its source
    (papyan2020prevalence, zhu2021geometric, galanti2022role). *measure*: no theorem says how small is
    small. The two streaming accumulators are applied to the arrays once each; features of any real type
    are read in float64 a piece at a time.

    Parameters
    ----------
    features : array of shape (N, d), one row per sample.
    labels : array of shape (N,), whole numbers 0..K-1.
    classifier : array of shape (K, d), or None.
    bias : array of shape (K,), or None for zero.
    num_classes : K; default the largest label plus one, or the rows of a classifier with more.
    global_mean : ``class``, the mean of the class means, or ``sample``, the mean of all samples; they
        differ where the counts do.

    Returns
    -------
    CollapseMetrics

    Raises
    ------
    InvalidInput : NaN, shapes that do not meet, a class without samples, fewer than two classes.
    PreconditionError : all class means coincide (Sb = 0).

    Notes
    -----
    Cost O(N K d + K^2 d), memory O(K (K + d)) beyond the inputs. Not to be trusted as a limit: with few
    samples per class Sw underestimates the within-class covariance of the distribution by about (n-1)/n.

    Examples
    --------
    >>> from theory.frames import simplex_etf
    >>> M = simplex_etf(4, 8)
    >>> record = collapse_metrics(np.repeat(M, 5, axis=0), np.repeat(range(4), 5), M, np.zeros(4))
    >>> max(record.nc1_papyan, record.nc2_zhu, record.nc3_papyan, record.bias_collapse, record.nc4) < 1e-15
    True
    """
    array = features if isinstance(features, np.ndarray) else as_floats("features", features)
    if array.ndim != 2:
        raise InvalidInput(f"features must have shape (samples, d), but have shape {array.shape}.")
    classes = as_labels("labels", labels)
    if len(classes) != len(array):  # before memory is taken for their dimension
        raise InvalidInput(f"there are {len(array)} feature rows but {len(classes)} labels.")
    present = np.unique(classes)
    W = None if classifier is None else as_floats("classifier", classifier, ndim=2)
    if num_classes is not None:
        K = as_count("num_classes", num_classes)
    else:
        rows = len(W) if W is not None and W.shape[1] == array.shape[1] else 0
        K = max(int(present[-1]) + 1, rows)
    if K < 2:
        raise InvalidInput("collapse metrics compare classes, so at least two are needed, but there is one.")
    if len(present) < K:
        missing = np.flatnonzero(np.append(present, K) != np.arange(len(present) + 1))[0]
        raise InvalidInput(
            f"every class needs a sample, but {K - len(present)} of {K} have none, class {missing} first."
        )
    means = MeansAccumulator(K, array.shape[1]).add(array, classes).finish()
    scatter = ScatterAccumulator(means, classifier=W, bias=bias, global_mean=global_mean)
    return scatter.add(array, classes).finish()
