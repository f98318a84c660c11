"""``theory connect``: low-loss paths between two saved networks, and the barrier of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np

    from theory.connectivity import ConnectedPath, NeuronCount

MOST = 1_000_000  # networks evaluated on a path
FILES = ("connect.json", "connect.npz", "connect.png")
LABELS = {"half": "constructed", "linear": "straight", "aligned": "straight, neurons reordered"}


def connect(
    first: Annotated[
        Path,
        typer.Argument(
            metavar="A", help="A network, in a file as theory inspect reads it (.pt, .pt2 or .npz).", show_default=False
        ),
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same widths.", show_default=False)],
    data: Annotated[Path, typer.Option(help=".npz with X (n, ...) and y (n): the loss on these samples.")],
    architecture: Annotated[Path | None, typer.Option(help="Both networks without weights, .json or .yaml.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run code that the files hold: only for files whose source you trust.")
    ] = False,
    loss: Annotated[
        str, typer.Option(help="cross_entropy (labels 0, 1, ...), logistic (one output, +-1) or squared (targets).")
    ] = "cross_entropy",
    method: Annotated[
        str, typer.Option(help="Networks on half of the neurons: auto, separable, trained or dropout.")
    ] = "auto",
    points: Annotated[int, typer.Option(help="Networks evaluated on each path, at least.")] = 1000,
    starts: Annotated[int, typer.Option(help="Halves, and orders of neurons, that are tried.")] = 3,
    max_steps: Annotated[int, typer.Option(help="Steps of L-BFGS for each network on top.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the halves and orders.")] = 0,
    neurons: Annotated[
        bool, typer.Option("--neurons", help="Count the neurons needed in each layer: many linear programs.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for connect.json, connect.npz and connect.png.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON.")] = False,
) -> None:
    """Join two networks of dense layers by the explicit path through half of their neurons, and by straight lines.

    The barrier is the largest loss above that of both networks; no loss on the path exceeds the bound beside it.

    Example: theory connect A.pt B.pt --architecture net.json --data data.npz --out result
    """
    from simulations._output import json_text
    from simulations._progress import Progress
    from simulations.cli._files import make_folder
    from simulations.cli.inspect import _read
    from theory._arrays import as_count
    from theory._errors import InvalidInput
    from theory.architecture import read_architecture
    from theory.connectivity import DenseNetwork, aligned_path, linear_path, neuron_counts
    from theory.connectivity import connect as construct

    if points > MOST:
        raise InvalidInput(f"--points must be at most {MOST}, but is {points}.")
    described = None if architecture is None else read_architecture(architecture)
    X, y = _samples(data)
    shape = None if described is not None or X.ndim < 2 else X.shape[1:]
    nets = [_read(path, described, shape, trust) for path in (first, second)]
    X = nets[0].architecture.check_inputs(X).reshape(len(X), -1)
    a, b = (DenseNetwork.read(net.architecture, net.weights) for net in nets)
    rng = as_count("seed", seed, minimum=0)
    folder = None if out is None else make_folder(out)
    with Progress("connect") as progress:
        paths = {
            "half": construct(a, b, X, y, loss=loss, method=method, points=points, starts=starts, max_steps=max_steps,
                              rng=rng, callback=progress.draw),
            "linear": linear_path(a, b, X, y, loss=loss, points=points),
            "aligned": aligned_path(a, b, X, y, loss=loss, points=points, starts=starts, rng=rng),
        }  # fmt: skip
        counts = neuron_counts(a, b, X, y, loss=loss, callback=progress.draw) if neurons else None
    record = {
        "first": str(first), "second": str(second), "widths": list(a.widths), "activation": a.activation.name,
        "samples": len(X), "loss": loss, "seed": rng, "paths": {way: path.to_json() for way, path in paths.items()},
        "neurons": None if counts is None else [count.to_json() | {"enough": count.enough} for count in counts],
        "notes": [note for net in nets for note in net.notes],
    }  # fmt: skip
    if folder is not None:
        _write(paths, record, folder)
    note = "" if folder is None else f"\n\nwrote {', '.join(FILES)} to {folder}"
    typer.echo(json_text(record) if json else text_of(paths, counts) + note)


def _samples(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """X and y of an archive; whatever else it holds is left."""
    from simulations.cli._files import read_archive
    from theory._errors import InvalidInput

    arrays = read_archive(path)
    missing = [name for name in ("X", "y") if name not in arrays]
    if missing:
        raise InvalidInput(f"{str(path)!r} has no {missing[0]!r}; wanted are X and y.")
    return arrays["X"], arrays["y"]


def text_of(paths: Mapping[str, ConnectedPath], counts: tuple[NeuronCount, ...] | None) -> str:
    """Conditions, paths and, where counted, neurons."""
    from simulations.experiments.result import table_text

    parts = [f"condition of {name}: {condition.summary()}"
             for name, condition in zip("AB", paths["half"].conditions, strict=True)]  # fmt: skip
    parts += [path.summary() for path in paths.values()]
    if counts is not None:
        parts.append("neurons\n" + table_text(tuple({
            "layer": c.layer, "width": c.width, "separable in A": c.separable[0], "in B": c.separable[1],
            "needed": c.needed, "in use at once": used, "sqrt(N)": c.generic, "N + 1": c.wide,
        } for c, used in zip(counts, paths["half"].occupied, strict=True))))  # fmt: skip
    return "\n\n".join(parts)


def _write(paths: Mapping[str, ConnectedPath], record: dict[str, Any], folder: Path) -> None:
    """The record, the losses with the vertices of the constructed path, and the figure; each whole or not at all."""
    import numpy as np
    from matplotlib.figure import Figure

    from simulations._output import save_figure, write_arrays, write_json

    write_json(record, folder / FILES[0])
    arrays: dict[str, np.ndarray] = {}
    for way, path in paths.items():
        arrays[f"{way}_s"], arrays[f"{way}_loss"] = path.curve()
    half = paths["half"]
    for k in range(len(half.vertices[0].layers)):
        arrays[f"half_layer{k + 1}"] = np.stack([vertex.layers[k] for vertex in half.vertices])
    write_arrays(arrays, folder / FILES[1])
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    ax = figure.add_subplot()
    for (way, path), style in zip(paths.items(), ("-", "--", "-."), strict=True):
        s, losses = path.curve()
        ax.plot(s, losses, color="k" if way == "half" else "0.5", ls=style, lw=1.3,
                label=f"{LABELS[way]}: barrier {path.barrier:.3g}")  # fmt: skip
    ax.axhline(max(half.ends), color="k", lw=0.6, ls=":", label="larger end")
    if min(path.curve()[1].min() for path in paths.values()) > 0:
        ax.set_yscale("log")
    ax.set_xlabel("place on the path, from A to B")
    ax.set_ylabel(f"loss ({record['loss'].replace('_', '-')}, mean over {record['samples']} samples)")
    figure.legend(fontsize=8, frameon=False, loc="outside upper center", ncols=2)
    save_figure(figure, folder / FILES[2])
