"""How complex is what a network has learned: information that it shares with simpler classifiers.

>>> from theory.complexity import estimate
>>> network, labels, line = [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]
>>> estimate(network, labels, line, estimator="plug-in")
Information(I_FY=1.00000, I_FY_given_L=1.00000, mu=0.00000 bits)
"""

from theory.complexity.information import Information, Interval, estimate, exact, from_counts, joint_counts
from theory.complexity.learning_curve import LearningCurve, learning_curve
from theory.complexity.retention import RetentionModel

__all__ = [
    "Information", "Interval", "LearningCurve", "RetentionModel", "estimate", "exact", "from_counts", "joint_counts",
    "learning_curve",
]  # fmt: skip
