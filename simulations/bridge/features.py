"""Last-layer features of a module, streamed to the collapse metrics; margins and errors on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations._torch import import_torch
from simulations.bridge._classifier import find_classifier, matrix_and_bias
from simulations.bridge._layers import LayerNumbers, is_homogeneous, layer_numbers, norm_product, weight_matrices
from simulations.bridge._loading import Batches
from simulations.bridge._stream import Seen, Sums, listening, outputs, together
from simulations.bridge._untouched import bare, untouched
from theory._arrays import as_count
from theory._errors import InvalidInput
from theory.collapse import ClassMeans, CollapseMetrics, MeansAccumulator, ScatterAccumulator

if TYPE_CHECKING:
    from torch import nn

torch = import_torch("last_layer_features")

_CACHE = 2**26  # bytes of features kept from the first pass, so that a small set is read once
_SHIFT = 1e-4  # the passes differ if their mean features do by this share of the features' root mean square


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LastLayer:
    r"""What a module's last layer shows on a set of samples. *measure*.

    With features h_i, labels y_i, logits z_i = W h_i + b as the module computes them, N samples, K classes.

    Attributes
    ----------
    layer : dotted path of the classifier.
    reason : why this layer was taken.
    class_means : counts (K,) and class means (K, d).
    metrics : NC1-NC4; without the classifier's where the layer has another number of rows than K.
    classifier, bias : (K, d) and (K,) float64 copies, or None.
    feature_energy : (K,) mean of ||h||^2 over the samples of each class.
    feature_norm : (K,) mean of ||h|| over the samples of each class.
    class_margins : (K,) least margin z_y - max_{k != y} z_k over the samples of each class; None without logits,
        as the next four.
    mean_margin : mean margin over all samples.
    error : share of samples with argmax z != y; ties take the lowest class.
    cross_entropy : mean over samples of log sum_k exp(z_k) - z_y, natural logarithm.
    normalised_margin : least margin / rho.
    rho : product of the Frobenius norms of all weight matrices (convolutions as out x rest).
    layers : norms and balance of each weight matrix in running order, with ranks where asked.
    homogeneous : whether the outputs scale with the parameters by the degree that the number of weight matrices
        says, measured; only then is ``normalised_margin`` free of scale (lyu2020gradient). None: not measurable.
    notes : what else was noticed, one sentence each.
    """

    layer: str
    reason: str
    class_means: ClassMeans
    metrics: CollapseMetrics
    classifier: np.ndarray | None
    bias: np.ndarray | None
    feature_energy: np.ndarray
    feature_norm: np.ndarray
    class_margins: np.ndarray | None
    mean_margin: float | None
    error: float | None
    cross_entropy: float | None
    normalised_margin: float | None
    rho: float
    layers: tuple[LayerNumbers, ...]
    homogeneous: bool | None
    notes: tuple[str, ...]

    @property
    def min_margin(self) -> float | None:
        """The least margin over all samples, negative where one is misclassified."""
        return None if self.class_margins is None else float(self.class_margins.min())

    def to_json(self) -> dict[str, object]:
        """Return a dictionary of plain numbers, strings and lists."""
        out: dict[str, object] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, ClassMeans | CollapseMetrics):
                value = value.to_json()
            out[name] = value.tolist() if isinstance(value, np.ndarray) else value
        layers = [row.to_json() for row in self.layers]
        return out | {"min_margin": self.min_margin, "layers": layers, "notes": list(self.notes)}

    def summary(self) -> str:
        """Return the layer, the margins and the table of metrics."""
        lines = [f"classifier {self.layer!r}: {self.reason}"]
        if self.error is not None:
            lines.append(
                f"error {self.error:.4g}, cross-entropy {self.cross_entropy:.4g}, "
                f"margins: least {self.min_margin:.4g}, mean {self.mean_margin:.4g}, "
                f"least over rho {self.normalised_margin:.4g}"
                + ("" if self.homogeneous else " (not homogeneous: depends on the scale of the weights)")
            )
        return "\n".join([*lines, self.metrics.summary(), *self.notes])

    def __repr__(self) -> str:
        K, d = self.class_means.means.shape
        return f"LastLayer({self.layer!r}, K={K}, d={d}, nc1_papyan={self.metrics.nc1_papyan:.4g})"


def last_layer_features(
    module: nn.Module,
    loader: Any,
    layer: str | nn.Module = "auto",
    *,
    num_classes: int | None = None,
    global_mean: str = "class",
    device: Any = None,
    batch_size: int = 1024,
    cache: int = _CACHE,
    ranks: bool = False,
) -> LastLayer:
    r"""Neural-collapse metrics, margins and energies of a module's last layer, at constant memory.

    Two passes over the loader, the class means and then the scatter about them (``theory.collapse``), by a
    temporary hook on the classifier with the module at evaluation and no gradients. Module, loader and all random
    generators are left as they were, also where the forward raises (``untouched`` says what that covers); nothing is
    copied but the classifier and one batch of its inputs. Both passes start from the same random state, so a loader
    that shuffles or augments with the usual generators gives both the same samples. *measure*.

    Parameters
    ----------
    module : its output, or its log-softmax or softmax, should be that of a linear layer or a one-pixel convolution.
    loader : iterable of batches (inputs, labels), iterated twice; a ``Dataset`` or a pair (X, y) also.
    layer : ``auto`` finds the classifier and says in the record which it took and why; or the dotted path of a layer,
        or the layer itself, whose inputs are then the features.
    num_classes : K; default the rows of the classifier. With another K than these rows, a layer that does not
        classify is meant: its features are measured, its weights are not.
    global_mean : ``class`` or ``sample``, as in ``theory.collapse.collapse_metrics``.
    device : where batches go; default the device of the first parameter.
    batch_size : of arrays; a loader brings its own.
    cache : bytes of features that may be kept, in the module's type. Where they fit, the loader is read once.
    ranks : also singular values, ranks and Gram defects of all weight matrices, an eigenvalue problem each.

    Returns
    -------
    LastLayer

    Raises
    ------
    InvalidInput : no classifier can be told; labels out of range; a class without samples; a loader that yields
        nothing, or the second time nothing or other classes.
    PreconditionError : features that are not finite, or class means that all coincide; PyTorch is missing.

    Notes
    -----
    Cost: two forward passes (one where the features fit the cache) and O(N K d). Features become float64 before
    anything is summed, so for a float64 module the metrics are those of ``collapse_metrics`` on its features.
    On CUDA batches go to the module's device and features come back to the CPU; that path was tested on a CPU only.
    Not to be trusted where batch normalisation has no running statistics: features then depend on the batches.

    Examples
    --------
    >>> import torch
    >>> head = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
    >>> X, y = np.array([[0.0, 1.0], [2.0, 1.0], [10.0, 1.0], [12.0, 1.0]]), np.array([0, 0, 1, 1])
    >>> record = last_layer_features(torch.nn.Sequential(torch.nn.Flatten(), head), (X, y))
    >>> record.layer, round(record.metrics.nc1_papyan, 12)
    ('1', 0.02)
    """
    module, cache = bare(module), as_count("cache", cache, minimum=0)
    batches = Batches(loader, module, device=device, batch_size=as_count("batch_size", batch_size))
    with untouched(module, loader) as rewind:
        stream = iter(batches)
        first = next(stream, None)
        if first is None:
            raise InvalidInput("the loader must yield at least one batch of (inputs, labels), but yields none.")
        found = find_classifier(module, first[0], layer)
        W, b = (None if part is None else _array(part) for part in matrix_and_bias(found.layer))
        assert W is not None
        K = len(W) if num_classes is None else as_count("num_classes", num_classes, minimum=2)
        notes = list(found.notes)
        if len(W) != K:
            notes = [f"layer {found.name!r} has {len(W)} rows for {K} classes: its weights are not measured."]
            W = b = None
        sums = Sums(K, W is not None)
        means = None
        kept: list[Seen] | None = []
        with listening(found) as heard:
            for seen in together(outputs(module, heard, itertools.chain([first], stream))):
                means = means or MeansAccumulator(K, seen.features.shape[1])
                means.add(seen.features, seen.labels)
                sums.add(seen)
                if kept is not None:
                    kept.append(seen)
                    cache -= seen.features.nbytes + seen.logits.nbytes
                    kept = None if cache < 0 else kept
            assert means is not None
            class_means = means.finish()
            scatter = ScatterAccumulator(class_means, classifier=W, bias=b, global_mean=global_mean)
            if kept is None:
                rewind()
            notes += _scatter(scatter, class_means, kept or together(outputs(module, heard, batches)), sums)
        weights = weight_matrices(module, found.order)
        layers = layer_numbers(weights, ranks=ranks)
        homogeneous = is_homogeneous(module, first[0][:16], degree=len(weights))
    rho = norm_product(layers)
    return LastLayer(
        layer=found.name,
        reason=found.reason,
        class_means=class_means,
        metrics=scatter.finish(),
        classifier=W,
        bias=b,
        rho=rho,
        layers=layers,
        homogeneous=homogeneous,
        notes=tuple(notes),
        **sums.finish(rho),
    )


def _array(tensor: Any) -> np.ndarray:
    """A float64 copy that nobody writes to."""
    array = tensor.detach().cpu().double().clone().numpy()
    array.setflags(write=False)
    return array


def _scatter(scatter: ScatterAccumulator, first: ClassMeans, second: Iterable[Seen], sums: Sums) -> list[str]:
    """Add the second pass; a note where it saw other features than the first."""
    count = 0
    total = np.zeros(first.means.shape[1])
    for features, logits, labels in second:
        scatter.add(features, labels, logits.argmax(axis=1) if logits.shape[1] == len(first.counts) else None)
        count += len(labels)
        total += features.sum(axis=0, dtype=np.float64)
    N = int(first.counts.sum())
    if count == 0:
        raise InvalidInput(
            "the loader must yield its batches twice, but the second time it yields none (a generator?): "
            "give a DataLoader or a list, or raise cache above the size of all features."
        )
    if count != N:
        raise InvalidInput(f"both passes over the loader must see the same samples, but saw {N} and {count}.")
    shift = np.linalg.norm(total / N - first.counts / N @ first.means)
    if shift > _SHIFT * math.sqrt(float(first.counts @ sums.energy()) / N):
        return ["the two passes over the loader saw different inputs (a random augmentation?): NC1 mixes both."]
    return []
