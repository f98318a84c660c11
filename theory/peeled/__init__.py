"""The Layer-Peeled Model of Fang, He, Long and Su (2021): certified solutions, thresholds, phase curves."""

from theory.peeled.closed_forms import balanced_loss
from theory.peeled.model import LayerPeeledModel
from theory.peeled.solution import Group, PeeledSolution
from theory.peeled.solver import solve

__all__ = ["Group", "LayerPeeledModel", "PeeledSolution", "balanced_loss", "solve"]
