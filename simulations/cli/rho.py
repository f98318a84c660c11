"""``theory rho``: the norm rho of a network under the square loss, weight decay and normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from theory.square_loss import RhoSolution

FILES = ("rho.json", "rho.npz", "rho.png")
TARGETS = ("real", "one-hot", "centred")


def rho(
    data: Annotated[
        Path, typer.Option(help=".csv (header: column y holds the targets; none: the last) or .npz (X, y).")
    ],
    weight_decay: Annotated[
        float, typer.Option(help="lam of lam rho^2, or lam ||W||^2; PyTorch's weight_decay is 2 lam.")
    ] = 0.0,
    network: Annotated[str, typer.Option(help="Kind of network, as in theory flow.")] = "two-layer-relu",
    width: Annotated[int | None, typer.Option(help="Units of each hidden layer.")] = None,
    depth: Annotated[
        int | None, typer.Option(help="deep-*: number of weight layers, default 3; diagonal: the power, default 2.")
    ] = None,
    widths: Annotated[str | None, typer.Option(help="deep-*: instead of --width and --depth, such as 10,5.")] = None,
    slope: Annotated[float | None, typer.Option(help="leaky-relu: slope of the negative side.")] = None,
    bias: Annotated[str | None, typer.Option(help="first, which keeps homogeneity; default no bias.")] = None,
    labels_column: Annotated[str | None, typer.Option(help="Column (or array) of the targets; default y.")] = None,
    targets: Annotated[
        str, typer.Option(help="real (as they are), one-hot or centred: of labels 0, 1, 2, ...")
    ] = "real",
    normalisation: Annotated[
        str, typer.Option(help="lagrange (unit layers times rho), weight-norm (a length per layer) or none.")
    ] = "lagrange",
    until: Annotated[str, typer.Option(help="stationary, or a time such as t:100.")] = "stationary",
    at_zero: Annotated[str, typer.Option(help="Where rho reaches zero: stop or reflect.")] = "stop",
    seed: Annotated[int, typer.Option(help="Seed of the initial weights.")] = 0,
    scale: Annotated[float, typer.Option(help="Initial weights have standard deviation SCALE/sqrt(fan-in).")] = 1.0,
    ambiguous: Annotated[
        str, typer.Option(help="Where the flow is not unique, the unit goes off, on, or raise.")
    ] = "off",
    rtol: Annotated[float, typer.Option(help="Relative error per step.")] = 1e-10,
    atol: Annotated[float, typer.Option(help="Absolute error per step.")] = 1e-13,
    max_steps: Annotated[int, typer.Option(help="Most steps.")] = 100_000,
    out: Annotated[Path | None, typer.Option(help="Folder for rho.json, rho.npz (the path) and rho.png.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON; undefined numbers are null.")] = False,
) -> None:
    """The flow of f = rho f_V under the mean square loss with weight decay, exact through the kinks.

    Prints rho, the rho at which it would rest, margins and norms. Ctrl-C ends the flow; with --out what was reached is
    written. Exit code 1: the end was not reached.

    Example: theory rho --network two-layer-relu --data points.csv --width 10 --weight-decay 1e-2

    Example: theory rho --data points.csv --width 10 --weight-decay 1e-2 --normalisation none --until t:500 --out result
    """
    from simulations._output import json_text
    from simulations.cli._files import make_folder
    from simulations.cli._flow_data import prepared_labels, read_points
    from simulations.cli._flow_networks import first_parameters, make_network
    from simulations.cli._flow_record import not_converged
    from simulations.cli._flow_watch import Watch
    from theory._arrays import as_floats
    from theory._errors import InvalidInput, NotConverged
    from theory.square_loss import RhoSolution, class_targets, integrate_rho

    if targets not in TARGETS:
        raise InvalidInput(f"--targets must be one of {', '.join(TARGETS)}, but is {targets[:40]!r}.")
    X, labels = read_points(data, labels_column)
    X = as_floats("inputs", X, ndim=2)
    y, outputs = prepared_labels(labels, "square" if targets == "real" else "cross_entropy")
    if targets != "real":
        y = class_targets(y, outputs, centred=targets == "centred")
    sizes = {"width": width, "depth": depth, "widths": widths, "slope": slope, "bias": bias}
    net: Any = make_network(network, X.shape[1], outputs, {name: v for name, v in sizes.items() if v is not None})
    theta = first_parameters(net, seed, scale)
    folder = None if out is None else make_folder(out)
    try:
        with Watch("theory rho", None, None) as watch:
            solution = watch.run(
                lambda: integrate_rho(
                    net, (X, y), lam=weight_decay, theta0=theta, normalisation=normalisation, at_zero=at_zero,
                    until=until, rtol=rtol, atol=atol, max_steps=max_steps, ambiguous=ambiguous, callback=watch,
                )
            )  # fmt: skip
    except NotConverged as error:
        if isinstance(error.partial, RhoSolution) and folder is not None:
            write(error.partial, record_of(error.partial, str(error)), folder)
        raise not_converged(error, folder) from None
    record = record_of(solution)
    if folder is not None:
        write(solution, record, folder)
    note = "" if folder is None else f"\n\nwrote {', '.join(FILES)} to {folder}"
    typer.echo(json_text(record) if json else text_of(solution, record) + note)


def record_of(solution: RhoSolution, status: str | None = None) -> dict[str, Any]:
    """What ``--json`` prints: the end of the flow and, for one rho, its rest point with loss and time scale."""
    from theory.square_loss import equilibrium

    record = solution.to_json()
    moments = solution.end.moments
    known = solution.normalisation == "lagrange" and moments.M + solution.lam > 0
    rest = equilibrium(moments.mu, moments.M, solution.lam, target_square=moments.target_square) if known else None
    return record | {"status": status or record["status"], "rest": None if rest is None else rest.to_json()}


def text_of(solution: RhoSolution, record: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = [solution.summary(), f"  least normalised margin {record['least_margin']:.6g}"]
    if record["layer_norms"] is not None:
        lines.append("  norms of the layers " + ", ".join(f"{norm:.6g}" for norm in record["layer_norms"]))
    if record["rest"] is not None:
        rest = record["rest"]
        lines.append(
            f"  for this V rho rests at {rest['rho']:.9g}: objective {rest['objective']:.6g}, fit {rest['fit']:.6g}, "
            f"reached like exp(-{rest['rate']:.4g} t)"
        )
    return "\n".join(lines)


def write(solution: RhoSolution, record: dict[str, Any], folder: Path) -> None:
    """``rho.json``, ``rho.npz`` and ``rho.png``, each whole or not at all."""
    from matplotlib.figure import Figure

    from simulations._output import save_figure, write_arrays, write_json
    from theory.plots import rho_dynamics

    write_json(record, folder / FILES[0])
    names = ("X", "y", "t", "rho", "rho_eq", "mu", "M", "sigma", "fit", "objective", "nu", "margins", "V")
    arrays = {name: getattr(solution, name) for name in names}
    if solution.layer_norms is not None:
        arrays["layer_norms"] = solution.layer_norms
    write_arrays(arrays, folder / FILES[1])
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    rho_dynamics(solution, figure.add_subplot())
    save_figure(figure, folder / FILES[2])
