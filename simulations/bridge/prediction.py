"""The last-layer prediction that belongs to a training run, with the hypotheses on which it rests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simulations.bridge._hypotheses import Hypothesis, hypotheses
from simulations.bridge._models import Known, parameters, quantities
from simulations.bridge._quantities import LOSSES, listed
from simulations.bridge.measurement import Measured, measure
from theory._arrays import as_real
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.peeled import PeeledSolution, SELIModel, solve

MODELS = ("auto", "penalties", "layer-peeled", "vanishing")
FEATURES = ("auto", "free", "relu")
MOST_CLASSES = 2000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """A prediction for one training run; what :func:`predict` returns.

    Attributes
    ----------
    name : which model it comes from: ``free`` or ``relu`` (unconstrained features, free or nonnegative),
        ``layer-peeled``, ``vanishing`` (the support vector limit), ``deep-d`` (d linear layers on free features).
    parameters : the effective penalties or budgets.
    origins : how those were obtained, in words, for every model.
    counts : (K,) samples per class.
    solution : the certified solution.
    quantities : predicted numbers under fixed names; what the model leaves undefined or was told is not among them:

        ``classifier_singular_values``, ``logit_singular_values`` (K,), falling, over the Frobenius norm;
        ``minority_cosine``, ``majority_cosine`` mean cosine among classifier rows of the rarest / commonest classes
        (those of the least count, or, where that is one class only, those below the median count; likewise above);
        ``minority_merge_ratio`` max ||w_k - w_k'|| / max ||w|| among the rarest; ``norm_ratio`` mean row norm of
        the commonest over that of the rarest (this and ``majority_cosine`` for unequal counts only);
        ``feature_cosine`` mean cosine of uncentred class means; ``classifier_norm`` ||W||_F; ``feature_norm`` mean
        ||h||; ``mean_margin`` mean of z_y - max other; ``loss`` mean loss; ``objective`` with penalties
        (``objective_deep_d`` for the deep model); ``nc1_ratio`` tr Sw / tr Sb, and ``nc1`` Tr(Sw Sb^+)/K where the
        class means have rank K - 1, both 0; ``nc2_etf_distance`` of W W^T to the simplex;
        ``gram_classifier`` W W^T over its norm; ``rank`` singular values of the class logits above 1 % of the first.
    alternatives : the solutions of the other models for the same run; :meth:`instead` predicts from one of them.
    hypotheses : what the models rest on, and whether it holds in this run.
    notes : which models could not be offered, and why.
    measured : the measurement that the parameters come from, or None.
    """

    name: str
    parameters: dict[str, float]
    origins: dict[str, str]
    counts: np.ndarray
    solution: PeeledSolution
    quantities: dict[str, float | np.ndarray]
    alternatives: dict[str, PeeledSolution]
    hypotheses: tuple[Hypothesis, ...]
    notes: tuple[str, ...]
    measured: Measured | None

    @property
    def source(self) -> str:
        """The model, its parameters and where they come from, for the record of a comparison."""
        return f"{self.name}: {self.solution.model!r}, {self.origins[self.name]}"

    def fails(self, name: str | None = None) -> tuple[Hypothesis, ...]:
        """The hypotheses of a model (default: this prediction's) that do not hold in the run."""
        wanted = self._known(self.name if name is None else name)
        return tuple(h for h in self.hypotheses if h.holds is False and wanted in h.needed_by)

    @property
    def supported(self) -> tuple[str, ...]:
        """The models of which no hypothesis is known to fail, this prediction's first."""
        return tuple(name for name in (self.name, *self.alternatives) if not self.fails(name))

    def instead(self, name: str) -> Prediction:
        """The prediction of another model of the same run; this one becomes one of its alternatives.

        Raises
        ------
        InvalidInput : no such model among the alternatives.
        """
        if self._known(name) == self.name:
            return self
        solutions = {self.name: self.solution, **self.alternatives}
        chosen = solutions.pop(name)
        return replace(
            self, name=name, solution=chosen, alternatives=solutions, parameters=parameters(chosen),
            quantities=quantities(name, chosen, self.counts),
        )  # fmt: skip

    def _known(self, name: str) -> str:
        if name != self.name and name not in self.alternatives:
            known = ", ".join((self.name, *self.alternatives))
            raise InvalidInput(f"the models of this prediction are {known}; there is no {name!r}.")
        return name

    def to_json(self) -> dict[str, object]:
        """Plain numbers, lists and strings."""
        return {
            "name": self.name,
            "parameters": dict(self.parameters),
            "origin": self.origins[self.name],
            "counts": self.counts.tolist(),
            "quantities": listed(self.quantities),
            "solution": self.solution.to_json(),
            "alternatives": {name: solution.to_json() for name, solution in self.alternatives.items()},
            "hypotheses": [h.to_json() for h in self.hypotheses],
            "supported": list(self.supported),
            "notes": list(self.notes),
            "measured": None if self.measured is None else self.measured.to_json(),
        }

    def summary(self) -> str:
        """The solution, the models side by side, the hypotheses."""
        lines = [f"prediction {self.name!r} ({self.origins[self.name]})", self.solution.summary(), ""]
        lines.append(f"{'model':<14}{'objective':>12}{'rank':>6}{'fails':>7}  singular values of W over its norm")
        for name, solution in {self.name: self.solution, **self.alternatives}.items():
            s = quantities(name, solution, self.counts).get("classifier_singular_values", np.zeros(0))
            shown = " ".join(f"{value:.3f}" for value in np.atleast_1d(s)[:10])
            lines.append(
                f"{name:<14}{solution.objective:>12.6g}{solution.rank:>6}{len(self.fails(name)):>7}  {shown or '-'}"
            )
        lines += ["", "hypotheses"]
        lines += [f"  {h}\n{'':10}needed by {', '.join(h.needed_by)}" for h in self.hypotheses]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        numbers = ", ".join(f"{key}={value:.4g}" for key, value in self.parameters.items())
        return f"Prediction({self.name!r}, {numbers}, supported={self.supported})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.summary())}</pre>"


def predict(
    module: Any, counts: ArrayLike | None, weight_decay: float, *, loader: Any = None, loss: str = "cross_entropy",
    layer: Any = "auto", model: str = "auto", features: str = "auto", feature_penalty: float | None = None,
    budgets: tuple[float, float] | None = None, bias_decay: float | None = None, label_smoothing: float = 0.0,
) -> Prediction:  # fmt: skip
    r"""The geometry that the models of the last layer predict for a training run.

    SGD with weight decay lam on every parameter and the mean loss descends on mean loss + (lam/2) sum_l ||W_l||^2.
    Let H = (h_1 ... h_N) be the features. Where the classifier is stationary,

    .. math:: \lambda \|W\|_F^2 = -\tfrac1N \sum_i \langle \ell'(z_i), W h_i \rangle

    (*derived*: the gradient in W, times W). In the unconstrained-features model with penalties lam_W = lam and lam_H
    the same number is lam_H sum_i ||h_i||^2 (the gradient in h_i, times h_i; with h_i >= 0 by complementary
    slackness). Hence the effective penalty and the only number that the logits depend on,

    .. math:: \lambda_H = \lambda \frac{\|W\|_F^2}{\|H\|_F^2}, \qquad
        \lambda_Z = \sqrt{\lambda\lambda_H} = \lambda \frac{\|W\|_F}{\|H\|_F}.

    One number is thus read from the run, the ratio of two norms; the norms themselves, the loss and the whole geometry
    are predicted. In a network that is positively homogeneous in each bias-free layer, lam ||W_l||^2 is that number
    for every l, so the last d layers are a deep model with penalties lam each and
    lam_H^(d) = lam ||W_{L-d+1}||^2 / sum ||h_i^(d)||^2; with Linear layers its linear form, ``deep-d``, is solved too.
    With equal counts and the simplex frame in every layer it predicts the same as the one-layer model, whose effective
    lam_H has absorbed the depth; they part where the counts differ or the frame is not the cheapest.

    Models: zhu2021geometric (penalties), fang2021layerpeeled (budgets), thrampoulidis2022imbalance (the limit of no
    decay), garrod2025persistence and dang2023linear (deep linear), dang2024relu (nonnegative features).

    ``auto`` takes penalties for a positive decay, budgets if those are given, the support vector limit for decay 0;
    nonnegative features if those of the run are and neither a bias nor label smoothing stands against it. All other
    models that can be stated for the run are in ``alternatives``; which of them to believe is what ``hypotheses`` is
    for.

    Parameters
    ----------
    module : a ``torch.nn.Module`` that returns logits; it stays exactly as it was.
    counts : (K,) samples per class of the training set; None counts the loader.
    weight_decay : lam of lam/2 ||theta||^2 as in ``torch.optim.SGD`` (not the decoupled decay of AdamW).
    loader : the training data, see :func:`measure`. Without it, ``feature_penalty`` or ``budgets`` are wanted.
    loss, label_smoothing, bias_decay, layer : as in :func:`measure`.
    model : ``auto``, ``penalties``, ``layer-peeled`` (the budgets of the run, E_W = ||W||^2/K and
        E_H = (1/K) sum_k mean_i ||h_ki||^2) or ``vanishing``.
    features : ``auto``, ``free`` or ``relu``.
    feature_penalty : lam_H instead of the measured one. budgets : (E_W, E_H) instead of the measured ones.

    Raises
    ------
    InvalidInput : numbers out of range, counts that are not those of the loader, nothing to take parameters from.
    PreconditionError : the network is zero, a model that does not go with the loss or a bias, no PyTorch.
    NotConverged : the solver of the chosen model stopped early.

    Notes
    -----
    Cost: two passes over the loader and one probe per weight layer; then milliseconds for one layer and up to a
    second per deep model (a local search for at most 24 classes). Not to be trusted where a hypothesis fails, and the
    deep solutions say "best found", not "optimal".

    Examples
    --------
    Without data the penalty on the features is told instead of read; here the two small classes stay apart:

    >>> import torch
    >>> network = torch.nn.Linear(8, 4, bias=False)
    >>> prediction = predict(network, [50, 50, 5, 5], 5e-4, feature_penalty=1e-5)
    >>> prediction.supported, [group.phase for group in prediction.solution.groups]
    (('free', 'relu'), ['separated', 'separated'])
    """
    lam = as_real("weight_decay", weight_decay)
    if lam < 0:
        raise InvalidInput(f"weight_decay must not be negative, but is {lam:g}.")
    for what, value, allowed in (("model", model, MODELS), ("features", features, FEATURES), ("loss", loss, LOSSES)):
        if value not in allowed:
            raise InvalidInput(f"{what} must be one of {', '.join(allowed)}, but is {value!r}.")
    measured = None
    if loader is not None:
        options = {"bias_decay": bias_decay, "loss": loss, "label_smoothing": label_smoothing, "layer": layer}
        measured = measure(module, loader, weight_decay=lam, **options)
    n = _counts(counts, measured)
    width, biased = _classifier_shape(module, layer, measured, len(n))
    on_bias = lam if bias_decay is None else as_real("bias_decay", bias_decay)
    run = Known(
        counts=n, lam=lam, loss=loss, smoothing=label_smoothing, lam_b=on_bias if biased else None,
        measured=measured, feature_penalty=feature_penalty, budgets=budgets,
    )  # fmt: skip
    if model == "auto":
        model = "layer-peeled" if budgets is not None else "penalties" if lam > 0 else "vanishing"
    name = run.main(model, features)
    solutions = {name: solve(run.specification(name))}
    notes = [] if measured is None else list(measured.notes)
    for other in run.names():
        if other not in solutions:
            try:
                solutions[other] = solve(run.specification(other))
            except (InvalidInput, PreconditionError, NotConverged) as error:
                notes.append(f"no prediction {other!r}: {error}")
    return Prediction(
        name=name, parameters=parameters(solutions[name]), origins={key: run.origin(key) for key in solutions},
        counts=n, solution=solutions[name], quantities=quantities(name, solutions[name], n),
        alternatives={key: other for key, other in solutions.items() if key != name}, notes=tuple(notes),
        hypotheses=hypotheses(solutions, measured, lam, width=width, biased=biased), measured=measured,
    )  # fmt: skip


def _counts(counts: ArrayLike | None, measured: Measured | None) -> np.ndarray:
    if counts is None and measured is None:
        raise InvalidInput("counts must be given where there is no loader to count.")
    if counts is None:
        assert measured is not None
        return np.asarray(measured.counts, np.float64)
    n = np.asarray(SELIModel(counts=counts).counts)
    if len(n) > MOST_CLASSES:
        raise PreconditionError(f"at most {MOST_CLASSES} classes are compared with a network, but counts has {len(n)}.")
    if measured is not None and (len(n) != len(measured.counts) or (n != measured.counts).any()):
        seen = ", ".join(str(int(k)) for k in measured.counts[:12])
        raise InvalidInput(f"counts must be those of the loader, which holds ({seen}{', ...' if len(n) > 12 else ''}).")
    return n


def _classifier_shape(module: Any, layer: Any, measured: Measured | None, K: int) -> tuple[int, bool]:
    """Dimension of the features and whether there is a bias; without a loader, of the last Linear layer."""
    if measured is not None:
        return measured.classifier.shape[1], measured.bias is not None
    from simulations._torch import import_torch

    torch = import_torch("simulations.bridge.predict")
    if not isinstance(module, torch.nn.Module):
        raise InvalidInput(f"module must be a torch.nn.Module, but is of type {type(module).__name__}.")
    parts = [(name, part) for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)]
    if not (isinstance(layer, str) and layer == "auto"):
        parts = [(name, part) for name, part in parts if part is layer or name == layer]
    if not parts:
        raise InvalidInput("the module has no such Linear layer to take for the classifier; name it with layer=.")
    name, last = parts[-1]
    if last.out_features != K:
        raise InvalidInput(f"the classifier {name!r} has {last.out_features} rows, but counts name {K} classes.")
    return last.in_features, last.bias is not None
