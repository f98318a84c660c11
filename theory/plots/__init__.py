"""Figures of the theory: each function takes and returns matplotlib Axes.

Theory is drawn as lines, measurements as points; every figure is readable without colour. With ``ax=None`` a new
pyplot figure is made, otherwise pyplot is not imported.
"""

from theory.plots._gram import gram
from theory.plots._phase_curve import phase_curve
from theory.plots._spectrum import spectrum
from theory.plots._vectors import classifier_vectors

__all__ = ["classifier_vectors", "gram", "phase_curve", "spectrum"]
