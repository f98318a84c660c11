"""Target geometries of class means and classifiers, and how far a Gram matrix is from one.

Frames have one row per class. ``simplex_etf`` is the limit of balanced training, ``orthogonal_frame`` that of
nonnegative features; ``gram_distance`` compares shapes regardless of scale and rotation.
"""

from theory.frames._gram import cosines, cosines_from_gram, gram_distance
from theory.frames._orthogonal import orthogonal_frame
from theory.frames._simplex import simplex_etf, simplex_etf_gram

__all__ = [
    "cosines",
    "cosines_from_gram",
    "gram_distance",
    "orthogonal_frame",
    "simplex_etf",
    "simplex_etf_gram",
]
