"""Which modules are mutated: asked of the registries, so that a new form or bound is mutated without being listed."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
CERTIFYING = re.compile(r"(?:Certificate|CertifiedRadii|NormBracket|ReducedOptimum|LateStage)\(")
BESIDE = ("theory._certificate", "theory.flow.late_stage")


def targets() -> dict[str, str]:
    """Module to the reason why it is mutated, in the order of the table."""
    found: dict[str, str] = {}
    for reason, modules in (
        ("closed form", _closed_forms()),
        ("numeric twin", _twins()),
        ("bound", _bounds()),
        ("norm", _norms()),
        ("certificate", [*BESIDE, *_certifying()]),
    ):
        for module in sorted(modules):
            found.setdefault(module, reason)
    return found


def apart(function: Callable[..., T], *args: object) -> T:
    """The value of a function, found in another process: what it imports of theory/ stays there."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(function, *args).result()


def path_of(module: str) -> Path:
    """The source file of a module."""
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _closed_forms() -> set[str]:
    from theory.symbolic._record import _REGISTRY

    return {inspect.unwrap(built).__module__ for built in _REGISTRY.values()}


def _twins() -> set[str]:
    """Modules of whatever the twin tests of the symbolic forms compare them with."""
    found = set()
    for path in sorted((ROOT / "tests" / "symbolic").glob("test_twins_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("theory."):
                room = importlib.import_module(node.module or "")
                found |= {getattr(getattr(room, alias.name), "__module__", "") for alias in node.names}
    return {name for name in found if not name.startswith("theory.symbolic") and name.startswith("theory.")}


def _bounds() -> set[str]:
    """Modules of the registered bounds, and those of the same package that they compute with."""
    from theory.bounds import all_bounds

    found, queue = set(), [type(bound).__module__ for bound in all_bounds()]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += [other for other in _imports(name) if other.startswith("theory.bounds.")]
    return {name for name in found if path_of(name).name != "__init__.py"}


def _norms() -> set[str]:
    from theory import norms

    return {getattr(norms, name).__module__ for name in norms.__all__}


def _certifying() -> set[str]:
    """Modules that build a certificate."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "theory").rglob("*.py")
        if path.name != "__init__.py" and CERTIFYING.search(path.read_text())
    }


def _imports(module: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path_of(module).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if path_of(name).exists()}
    return found
