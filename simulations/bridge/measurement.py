"""What a trained network says about its own last-layer model: energies of layers, slopes, geometry."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simulations.bridge._quantities import LOSSES, geometry, listed
from theory._arrays import as_real
from theory._errors import InvalidInput, PreconditionError
from theory.collapse import CollapseMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEnergy:
    """One weight layer of the trained network.

    Attributes
    ----------
    name, kind : its path in the module and its class.
    weight_energy : ||W_l||_F^2.
    input_energy : sum over samples of the squared norm of what enters it.
    has_bias : whether it has a bias that is not zero.
    follows_linearly : whether its input is the output of the weight layer before it, on the first batch.
    homogeneity_defect : ||f(2 W_l) - 2 f|| / ||2 f|| on the first samples; NaN where the weight is no parameter.
    smallest_input : least entry of what enters it; 0 or more behind a ReLU.
    is_parameter : whether the weight itself is what the optimiser decays (not so where it is frozen, or with a
        reparametrisation).
    parameters_below : how many parameters are trained besides those of this layer and of the later ones; where
        everything is frozen, how many there are.
    """

    name: str
    kind: str
    weight_energy: float
    input_energy: float
    has_bias: bool
    follows_linearly: bool
    homogeneity_defect: float
    smallest_input: float
    is_parameter: bool
    parameters_below: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    r"""A trained network seen as a layer-peeled model; what :func:`measure` returns.

    Attributes
    ----------
    layer : path of the classifier. counts : (K,) samples per class in the loader.
    layers : all Linear and convolution layers that ran, in order, the classifier last.
    classifier, bias, means : W (K, p), b (K,) or None, class means of the features (K, p).
    class_energy : (K,) mean ||h||^2 per class.
    loss, error : mean loss and share of misclassified samples.
    slope : - mean over samples of <loss'(z_i), W h_i>; lam ||W||^2 at a stationary point with decay lam.
    metrics : NC1-NC4, or None where all class means coincide.
    quantities : under the names of ``Prediction.quantities``.
    notes : what was assumed.
    """

    layer: str
    counts: np.ndarray
    layers: tuple[LayerEnergy, ...]
    classifier: np.ndarray
    bias: np.ndarray | None
    means: np.ndarray
    class_energy: np.ndarray
    loss: float
    error: float
    slope: float
    metrics: CollapseMetrics | None
    quantities: dict[str, float | np.ndarray]
    notes: tuple[str, ...]

    @property
    def smallest_feature(self) -> float:
        """Least entry of a feature; 0 or more behind a ReLU."""
        return self.layers[-1].smallest_input

    @property
    def weight_energy(self) -> float:
        """||W||_F^2 of the classifier."""
        return self.layers[-1].weight_energy

    @property
    def budgets(self) -> tuple[float, float]:
        """(E_W, E_H): mean squared norm of the classifier rows, class average of the mean ||h||^2."""
        return self.weight_energy / len(self.counts), float(self.class_energy.mean())

    def feature_penalty(self, weight_decay: float, depth: int = 1) -> float:
        r"""The penalty on free features that is in balance with the decay of the layer above them.

        .. math:: \lambda_H^{(d)} = \lambda \|W_{L-d+1}\|_F^2 \Big/ \sum_i \|h_i^{(d)}\|^2

        for the features that enter the last d weight layers. *derived*: scaling W_{L-d+1} up and all h down by one
        factor leaves mean loss + (lam/2) sum_l ||W_l||^2 + (lam_H/2) sum_i ||h_i||^2 its loss term, so at a
        stationary point lam ||W_{L-d+1}||^2 = lam_H sum ||h||^2; nonnegative features included.

        Raises
        ------
        InvalidInput : the network has fewer layers. PreconditionError : the features or the weights are zero.
        """
        if not 1 <= depth <= len(self.layers):
            raise InvalidInput(f"the network has {len(self.layers)} weight layers, but depth is {depth}.")
        bottom = self.layers[-depth]
        if not bottom.input_energy > 0 or not bottom.weight_energy > 0:
            raise PreconditionError(f"the features or weights of layer {bottom.name!r} are zero: nothing to balance.")
        return weight_decay * bottom.weight_energy / bottom.input_energy

    def linear_depths(self) -> tuple[int, ...]:
        """Every d of at least 2 whose last d weight layers are Linear, with parameters below that make the features."""
        return _linear_depths(self.layers)

    def to_json(self) -> dict[str, object]:
        """Plain numbers, lists and strings; W and the class means are left out."""
        return {
            "layer": self.layer,
            "counts": self.counts.tolist(),
            "layers": [asdict(layer) for layer in self.layers],
            "loss": self.loss,
            "error": self.error,
            "slope": self.slope,
            "smallest_feature": self.smallest_feature,
            "class_energy": self.class_energy.tolist(),
            "metrics": None if self.metrics is None else self.metrics.to_json(),
            "quantities": listed(self.quantities),
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """The layers, and every quantity that is a number."""
        total = int(self.counts.sum())
        lines = [f"classifier {self.layer!r}: loss {self.loss:.6g}, error {self.error:.4g}, N = {total}"]
        lines += [f"  {e.name:<24} {e.kind:<8} ||W||^2 {e.weight_energy:<12.6g} sum ||input||^2 {e.input_energy:.6g}"
                  for e in self.layers]  # fmt: skip
        lines += [f"{name:<28}{value:>14.6g}" for name, value in self.quantities.items() if np.ndim(value) == 0]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        size = f"K={len(self.counts)}, N={int(self.counts.sum())}"
        return f"Measured({self.layer!r}, {size}, loss={self.loss:.4g}, error={self.error:.4g})"


def measure(
    module: Any, loader: Any, *, weight_decay: float | None = None, bias_decay: float | None = None,
    loss: str = "cross_entropy", label_smoothing: float = 0.0, layer: Any = "auto",
) -> Measured:  # fmt: skip
    r"""Measure on a trained network everything that :func:`predict` predicts, under the same names.

    Two passes over the loader in evaluation mode. The module, its mode, gradients, hooks, buffers and every global
    random state stay as they were. Numbers are float64; the network computes in its own dtype.
    *measure*. ``quantities["objective"]`` is mean loss + lam ||W||^2 (+ lam_b/2 ||b||^2): the penalised objective with
    the feature penalty in balance with the decay (:meth:`Measured.feature_penalty`); ``objective_deep_d`` that of the
    last d layers, mean loss + lam/2 (sum of their ||W_l||^2 + ||W_{L-d+1}||^2).

    Parameters
    ----------
    module : a ``torch.nn.Module`` that returns logits (n, K).
    loader : iterable of (inputs, labels), read twice; or a record with ``X`` and ``y``; or a pair (X, y).
    weight_decay : lam of lam/2 ||theta||^2, as in ``torch.optim.SGD``; None leaves the objectives out.
    bias_decay : that of the classifier's bias; None means ``weight_decay``.
    loss, label_smoothing : ``cross_entropy`` (natural logarithm) or ``mse``, half the squared distance to one-hot.
    layer : the classifier: ``auto``, its path, or the module itself.

    Raises
    ------
    InvalidInput : numbers out of range, no classifier found, labels that do not fit, an empty class, a loader that can
        be read only once.
    PreconditionError : PyTorch is missing.

    Examples
    --------
    >>> import torch
    >>> network = torch.nn.Linear(2, 2, bias=False)
    >>> with torch.no_grad():
    ...     _ = network.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    >>> record = measure(network, (torch.eye(2), torch.arange(2)))
    >>> record.error, record.weight_energy, record.quantities["mean_margin"]
    (0.0, 25.0, 3.5)
    """
    if loss not in LOSSES:
        raise InvalidInput(f"loss must be one of {', '.join(LOSSES)}, but is {loss!r}.")
    smoothing = as_real("label_smoothing", label_smoothing)
    if not 0 <= smoothing < 1:
        raise InvalidInput(f"label_smoothing must lie in [0, 1), but is {smoothing:g}.")
    for what, decay in (("weight_decay", weight_decay), ("bias_decay", bias_decay)):
        if decay is not None and as_real(what, decay) < 0:
            raise InvalidInput(f"{what} must not be negative, but is {decay:g}.")
    from simulations.bridge._reading import read

    reading = read(module, loader, layer, loss, smoothing)
    W, b, means, metrics = reading.weight, reading.bias, reading.means, reading.metrics
    counts, layers = np.asarray(means.counts), reading.layers
    total = int(counts.sum())
    found: dict[str, float | np.ndarray] = {
        **geometry(W, means.means, counts),
        "feature_norm": reading.sums["norm"] / total,
        "mean_margin": reading.sums["margin"] / total,
        "loss": reading.sums["loss"] / total,
        "nc1": float("nan") if metrics is None else metrics.nc1_papyan,
        "nc1_ratio": float("nan") if metrics is None else metrics.nc1_ratio,
    }
    if weight_decay is not None:
        lam = float(weight_decay)
        on_bias = lam if bias_decay is None else float(bias_decay)
        rest = 0.0 if b is None else on_bias / 2 * float(b @ b)
        found["objective"] = float(found["loss"]) + lam * layers[-1].weight_energy + rest
        for d in _linear_depths(layers):
            energies = [part.weight_energy for part in layers[-d:]]
            found[f"objective_deep_{d}"] = float(found["loss"]) + lam / 2 * (sum(energies) + energies[0])
    return Measured(
        layer=reading.name, counts=counts, layers=layers, classifier=W, bias=b, means=means.means,
        class_energy=reading.class_energy / counts, loss=float(found["loss"]), error=reading.sums["wrong"] / total,
        slope=reading.sums["slope"] / total, metrics=metrics, quantities=found, notes=tuple(reading.notes),
    )  # fmt: skip


def _linear_depths(layers: tuple[LayerEnergy, ...]) -> tuple[int, ...]:
    tail = 0
    while tail < len(layers) and layers[-1 - tail].kind == "Linear":
        tail += 1
    return tuple(d for d in range(2, tail + 1) if layers[-d].parameters_below)
