"""Run the benchmarks: ``python -m simulations.benchmarks [--quick] [--only NAME,..] [--out docs]``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import time
from pathlib import Path

import simulations.benchmarks as package
from simulations._progress import Progress
from simulations.benchmarks._comparison import Comparison
from simulations.benchmarks._measure import gemm_rate, one_thread
from simulations.benchmarks._report import table, write_report
from theory._errors import PreconditionError


def names() -> list[str]:
    """The modules that compare, in alphabetical order."""
    return [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]


def main(arguments: list[str] | None = None) -> None:
    """Print every table as it is ready; with ``--out`` also write the page and its figures."""
    parser = argparse.ArgumentParser(prog="python -m simulations.benchmarks", description=package.__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute in all")
    parser.add_argument("--only", default=",".join(names()), help="names of modules, separated by commas")
    parser.add_argument("--out", type=Path, help="folder for benchmarks.md and figures/bench_NAME.png")
    options = parser.parse_args(arguments)
    chosen = [name.strip() for name in options.only.split(",")]
    for name in chosen:
        if name not in names():
            parser.error(f"no benchmark is called {name!r}; there are {', '.join(names())}.")
    found: list[Comparison] = []
    with one_thread():
        gemm_rate()  # measured before anything else warms the machine
        for name in chosen:
            began = time.perf_counter()
            module = importlib.import_module(f"{package.__name__}.{name}")
            try:
                with Progress(name) as progress:
                    new = module.compare(options.quick, progress.draw)
            except PreconditionError as error:  # a module that cannot do without PyTorch says so; the others go on
                print(f"{name}: {error}\n", flush=True)
                continue
            for comparison in new:
                print(table(comparison) + "\n", flush=True)
            print(f"{name}: {time.perf_counter() - began:.0f} s in all\n", flush=True)
            found += new
        if options.out is not None:
            print(f"wrote {write_report(found, options.out)}")


if __name__ == "__main__":
    main()
