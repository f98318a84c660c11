"""Every stored notebook, run afresh: the numbers it prints are the ones that are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

for needed in ("nbformat", "nbclient", "ipykernel"):
    pytest.importorskip(needed)

from simulations.notebooks import check_notebook  # noqa: E402

STORED = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))


@pytest.mark.full
@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_the_stored_numbers_come_out_again(path):
    assert [str(difference) for difference in check_notebook(path)] == []
