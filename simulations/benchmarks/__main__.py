"""Run every benchmark of this package: ``python -m simulations.benchmarks [--quick]``."""

from __future__ import annotations

import importlib
import pkgutil

import simulations.benchmarks as package


def main() -> None:
    """Print one table for each module; options are read by the modules that know them."""
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("_"):
            continue
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        print(f"{module.name}: {(loaded.__doc__ or '').splitlines()[0]}\n")
        loaded.main()
        print()


if __name__ == "__main__":
    main()
