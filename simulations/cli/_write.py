"""What ``theory peel --out`` writes: arrays, record and figures, each whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simulations._output import save_figure, write_arrays, write_json
from theory.peeled import PeeledSolution

MOST_ENTRIES = 2**24  # of a matrix in the archive: 128 MiB of float64
MOST_DRAWN = 1000  # classes in a figure of a Gram matrix


def write_solution(solution: PeeledSolution, folder: Path) -> list[str]:
    """Write ``solution.npz``, ``solution.json`` and the figures; returns a sentence for each thing worth saying."""
    arrays, notes = _arrays(solution)
    write_json({**solution.to_json(), "notes": notes}, folder / "solution.json")
    write_arrays(arrays, folder / "solution.npz")
    figures, more = _figures(solution, folder)
    names = ["solution.json", "solution.npz", *figures]
    return [*notes, *more, f"wrote {', '.join(names)} to {folder}"]


def _arrays(solution: PeeledSolution) -> tuple[dict[str, np.ndarray], list[str]]:
    counts, groups = np.asarray(solution.model.counts), solution.groups
    arrays = {
        "counts": counts,
        **{f"group_{name}": np.array([getattr(g, name) for g in groups]) for name in groups[0].__slots__},
        "cos_between": solution.cos_between,
        "cos_between_features": solution.cos_between_features,
    }
    K, p = solution.model.num_classes, max(solution.model.dimension or 0, solution.rank, 1)
    if K * max(K, p) > MOST_ENTRIES:
        return arrays, [f"{K} classes are too many for a matrix per class: solution.npz holds the groups only."]
    arrays |= {
        "logits": solution.logits(),
        "classifier": solution.classifier(),
        "features": solution.features(),
    }
    return arrays, []


def save_gram(solution: PeeledSolution, side: str, path: Path) -> None:
    """A figure of the Gram matrix of W (``side="classifier"``) or of H (``"features"``), counts falling."""
    from matplotlib.figure import Figure

    from theory import plots

    counts, weights = np.asarray(solution.model.counts), getattr(solution.model, "class_weights", None)
    tie = np.zeros(len(counts)) if weights is None else np.asarray(weights, float)
    order = np.lexsort((-tie, -counts))
    labels = [f"{int(counts[k])}" + ("" if weights is None else f" (weight {tie[k]:.3g})") for k in order]
    matrix = solution.gram_classifier() if side == "classifier" else solution.gram_features()
    name = {"classifier": "$W W^T$", "features": "$H^T H$"}[side]
    figure = Figure(figsize=(5.4, 4.8), layout="constrained")
    plots.gram(matrix[np.ix_(order, order)], labels, figure.add_subplot(), name=name)
    save_figure(figure, path)


def _figures(solution: PeeledSolution, folder: Path) -> tuple[list[str], list[str]]:
    from matplotlib.figure import Figure

    from theory import plots

    if not any(group.norm_w for group in solution.groups):
        return [], ["no figures: the classifier is zero."]
    names = ["spectrum.png"]
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    plots.spectrum(solution, ax=figure.add_subplot())
    save_figure(figure, folder / "spectrum.png")
    K = solution.model.num_classes
    if K > MOST_DRAWN:
        return names, [f"no figures of single classes: there are {K}, and at most {MOST_DRAWN} are drawn."]
    for side in ("classifier", "features"):
        save_gram(solution, side, folder / f"gram_{side}.png")
        names.append(f"gram_{side}.png")
    if solution.rank <= 3:
        figure = Figure(figsize=(5.4, 5.0), layout="constrained")
        plots.classifier_vectors(solution, ax=figure.add_subplot(projection="3d"))
        save_figure(figure, folder / "classifier_vectors.png")
        names.append("classifier_vectors.png")
    return names, []
