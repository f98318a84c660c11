"""``python -m simulations.notebooks``: write each notebook from its ``.py`` and run it; ``--check`` runs and compares.

A notebook runs in its own folder, from the top. ``--check`` runs the stored cells afresh and compares every number of
their printed text with the stored one, at a relative 1e-6, or at 0.05 where a cell has the tag ``rtol=0.05`` (a network
was trained there); two numbers below 1e-9 are rounding errors and equal. The text of a cell with the tag ``machine``
(times, sizes of rounding errors) is not compared. Figures are counted and not compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theory._errors import InvalidInput, PreconditionError, TheoryError

if TYPE_CHECKING:
    from simulations.experiments.result import ExperimentResult

ROOT = Path(__file__).parent.parent  # of a checkout; site-packages where installed
FOLDER = ROOT / "notebooks"
RECORDS = (Path(__file__).parent / "experiments" / "records", ROOT / "docs" / "validation")  # installed, checkout
PATIENCE = 300  # seconds for one cell, on a machine that is busy; a notebook takes under 60 on one that is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What one cell of a notebook shows now and did not when it was stored.

    Attributes
    ----------
    notebook : its name. cell : its number, from 0, text cells counted; None for the notebook as a whole.
    what : one sentence.
    """

    notebook: str
    cell: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.notebook}{'' if self.cell is None else f', cell {self.cell}'}: {self.what}"

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"notebook": self.notebook, "cell": self.cell, "what": self.what}


def data_file(name: str) -> Path:
    """The file ``name`` of the notebooks' folder ``data``, from the notebooks' folder, the one above it, or elsewhere.

    Raises
    ------
    InvalidInput : there is no such file beside the notebooks.

    Examples
    --------
    >>> data_file("eight_points.csv").name
    'eight_points.csv'
    """
    for folder in (Path("data"), Path("notebooks") / "data", FOLDER / "data"):
        if (folder / name).exists():
            return folder / name
    raise InvalidInput(f"there is no {name!r} in the notebooks' folder data: copy that folder with the notebooks.")


def read_record(name: str) -> ExperimentResult:
    """The stored result of the full run of an experiment of ``theory validate``, as ``run`` returned it.

    Raises
    ------
    InvalidInput : no experiment has this name. PreconditionError : its record was not installed.

    Examples
    --------
    >>> read_record("minority-collapse").name
    'minority-collapse'
    """
    import numpy as np

    from simulations.bridge._checks import Agreement, Check
    from simulations.experiments.registry import EXPERIMENTS
    from simulations.experiments.result import ExperimentResult

    if name not in EXPERIMENTS:
        raise InvalidInput(f"no experiment is called {name!r}; there are {', '.join(EXPERIMENTS)}.")
    path = next((folder / f"{name}.json" for folder in RECORDS if (folder / f"{name}.json").exists()), None)
    if path is None:
        raise PreconditionError(f"the record of {name} is not here: `theory validate {name}` makes it.")
    stored = json.loads(path.read_text(encoding="utf-8"))
    checks = tuple(
        Check(**_arrays({key: check[key] for key in Check.__slots__})) for check in stored["agreement"]["checks"]
    )
    left = tuple((one["name"], one["reason"]) for one in stored["agreement"]["not_compared"])
    return ExperimentResult(
        name=stored["name"], claim=stored["claim"], settings=stored["settings"],
        agreement=Agreement(checks=checks, not_compared=left), table=tuple(stored["table"]),
        notes=tuple(stored["notes"]), curves={key: np.array(value, float) for key, value in stored["curves"].items()},
    )  # fmt: skip


def _arrays(values: dict[str, Any]) -> dict[str, Any]:
    """Lists as arrays, null as NaN, the rest as it is."""
    import numpy as np

    return {key: np.array(value, float) if isinstance(value, list) else value for key, value in values.items()}


def read_source(source: Path) -> Any:
    """The notebook of a percent-format ``.py`` file, without outputs; cells are numbered, so that runs compare.

    Raises
    ------
    PreconditionError : jupytext is not installed.
    """
    jupytext = _imported("jupytext")
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
    return notebook


def write_notebook(source: Path) -> Path:
    """Run the notebook of ``source`` from the top and write it beside it; nothing is written if a cell fails."""
    nbformat = _imported("nbformat")
    notebook = read_source(source)
    _execute(notebook, source.parent)
    notebook.metadata.pop("language_info", None)  # names the Python version, not the claim
    path = source.with_suffix(".ipynb")
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return path


def check_notebook(source: Path, *, rtol: float = 1e-6) -> list[Difference]:
    """Run the stored ``.ipynb`` of ``source`` afresh, and list where its printed numbers, text or figures differ.

    Parameters
    ----------
    source : the ``.py`` or the ``.ipynb``; only the latter is read, and never written.
    rtol : relative tolerance of a number in cells without a tag ``rtol=...``.

    Raises
    ------
    InvalidInput : no such notebook. PreconditionError : nbformat, nbclient or ipykernel is not installed.
    """
    from simulations._notebook_outputs import compare_outputs

    nbformat = _imported("nbformat")
    path = Path(source).with_suffix(".ipynb")
    if not path.exists():
        raise InvalidInput(f"there is no notebook {path}.")
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.from_dict(stored)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    from nbclient.exceptions import CellExecutionError

    try:
        _execute(fresh, path.parent)
    except CellExecutionError as error:
        last = [line for line in str(error).splitlines() if line.strip()][-1]
        return [Difference(notebook=path.stem, cell=None, what=f"it fails: {last}")]
    return [
        Difference(notebook=path.stem, cell=number, what=what)
        for number, (was, now) in enumerate(zip(stored.cells, fresh.cells, strict=True))
        if was.cell_type == "code"
        for what in compare_outputs(was, now, rtol)
    ]


def _execute(notebook: Any, folder: Path) -> None:
    """Fill in the outputs, in a kernel of its own that starts in ``folder``."""
    client = _imported("nbclient")
    where = {"metadata": {"path": str(folder)}}
    client.NotebookClient(
        notebook, timeout=PATIENCE, kernel_name="python3", record_timing=False, resources=where
    ).execute()


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise PreconditionError(
            "notebooks need jupytext, nbclient and ipykernel: pip install 'deep-classifier-theory[notebooks]'."
        ) from None


def sources(folder: Path, names: list[str]) -> list[Path]:
    """The notebooks of a folder, all of them or those whose file names start with one of ``names``.

    Raises
    ------
    InvalidInput : no such notebook.
    """
    found = sorted(folder.glob("[0-9]*.py"))
    for name in names or [""]:
        if not any(path.stem.startswith(name) for path in found):
            raise InvalidInput(f"there is no notebook {name or '[0-9]*.py'} in {folder}.")
    return [path for path in found if path.stem.startswith(tuple(names or [""]))]


def main(arguments: list[str] | None = None) -> int:
    """Write or check notebooks; the exit status is 1 where something differs and 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m simulations.notebooks", description="Write or check notebooks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="start of a file name, such as 03; all if none")
    parser.add_argument("--check", action="store_true", help="run the .ipynb afresh and compare, write nothing")
    here = FOLDER if FOLDER.exists() else Path.cwd()
    parser.add_argument("--folder", type=Path, default=here, help="where the notebooks are")
    chosen = parser.parse_args(arguments)
    differences: list[Difference] = []
    try:
        for source in sources(chosen.folder.resolve(), chosen.names):
            if not chosen.check:
                print(f"wrote {write_notebook(source)}")
                continue
            found = check_notebook(source)
            print("\n".join(map(str, found)) or f"{source.stem}: as stored", flush=True)
            differences += found
    except TheoryError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
