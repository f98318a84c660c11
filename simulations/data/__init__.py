"""Data sets that experiments train on, all as one record, and samplers that make their classes unequal.

``Dataset`` holds samples, labels and held-out ones. ``digits`` and ``bundled`` come with scikit-learn; ``gaussians``,
``teacher`` and ``compositional`` are drawn from a stated law; ``images`` reads MNIST, Fashion-MNIST and CIFAR.
``step_counts`` and ``long_tail_counts`` state class counts, ``imbalanced`` thins a data set to them.
"""

from simulations.data.bundled import bundled, digits
from simulations.data.compositional import BinaryTree, binary_tree, compositional
from simulations.data.counts import long_tail_counts, long_tailed_digits_counts, step_counts
from simulations.data.dataset import Dataset, imbalanced, random_labels
from simulations.data.images import images
from simulations.data.published import published_minority_cosines
from simulations.data.synthetic import gaussians, teacher

__all__ = [
    "BinaryTree",
    "Dataset",
    "binary_tree",
    "bundled",
    "compositional",
    "digits",
    "gaussians",
    "images",
    "imbalanced",
    "long_tail_counts",
    "long_tailed_digits_counts",
    "published_minority_cosines",
    "random_labels",
    "step_counts",
    "teacher",
]
