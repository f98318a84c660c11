"""From a training run to the models of its last layer: their specifications, and what their solutions predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulations.bridge._quantities import geometry, losses, margins
from simulations.bridge.measurement import Measured
from theory._arrays import as_positive
from theory._errors import InvalidInput, PreconditionError
from theory.peeled import DeepLinearModel, LayerPeeledModel, PeeledSolution, SELIModel, UnconstrainedFeaturesModel

DEEPEST = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a training run, and the specifications that follow from it."""

    counts: np.ndarray
    lam: float
    loss: str
    smoothing: float
    lam_b: float | None
    measured: Measured | None
    feature_penalty: float | None
    budgets: tuple[float, float] | None

    def main(self, model: str, features: str) -> str:
        if model != "penalties":
            return model
        if features == "auto":
            nonnegative = self.measured is not None and self.measured.smallest_feature >= 0
            return "relu" if nonnegative and self.lam_b is None and not self.smoothing else "free"
        return features

    def names(self) -> tuple[str, ...]:
        """Every model that has its parameters."""
        found: list[str] = ["free", "relu"] if self.lam > 0 and (self.measured or self.feature_penalty) else []
        found += ["layer-peeled"] if self.measured or self.budgets else []
        deep = self.measured.linear_depths() if self.measured and self.lam > 0 and not self.smoothing else ()
        return (*found, "vanishing", *(f"deep-{d}" for d in deep if d <= DEEPEST))

    def specification(self, name: str) -> Any:
        """The model of that name; a sentence where it needs what is not there."""
        if name == "vanishing":
            if self.loss != "cross_entropy":
                raise PreconditionError("the limit of vanishing decay is that of the cross-entropy loss.")
            return SELIModel(counts=self.counts)
        if name == "layer-peeled":
            if self.smoothing:
                raise PreconditionError("the layer-peeled model takes no label smoothing.")
            E_W, E_H = self._budgets()
            return LayerPeeledModel(counts=self.counts, E_W=E_W, E_H=E_H, loss=self.loss)
        if not self.lam > 0:
            raise InvalidInput("model 'penalties' needs a positive weight_decay; take 'vanishing' or 'layer-peeled'.")
        if name in ("free", "relu"):
            return UnconstrainedFeaturesModel(
                counts=self.counts, lam_W=self.lam, lam_H=self._penalty(1), lam_b=self.lam_b, loss=self.loss,
                features=name, label_smoothing=self.smoothing,
            )  # fmt: skip
        depth = int(name.removeprefix("deep-"))
        return DeepLinearModel(counts=self.counts, lams=[self.lam] * depth + [self._penalty(depth)], loss=self.loss)

    def _penalty(self, depth: int) -> float:
        if depth == 1 and self.feature_penalty is not None:
            return as_positive("feature_penalty", self.feature_penalty)
        if self.measured is None:
            raise InvalidInput(
                "the penalty on the features comes from the run: give its training data as loader, "
                "or feature_penalty, or budgets."
            )
        return self.measured.feature_penalty(self.lam, depth)

    def _budgets(self) -> tuple[float, float]:
        if self.budgets is not None:
            if not isinstance(self.budgets, tuple | list) or len(self.budgets) != 2:
                raise InvalidInput(f"budgets must be a pair (E_W, E_H), but are {self.budgets!r}.")
            return as_positive("E_W", self.budgets[0]), as_positive("E_H", self.budgets[1])
        if self.measured is None:
            raise InvalidInput("the budgets come from the run: give its training data as loader, or budgets.")
        return self.measured.budgets

    def origin(self, name: str) -> str:
        """Where the parameters of the model come from."""
        if name == "vanishing":
            return "no parameter: the limit of vanishing decay"
        if name == "layer-peeled":
            return "budgets as given" if self.budgets is not None else "budgets measured on the run"
        if self.feature_penalty is not None and not name.startswith("deep-"):
            return "lam_W is the weight decay, lam_H as given"
        return "lam_W is the weight decay, lam_H = lam ||W||^2 / sum ||h||^2 measured on the run"


def parameters(solution: PeeledSolution) -> dict[str, float]:
    """The numbers that the model was given, and lam_Z."""
    given: Mapping[str, object] = solution.model.parameters()
    keep = ("lam_W", "lam_H", "lam_b", "E_W", "E_H")
    found = {key: float(value) for key, value in given.items() if key in keep and isinstance(value, int | float)}
    if isinstance(solution.model, UnconstrainedFeaturesModel):
        found["lam_Z"] = solution.model.lam_Z
    if isinstance(solution.model, DeepLinearModel):
        lams = np.asarray(solution.model.lams)
        found |= {"lam_W": float(lams[0]), "lam_H": float(lams[-1]), "depth": float(len(lams) - 1)}
    return found


def quantities(name: str, solution: PeeledSolution, counts: np.ndarray) -> dict[str, float | np.ndarray]:
    """What the solution predicts, without what is undefined, was given, or is a matter of the order of classes."""
    W, means, labels = solution.classifier(), solution.features().T, np.arange(len(counts))
    found: dict[str, float | np.ndarray] = {**geometry(W, means, counts), "nc1_ratio": 0.0}
    if np.linalg.matrix_rank(means - means.mean(axis=0)) == len(counts) - 1:
        found["nc1"] = 0.0  # where means coincide, its inverse of Sb magnifies whatever a network leaves there
    model = solution.model
    if name in ("vanishing", "layer-peeled"):
        del found["classifier_norm"]
    if name != "vanishing":
        b = np.zeros(len(counts))
        if solution.bias is not None:
            per_count = dict(zip((g.count for g in solution.groups), solution.bias, strict=True))
            b = np.array([per_count[n] for n in counts])
        logits, share = (solution.logits() + b[:, None]).T, counts / counts.sum()
        loss = str(model.parameters()["loss"])
        smoothing = float(getattr(model, "label_smoothing", 0.0))
        found["loss"] = float(share @ losses(logits, labels, loss, smoothing))
        found["mean_margin"] = float(share @ margins(logits, labels))
        if name != "layer-peeled":
            found["feature_norm"] = float(share @ np.linalg.norm(means, axis=1))
            key = f"objective_{name.replace('-', '_')}" if name.startswith("deep-") else "objective"
            found[key] = solution.objective
    if name.startswith("deep-") and solution.method in ("pairing", "polygon", "local"):
        del found["gram_classifier"]  # which classes are paired is arbitrary
    return {key: value for key, value in found.items() if np.isfinite(value).all()}
