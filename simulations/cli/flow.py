"""``theory flow``: the gradient flow of a network on a table of points, through its kinks and to its limit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def flow(
    data: Annotated[
        Path, typer.Option(help=".csv (header: column y holds the labels; none: the last) or .npz (X, y).")
    ],
    network: Annotated[str, typer.Option(help="Kind of network; a wrong name lists them.")] = "two-layer-relu",
    width: Annotated[int | None, typer.Option(help="Units of each hidden layer.")] = None,
    depth: Annotated[
        int | None, typer.Option(help="deep-*: number of weight layers, default 3; diagonal: the power, default 2.")
    ] = None,
    widths: Annotated[str | None, typer.Option(help="deep-*: instead of --width and --depth, such as 10,5.")] = None,
    slope: Annotated[float | None, typer.Option(help="leaky-relu: slope of the negative side.")] = None,
    bias: Annotated[str | None, typer.Option(help="first (keeps homogeneity) or all layers; default no bias.")] = None,
    labels_column: Annotated[str | None, typer.Option(help="Column (or array) of the labels; default y.")] = None,
    loss: Annotated[str, typer.Option(help="exponential, logistic, cross_entropy or square.")] = "exponential",
    until: Annotated[
        str | None,
        typer.Option(
            help="margin-converged (default), log-loss:1e4 (log(1/loss)), t:10, log-t:1e6, "
            "stationary (default of the square loss)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights.")] = 0,
    scale: Annotated[
        float, typer.Option(help="Initial weights have standard deviation SCALE/sqrt(fan-in), biases are 0.")
    ] = 1.0,
    balanced: Annotated[
        bool,
        typer.Option("--balanced", help="Rescale the outgoing weights of each unit to the length of its incoming."),
    ] = False,
    paired: Annotated[
        bool,
        typer.Option("--paired", help="Two layers: units in pairs of opposite output, so that f = 0 at the start."),
    ] = False,
    start: Annotated[
        Path | None, typer.Option(help="Instead of random weights: .npy, or a trajectory.npz to go on from.")
    ] = None,
    clock: Annotated[str, typer.Option(help="auto, t or loss-normalised.")] = "auto",
    ambiguous: Annotated[
        str, typer.Option(help="Where the flow is not unique, the unit goes off, on, or raise.")
    ] = "off",
    rtol: Annotated[float, typer.Option(help="Relative error per step.")] = 1e-8,
    atol: Annotated[float, typer.Option(help="Absolute error per step.")] = 1e-12,
    max_steps: Annotated[int, typer.Option(help="Most steps.")] = 100_000,
    algorithm: Annotated[
        str | None,
        typer.Option(help="Instead of the flow: gd, sgd, heavy-ball, nesterov, loss-scaled or normalised."),
    ] = None,
    step: Annotated[float | None, typer.Option(help="--algorithm: step size, default 0.1.")] = None,
    steps: Annotated[int | None, typer.Option(help="--algorithm: number of updates, default 1000.")] = None,
    batch: Annotated[int | None, typer.Option(help="sgd: samples a step, without replacement.")] = None,
    momentum: Annotated[float | None, typer.Option(help="heavy-ball, nesterov: default 0.9.")] = None,
    limit: Annotated[bool, typer.Option(help="Polish the last state to the limit of the direction.")] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for trajectory.npz, events.csv, solution.json and the figures.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON; undefined numbers are null.")] = False,
) -> None:
    """The gradient flow dtheta/dt in -dLoss (Clarke), Loss the sum over samples: exact through the kinks, to its limit.

    Prints the margins, the KKT residuals of the last state and the limit of its direction. Ctrl-C ends the flow; with
    --out what was reached is written, and a checkpoint every 5 seconds. Exit code 1: the end was not reached.

    Example: theory flow --data points.csv --network two-layer-relu --width 10 --loss exponential --out result

    Example: theory flow --data points.csv --width 10 --until log-loss:1e4 --json

    Example: theory flow --data points.csv --width 10 --algorithm gd --step 0.01 --steps 20000
    """
    from simulations._output import json_text
    from simulations.cli._files import make_folder
    from simulations.cli._flow_algorithm import algorithm_options
    from simulations.cli._flow_data import prepared_labels, read_points
    from simulations.cli._flow_networks import first_parameters, make_network
    from simulations.cli._flow_record import flow_record, flow_text, limit_of, not_converged
    from simulations.cli._flow_watch import Watch
    from simulations.cli._flow_write import TRAJECTORY, read_start, write_checkpoint, write_flow
    from theory._arrays import as_floats
    from theory._errors import InvalidInput, NotConverged
    from theory.flow import FlowSolution, descend, integrate
    from theory.flow._until import as_until
    from theory.flow.losses import as_loss
    from theory.flow.separable import check_separable

    law = as_loss(loss)
    X, labels = read_points(data, labels_column)
    X = as_floats("inputs", X, ndim=2)
    y, outputs = prepared_labels(labels, law.name)
    sizes = {"width": width, "depth": depth, "widths": widths, "slope": slope, "bias": bias}
    net: Any = make_network(network, X.shape[1], outputs, {name: v for name, v in sizes.items() if v is not None})
    end = as_until(
        until or ("margin-converged" if law.exponential_tail else "stationary"),
        exponential_tail=law.exponential_tail,
    )
    discrete = algorithm_options(
        algorithm,
        {"step": step, "steps": steps, "batch": batch, "momentum": momentum},
        {"until": until is not None, "clock": clock != "auto", "ambiguous": ambiguous != "off",
         "rtol": rtol != 1e-8, "atol": atol != 1e-12, "max-steps": max_steps != 100_000},
        seed,
    )  # fmt: skip
    if law.exponential_tail and discrete is None:
        check_separable(net, X, law.labels(y, len(X), outputs))
    theta = (
        first_parameters(net, seed, scale, balanced=balanced, paired=paired)
        if start is None
        else read_start(start, net)
    )
    folder = None if out is None else make_folder(out)
    if folder is not None and start is not None and start.resolve() == (folder / TRAJECTORY).resolve():
        raise InvalidInput("--out would replace the trajectory that --start goes on from: give another folder.")

    options: dict[str, Any] = {
        "until": end, "clock": clock, "ambiguous": ambiguous, "rtol": rtol, "atol": atol, "max_steps": max_steps,
        "dense": False,
    }  # fmt: skip
    save = None if folder is None else lambda partial: write_checkpoint(partial, folder)
    target = end.value if end.kind == "log-loss" else None
    follow: Any = integrate if discrete is None else descend
    try:
        with Watch("theory flow", target, save) as watch:
            solution = watch.run(lambda: follow(net, (X, y), law, theta, callback=watch, **(discrete or options)))
    except NotConverged as error:
        if isinstance(error.partial, FlowSolution) and folder is not None:
            found, why = limit_of(error.partial, limit and not watch.interrupted)
            write_flow(error.partial, flow_record(error.partial, found, why, str(error)), found, folder)
        raise not_converged(error, folder) from None
    found, why = limit_of(solution, limit)
    record = flow_record(solution, found, why)
    notes = (
        [] if folder is None else ["", f"wrote {', '.join(write_flow(solution, record, found, folder))} to {folder}"]
    )
    typer.echo(json_text(record) if json else "\n".join([flow_text(record, solution, found), *notes]))
