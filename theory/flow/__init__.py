"""Gradient flow of homogeneous networks: exact through the kinks, certified at the end."""

from __future__ import annotations

from theory.flow.integrate import integrate
from theory.flow.losses import CrossEntropyLoss, ExponentialLoss, LogisticLoss, SquareLoss
from theory.flow.networks import LayeredNetwork, fully_connected
from theory.flow.solution import FlowEvent, FlowSolution, FlowState

__all__ = [
    "CrossEntropyLoss",
    "ExponentialLoss",
    "FlowEvent",
    "FlowSolution",
    "FlowState",
    "LayeredNetwork",
    "LogisticLoss",
    "SquareLoss",
    "fully_connected",
    "integrate",
]
