"""Neural-collapse metrics NC1-NC4 under their published normalisations, in memory or over a stream.

In memory: ``collapse_metrics(features, labels, W, b)``. Over a stream or over shards, two passes:

1. ``MeansAccumulator(K, d).add(...)`` on every batch, then ``.finish()`` gives ``ClassMeans``;
2. ``ScatterAccumulator(class_means, classifier=W, bias=b).add(...)`` on every batch, then ``.finish()``.

Both accumulators merge (``a + b``, ``combine``), so shards may be read in parallel. Memory is O(K (K + d))
and a batch, whatever the number of samples; no d x d matrix is formed.
"""

from theory.collapse._means import ClassMeans, MeansAccumulator
from theory.collapse._metrics import collapse_metrics
from theory.collapse._record import CollapseMetrics
from theory.collapse._scatter import ScatterAccumulator

__all__ = ["ClassMeans", "CollapseMetrics", "MeansAccumulator", "ScatterAccumulator", "collapse_metrics"]
