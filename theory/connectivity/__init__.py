"""Low-loss paths between two trained networks: conditions, constructions, barriers.

>>> import numpy as np
>>> from theory.connectivity import DenseNetwork, connect
>>> rng = np.random.default_rng(1)
>>> a, b = (DenseNetwork.of([rng.standard_normal((8, 2)), 3 * rng.standard_normal((2, 8))]) for _ in range(2))
>>> X, y = rng.standard_normal((6, 2)), [0, 1, 0, 1, 0, 1]
>>> connect(a, b, X, y).barrier < 1e-12
True
"""

from theory.connectivity.alignment import Alignment, align
from theory.connectivity.condition import Condition, LayerCondition, check_condition
from theory.connectivity.counts import NeuronCount, neuron_counts
from theory.connectivity.network import DenseNetwork
from theory.connectivity.path import ConnectedPath, Segment, aligned_path, connect, linear_path
from theory.connectivity.separability import Separation, separate

__all__ = [
    "Alignment", "Condition", "ConnectedPath", "DenseNetwork", "LayerCondition", "NeuronCount", "Segment",
    "Separation", "align", "aligned_path", "check_condition", "connect", "linear_path", "neuron_counts", "separate",
]  # fmt: skip
