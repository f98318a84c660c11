"""Each notebook runs, defines nothing, and imports what is tested; its .ipynb has the same cells, with outputs."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
import time
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("jupytext")

from simulations._notebook_outputs import printed  # noqa: E402
from simulations.notebooks import read_source, write_notebook  # noqa: E402

SOURCES = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))


TIME = re.compile(r"\d\s*(?:ms|s|sec|seconds|minutes)\b")


def stored(source):
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def definitions(tree):
    """Lines of functions, classes, and lambdas, but for lambdas that are handed to a call."""
    kept = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = list(ast.walk(tree))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    handed = {id(value) for call in calls for value in (*call.args, *(word.value for word in call.keywords))}
    lambdas = [node for node in nodes if isinstance(node, ast.Lambda) and id(node) not in handed]
    return sorted(node.lineno for node in [*lambdas, *(node for node in nodes if isinstance(node, kept))])


def used(path):
    """(name, object) of all that a file takes from theory and simulations: imported, or an attribute of a module."""
    tree, modules = ast.parse(path.read_text()), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("theory", "simulations"):
            for alias in node.names:
                value = taken(node.module, alias.name)
                if isinstance(value, ModuleType):
                    modules[alias.asname or alias.name] = value
                else:
                    yield f"{node.module}.{alias.name}", value
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            yield f"{module.__name__}.{node.attr}", getattr(module, node.attr)


def taken(module, name):
    found = importlib.import_module(module)
    return getattr(found, name) if hasattr(found, name) else importlib.import_module(f"{module}.{name}")


@cache
def reached():
    """Identities of all objects that a test of another file takes."""
    files = [path for path in Path(__file__).parent.rglob("*.py") if path != Path(__file__)]
    return {id(value) for path in files for _, value in used(path)}


def test_definitions_are_found():
    lines = ["f = lambda: 0", "run(call=lambda: 0)", "def g(): ...", "class A: ...", "run([lambda: 0])"]
    assert definitions(ast.parse("\n".join(lines))) == [1, 3, 4, 5]


def test_there_are_notebooks():
    assert SOURCES


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
class TestNotebook:
    def test_runs_under_a_minute(self, source, capsys):
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        began = time.process_time()  # of the processor: other work on the machine does not count
        runpy.run_path(str(source))
        plt.close("all")
        assert time.process_time() - began < 60

    def test_defines_nothing(self, source):
        assert definitions(ast.parse(source.read_text())) == []

    def test_imports_what_a_test_reaches(self, source):
        unreached = [name for name, value in used(source) if id(value) not in reached()]
        assert unreached == []

    def test_is_in_step_with_its_source(self, source):
        want, got = read_source(source), stored(source)
        cells = [[(c.cell_type, c.source, c.metadata.get("tags")) for c in notebook.cells] for notebook in (got, want)]
        assert cells[0] == cells[1]

    def test_has_the_outputs_of_one_clean_run(self, source):
        cells = [cell for cell in stored(source).cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        outputs = [output for cell in cells for output in cell.outputs]
        assert not any(output.output_type == "error" for output in outputs)
        assert any("image/png" in output.get("data", {}) for output in outputs)

    def test_names_no_machine(self, source):
        text = source.with_suffix(".ipynb").read_text()
        assert "/home/" not in text and "/root/" not in text and str(source.parent.parent) not in text

    def test_prints_no_times(self, source):
        cells = [cell for cell in stored(source).cells if "machine" not in cell.metadata.get("tags", [])]
        found = [TIME.search(printed(cell)) for cell in cells if cell.cell_type == "code"]
        assert [match[0] for match in found if match] == []

    def test_checks_something(self, source):
        assert source.read_text().count("\nassert ") + source.read_text().count("    assert ") >= 3


def test_writing_runs_the_cells(tmp_path):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    (tmp_path / "notebooks").mkdir()
    source = tmp_path / "notebooks" / "02_sum.py"
    source.write_text("# %% [markdown]\n# A sum.\n\n# %%\nprint(1 + 1)\n")
    cells = nbformat.read(write_notebook(source), as_version=4).cells
    assert cells[1].outputs[0].text == "2\n"
    source.with_name("03_wrong.py").write_text("# %%\nassert 1 + 1 == 3\n")
    with pytest.raises(Exception, match="AssertionError"):
        write_notebook(source.with_name("03_wrong.py"))
    assert not source.with_name("03_wrong.ipynb").exists()
