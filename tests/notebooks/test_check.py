"""``check_notebook`` finds what changed, and the helpers of the notebooks find their files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from theory._errors import InvalidInput, PreconditionError

nbformat = pytest.importorskip("nbformat")
for needed in ("jupytext", "nbclient", "ipykernel"):
    pytest.importorskip(needed)

from simulations import notebooks  # noqa: E402
from simulations._notebook_outputs import close, compare_text  # noqa: E402
from simulations._output import plain  # noqa: E402
from simulations.experiments.registry import EXPERIMENTS  # noqa: E402
from simulations.notebooks import check_notebook, data_file, main, read_record, write_notebook  # noqa: E402

TOY = """# %% [markdown]
# A sum.

# %%
print(f"the sum is {0.1 + 0.2:.6f}, off by {0.1 + 0.2 - 0.3:.0e}")

# %% tags=["rtol=0.05"]
print("trained networks err on", 0.101, "and", 0.202)

# %% tags=["machine"]
import time
print("it took", time.perf_counter(), "s")

# %%
from IPython.display import Image, display
display(Image(data=bytes.fromhex("89504e470d0a1a0a"), format="png"))
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    source = tmp_path_factory.mktemp("notebooks") / "01_toy.py"
    source.write_text(TOY)
    write_notebook(source)
    return source


def test_a_notebook_that_is_as_stored_has_no_differences(toy, capsys):
    assert main(["--check", "--folder", str(toy.parent), "01"]) == 0
    assert capsys.readouterr().out == "01_toy: as stored\n"


def test_changes_are_found_and_where(toy, tmp_path, capsys):
    stored = json.loads(toy.with_suffix(".ipynb").read_text())
    cells = stored["cells"]
    cells[1]["outputs"][0]["text"] = ["the sum is 0.300001, off by 4e-16\n"]  # beyond 1e-6; a rounding error
    cells[2]["outputs"][0]["text"] = ["trained networks err on 0.103 and 0.3\n"]  # within and beyond the tag's 0.05
    cells[4]["outputs"] = []
    source = tmp_path / "01_toy.py"
    source.with_suffix(".ipynb").write_text(json.dumps(stored))
    source.write_text(TOY)
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "01_toy, cell 1: 0.300001 was stored, but 0.300000 was found (the sum is 0.300000).",
        "01_toy, cell 2: 0.3 was stored, but 0.202 was found (on 0.101 and 0.202).",
        "01_toy, cell 4: 0 figures are stored, but 1 were drawn.",
    ]


def test_a_notebook_that_fails_is_a_difference(tmp_path):
    source = tmp_path / "01_wrong.py"
    source.write_text("# %%\nassert 1 + 1 == 2\n")
    path = write_notebook(source)
    path.write_text(path.read_text().replace("1 + 1 == 2", "1 + 1 == 3"))
    (found,) = check_notebook(source)
    assert found.cell is None and "AssertionError" in found.what


def test_unknown_notebooks_are_refused_in_one_line(tmp_path, capsys):
    assert main(["--check", "--folder", str(tmp_path), "99"]) == 2
    assert main(["--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    with pytest.raises(InvalidInput, match="no notebook"):
        check_notebook(tmp_path / "99_none.py")


@pytest.mark.parametrize(
    ("was", "now", "differences"),
    [
        ("a 1.000000 b", "a 1.0000005 b", 0),
        ("a 1.000000 b", "a 1.000002 b", 1),
        ("a 12 b 3.5e-2", "a 13 b 3.6e-2", 2),
        ("off by 3e-17", "off by -2.2e-16", 0),
        ("off by 3e-17", "off by 2e-8", 1),
        ("cosine nan", "cosine nan", 0),
        ("cosine nan", "cosine 1.0", 1),
        ("R00 = inf", "R00 = 4.5", 1),
        ("separated", "merged", 1),
        ("3x3 -0.5", "3x3      -0.5", 0),
        ("3x3", "5x5", 1),
        ("1 2 3", "1 2", 1),
    ],
)
def test_text_is_compared_number_by_number(was, now, differences):
    assert len(compare_text(was, now, 1e-6)) == len(compare_text(now, was, 1e-6)) == differences


def test_closeness_is_symmetric_and_relative():
    for scale in (1e-3, 1.0, 1e300):
        assert close(scale, scale * (1 + 9e-7), 1e-6) and close(scale * (1 + 9e-7), scale, 1e-6)
        assert not close(scale, scale * (1 + 2e-6), 1e-6)
    assert close(np.inf, np.inf, 1e-6) and not close(np.inf, -np.inf, 1e-6)


def test_data_is_found_from_the_folder_and_from_above(tmp_path, monkeypatch):
    (tmp_path / "notebooks" / "data").mkdir(parents=True)
    (tmp_path / "notebooks" / "data" / "mine.csv").write_text("1\n")
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        assert data_file("mine.csv").read_text() == "1\n"
    with pytest.raises(InvalidInput, match="copy that folder"):
        data_file("none.csv")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_record_is_the_result_that_was_written(name):
    path = next(folder for folder in notebooks.RECORDS if folder.exists()) / f"{name}.json"
    assert plain(read_record(name).to_json()) == json.loads(path.read_text())


def test_records_that_are_not_there_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="no experiment"):
        read_record("no-such-thing")
    monkeypatch.setattr(notebooks, "RECORDS", (tmp_path,))
    with pytest.raises(PreconditionError, match="theory validate connectivity"):
        read_record("connectivity")
