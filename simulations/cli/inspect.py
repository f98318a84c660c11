"""``theory inspect``: what the theory says of a saved network: architecture, norms, bounds, collapse metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np

    from simulations.bridge.architecture import ReadNetwork
    from theory.architecture import Architecture
    from theory.bounds import Sample


def inspect(
    model: Annotated[
        Path,
        typer.Argument(
            help="A state_dict or checkpoint (.pt), or weights by name (.npz), with --architecture; with --trust also "
            "a whole module (.pt) or an exported program (.pt2).",
            show_default=False,
        ),
    ],
    input_shape: Annotated[
        str | None, typer.Option(help="Of one sample, such as 1,8,8; default: that of --architecture or --data.")
    ] = None,
    architecture: Annotated[Path | None, typer.Option(help="The network without its weights, .json or .yaml.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run code that the file holds: only for files whose source you trust.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help=".npz with X (n, ...) and y (n); optionally X_test, y_test: bounds, metrics.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="The network at its initialisation, in a file as MODEL, for the bounds.")
    ] = None,
    delta: Annotated[float, typer.Option(help="Failure probability of the bounds over the sample.")] = 0.01,
    radius: Annotated[
        float | None, typer.Option(help="A bound on the norm of every input, known before the data.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Names of bounds, separated by commas.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for inspect.json and, with --data, bounds.png.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON; undefined numbers are null.")] = False,
) -> None:
    """What a saved network is and what the theory says of it.

    Its operations, the norms of every layer and, with data, all bounds and the neural-collapse metrics NC1-NC4; in
    evaluation mode and float64. No code of a file is run without --trust.

    Example: theory inspect --architecture notebooks/data/digits/net.json --data notebooks/data/digits/data.npz
    notebooks/data/digits/net.npz
    """
    from simulations._output import json_text, write_json
    from simulations._progress import Progress
    from simulations.cli._files import make_folder
    from simulations.cli.bounds import chosen_bounds, read_sample
    from simulations.cli.norms import norm_table
    from theory.architecture import read_architecture
    from theory.bounds import compare
    from theory.norms.layers import layer_norms

    described = None if architecture is None else read_architecture(architecture)
    chosen, sample = chosen_bounds(only, radius), None if data is None else read_sample(data)
    shape = _shape(input_shape) or (None if described or sample is None else _shape_of(sample))
    net = _read(model, described, shape, trust)
    start = None if reference is None else _read(reference, described, shape, trust).weights
    folder = None if out is None else make_folder(out)
    with Progress("inspect") as progress:
        progress.draw("norms")
        norms = layer_norms(net.architecture, net.weights)
        record = _described(model, net)
        record["norms"] = [layer.to_json() for layer in norms]
        text = [net.summary(), "", norm_table(norms)]
        if sample is not None:
            sample, collapse = _evaluated(net, sample, progress.draw)
            result = compare(
                net.architecture, net.weights, sample, delta, reference=start, bounds=chosen,
                callback=lambda done, total, name: progress.draw(f"{done} of {total} bounds, {name}"),
            )  # fmt: skip
            record |= {"bounds": result.to_json(), "collapse": collapse[0]}
            text += ["", result.summary(), "", "neural collapse on the sample", collapse[1]]
    if folder is not None:
        write_json(record, folder / "inspect.json")
        names = ["inspect.json"]
        if sample is not None:
            from matplotlib.figure import Figure

            from simulations._output import save_figure
            from theory.plots import bounds as draw

            figure = Figure(figsize=(7.2, 1.2 + 0.27 * len(result.reports)), layout="constrained")
            draw(result, ax=figure.add_subplot())
            save_figure(figure, folder / "bounds.png")
            names.append("bounds.png")
        text += ["", f"wrote {' and '.join(names)} to {folder}"]
    typer.echo(json_text(record) if json else "\n".join(text))


def _read(path: Path, described: Architecture | None, shape: tuple[int, ...] | None, trust: bool) -> ReadNetwork:
    """The network in a file of PyTorch, or in an archive of NumPy, which needs no PyTorch."""
    from simulations.bridge.saved import check_shape, read_saved, with_architecture
    from simulations.cli._files import read_archive

    if path.suffix == ".npz":
        check_shape(described, shape)
        return with_architecture(read_archive(path), described, path)
    return read_saved(path, architecture=described, input_shape=shape, trust=trust)


def _shape(said: str | None) -> tuple[int, ...] | None:
    from theory._errors import InvalidInput

    if said is None:
        return None
    parts = [part.strip() for part in said.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < len(part) < 8 and int(part) for part in parts):
        raise InvalidInput(f"--input-shape must be positive whole numbers such as 1,8,8, but is {said!r}.")
    return tuple(map(int, parts))


def _shape_of(sample: Sample) -> tuple[int, ...]:
    """Of one sample of the data."""
    import numpy as np

    return np.shape(sample.X)[1:]


def _described(model: Path, net: ReadNetwork) -> dict[str, Any]:
    from theory.architecture import to_description

    return {
        "model": str(model), "architecture": to_description(net.architecture),
        "n_parameters": net.architecture.n_parameters, "notes": list(net.notes),
    }  # fmt: skip


def _evaluated(net: ReadNetwork, sample: Sample, draw: Any) -> tuple[Sample, tuple[dict[str, object], str]]:
    """The sample with the network's outputs, and the collapse metrics as a record and as text."""
    from dataclasses import replace

    from theory._errors import TheoryError
    from theory.architecture import Linear
    from theory.collapse import collapse_metrics

    head = net.architecture.nodes[-1]
    outputs, features = _values(net, sample, head.inputs[0], draw)
    if sample.outputs is None:
        sample = replace(sample, outputs=outputs)
    if not isinstance(head.operation, Linear) or features.ndim != 2:
        said = f"the output is that of {head.name!r}, a {head.operation.kind}, not of a linear classifier of features."
        return sample, ({"refused": said}, said)
    weight, bias = net.weights[f"{head.name}.weight"], net.weights.get(f"{head.name}.bias")
    try:
        metrics = collapse_metrics(features, sample.y, weight, bias)
    except TheoryError as error:
        return sample, ({"refused": str(error)}, str(error))
    text = f"features: what {head.name!r} reads\n{metrics.summary()}"
    return sample, ({"layer": head.name, **metrics.to_json()}, text)


def _values(net: ReadNetwork, sample: Sample, name: str, draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Outputs, and the values of the node (or input) of that name, a batch at a time."""
    import numpy as np

    from theory.architecture import node_values

    graph, last = net.architecture, net.architecture.output
    X, found = graph.check_inputs(sample.X), []
    for start in range(0, len(X), 256):
        draw(f"{start} of {len(X)} samples")
        values = node_values(graph, net.weights, X[start : start + 256], keep=(last, name))
        found.append((values[last], values[name]))
    outputs, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return outputs, features
