"""What ``theory flow --out`` writes: trajectory, events, record and figures, each whole or not at all."""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations._output import save_figure, write_arrays, write_json
from theory._errors import InvalidInput, PreconditionError

if TYPE_CHECKING:
    from theory.flow import FlowSolution, FlowState
    from theory.flow.limit import LimitDirection
    from theory.flow.networks import Network

TRAJECTORY = "trajectory.npz"
DIVERGED = -230.0  # log(1/loss) of an algorithm at a loss of 1e100, which no axis shows


def write_flow(
    solution: FlowSolution, record: dict[str, object], limit: LimitDirection | None, folder: Path
) -> list[str]:
    """Write everything; returns the names of the files."""
    write_trajectory(solution, folder, limit)
    write_events(solution, folder / "events.csv")
    write_json(record, folder / "solution.json")
    return ["solution.json", TRAJECTORY, "events.csv", *write_figures(solution, limit, folder)]


def write_checkpoint(solution: FlowSolution, folder: Path) -> None:
    """Trajectory and events so far, and a record that says so."""
    write_trajectory(solution, folder, None)
    write_events(solution, folder / "events.csv")
    write_json({**solution.to_json(), "status": "A checkpoint of a running integration."}, folder / "solution.json")


def write_trajectory(solution: FlowSolution, folder: Path, limit: LimitDirection | None) -> None:
    """``trajectory.npz``: a row per step, and the last state, from which ``--start`` goes on."""
    arrays: dict[str, np.ndarray] = {
        "X": solution.X, "y": solution.y, "log_t": solution.log_t, "log_inverse_loss": solution.log_inverse_loss,
        "thetas": solution.thetas, "norms": solution.norms(), "clocks": np.asarray(solution.clocks, dtype=str),
        "modes": solution.state.modes, "clock_value": np.array(solution.state.clock_value),
        "clock": np.array(solution.state.clock),
    }  # fmt: skip
    if solution.loss.exponential_tail:
        arrays["margins"] = solution.margins()
        if solution.network.homogeneous:
            arrays["normalized_margins"] = solution.normalized_margins()
            arrays["smoothed_margins"] = solution.smoothed_margins()
    if limit is not None:
        arrays["limit_theta"] = limit.theta
    write_arrays(arrays, folder / TRAJECTORY)


def write_events(solution: FlowSolution, path: Path) -> None:
    """``events.csv``: a row per switch of a unit on a sample."""
    from theory.flow import FlowEvent

    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.DictWriter(stream, [field.name for field in fields(FlowEvent)], lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(event) for event in solution.events)
    partial.replace(path)


def read_start(path: Path, network: Network) -> np.ndarray | FlowState:
    """Where to start: theta (P) of a ``.npy`` file, or the last state of a ``trajectory.npz``.

    Raises
    ------
    InvalidInput : missing file, another format, an archive that is no trajectory of this network.
    """
    from simulations.cli._files import read_archive, read_array, reading, short
    from theory.flow import FlowState

    if path.suffix != ".npz":
        return read_array(path)
    with reading(path):
        try:
            saved = read_archive(path)
            state = FlowState(
                theta=saved["thetas"][-1], modes=saved["modes"], log_t=float(saved["log_t"][-1]),
                log_inverse_loss=float(saved["log_inverse_loss"][-1]), clock=str(saved["clock"]),
                clock_value=float(saved["clock_value"]),
            )  # fmt: skip
            samples = len(saved["X"])
        except (KeyError, IndexError, TypeError, ValueError):  # an archive of something else, or none
            raise InvalidInput(f"{short(path)} is not a trajectory that theory flow wrote.") from None
    if state.theta.shape != (network.n_parameters,) or state.modes.shape != (samples, network.n_units):
        raise InvalidInput(
            f"{short(path)} is the trajectory of another network: it has {state.theta.size} parameters, "
            f"but {network.n_parameters} are wanted."
        )
    return state


def write_figures(solution: FlowSolution, limit: LimitDirection | None, folder: Path) -> list[str]:
    """The figures that make sense for this flow."""
    from matplotlib.figure import Figure

    from theory import plots

    separated = solution.loss.exponential_tail and solution.state.log_inverse_loss > 0
    theory = separated and solution.network.homogeneous
    plane, units = solution.X.shape[1] == 2, solution.network.units
    drawn: dict[str, tuple[bool, Any]] = {
        "margin.png": (theory, lambda ax: plots.flow_margin(solution, ax, limit=limit)),
        "kkt.png": (theory, lambda ax: plots.flow_kkt(solution, ax)),
        "loss.png": (not solution.loss.exponential_tail, lambda ax: plots.flow_loss(solution, ax)),
        "neurons.png": (
            plane and len(units) == 1 and solution.network.n_outputs == 1,
            lambda ax: plots.neuron_directions(solution, ax),
        ),
        "boundary.png": (
            plane and separated and solution.network.n_outputs == 1,
            lambda ax: plots.decision_boundary(solution, ax),
        ),
        "fit.png": (
            solution.X.shape[1] == 1 and solution.network.n_outputs == 1,
            lambda ax: plots.flow_fit(solution, ax),
        ),
        "singular_values.png": (
            bool(units) and solution.network.activation.name == "linear" and solution.network.homogeneous,
            lambda ax: plots.singular_values(solution, ax),
        ),
    }
    names = []
    diverged = solution.state.log_inverse_loss < DIVERGED
    for name, (wanted, draw) in drawn.items():
        if not wanted or diverged:
            continue
        figure = Figure(figsize=(5.4, 5.0 if name in ("neurons.png", "boundary.png") else 3.8), layout="constrained")
        try:
            draw(figure.add_subplot(projection="polar" if name == "neurons.png" else None))
        except PreconditionError:  # a few steps of an algorithm can be too early for it
            continue
        save_figure(figure, folder / name)
        names.append(name)
    return names
