"""``python -m simulations.notebooks``: rewrite each notebook from its ``.py`` file and run it, outputs included."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from theory._errors import PreconditionError, TheoryError

FOLDER = Path(__file__).parent.parent / "notebooks"
PATIENCE = 60  # seconds for one cell


def read_source(source: Path) -> Any:
    """The notebook of a percent-format ``.py`` file, without outputs; cells are numbered, so that runs compare.

    Raises
    ------
    PreconditionError : jupytext is not installed.
    """
    try:
        import jupytext
    except ImportError:
        raise PreconditionError(
            "notebooks need jupytext, nbclient and ipykernel: pip install 'deep-classifier-theory[notebooks]'."
        ) from None
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
    return notebook


def write_notebook(source: Path) -> Path:
    """Run the notebook of ``source`` from the top and write it beside it; nothing is written if a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    notebook = read_source(source)
    where = {"metadata": {"path": str(source.parent.parent)}}
    NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", record_timing=False, resources=where).execute()
    notebook.metadata.pop("language_info", None)  # names the Python version, not the claim
    path = source.with_suffix(".ipynb")
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return path


def main() -> None:
    """Write every notebook of the folder."""
    try:
        for source in sorted(FOLDER.glob("[0-9]*.py")):
            print(f"wrote {write_notebook(source)}")
    except TheoryError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
