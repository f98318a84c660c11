"""From a PyTorch module to the records of ``theory``: what a trained network is, shows and should show.

``read_architecture``   the module as a graph with its weights, for ``theory.bounds`` and ``theory.norms``
``last_layer_features`` features, classifier, NC1-NC4 and margins, streamed
``CollapseMonitor``     the same along any training loop; adapters for Lightning and TensorBoard
``predict``, ``compare`` the geometry that the layer-peeled models predict, held against the measured one
``flow_of``             the module's gradient field for ``theory.flow``

A user's module is left exactly as it was: mode, gradients, hooks, buffers and random state. Names load on first
use, so ``import simulations.bridge`` does not import PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulations.bridge.adapters import lightning_callback, tensorboard_writer
    from simulations.bridge.agreement import Agreement, Check, Relative, compare
    from simulations.bridge.architecture import ReadNetwork, read_architecture
    from simulations.bridge.features import LastLayer, last_layer_features
    from simulations.bridge.flow import ModuleFlow, ModuleNetwork, flow_of
    from simulations.bridge.measurement import LayerEnergy, Measured, measure
    from simulations.bridge.monitor import CollapseMonitor, MonitorRecord
    from simulations.bridge.prediction import Hypothesis, Prediction, predict

_FILES = {
    "architecture": ("ReadNetwork", "read_architecture"),
    "features": ("LastLayer", "last_layer_features"),
    "monitor": ("CollapseMonitor", "MonitorRecord"),
    "adapters": ("lightning_callback", "tensorboard_writer"),
    "agreement": ("Agreement", "Check", "Relative", "compare"),
    "measurement": ("LayerEnergy", "Measured", "measure"),
    "prediction": ("Hypothesis", "Prediction", "predict"),
    "flow": ("ModuleFlow", "ModuleNetwork", "flow_of"),
}
_HOME = {name: file for file, names in _FILES.items() for name in names}
__all__ = [
    "Agreement",
    "Check",
    "CollapseMonitor",
    "Hypothesis",
    "LastLayer",
    "LayerEnergy",
    "Measured",
    "ModuleFlow",
    "ModuleNetwork",
    "MonitorRecord",
    "Prediction",
    "ReadNetwork",
    "Relative",
    "compare",
    "flow_of",
    "last_layer_features",
    "lightning_callback",
    "measure",
    "predict",
    "read_architecture",
    "tensorboard_writer",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"simulations.bridge.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'simulations.bridge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
