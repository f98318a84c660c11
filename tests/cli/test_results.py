"""``theory results``: what a store holds, by list, SQL, file and figure; bad input is one sentence and exit code 2."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from simulations.cli import main
from simulations.store import NewRow, ResultsStore


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store.sqlite"
    with ResultsStore(path) as store:
        rows = [NewRow(config={"task": "t", "x": x, "y": y}, record={"z": x**2 + y, "kind": "ab"[x % 2]}, seconds=0.5)
                for x in (1, 2, 3) for y in (10, 20, 30)]  # fmt: skip
        store.put_many([*rows, NewRow(config={"task": "t", "x": 4}, error="ValueError: too large")], study="squares")
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["theory", "results", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


def test_contents(run, store):
    code, out, err = run(store)
    assert (code, err) == (0, "")
    assert out.startswith("squares: 9 done, 1 failed, 4.5 s of computing\n")
    assert "numpy" in out and "1 x ValueError: too large" in out
    (found,) = json.loads(run(store, "--json", "--study", "squares")[1])
    assert (found["done"], found["failed"], found["tasks"]) == (9, 1, ["t"])
    assert found["errors"] == [{"error": "ValueError: too large", "rows": 1}]


def test_query_as_text_and_json(run, store):
    sql = "SELECT x, SUM(z) AS total FROM rows WHERE status = 'done' GROUP BY x"
    assert run(store, "--query", sql)[1] == "x  total\n1     63\n2     72\n3     87\n"
    assert json.loads(run(store, "--query", sql, "--json")[1])[1] == {"x": 2, "total": 72}
    assert json.loads(run(store, "--query", "SELECT z FROM rows WHERE x = 4", "--json")[1]) == [{"z": None}]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_export(run, store, form, tmp_path):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"table.{form}"
    assert run(store, "--export", form, "--out", out) == (0, f"wrote 9 rows of 5 columns to {out}\n", "")
    if form == "csv":
        rows = list(csv.DictReader(out.open()))
    else:
        from simulations.sweep._table_export import read_export

        rows = read_export(out).rows()
    assert [(int(r["x"]), int(r["y"]), int(r["z"])) for r in rows] == [
        (x, y, x**2 + y) for x in (1, 2, 3) for y in (10, 20, 30)
    ]


def test_export_of_a_query(run, store, tmp_path):
    out = tmp_path / "table.csv"
    words = ("--query", "SELECT y, MAX(z) AS most FROM rows WHERE y < 30 GROUP BY y", "--export", "csv", "--out", out)
    assert json.loads(run(store, *words, "--json")[1]) == {"file": str(out), "rows": 2, "columns": ["y", "most"]}
    assert out.read_text() == "y,most\n10,19\n20,29\n"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_plot(run, store, suffix, tmp_path):
    file = tmp_path / f"map.{suffix}"
    code, out, err = run(store, "--plot", file, "--x", "x", "--y", "y", "--color", "z", "--log", "x, color")
    assert (code, out, err) == (0, f"drew 9 rows to {file}\n", "")
    assert file.read_bytes()[:4] in (b"\x89PNG", b"%PDF", b"<?xm")
    assert not list(tmp_path.glob("*.partial"))


def test_the_file_is_only_read(run, store):
    before = store.read_bytes()
    store.chmod(0o400)
    for words in ((), ("--query", "SELECT * FROM rows"), ("--query", "DELETE FROM rows")):
        run(store, *words)
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--query", "DELETE FROM records"], "only SELECT is allowed"),
        (["--query", "SELECT q FROM rows"], "no such column"),
        (["--query", ""], "one SELECT"),
        (["--study", "cubes"], "no study 'cubes'; it has squares"),
        (["--query", "SELECT 1", "--study", "cubes"], "no study 'cubes'"),
        (["--export", "csv"], "needs --out"),
        (["--export", "xls", "--out", "{}/t.xls"], "csv or parquet"),
        (["--export", "csv", "--out", "{}"], "cannot write"),
        (["--export", "csv", "--out", "{}/store.sqlite"], "would replace the store"),
        (["--out", "x"], "goes with --export"),
        (["--export", "csv", "--out", "{}/no/t.csv"], "cannot write"),
        (["--x", "x"], "goes with --plot"),
        (["--plot", "{}/m.png"], "needs --x and --y"),
        (["--plot", "{}/m.gif", "--x", "x", "--y", "y"], ".png, .pdf, .svg"),
        (["--plot", "{}/m.png", "--x", "x", "--y", "w"], "no column is called 'w'"),
        (["--plot", "{}/m.png", "--x", "x", "--y", "kind"], "holds text"),
        (["--plot", "{}/m.png", "--x", "x", "--y", "y", "--log", "z"], "--log takes"),
        (["--plot", "{}/no/m.png", "--x", "x", "--y", "y"], "cannot write"),
        (["--plot", "{}/m.png", "--export", "csv"], "not both"),
        (["--export", "csv", "--out", "{}/" + "x" * 300], "cannot write"),
        (["--export", "csv", "--out", "/"], "cannot write"),
        (["--plot", "{}/" + "x" * 300 + ".png", "--x", "x", "--y", "y"], "cannot write"),
    ],
)
def test_bad_input(run, store, tmp_path, words, said):
    code, out, err = run(store, *(word.format(tmp_path) for word in words))
    assert (code, out) == (2, "") and err.startswith("theory: ") and err.count("\n") == 1 and said in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store.sqlite"]


@pytest.mark.parametrize("name", ["none.sqlite", "", ".", "text", "x" * 300])
def test_not_a_store(run, tmp_path, name):
    (tmp_path / "text").write_text("words")
    code, _, err = run(tmp_path / name)
    assert code == 2 and err.startswith("theory: ") and err.count("\n") == 1


def test_the_store_is_not_replaced(run, store, tmp_path):
    before = store.read_bytes()
    for name, words in (
        ("s.png", ("--plot", "s.png", "--x", "x", "--y", "y")), ("t.csv.partial", ("--export", "csv", "--out", "t.csv"))
    ):  # fmt: skip
        held = tmp_path / name
        held.write_bytes(before)
        run(held, *(tmp_path / word if word[1:2] == "." else word for word in words))
        assert held.read_bytes() == before
    code, _, err = run(tmp_path / "s.png", "--plot", tmp_path / "s.png", "--x", "x", "--y", "y")
    assert (code, err) == (2, "theory: --plot would replace the store: give another file.\n")


def test_without_pyarrow(run, store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = run(store, "--export", "parquet", "--out", tmp_path / "t.parquet")
    assert code == 2 and err == "theory: parquet needs pyarrow: pip install 'deep-classifier-theory[sweep]'.\n"
    assert not (tmp_path / "t.parquet").exists()


def test_an_empty_store(run, tmp_path):
    ResultsStore(tmp_path / "empty.sqlite").close()
    assert run(tmp_path / "empty.sqlite") == (0, "no rows\n", "")
    assert run(tmp_path / "empty.sqlite", "--query", "SELECT * FROM rows", "--json")[1] == "[]\n"
    assert run(tmp_path / "empty.sqlite", "--plot", tmp_path / "m.png", "--x", "x", "--y", "y")[0] == 2
