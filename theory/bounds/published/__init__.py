"""Norm bounds as printed or as programs have them, for comparison: none of them is a certificate for a trained network.

Each needs more than the number shows: norms fixed before the sample (the union over the norms found by training is not
paid, unless a form prints one), a margin fixed before the sample, and constants that were not checked against a proof.
"""

from theory.bounds.published.bartlett import BartlettFixed, BartlettPostHoc
from theory.bounds.published.galanti import Galanti
from theory.bounds.published.golowich import GolowichFrobenius, GolowichRows
from theory.bounds.published.gouk import GoukFrobenius, GoukRows
from theory.bounds.published.graf import GrafNorms, GrafParameters
from theory.bounds.published.ledent import Ledent
from theory.bounds.published.lin_zhang import LinZhang
from theory.bounds.published.xu import Xu

__all__ = [
    "BartlettFixed", "BartlettPostHoc", "Galanti", "GolowichFrobenius", "GolowichRows", "GoukFrobenius", "GoukRows",
    "GrafNorms", "GrafParameters", "Ledent", "LinZhang", "Xu",
]  # fmt: skip
