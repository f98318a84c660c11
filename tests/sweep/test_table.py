"""Tables: the same rows give the same table; SQL only reads; files and figures hold what the table holds."""

import json
import sqlite3

import numpy as np
import pytest

from simulations.store import NewRow, ResultsStore
from simulations.sweep import _table_store
from simulations.sweep._plot import plot_table
from simulations.sweep._table_export import METADATA, export, read_export
from simulations.sweep._table_store import contents, query
from simulations.sweep.table import Table, read_table
from theory._errors import InvalidInput

ROWS = [
    ({"task": "t", "n": n, "lam": lam, "name": name}, {"loss": n * lam, "ok": n > 1, "far": None if n == 1 else lam})
    for n in (3, 1, 2)
    for lam, name in ((0.5, "half"), (0.1, "tenth"))
]


def fill(path, rows=ROWS, study="first"):
    with ResultsStore(path) as store:
        store.put_many([NewRow(config=config, record=record, seconds=0.25) for config, record in rows], study=study)
    return path


@pytest.fixture
def path(tmp_path):
    return fill(tmp_path / "store.sqlite")


class TestReading:
    def test_columns_and_types(self, path):
        table = read_table(path)
        assert table.names == ("task", "n", "lam", "name", "loss", "ok", "far")
        assert table.parameters == ("task", "n", "lam", "name") and len(table) == 6
        assert [table[name].dtype.kind for name in table.names] == ["U", "i", "f", "U", "f", "b", "f"]
        np.testing.assert_array_equal(table["n"], [1, 1, 2, 2, 3, 3])
        np.testing.assert_array_equal(table["lam"], [0.1, 0.5] * 3)
        np.testing.assert_array_equal(table["loss"], table["n"] * table["lam"])
        np.testing.assert_array_equal(table["far"], [np.nan, np.nan, 0.1, 0.5, 0.1, 0.5])

    @pytest.mark.parametrize("seed", range(4))
    def test_order_of_arrival_does_not_matter(self, path, tmp_path, seed):
        order = np.random.default_rng(seed).permutation(len(ROWS))
        other = fill(tmp_path / "other.sqlite", [ROWS[i] for i in order[:2]])
        fill(other, [ROWS[i] for i in order[2:]])
        a, b = read_table(path), read_table(other)
        assert a.names == b.names
        for name in a.names:
            assert a[name].tobytes() == b[name].tobytes() and a[name].dtype == b[name].dtype

    def test_studies_share_rows(self, path):
        fill(path, ROWS[:2], "second")
        assert len(read_table(path, "second")) == 2 and len(read_table(path, "first")) == 6 == len(read_table(path))
        assert {one.study: one.done for one in contents(path)} == {"first": 6, "second": 2}
        with pytest.raises(InvalidInput, match="no study 'third'; it has first, second"):
            read_table(path, "third")

    def test_failed_rows_apart(self, path):
        with ResultsStore(path) as store:
            bad = [NewRow(config={"task": "t", "n": n}, error="ValueError: nine") for n in (9, 8)]
            store.put_many(bad, study="first")
        assert 9 not in read_table(path)["n"]
        failed = read_table(path, status="failed")
        assert failed["n"].tolist() == [8, 9] and set(failed["error"]) == {"ValueError: nine"}
        both = read_table(path, status=None)
        assert len(both) == 8 and sorted(set(both["status"])) == ["done", "failed"]
        (one,) = contents(path)
        assert (one.done, one.failed, one.errors) == (6, 2, (("ValueError: nine", 2),))
        assert one.seconds == pytest.approx(1.5) and "2 x ValueError: nine" in one.summary()
        assert "numpy" in one.versions[0] and one.tasks == ("t",)

    def test_names_that_are_taken(self, tmp_path):
        path = fill(tmp_path / "s.sqlite", [({"n": 1, "status": "x"}, {"n": 2, "N": 3, "seconds": 4, "record_n": 5})])
        assert read_table(path).rows() == [
            {"n": 1, "parameter_status": "x", "record_n": 2, "record_record_N": 3, "record_seconds": 4,
             "record_record_record_n": 5}
        ]  # fmt: skip
        found = query(path, "SELECT * FROM rows").rows()[0]
        assert {name: found[name] for name in read_table(path).names} == read_table(path).rows()[0]

    def test_lists_and_mixtures(self, tmp_path):
        rows = [({"a": [1, 2]}, {"x": 1}), ({"a": "text"}, {"x": "one"}), ({"a": None}, {"x": True}), ({"b": 7}, {})]
        table = read_table(fill(tmp_path / "s.sqlite", rows))
        assert {"[1, 2]", "text", None} == set(table["a"].tolist())
        assert len(table) == 4 and table["x"].dtype == object

    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            ([2**63, 1], "O"),
            ([10**400, None], "O"),
            ([2**53 + 1, 0.5], "O"),
            ([2**53, None], "f"),
            ([2**62, 1], "i"),
            (["a\0", "b"], "O"),
            (["a", "b"], "U"),
        ],
    )
    def test_whole_numbers_keep_their_digits(self, tmp_path, values, kind):
        path = fill(tmp_path / "s.sqlite", [({"n": n}, {"x": x}) for n, x in enumerate(values)])
        table = read_table(path)
        assert table["x"].dtype.kind == kind and [row["x"] for row in table.rows()] == values
        export(table, tmp_path / "t.csv", "csv")
        pytest.importorskip("pyarrow")
        export(table, tmp_path / "t.parquet", "parquet")
        assert len(read_export(tmp_path / "t.parquet")) == 2

    def test_an_old_store_opens_and_stays_as_it_is(self, tmp_path):
        path = tmp_path / "old.sqlite"
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE records (key TEXT PRIMARY KEY, config TEXT NOT NULL, record TEXT NOT NULL, "
                       "version TEXT NOT NULL, seconds REAL NOT NULL, finished REAL NOT NULL)")  # fmt: skip
            db.execute("INSERT INTO records VALUES ('k', '{\"n\":1}', '{\"loss\":2.5}', '0.0.9', 3, 4)")
        db.close()
        before = path.read_bytes()
        assert read_table(path).rows() == [{"n": 1, "loss": 2.5}]
        (one,) = contents(path)
        assert (one.study, one.done, one.versions) == (None, 1, ("deep-classifier-theory 0.0.9",))
        found = query(path, "SELECT n, status, revision FROM rows").rows()
        assert found == [{"n": 1, "status": "done", "revision": None}]
        assert path.read_bytes() == before

    def test_a_killed_writer_leaves_what_it_finished(self, path, tmp_path):
        import os
        import subprocess
        import sys

        # spills half a transaction to the file before it dies
        code = (f"import sqlite3, os; db = sqlite3.connect({str(path)!r}); db.execute('PRAGMA cache_size = 1'); "
                "db.execute('UPDATE records SET seconds = 7'); [db.execute('INSERT INTO records (key, config, record, "
                "version, seconds, finished) VALUES (?, ?, ?, ?, 1, 1)', (str(i), '{}', '0' * 900, '')) for i in "
                "range(500)]; os.kill(os.getpid(), 9)")  # fmt: skip
        subprocess.run([sys.executable, "-c", code], check=False)
        assert os.path.exists(f"{path}-journal")
        assert len(read_table(path)) == 6 and contents(path)[0].seconds == 1.5

    def test_not_a_store(self, tmp_path):
        (tmp_path / "text").write_text("words " * 1000)
        sqlite3.connect(tmp_path / "empty.sqlite").execute("CREATE TABLE other (a)").connection.commit()
        for name, said in (("none", "no results store"), ("text", "cannot be read"), ("empty.sqlite", "no records")):
            with pytest.raises(InvalidInput, match=said):
                read_table(tmp_path / name)
        with pytest.raises(InvalidInput, match="no column is called 'x'"):
            Table()["x"]
        with pytest.raises(InvalidInput, match="status must be"):
            read_table(tmp_path / "text", status="old")

    def test_summary_of_many_rows(self):
        table = Table(columns={"n": np.arange(100), "x": np.array([0.5, np.nan] * 50)})
        lines = table.summary(most=4).splitlines()
        assert lines[0].split() == ["n", "x"] and lines[2].split() == ["1", "-"]
        assert len(lines) == 7 and lines[-1] == "(100 rows, 96 not shown)"

    def test_summary_shows_what_no_terminal_should_obey(self):
        table = Table(columns={"a\nb": np.array(["\x1b[2J", "\ud800", "\u03bb\0."])})
        assert table.summary().splitlines() == ["a b", "\\x1b[2J", "\\ud800", "\u03bb\\x00."]


class TestQuery:
    def test_agrees_with_the_table(self, path):
        table, found = read_table(path), query(path, "SELECT * FROM rows ORDER BY n, lam")
        for name in table.names:
            np.testing.assert_array_equal(found[name].astype(table[name].dtype), table[name])
        assert set(found["study"]) == {"first"} and set(found["seconds"]) == {0.25}

    def test_aggregates_and_studies(self, path):
        fill(path, ROWS[:2], "second")
        sql = "SELECT n, SUM(loss) AS total FROM rows GROUP BY n"
        assert query(path, sql, "second").rows() == [{"n": 3, "total": pytest.approx(1.8)}]
        assert [row["n"] for row in query(path, sql).rows()] == [1, 2, 3]

    @pytest.mark.parametrize(
        "sql",
        ["DELETE FROM rows", "DELETE FROM records", "DROP VIEW rows", "INSERT INTO records DEFAULT VALUES", "VACUUM",
         "UPDATE records SET seconds = 0", "CREATE TABLE x (y)", "CREATE TEMP TABLE x (y)", "ATTACH 'new.db' AS new",
         "PRAGMA query_only = 0", "PRAGMA journal_mode = WAL", "BEGIN", "COMMIT", "SELECT 1; DELETE FROM records", "",
         "   ", "-- nothing", "SELECT", "SELECT nothing FROM rows", "SELECT load_extension('x')", "x" * 1000,
         "SELECT zeroblob(1000000000)", "SELECT '\x00'", "SELECT '\ud800'", "VACUUM INTO 'copy.db'",
         "WITH a AS (SELECT 1) DELETE FROM records"],
    )  # fmt: skip
    def test_whatever_is_no_select_is_one_sentence(self, path, sql, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before, files = path.read_bytes(), sorted(tmp_path.iterdir())
        with pytest.raises(InvalidInput) as caught:
            query(path, sql)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == before and sorted(tmp_path.iterdir()) == files

    def test_values_of_every_kind(self, path):
        found = query(path, "SELECT 1 AS a, 1.5 AS a, NULL AS b, x'00ff' AS c, 'text' AS d, 9e999 AS e")
        assert found.rows() == [{"a": 1, "a_": 1.5, "b": None, "c": "00ff", "d": "text", "e": float("inf")}]

    def test_rows_without_end_are_refused(self, path, monkeypatch):
        monkeypatch.setattr(_table_store, "MOST_ROWS", 3)
        endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
        with pytest.raises(InvalidInput, match="finds more than 6 rows: give it a LIMIT"):
            query(path, endless)
        assert len(query(path, f"{endless} LIMIT 6")) == 6 == len(query(path, "SELECT * FROM rows"))

    def test_an_open_store_can_be_asked_and_goes_on(self):
        with ResultsStore(":memory:") as store:
            store.put({"n": 1}, {"x": 2})
            assert query(store, "SELECT x FROM rows").rows() == query(store, "SELECT x FROM rows").rows() == [{"x": 2}]
            with pytest.raises(InvalidInput):
                query(store, "DELETE FROM records")
            store.put({"n": 2}, {"x": 3})  # may still write
            assert len(read_table(store)) == 2

    def test_awkward_names(self, tmp_path):
        record = {"a b": 1, "c.d": 2, "it's": 3, "\u03bb": 4, "select": 5}
        path = fill(tmp_path / "s.sqlite", [({"n": 1}, {**record, 'q"q': 6, "n\0": 7})], study="it's")
        found = query(path, "SELECT * FROM rows", "it's").rows()[0]
        assert {name: found[name] for name in record} == record and 'q"q' not in found and "n\0" not in found
        row = read_table(path, "it's").rows()[0]
        assert (row['q"q'], row["n\0"]) == (6, 7)


class TestExport:
    def test_parquet_comes_back_with_its_origin(self, path, tmp_path):
        parquet = pytest.importorskip("pyarrow.parquet")
        table, file = read_table(path), tmp_path / "t.parquet"
        export(table, file, "parquet", contents(path), "SELECT *")
        back = read_export(file)
        assert back.names == table.names and back.parameters == table.parameters
        for name in table.names:
            assert back[name].tobytes() == table[name].tobytes()
        about = json.loads(parquet.read_schema(file).metadata[METADATA])
        assert about["query"] == "SELECT *" and about["contents"][0]["done"] == 6
        assert "revisions" in about["contents"][0] and "numpy" in about["contents"][0]["versions"][0]
        assert parquet.read_table(file)["far"].null_count == 2

    def test_csv_holds_every_bit(self, path, tmp_path):
        table, file = read_table(path), tmp_path / "t.csv"
        export(table, file, "csv")
        lines = file.read_text().splitlines()
        assert lines[0] == ",".join(table.names) and lines[1] == "t,1,0.1,tenth,0.1,False,"
        assert [float(line.split(",")[4]) for line in lines[1:]] == table["loss"].tolist()

    def test_mixed_columns(self, tmp_path):
        pytest.importorskip("pyarrow")
        table = Table(columns={"m": np.array([1, "a", None, True], dtype=object)})
        export(table, tmp_path / "m.parquet", "parquet")
        assert read_export(tmp_path / "m.parquet")["m"].tolist() == ["1", "a", None, "True"]

    def test_refusals_leave_nothing(self, path, tmp_path):
        with pytest.raises(InvalidInput, match="csv or parquet"):
            export(read_table(path), tmp_path / "x.txt", "txt")
        with pytest.raises(InvalidInput, match="cannot write"):
            export(read_table(path), tmp_path / "no" / "x.csv", "csv")
        pytest.importorskip("pyarrow")
        for name in ("store.sqlite", "none.parquet"):
            with pytest.raises(InvalidInput, match="cannot read"):
                read_export(tmp_path / name)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["store.sqlite"]


def grid(z, **more):
    y, x = np.meshgrid([1.0, 2.0, 4.0], [1.0, 10.0, 100.0, 1000.0], indexing="ij")
    return Table(columns={"x": x.ravel(), "y": y.ravel(), "z": np.asarray(z, float).ravel(), **more})


class TestPlot:
    def test_a_grid_is_a_map_with_every_value_in_its_cell(self):
        z = np.arange(1.0, 13).reshape(3, 4)
        shuffled = np.random.default_rng(0).permutation(12)
        table = grid(z).where(shuffled)
        (mesh,) = [c for c in plot_table(table, "x", "y", "z", log=("x",)).axes[0].collections
                   if type(c).__name__ == "QuadMesh"]  # fmt: skip
        np.testing.assert_array_equal(mesh.get_array(), z)
        edges = mesh.get_coordinates()[0, :, 0]
        np.testing.assert_allclose(edges[1:-1], np.sqrt([10, 1e3, 1e5]))

    def test_numbers_that_are_missing_are_hatched(self):
        z = np.arange(1.0, 13)
        z[5] = np.nan
        ax = plot_table(grid(z), "x", "y", "z").axes[0]
        assert ax.patch.get_hatch() and ax.texts[0].get_text() == "hatched: no number"
        assert not plot_table(grid(np.arange(1.0, 13)), "x", "y", "z").axes[0].patch.get_hatch()

    def test_a_wide_logarithm_does_not_overflow(self):
        figure = plot_table(grid(np.geomspace(1, 1e300, 12)), "x", "y", "z", log=("x", "y", "color"))
        figure.draw_without_rendering()
        labels = [t.get_text() for t in figure.axes[1].get_yticklabels()]
        assert "$10^{200}$" in labels

    def test_lines_where_x_comes_once_and_points_where_not(self):
        once = Table(columns={"x": np.array([2.0, 1, 3]), "y": np.array([4.0, 1, 9])})
        (line,) = plot_table(once, "x", "y").axes[0].lines
        assert line.get_linestyle() == "-" and line.get_xdata().tolist() == [1, 2, 3]
        assert line.get_ydata().tolist() == [1, 4, 9]
        (points,) = plot_table(grid(np.ones(12)), "x", "y").axes[0].lines
        assert points.get_linestyle() == "None"

    def test_few_values_of_color_have_their_own_marks(self):
        table = Table(columns={"x": np.arange(6), "y": np.arange(6.0), "kind": np.array(list("ababab"))})
        ax = plot_table(table, "x", "y", "kind").axes[0]
        assert [line.get_label() for line in ax.lines] == ["kind = a", "kind = b"]
        assert len({line.get_marker() for line in ax.lines}) == 2
        many = Table(columns={"x": np.arange(6.0), "y": np.arange(6.0), "z": np.arange(6.0)})
        assert plot_table(many, "x", "y", "z").axes[1].get_ylabel() == "z"

    def test_names_are_no_formulas(self):
        table = Table(columns={r"$\frac$": np.arange(9.0), "a$b": np.arange(9.0), "$$": np.array(list("ab$" * 3))})
        for color in (None, "$$", "a$b"):
            figure = plot_table(table, r"$\frac$", "a$b", color)
            figure.draw_without_rendering()
            assert figure.axes[0].get_xlabel() == r"\$\frac\$"

    def test_a_constant_map(self):
        plot_table(grid(np.full(12, 3.0)), "x", "y", "z", log=("color",)).draw_without_rendering()
        plot_table(grid(np.zeros(12)), "x", "y", "z").draw_without_rendering()

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"x": "w"}, "no column is called 'w'"), ({"x": "name"}, "holds text"), ({"log": ("z",)}, "--log takes"),
            ({"log": ("color",)}, "needs --color"), ({"y": "none"}, "has no number"),
            ({"y": "neg", "log": ("y",)}, "no positive number"), ({"x": "mixed"}, "mixed values"),
            ({"color": "name"}, "12 different texts"), ({"x": "far"}, "beyond 1e[+]300, which need a logarithmic"),
            ({"color": "far"}, "beyond 1e[+]300"),
        ],
    )  # fmt: skip
    def test_bad_input_is_a_sentence(self, given, said):
        far = 1e308 * (-1.0) ** np.arange(12)
        more = {"name": np.array([f"n{i}" for i in range(12)]), "none": np.full(12, np.nan), "neg": -np.ones(12),
                "mixed": np.array([None, "a"] * 6, dtype=object), "far": far}  # fmt: skip
        with pytest.raises(InvalidInput, match=said):
            plot_table(grid(np.ones(12), **more), **{"x": "x", "y": "y", **given})


@pytest.mark.parametrize("damage", ["1", "null", "[", "[" * 10**5, '{"a": 1}, {"b": 2}', b"\xff"])
@pytest.mark.parametrize(("column", "look"), [("record", read_table), ("config", read_table), ("versions", contents)])
def test_a_damaged_row_is_one_sentence(tmp_path, damage, column, look):
    path = tmp_path / "s.sqlite"
    with ResultsStore(path) as store:
        store.put({"task": "threshold", "E_H": 1}, {"R0": 2.0})
        store.put({"task": "threshold", "E_H": 2}, {"R0": 3.0})
    look(path)
    db = sqlite3.connect(path)
    db.execute(f"UPDATE records SET {column} = ? WHERE key = (SELECT MIN(key) FROM records)", (damage,))
    db.commit()
    db.close()
    with pytest.raises(InvalidInput, match="damaged"):
        look(path)


@pytest.mark.parametrize("damage", ["1", "null", "[1, 2]", "["])
def test_a_query_over_a_damaged_row_is_one_sentence(tmp_path, damage):
    path = tmp_path / "s.sqlite"
    with ResultsStore(path) as store:
        store.put({"task": "threshold", "E_H": 1}, {"R0": 2.0})
    db = sqlite3.connect(path)
    db.execute("UPDATE records SET record = ?", (damage,))
    db.commit()
    db.close()
    with pytest.raises(InvalidInput, match=r"damaged|cannot be r"):
        query(path, "SELECT * FROM rows")
