"""The tasks ``bounds`` and ``training``: networks on digits, and what is measured on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import InvalidInput

if TYPE_CHECKING:
    from torch import nn

KINDS = ("dense", "conv")
WEIGHTS = ("trained", "random")
RADIUS = 8.0  # of digits: 64 pixels, each at most 1
HELD_OUT = 500


def bounds(
    *, depth: int, width: int, n: int, kind: str = "dense", weights: str = "trained", scale: float = 1.0,
    bounds: str = "certificates", delta: float = 0.01, epochs: int = 200, learning_rate: float = 0.05,
    batch_size: int = 20, stop_after: int | None = 5, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Generalization bounds of one network on digits, by ``theory.bounds.compare``.

    Parameters
    ----------
    depth, width, kind : weight layers; units or channels of each hidden layer; ``dense`` or ``conv`` (kernel 3).
    n : training samples, of which a split by ``seed`` leaves 1,297; 500 others are held out.
    weights : ``trained`` (SGD with momentum 0.9 until ``stop_after`` epochs after the first without training error, at
        most ``epochs``) or ``random`` (as initialised). scale : of the initial weights.
    bounds : ``certificates``, or names separated by commas. delta : of each bound.

    Returns
    -------
    ``train_error``, ``test_error`` and its upper limit ``test_upper`` (Clopper-Pearson at delta),
    ``median_margin``, ``epochs_done``, ``n_parameters``, the smallest certificate ``best`` with its ``best_log10``, and
    for each bound NAME (dashes as underscores) ``NAME_log10``, of the bound at its best margin, and
    ``NAME_complexity_log10``, of its complexity term at the median margin; None where it does not apply.

    Raises
    ------
    InvalidInput : numbers out of range, an unknown name. PreconditionError : no PyTorch or scikit-learn.
    """
    from simulations.bridge import read_architecture
    from simulations.data import Dataset, digits
    from simulations.experiments._one_thread import one_thread
    from simulations.train import TrainingPlan, train
    from theory._arrays import as_count
    from theory.architecture import outputs
    from theory.bounds import Sample, certificates, compare, get

    if weights not in WEIGHTS:
        raise InvalidInput(f"weights must be trained or random, but are {weights!r}.")
    whole, n = digits(test_size=HELD_OUT, seed=seed, flat=kind == "dense"), as_count("n", n)
    if n > len(whole.y):
        raise InvalidInput(f"n must be at most {len(whole.y)}, of which digits consists without the held-out ones.")
    data = Dataset(name="digits", X=whole.X[:n], y=whole.y[:n], X_test=whole.X_test, y_test=whole.y_test,
                   num_classes=whole.num_classes)  # fmt: skip
    if bounds == "certificates":
        chosen = certificates(radius=RADIUS)
    else:
        chosen = tuple(get(name.strip(), radius=RADIUS) for name in bounds.split(","))
    with one_thread():
        start = _network(kind, depth, width, scale, seed)
        model, done = start, 0
        if weights == "trained":
            plan = TrainingPlan(
                epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, momentum=0.9, stop_after=stop_after,
                seed=seed,
            )  # fmt: skip
            run = train(start, data, plan)
            model, done = run.model, run.rows[-1].epoch
        example = data.X[:2].astype(np.float32)
        read, initial = read_architecture(model, example), read_architecture(start, example).weights
        scores = outputs(read.architecture, read.weights, data.X)
        asked: Any = {
            "architecture": read.architecture, "weights": read.weights, "delta": delta, "reference": initial,
            "bounds": chosen,
            "data": Sample(X=data.X, y=data.y, outputs=scores, X_test=data.X_test, y_test=data.y_test),
        }  # fmt: skip
        result = compare(**asked)
        margins = _margins(scores, data.y)
        median = float(np.median(margins))
        at = compare(**asked, margin=median).reports if median > 0 else ()
    fixed = {report.name: report.terms.get("complexity", math.nan) for report in at}
    said = {report.name: report.log10 for report in result.reports}
    held = result.holdout
    assert held is not None
    record: dict[str, Any] = {
        "train_error": float(np.mean(margins <= 0)), "test_error": held.errors / held.n, "test_upper": held.upper,
        "median_margin": median, "epochs_done": done,
        "n_parameters": sum(int(np.size(W)) for W in read.weights.values()),
        "best": None if result.best is None else result.best.name,
        "best_log10": None if result.best is None else result.best.log10,
    }  # fmt: skip
    for bound in chosen:
        column, term = bound.name.replace("-", "_"), fixed.get(bound.name, math.nan)
        record[f"{column}_log10"] = said.get(bound.name)
        record[f"{column}_complexity_log10"] = math.log10(term) if 0 < term < math.inf else None
    return record


def training(
    *, width: int, epochs: int, depth: int = 2, kind: str = "dense", n_majority: int | None = None,
    ratio: float = 1.0, minority: int = 5, learning_rate: float = 0.1, batch_size: int | None = 50,
    momentum: float = 0.9, weight_decay: float = 0.0, schedule: str = "constant", warmup_epochs: int = 0,
    loss: str = "cross_entropy", label_smoothing: float = 0.0, sampling: str = "shuffle", label_noise: float = 0.0,
    normalisation: str | None = None, stop_after: int | None = None, evaluate_every: int = 1, dtype: str = "float32",
    scale: float = 1.0, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """A network trained on digits by ``simulations.train``, and its last layer at the end.

    Parameters
    ----------
    width, depth, kind, scale : as in ``bounds``.
    n_majority, ratio, minority : the last ``minority`` classes have ``n_majority / ratio`` samples, the others
        ``n_majority`` (``step_counts``); all digits but the 500 held out where n_majority is None.
    The others are those of ``TrainingPlan``; ``seed`` is that of the split, the initial weights and the order.

    Returns
    -------
    ``final_loss``, ``train_error``, ``test_error`` (also of majority and minority classes), ``epochs_done``,
    ``first_zero_error``, ``normalised_margin``, six collapse metrics (``nc1_papyan`` to ``nc4``) and ``cos_minority``,
    the mean cosine between classifiers of minority classes; measured on the training samples with the labels trained
    on. *measure*.

    Raises
    ------
    InvalidInput : numbers out of range. NotConverged : the loss diverged. PreconditionError : no PyTorch.
    """
    from simulations.bridge import last_layer_features
    from simulations.data import digits, imbalanced, step_counts
    from simulations.experiments._one_thread import one_thread
    from simulations.train import TrainingPlan, train

    data = digits(test_size=HELD_OUT, seed=seed, flat=kind == "dense")
    K = data.num_classes
    if n_majority is not None:
        data = imbalanced(data, step_counts(K, n_majority, ratio, minority), seed)
    elif ratio != 1:
        raise InvalidInput("ratio needs n_majority, the samples of a majority class.")
    plan = TrainingPlan(
        epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, momentum=momentum,
        weight_decay=weight_decay, schedule=schedule, warmup_epochs=warmup_epochs, loss=loss,
        label_smoothing=label_smoothing, sampling=sampling, label_noise=label_noise, normalisation=normalisation,
        stop_after=stop_after, evaluate_every=evaluate_every, dtype=dtype, seed=seed,
    )  # fmt: skip
    with one_thread():
        run = train(_network(kind, depth, width, scale, seed), data, plan)
        last = last_layer_features(run.model, (data.X, run.labels))
        assert data.X_test is not None and data.y_test is not None
        wrong = _predictions(run.model, data.X_test) != data.y_test
    rare = data.y_test >= K - minority
    end, measured = run.rows[-1], last.metrics.to_json()
    names = ("nc1_papyan", "nc1_cdnv", "nc2_etf_means", "nc2_zhu", "nc3_zhu", "nc4")
    record: dict[str, Any] = {
        "final_loss": end.loss, "train_error": end.error, "test_error": end.test_error,
        "test_error_majority": _mean(wrong[~rare]), "test_error_minority": _mean(wrong[rare]),
        "epochs_done": end.epoch, "first_zero_error": run.first_zero_error,
        "normalised_margin": last.normalised_margin, **{name: measured[name] for name in names},
        "cos_minority": None if last.classifier is None else _mean_cosine(last.classifier[K - minority :]),
    }  # fmt: skip
    return record


def _network(kind: str, depth: int, width: int, scale: float, seed: int) -> nn.Module:
    """A network for digits without biases; convolutions keep the 8 x 8 positions."""
    from simulations.networks import convnet, perceptron
    from theory._arrays import as_count

    if kind not in KINDS:
        raise InvalidInput(f"kind must be dense or conv, but is {kind!r}.")
    hidden = [as_count("width", width)] * (as_count("depth", depth) - 1)
    if kind == "dense":
        return perceptron([64, *hidden, 10], scale=scale, seed=seed)
    return convnet((1, 8, 8), hidden, 10, scale=scale, seed=seed)


def _margins(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """True class less the largest other one, (n,)."""
    rows, others = np.arange(len(y)), scores.copy()
    others[rows, y] = -np.inf
    return scores[rows, y] - others.max(axis=1)


def _predictions(model: nn.Module, X: np.ndarray) -> np.ndarray:
    import torch

    weight = next(model.parameters())
    with torch.no_grad():
        return model(torch.as_tensor(X, dtype=weight.dtype)).argmax(dim=1).numpy()


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def _mean_cosine(W: np.ndarray) -> float | None:
    """Mean cosine over pairs of rows, None for fewer than two rows or where one is zero."""
    norms = np.linalg.norm(W, axis=1)
    if len(W) < 2 or not norms.all():
        return None
    unit = W / norms[:, None]
    return float((unit @ unit.T)[np.triu_indices(len(W), 1)].mean())
