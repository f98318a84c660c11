"""A study: which task, over which parameters; a grid, a sample, or both crossed, and a number of seeds."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulations.sweep._axes import MOST, axis, draw_from, plain_value
from theory._arrays import as_count
from theory._errors import InvalidInput

SHIPPED = Path(__file__).parent / "studies"
METHODS = ("sobol", "uniform")
_BLOCK = 4096  # sample points drawn at once; a power of two keeps Sobol's sequence balanced
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Points drawn from ranges instead of a grid.

    Parameters
    ----------
    count : number of points.
    ranges : by parameter, ``{"log": [low, high]}``, ``{"linear": [low, high]}``, ``{"integer": [low, high]}`` (both
        ends included) or a list to choose from.
    method : ``"sobol"``, SciPy's scrambled Sobol points, which fill the ranges evenly, or ``"uniform"``.
    seed : of the scrambling or the draws. The first points of a larger count are those of a smaller one.
    """

    count: int
    ranges: Mapping[str, Any]
    method: str = "sobol"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", as_count("count of the sample", self.count))
        object.__setattr__(self, "seed", as_count("seed of the sample", self.seed, minimum=0))
        if self.method not in METHODS:
            raise InvalidInput(f"method of the sample must be {' or '.join(METHODS)}, but is {self.method!r}.")
        if not isinstance(self.ranges, Mapping) or not self.ranges:
            raise InvalidInput("a sample needs ranges, such as {E_W: {log: [0.1, 10]}}.")
        if len(self.ranges) > 1000:
            raise InvalidInput(f"a sample has at most 1000 ranges, but {len(self.ranges)} are given.")
        for name, spec in self.ranges.items():
            draw_from(name, spec)

    def points(self) -> Iterator[dict[str, Any]]:
        """The points in order, drawn in blocks."""
        import numpy as np

        maps = {name: draw_from(name, spec) for name, spec in self.ranges.items()}
        if self.method == "sobol":
            from scipy.stats.qmc import Sobol

            draw = Sobol(len(maps), rng=np.random.default_rng(self.seed)).random
        else:
            rng = np.random.default_rng(self.seed)
            draw = lambda n: rng.random((n, len(maps)))  # noqa: E731
        for start in range(0, self.count, _BLOCK):
            for row in draw(_BLOCK)[: self.count - start].tolist():
                yield {name: value(u) for (name, value), u in zip(maps.items(), row, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Study:
    """Configurations of a task: the grid crossed with the sample crossed with the seeds, each with what is fixed.

    Parameters
    ----------
    name : of the study and, unless told otherwise, of its store; letters, digits and ``.-_``.
    task : a registered task (``simulations.sweep.TASKS``), or ``"package.module:function"`` of your own code, which is
        then imported: run only studies that you trust.
    fixed : parameters with one value.
    grid : by parameter, a list of values, ``{"log": [low, high], "count": N}``, ``{"linear": [low, high], "count": N}``
        or ``{"integer": [low, high]}``.
    sample : a :class:`Sample`, instead of a grid or crossed with it.
    seeds : adds ``seed`` = 0, ..., seeds - 1.

    Examples
    --------
    >>> study = Study(name="budgets", task="threshold", fixed={"E_W": 1}, grid={"E_H": [1, 5]}, seeds=2)
    >>> len(study), list(study.configurations())[1:3]
    (4, [{'E_W': 1, 'E_H': 1, 'seed': 1}, {'E_W': 1, 'E_H': 5, 'seed': 0}])

    Raises
    ------
    InvalidInput : a name of another form, a parameter twice, an empty axis, more than 10^7 configurations.
    """

    name: str
    task: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Any] = field(default_factory=dict)
    sample: Sample | None = None
    seeds: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidInput(f"the name of a study must be letters, digits and .-_, but is {str(self.name)[:60]!r}.")
        if not isinstance(self.task, str) or not self.task:
            raise InvalidInput(f"task must be a name or 'module:function', but is {str(self.task)[:60]!r}.")
        for what in ("fixed", "grid"):
            if not isinstance(getattr(self, what), Mapping):
                raise InvalidInput(f"{what} must be parameters with values, but is {str(getattr(self, what))[:60]!r}.")
        fixed = {name: plain_value(name, value) for name, value in self.fixed.items()}
        object.__setattr__(self, "fixed", fixed)
        object.__setattr__(self, "grid", {name: axis(name, spec) for name, spec in self.grid.items()})
        if self.seeds is not None:
            object.__setattr__(self, "seeds", as_count("seeds", self.seeds))
        self._check_names()
        if len(self) > MOST:
            raise InvalidInput(f"study {self.name!r} has {len(self)} configurations, more than {MOST}.")

    def _check_names(self) -> None:
        seen: set[str] = set()
        for name in self.parameters:
            if not isinstance(name, str) or not name.isidentifier() or name == "task":
                raise InvalidInput(f"a parameter cannot be called {str(name)[:60]!r}.")
            if name in seen:
                raise InvalidInput(f"the parameter {name!r} is given twice, among fixed, grid, sample and seeds.")
            seen.add(name)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of the configurations."""
        drawn = () if self.sample is None else tuple(self.sample.ranges)
        return (*self.fixed, *self.grid, *drawn, *(() if self.seeds is None else ("seed",)))

    def __len__(self) -> int:
        return math.prod(len(v) for v in self.grid.values()) * (
            1 if self.sample is None else self.sample.count
        ) * (self.seeds or 1)  # fmt: skip

    def configurations(self) -> Iterator[dict[str, Any]]:
        """All of them, one at a time, always in the same order: seeds change fastest, sample points slowest.

        A sample of whole numbers can hold the same configuration twice; a sweep computes it once.
        """
        points: Iterator[dict[str, Any]] = iter([{}]) if self.sample is None else self.sample.points()
        for point in points:
            for values in itertools.product(*self.grid.values()):
                known = {**self.fixed, **dict(zip(self.grid, values, strict=True)), **point}
                if self.seeds is None:
                    yield known
                else:
                    yield from ({**known, "seed": seed} for seed in range(self.seeds))

    def __repr__(self) -> str:
        return f"Study({self.name!r}, task={self.task!r}, {len(self)} configurations of {', '.join(self.parameters)})"


def shipped_studies() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def read_study(source: str | Path) -> Study:
    """The study in a YAML file, or a shipped study by its name.

    Raises
    ------
    InvalidInput : no such file or name, not YAML, a key that is unknown or missing, whatever Study refuses.
    """
    from simulations.sweep._yaml import read_yaml

    shipped, path = shipped_studies(), Path(source)
    there = os.path.isfile(path)  # False where the name is too long, too
    if str(source) in shipped and not there:
        path = shipped[str(source)]
    elif path.suffix not in (".yaml", ".yml") and not there:
        known = ", ".join(shipped)
        raise InvalidInput(f"no file and no shipped study is called {str(source)[:200]!r}; shipped: {known}.")
    content = read_yaml(path)
    _check_keys(f"{str(path)!r}", content, ("name", "task"), ("fixed", "grid", "sample", "seeds"))
    if "grid" in content and not content["grid"]:
        raise InvalidInput(f"{str(path)!r} has an empty grid.")
    for key in ("fixed", "sample", "seeds"):
        if key in content and content[key] is None:
            raise InvalidInput(f"{str(path)!r} has nothing under {key!r}.")
    if "sample" in content:
        if not isinstance(content["sample"], dict):
            raise InvalidInput(f"{str(path)!r}: sample must have count and ranges, but is {content['sample']!r:.60}.")
        _check_keys(f"the sample of {str(path)!r}", content["sample"], ("count", "ranges"), ("method", "seed"))
        content = {**content, "sample": Sample(**content["sample"])}
    return Study(**content)


def _check_keys(where: str, content: Mapping[Any, Any], needed: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for key in content:
        if key not in needed + allowed:
            known = ", ".join(needed + allowed)
            raise InvalidInput(f"{where} has an unknown key {str(key)[:60]!r}; known are {known}.")
    for key in needed:
        if key not in content:
            raise InvalidInput(f"{where} has no {key!r}.")
