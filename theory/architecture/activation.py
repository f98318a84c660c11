"""Element-wise activations: function, Lipschitz constant, homogeneity and breakpoints, for the hypotheses of bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, expit

from theory._arrays import as_positive, as_real
from theory._errors import InvalidInput
from theory.architecture.operations import Operation


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an activation.

    Attributes
    ----------
    function : element-wise, on float64 arrays.
    lipschitz : least Lipschitz constant, rounded up in the last digit where it is irrational.
    degree : of positive homogeneity, or None.
    breakpoints : where a piecewise-linear activation changes slope, or None.
    at_zero, at_one : its values at 0 and at 1.
    """

    function: Callable[[np.ndarray], np.ndarray]
    lipschitz: float
    degree: int | None = None
    breakpoints: int | None = None
    at_zero: float = 0.0
    at_one: float = 1.0


def _phi(x: np.ndarray) -> np.ndarray:
    return (1 + erf(x / np.sqrt(2))) / 2


_SELU = (1.0507009873554805, 1.6732632423543772)
# slopes of GELU, SiLU and Mish are largest where the second derivative vanishes; found by root finding in the tests
_TABLE: dict[str, Facts] = {
    "relu": Facts(lambda x: np.maximum(x, 0), 1.0, 1, 1),
    "identity": Facts(lambda x: x, 1.0, 1, 0),
    "abs": Facts(np.abs, 1.0, 1, 1),
    "hardtanh": Facts(lambda x: np.clip(x, -1, 1), 1.0, None, 2),
    "relu6": Facts(lambda x: np.clip(x, 0, 6), 1.0, None, 2),
    "tanh": Facts(np.tanh, 1.0, at_one=float(np.tanh(1.0))),
    "sigmoid": Facts(expit, 0.25, at_zero=0.5, at_one=float(expit(1.0))),
    "softplus": Facts(lambda x: np.logaddexp(x, 0), 1.0, at_zero=float(np.log(2)), at_one=float(np.log1p(math.e))),
    "gelu": Facts(lambda x: x * _phi(x), 1.1289041452, at_one=float(_phi(np.array(1.0)))),
    "silu": Facts(lambda x: x * expit(x), 1.0998393202, at_one=float(expit(1.0))),
    "mish": Facts(
        lambda x: x * np.tanh(np.logaddexp(x, 0)), 1.0884981613, at_one=float(np.tanh(np.log1p(math.e)))
    ),
    "selu": Facts(
        lambda x: _SELU[0] * np.where(x > 0, x, _SELU[1] * np.expm1(np.minimum(x, 0))),
        _SELU[0] * _SELU[1], at_one=_SELU[0],
    ),
}  # fmt: skip
_SLOPED = ("leaky_relu", "elu")  # their parameter is ``slope``


@dataclass(frozen=True, slots=True)
class Activation(Operation):
    """An element-wise activation.

    Parameters
    ----------
    name : relu, leaky_relu (``slope`` below zero, 0.01), identity, abs, hardtanh, relu6, tanh, sigmoid, softplus,
        gelu, silu, mish, selu, elu (``slope`` is its alpha, 1); any other name with ``lipschitz`` declared.
    slope : of leaky_relu or elu.
    lipschitz, degree : declared by you for an activation that is not in the list; the outputs of such a network must
        be given, since it cannot be evaluated here.

    Raises
    ------
    InvalidInput : an unknown name without a declared Lipschitz constant; a negative one.

    Examples
    --------
    >>> Activation("relu").facts.degree, Activation("gelu").facts.degree
    (1, None)
    """

    name: str = "relu"
    slope: float | None = None
    lipschitz: float | None = None
    degree: int | None = None

    def __post_init__(self) -> None:
        if self.name in _SLOPED:
            if self.slope is not None and as_real("slope", self.slope) < 0:
                raise InvalidInput(f"slope must not be negative, but is {self.slope:g}.")
        elif self.slope is not None:
            raise InvalidInput(f"{self.name} takes no slope.")
        if self.name not in (*_TABLE, *_SLOPED):
            if self.lipschitz is None:
                raise InvalidInput(
                    f"unknown activation {self.name!r}: declare its Lipschitz constant, "
                    f"or take one of {', '.join((*_TABLE, *_SLOPED))}."
                )
            as_positive("lipschitz", self.lipschitz)
        elif self.lipschitz is not None or self.degree is not None:
            raise InvalidInput(f"{self.name} is known: its Lipschitz constant and degree are not declared.")

    @property
    def facts(self) -> Facts:
        """Function, Lipschitz constant, homogeneity, breakpoints."""
        if self.name in _TABLE:
            return _TABLE[self.name]
        if self.name == "leaky_relu":
            a = 0.01 if self.slope is None else self.slope
            return Facts(lambda x: np.where(x > 0, x, a * x), max(1.0, a), 1, 1)
        if self.name == "elu":
            a = 1.0 if self.slope is None else self.slope
            return Facts(lambda x: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))), max(1.0, a))
        at_zero = 0.0 if self.degree else np.nan  # positive homogeneity alone gives sigma(0) = 0
        return Facts(_unknown(self.name), self.lipschitz or 1.0, self.degree, None, at_zero, np.nan)


def _unknown(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def refuse(x: np.ndarray) -> np.ndarray:
        raise InvalidInput(f"activation {name!r} is only declared and cannot be evaluated: give the network's outputs.")

    return refuse
