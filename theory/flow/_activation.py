"""Activations that are a power on each side of a kink: ReLU, leaky ReLU, ReLU^k, linear, quadratic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory._arrays import as_count, as_real
from theory._errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    r"""``sigma(z) = m(z) z^k`` with the slope ``m = 1`` where the unit is on (z > 0) and ``m = slope`` where it is off.

    ReLU is k = 1, slope 0; leaky ReLU k = 1 and its slope; ReLU^k slope 0; linear and quadratic have slope 1: no kink.
    """

    name: str
    power: int = 1
    slope: float = 0.0

    @property
    def has_kink(self) -> bool:
        """Whether the two sides differ."""
        return self.slope != 1.0

    @property
    def slides(self) -> bool:
        """Whether the gradient jumps at the kink, so that a flow can slide along it."""
        return self.has_kink and self.power == 1

    def side(self, z: np.ndarray) -> np.ndarray:
        """The slope m of each unit from the sign of z."""
        return np.where(z > 0, 1.0, self.slope)

    def value(self, z: np.ndarray, m: np.ndarray) -> np.ndarray:
        """``m z^k``."""
        return m * z if self.power == 1 else m * z**self.power

    def derivative(self, z: np.ndarray, m: np.ndarray) -> np.ndarray:
        """``k m z^(k-1)``."""
        return m if self.power == 1 else self.power * m * z ** (self.power - 1)

    def second(self, z: np.ndarray, m: np.ndarray) -> np.ndarray:
        """``k (k-1) m z^(k-2)``."""
        return np.zeros_like(z) if self.power == 1 else self.power * (self.power - 1) * m * z ** (self.power - 2)


def as_activation(name: str | Activation, *, slope: float | None = None) -> Activation:
    """``relu``, ``leaky_relu`` (slope, default 0.01), ``relu^2``, ``relu^3`` ..., ``linear`` or ``quadratic``.

    Raises
    ------
    InvalidInput : another name; a slope where the activation has none, or outside [0, 1).

    Examples
    --------
    >>> as_activation("relu^3").power, as_activation("leaky_relu", slope=0.1).slope
    (3, 0.1)
    """
    if isinstance(name, Activation):
        return name
    if slope is not None and name != "leaky_relu":
        raise InvalidInput(f"slope belongs to leaky_relu, not to {name!r}.")
    if name == "leaky_relu":
        gamma = as_real("slope", 0.01 if slope is None else slope)
        if not 0 <= gamma < 1:
            raise InvalidInput(f"slope must be in [0, 1), but is {gamma:g}.")
        return Activation(name=name, slope=gamma)
    if name in ("linear", "quadratic"):
        return Activation(name=name, power=1 + (name == "quadratic"), slope=1.0)
    if name == "relu":
        return Activation(name=name)
    if isinstance(name, str) and name.startswith("relu^") and name[5:].isdigit():
        return Activation(name=name, power=as_count("power of relu", int(name[5:]), minimum=1))
    raise InvalidInput(f"activation must be relu, leaky_relu, relu^2, ..., linear or quadratic, but is {name!r}.")
