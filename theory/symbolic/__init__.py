r"""Closed forms of the last-layer models and of rho as sympy expressions, with numeric twins and their identities.

>>> from theory import symbolic
>>> form = symbolic.get("balanced_loss")
>>> form.latex()
'\\log{\\left(\\left(K - 1\\right) e^{- \\frac{\\sqrt{E_{H}} \\sqrt{E_{W}} K}{K - 1}} + 1 \\right)}'
>>> all(identity.verify() for identity in form.identities)
True
>>> float(form.numeric()(K=10, E_W=1, E_H=5))
0.5597815240...
"""

from theory.symbolic import layer_peeled, two_groups, unconstrained, squared_error, seli, deep_linear, square_loss  # isort: skip
from theory.symbolic._record import ClosedForm, Identity, closed_forms, get, latex_table

__all__ = [
    "ClosedForm",
    "Identity",
    "closed_forms",
    "deep_linear",
    "get",
    "latex_table",
    "layer_peeled",
    "seli",
    "square_loss",
    "squared_error",
    "two_groups",
    "unconstrained",
]
