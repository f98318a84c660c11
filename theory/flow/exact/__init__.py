"""Exact solutions of gradient flow, as records: a problem goes in; its path, loss and limit come out.

Every record has ``data`` (X, y) and, where there is a start, ``theta0``, so that the same problem can be given to any
integrator; its docstring names the network and the loss. ``solution(t)`` has the shape of the time followed by that of
the parameters; where losses run below e^-700, ``solution(log_t=...)`` reaches times like e^(10^6).

Exponential and logistic losses, linear models: ``OnePointExponential``, ``OnePointLogistic``,
``OrthogonalExponential``, ``OrthogonalLogistic``, ``MirroredPoints``. Homogeneous ones: ``ScalarHomogeneous``,
``TwoFactors``, ``LeakyReluOrthogonal``, ``DiagonalExponential`` (a first integral).

Squared loss: ``ScalarFactorisation``, ``BalancedDepth``, ``LambdaBalanced``, ``SaxeModes``, ``KernelFlow``,
``DiagonalSquare`` (a first integral, and the end), ``SaddleToSaddle``, ``MinimumVariationNorm``, ``OneActiveNeuron``.

Growth and balance: ``growth_constant_loss``, ``growth_constant_norm``, ``normalised_loss_constant``,
``descent_imbalance_change``, ``decayed_imbalance``.

>>> from theory.flow.exact import ScalarHomogeneous
>>> form = ScalarHomogeneous(L=3, theta0_value=1.0)
>>> round(float(form.log_inverse_loss(log_t=1e6)) - 1e6, 6)
20.617931
"""

from theory.flow.exact._base import Data, MarginLimit
from theory.flow.exact.balanced_depth import BalancedDepth
from theory.flow.exact.diagonal import DiagonalSquare, HypentropyLimit
from theory.flow.exact.diagonal_exponential import DiagonalExponential
from theory.flow.exact.factorisation import ScalarFactorisation
from theory.flow.exact.growth import growth_constant_loss, growth_constant_norm, normalised_loss_constant
from theory.flow.exact.imbalance import decayed_imbalance, descent_imbalance_change
from theory.flow.exact.kernel import KernelFlow
from theory.flow.exact.lambda_balanced import LambdaBalanced
from theory.flow.exact.leaky_relu import LeakyReluOrthogonal
from theory.flow.exact.mirrored import MirroredPoints
from theory.flow.exact.one_point import OnePointExponential, OnePointLogistic
from theory.flow.exact.orthogonal import OrthogonalExponential, OrthogonalLogistic
from theory.flow.exact.saddle_to_saddle import SaddleToSaddle
from theory.flow.exact.saxe import SaxeModes
from theory.flow.exact.scalar import ScalarHomogeneous
from theory.flow.exact.two_factors import TwoFactors
from theory.flow.exact.variation_norm import MinimumVariationNorm, OneActiveNeuron

__all__ = [
    "BalancedDepth",
    "Data",
    "DiagonalExponential",
    "DiagonalSquare",
    "HypentropyLimit",
    "KernelFlow",
    "LambdaBalanced",
    "LeakyReluOrthogonal",
    "MarginLimit",
    "MinimumVariationNorm",
    "MirroredPoints",
    "OneActiveNeuron",
    "OnePointExponential",
    "OnePointLogistic",
    "OrthogonalExponential",
    "OrthogonalLogistic",
    "SaddleToSaddle",
    "SaxeModes",
    "ScalarFactorisation",
    "ScalarHomogeneous",
    "TwoFactors",
    "decayed_imbalance",
    "descent_imbalance_change",
    "growth_constant_loss",
    "growth_constant_norm",
    "normalised_loss_constant",
]
