"""Each notebook runs, its .ipynb has the same cells as its .py, and the outputs are there."""

from __future__ import annotations

import runpy
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("jupytext")

from simulations.notebooks import read_source, write_notebook  # noqa: E402

SOURCES = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))


def stored(source):
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def test_there_are_notebooks():
    assert SOURCES


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
class TestNotebook:
    def test_runs_under_a_minute(self, source, capsys):
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        began = time.perf_counter()
        runpy.run_path(str(source))
        plt.close("all")
        assert time.perf_counter() - began < 60

    def test_is_in_step_with_its_source(self, source):
        want, got = read_source(source), stored(source)
        assert [(c.cell_type, c.source) for c in got.cells] == [(c.cell_type, c.source) for c in want.cells]

    def test_has_the_outputs_of_one_clean_run(self, source):
        cells = [cell for cell in stored(source).cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        outputs = [output for cell in cells for output in cell.outputs]
        assert not any(output.output_type == "error" for output in outputs)
        assert any("image/png" in output.get("data", {}) for output in outputs)

    def test_names_no_machine(self, source):
        text = source.with_suffix(".ipynb").read_text()
        assert "/home/" not in text and "/root/" not in text and str(source.parent.parent) not in text

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
