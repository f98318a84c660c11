"""The house keeps its own rules: citations exist, arrows point down, files stay small, imports stay cheap."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
THEORY = sorted((ROOT / "theory").rglob("*.py"))
SOURCES = THEORY + sorted((ROOT / "simulations").rglob("*.py"))
KEY = re.compile(r"\b[a-z]{2,}(?:19|20)\d\d[a-z]+\b")


def cited(path: Path) -> set[str]:
    return set(KEY.findall(path.read_text()))


def test_every_cited_key_exists():
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "refs.bib").read_text(), re.M))
    missing = {f"{path.name}: {key}" for path in SOURCES for key in cited(path) - keys}
    assert not missing
    assert len(keys) == len(re.findall(r"^@\w+\{", (ROOT / "refs.bib").read_text(), re.M))


def test_the_pattern_finds_a_citation():
    assert KEY.findall("derived; fang2021layerpeeled states it") == ["fang2021layerpeeled"]
    assert all(KEY.fullmatch(key) for key in re.findall(r"^@\w+\{([^,]+),", (ROOT / "refs.bib").read_text(), re.M))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", THEORY, ids=lambda p: str(p.relative_to(ROOT)))
def test_theory_imports_neither_torch_nor_simulations(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {"torch", "simulations"}
    if "plots" not in path.parts:
        assert "matplotlib" not in tops and not any(name.startswith("theory.plots") for name in imported(path))


LOWER = {"frames", "collapse"}  # rooms that import no other room
BELOW = {"architecture": set(), "norms": {"architecture"}, "bounds": {"architecture", "norms"}}


@pytest.mark.parametrize("path", [p for p in THEORY if p.parent.name in LOWER], ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_down(path):
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("theory.")}
    assert {room for room in rooms if not room.startswith("_")} <= LOWER


@pytest.mark.parametrize("room", BELOW)
def test_arrows_between_architecture_norms_and_bounds(room):
    for path in (ROOT / "theory" / room).rglob("*.py"):
        rooms = {name.split(".")[1] for name in imported(path) if name.startswith("theory.")}
        assert {name for name in rooms if not name.startswith("_")} <= BELOW[room] | {room}, path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_above_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


def test_import_theory_is_cheap():
    code = "import sys, theory, theory.peeled; print([m for m in ('cvxpy', 'sympy', 'matplotlib') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_readme_python_examples_run():
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    scope = {
        "features": rng.standard_normal((60, 5)) + 3 * np.eye(5)[labels],
        "labels": labels, "W": rng.standard_normal((3, 5)), "b": np.zeros(3),
    }  # fmt: skip
    given = dict(scope)
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        exec(block, {**scope, **given})


def test_public_records_print_in_one_line():
    """A record with arrays has a ``__repr__`` that does not print them."""
    import dataclasses
    import importlib
    import inspect

    import theory

    rooms = [importlib.import_module(f"theory.{room}") for room in theory._SUBPACKAGES] + [
        importlib.import_module("theory.flow.exact")
    ]
    public = {value for room in rooms for value in (getattr(room, name) for name in getattr(room, "__all__", ()))}
    records = [c for c in public if inspect.isclass(c) and dataclasses.is_dataclass(c)]
    assert len(records) > 60
    long = [
        c.__name__ for c in records
        if any("ndarray" in str(f.type) and f.repr for f in dataclasses.fields(c))
        and hasattr(c.__repr__, "__wrapped__")  # the one that dataclasses make
    ]  # fmt: skip
    assert not long
