"""The console script ``theory``: thin over the library, one file per subcommand."""

from __future__ import annotations

import sys

import typer

from simulations._output import printable
from simulations.cli import (
    bounds,
    collapse_metrics,
    compare,
    complexity,
    connect,
    demo,
    flow,
    inspect,
    norms,
    peel,
    results,
    rho,
    sweep,
    threshold,
    validate,
)
from theory._errors import NotConverged, TheoryError

LONGEST = 1000  # characters of a sentence on stderr

app = typer.Typer(
    name="theory",
    help="Analytic models of deep classifiers, solved with a certificate.\n\n"
    "Example: theory peel --counts 100x5,10x5 --E-W 1 --E-H 5",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("peel")(peel.peel)
app.command("threshold")(threshold.threshold)
app.command("compare")(compare.compare)
app.command("collapse-metrics")(collapse_metrics.collapse_metrics)
app.command("flow")(flow.flow)
app.command("bounds")(bounds.bounds)
app.command("norms")(norms.norms)
app.command("inspect")(inspect.inspect)
app.command("rho")(rho.rho)
app.command("complexity")(complexity.complexity)
app.command("connect")(connect.connect)
app.command("validate")(validate.validate)
app.command("sweep")(sweep.sweep)
app.command("results")(results.results)
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command line; bad input is one sentence on stderr and exit code 2, a missed tolerance exit code 1."""
    try:
        app(prog_name="theory")
    except TheoryError as error:
        print(f"theory: {_one_line(str(error))}", file=sys.stderr)
        sys.exit(1 if isinstance(error, NotConverged) else 2)


def _one_line(said: str) -> str:
    """A sentence on one line, whatever the user's own words in it; the middle of a long one left out."""
    said = printable(said)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 250]} ... {said[-245:]}"
