"""The passes over a loader that :func:`simulations.bridge.measure` makes, and the sums that they collect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from simulations._torch import import_torch
from simulations.bridge._classifier import as_rows, find_classifier, first_input, matrix_and_bias
from simulations.bridge._loading import Batches
from simulations.bridge._quantities import losses, margins, slopes
from simulations.bridge._untouched import bare, untouched
from simulations.bridge.measurement import LayerEnergy
from theory._errors import InvalidInput, PreconditionError
from theory.collapse import ClassMeans, CollapseMetrics, MeansAccumulator, ScatterAccumulator

torch = import_torch("simulations.bridge")

WEIGHTED = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
DROPOUT = torch.nn.modules.dropout._DropoutNd
PROBE = 64  # samples on which homogeneity is tried


def read(module: Any, loader: Any, layer: Any, loss: str, smoothing: float) -> Reading:
    """Both passes and the probe; the module is as before afterwards, also where something raises."""
    module = bare(module)
    with untouched(module, loader) as rewind, ExitStack() as hooks:
        reading = Reading(module, loader, layer, loss, smoothing)
        for name, part in reading.parts.items():
            hooks.callback(part.register_forward_hook(reading.keeper(name), with_kwargs=True).remove)
        reading.first_pass()
        rewind()
        reading.second_pass()
        reading.probe_homogeneity()
        reading.read_layers()
    return reading


class Reading:
    """The sums over a loader, and the weight layers in the order in which they ran."""

    def __init__(self, module: Any, loader: Any, layer: Any, loss: str, smoothing: float) -> None:
        self.module, self.layer, self.loss, self.smoothing = module, layer, loss, smoothing
        self.batches = Batches(loader, module)
        self.parts = {name: part for name, part in module.named_modules() if isinstance(part, WEIGHTED)}
        self.name, self.order, self.notes = "", [], []  # type: str, list[str], list[str]
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.ran: list[str] = []
        self.keep_all, self.counting = False, False
        self.sums = dict.fromkeys(("loss", "margin", "norm", "slope", "wrong"), 0.0)
        self.input_energy: dict[str, float] = {}
        self.smallest: dict[str, float] = {}
        self.chained: dict[str, bool] = {}
        self.defect: dict[str, float] = {}

    def keeper(self, name: str) -> Any:
        """A forward hook that sums the energy of the input and, of the classifier, keeps input and output."""

        def keep(_: Any, args: Any, kwargs: Any, output: Any) -> None:
            entered = first_input(args, kwargs).detach()
            self.ran.append(name)
            if self.counting:
                size = float(torch.linalg.vector_norm(entered, dtype=torch.float64))
                self.input_energy[name] = self.input_energy.get(name, 0.0) + size**2
                self.smallest[name] = min(self.smallest.get(name, float("inf")), float(entered.min()))
            if self.keep_all or name == self.name:  # copies: what follows may overwrite in place
                self.inputs[name], self.outputs[name] = entered.clone(), output.detach().clone()

        return keep

    def _run(self, inputs: Any, **replaced: Any) -> None:
        self.inputs.clear()
        self.outputs.clear()
        self.ran.clear()
        x = inputs.clone()  # the forward may work in place
        torch.func.functional_call(self.module, replaced, (x,)) if replaced else self.module(x)

    def _forward(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Features, logits, labels of each batch."""
        for inputs, labels in self.batches:
            if not self.name:
                counting, self.counting = self.counting, False
                self._start(inputs)
                self.counting = counting
            self._run(inputs)
            H, Z = (_numpy(as_rows(kept[self.name])) for kept in (self.inputs, self.outputs))
            if labels.max() >= Z.shape[1]:
                raise InvalidInput(f"the loader holds label {labels.max()}, but the classifier has {Z.shape[1]} rows.")
            yield H, Z, labels

    def _start(self, inputs: Any) -> None:
        """Find the classifier, read its weights and see which layers ran and how they are chained."""
        found = find_classifier(self.module, inputs, self.layer)
        if found.name not in self.parts:
            kind = type(found.layer).__name__
            raise InvalidInput(f"layer {found.name!r} must be Linear or a convolution, but is a {kind}.")
        self.name, self.first = found.name, inputs[:PROBE]
        self.notes += [note.rstrip(".") for note in found.notes]
        dropout = [n for n, p in self.module.named_modules() if isinstance(p, DROPOUT) and p.p > 0]
        if dropout:
            self.notes.append(f"dropout is off, so the loss is not the one that was descended: {', '.join(dropout)}")
        self.keep_all = True
        self._run(self.first)
        self.keep_all = False
        ran = list(dict.fromkeys(self.ran))
        self.order = ran[: ran.index(self.name) + 1]
        for before, name in zip(["", *self.order], self.order, strict=False):
            last, entered = self.outputs.get(before) if before else None, self.inputs[name]
            self.chained[name] = last is not None and last.shape == entered.shape and torch.equal(last, entered)
        repeated = sorted({name for name in self.order if self.ran.count(name) > 1})
        if repeated:
            self.notes.append(f"{', '.join(repeated)} ran more than once in a forward: all its inputs are summed")
        W, b = matrix_and_bias(found.layer)
        self.weight, self.bias = _numpy(W), None if b is None else _numpy(b)

    def first_pass(self) -> None:
        """Class means, and every sum over samples."""
        means: MeansAccumulator | None = None
        self.counting = True
        for H, Z, y in self._forward():
            K = len(self.weight)
            if means is None:
                means, self.class_energy = MeansAccumulator(K, H.shape[1]), np.zeros(K)
            means.add(H, y)
            energy, linear = (H**2).sum(axis=1), Z if self.bias is None else Z - self.bias
            self.class_energy += np.bincount(y, energy, minlength=K)
            gradient = slopes(Z, y, self.loss, self.smoothing)
            self.sums["loss"] += float(losses(Z, y, self.loss, self.smoothing).sum())
            self.sums["margin"] += float(margins(Z, y).sum())
            self.sums["norm"] += float(np.sqrt(energy).sum())
            self.sums["slope"] -= float((gradient * linear).sum())
            self.sums["wrong"] += float((Z.argmax(axis=1) != y).sum())
        self.counting = False
        if means is None:
            raise InvalidInput("the loader yields no samples.")
        self.means: ClassMeans = means.finish()

    def second_pass(self) -> None:
        """NC1-NC4; None where they are undefined."""
        self.metrics: CollapseMetrics | None = None
        try:
            scatter = ScatterAccumulator(self.means, classifier=self.weight, bias=self.bias)
        except PreconditionError:
            self.notes.append("all class means coincide, so NC1 is undefined")
            return
        seen, expected = 0, int(np.sum(self.means.counts))
        for H, _, y in self._forward():
            scatter.add(H, y)
            seen += len(y)
        if seen != expected:
            raise InvalidInput(
                f"the loader gave {expected} samples and, read again, {seen}; "
                "give one that can be read twice, such as a DataLoader or a list."
            )
        self.metrics = scatter.finish()

    def probe_homogeneity(self) -> None:
        """How far doubling one weight is from doubling the logits without their bias."""
        reference = 2 * self._logits()
        size = float(torch.linalg.vector_norm(reference))
        for name in self.order:
            weight = self.parts[name]._parameters.get("weight")
            if weight is None or not size > 0:
                self.defect[name] = float("nan")
                continue
            off = self._logits(**{f"{name}.weight" if name else "weight": 2 * weight}) - reference
            self.defect[name] = float(torch.linalg.vector_norm(off)) / size

    def _logits(self, **replaced: Any) -> Any:
        self._run(self.first, **replaced)
        logits = as_rows(self.outputs[self.name]).double()
        return logits if self.bias is None else logits - torch.as_tensor(self.bias, device=logits.device)

    def read_layers(self) -> None:
        """One record per layer, in order."""
        parameters = list(self.module.parameters())
        # a network of which everything is frozen was frozen after its training
        trained = {id(p): p.numel() for p in parameters if p.requires_grad} or {id(p): p.numel() for p in parameters}
        above: set[int] = set()
        records = []
        for name in reversed(self.order):
            part = self.parts[name]
            above.update(map(id, part.parameters()))
            size = float(torch.linalg.vector_norm(part.weight, dtype=torch.float64))
            records.append(
                LayerEnergy(
                    name=name, kind=_kind(part), input_energy=self.input_energy[name], weight_energy=size**2,
                    has_bias=part.bias is not None and bool(part.bias.detach().any()),
                    follows_linearly=self.chained[name], homogeneity_defect=self.defect[name],
                    smallest_input=self.smallest[name], is_parameter=id(part._parameters.get("weight")) in trained,
                    parameters_below=sum(n for key, n in trained.items() if key not in above),
                )
            )  # fmt: skip
        self.layers = tuple(reversed(records))


def _kind(part: Any) -> str:
    """The class that PyTorch gave the layer, whatever was derived from it."""
    return next(c.__name__ for c in WEIGHTED if isinstance(part, c))


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()
