"""The shipped studies: what they hold, what the stored tables say against the theory, and the laws drawn from them."""

import json
from pathlib import Path

import numpy as np
import pytest

from simulations.sweep import (
    Table,
    _table_export,
    bounds_scaling_figure,
    growth,
    read_export,
    read_study,
    shipped_studies,
    stored_table,
    threshold_map_figure,
)
from simulations.sweep._load import check_parameters, load_task
from simulations.sweep._plot_studies import SHOWN, trained_rows
from simulations.sweep._table_export import METADATA
from theory._errors import InvalidInput, PreconditionError
from theory.peeled import collapse_threshold, vanishing_product

pytest.importorskip("pyarrow")
FOLDER = Path(__file__).parents[2] / "docs" / "studies"


@pytest.fixture(scope="module")
def thresholds():
    return stored_table("threshold-map")


@pytest.fixture(scope="module")
def bounds():
    return stored_table("bounds-scaling")


@pytest.mark.parametrize("name", ["threshold-map", "bounds-scaling"])
class TestShipped:
    def test_study_fits_its_task(self, name):
        assert name in shipped_studies()
        study = read_study(name)
        check_parameters(load_task(study.task), study)

    def test_table_has_every_configuration_and_says_what_made_it(self, name):
        from pyarrow import parquet

        path, study = FOLDER / f"{name}.parquet", read_study(name)
        table = read_export(path)
        assert len(table) == len(study) and path.stat().st_size < 1e6
        (about,) = json.loads(parquet.read_schema(path).metadata[METADATA])["contents"]
        assert (about["study"], about["done"], about["failed"]) == (name, len(study), 0)
        assert about["revisions"] and "numpy" in about["versions"][0]
        varied = [name for name in study.grid if name in table.names]
        assert varied
        wanted = {tuple(config[v] for v in varied) for config in study.configurations()}
        assert {row for row in zip(*(table[v].tolist() for v in varied), strict=True)} == wanted


def test_where_stored_tables_are_found(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="no shipped study is called 'other'; there are bounds-scaling, threshold-"):
        stored_table("other")
    installed = tmp_path / "records"
    monkeypatch.setattr(_table_export, "STORED", (installed, tmp_path / "missing"))
    with pytest.raises(PreconditionError, match="is not here: `theory sweep bounds-scaling` computes its rows"):
        stored_table("bounds-scaling")
    installed.symlink_to(FOLDER)
    assert len(stored_table("bounds-scaling")) == 400


class TestThresholdMap:
    def test_random_points_are_those_of_the_scalar_solver(self, thresholds):
        for i in np.random.default_rng(1).integers(len(thresholds), size=40):
            A, K, E = (thresholds[name][i] for name in ("majority", "K", "E_H"))
            if thresholds["log_R0"][i] > 690:
                continue
            found = collapse_threshold(majority=int(A), minority=int(K - A), E_W=1, E_H=float(E))
            assert thresholds["log_R0"][i] == pytest.approx(np.log(found.R0), abs=1e-10)
            ratio = found.R00 / found.R0
            assert np.isnan(thresholds["R00_over_R0"][i]) if np.isinf(ratio) else (
                thresholds["R00_over_R0"][i] == pytest.approx(ratio, abs=1e-10, rel=1e-12)
            )  # fmt: skip

    def test_every_point_is_certified_and_ordered(self, thresholds):
        assert thresholds["residual"].max() < 1e-11
        assert (thresholds["log_R0"] > 0).all() and np.nanmin(thresholds["R00_over_R0"]) >= 1

    def test_the_minority_vanishes_exactly_below_the_closed_form(self, thresholds):
        ends = {A: vanishing_product(majority=A, minority=100 - A) for A in range(2, 99)}
        edge = np.array([ends[A] for A in thresholds["majority"].tolist()])
        np.testing.assert_array_equal(np.isfinite(thresholds["R00_over_R0"]), thresholds["E_H"] < edge)

    def test_R0_rises_with_the_budget_and_falls_with_the_majority(self, thresholds):
        log_R0 = thresholds["log_R0"].reshape(97, -1)
        assert (np.diff(log_R0, axis=1) > 0).all() and (np.diff(log_R0, axis=0) < 0).all()

    def test_figure(self, thresholds):
        figure = threshold_map_figure(thresholds)
        figure.draw_without_rendering()
        assert "100,007 certified points" in figure.get_suptitle()
        with pytest.raises(InvalidInput, match="one row for each pair"):
            threshold_map_figure(thresholds.where(np.arange(len(thresholds)) > 0))


def made_up(n_law, width_law, depth_law, noise=0.0):
    rng = np.random.default_rng(0)
    cells = [(n, w, d, s) for n in (80, 320, 1280) for w in (32, 128) for d in (2, 3, 4) for s in (0, 1)]
    n, width, depth, seed = np.array(cells).T
    log = 1 + n_law * np.log10(n) + width_law * np.log10(width) + depth_law * depth
    log += noise * rng.standard_normal(len(n))
    columns = {f"{name}_complexity_log10": log for name in SHOWN}
    error = np.where((depth == 4) & (n == 80), 0.5, 0.005)
    log[error > 0.1] += 3  # networks that were not trained must not matter
    return Table(columns={"n": n, "width": width, "depth": depth, "seed": seed, "train_error": error, **columns})


class TestGrowth:
    def test_laws_come_back(self):
        law = growth(made_up(-0.5, 0.25, 0.7), "covering")
        assert (law.n, law.width, law.depth) == pytest.approx((-0.5, 0.25, 0.7), abs=1e-12)
        assert max(law.n_spread, law.width_spread, law.depth_spread) < 1e-12 and law.networks == 32
        assert "x 5.01 per layer" in law.summary()

    def test_spread_is_that_of_the_seeds(self):
        table = made_up(-0.5, 0.25, 0.7, noise=0.1)
        law, each = growth(table, "covering"), [
            growth(table.where(table["seed"] == seed), "covering").n for seed in (0, 1)
        ]  # fmt: skip
        assert law.n == pytest.approx(np.mean(each)) and law.n_spread == pytest.approx(np.std(each, ddof=1))
        assert np.isnan(growth(table.where(table["seed"] == 0), "covering").n_spread)

    def test_of_a_column(self):
        table = made_up(-0.5, 0.25, 0.7)
        columns = {**table.columns, "margin": 3 * table["n"] ** 0.3, "none": 0 * table["n"]}
        law = growth(Table(columns=columns), "margin")
        assert (law.n, law.width, law.depth) == pytest.approx((0.3, 0, 0), abs=1e-12)
        with pytest.raises(InvalidInput, match="not positive"):
            growth(Table(columns=columns), "none")

    def test_too_few_networks(self):
        table = made_up(-0.5, 0.25, 0.7)
        with pytest.raises(InvalidInput, match="too few"):
            growth(table.where(table["depth"] == 2), "covering")

    def test_points_of_the_figure_follow_the_law(self):
        ax = bounds_scaling_figure(made_up(-0.5, 0.25, 0.7)).axes[0]
        x, y = ax.lines[0].get_data()
        np.testing.assert_allclose(y, 10 ** (1 - 0.5 * np.log10(x) + 0.25 * np.log10(64) + 0.7 * 3), rtol=1e-9)


class TestBoundsScaling:
    def test_certificates_hold(self, bounds):
        """All certificates of a row hold together with probability above 0.92; the least slack is far from that."""
        for name in SHOWN:
            assert (10 ** bounds[f"{name}_log10"] > bounds["test_upper"]).all()

    def test_laws(self, bounds):
        laws = {name: growth(bounds, name) for name in SHOWN}
        count = laws.pop("parameter_dudley")
        assert count.n == pytest.approx(-0.5, abs=0.05) and count.depth < 0.2
        for law in laws.values():
            assert -0.45 < law.n < -0.15 and 0.6 < law.depth < 1.05

    def test_norms_grow_faster_than_margins(self, bounds):
        """Where a term is norms over margin and sqrt(n), the two exponents differ by a half."""
        norms = bounds["row_norm_complexity_log10"] + np.log10(bounds["median_margin"]) + 0.5 * np.log10(bounds["n"])
        table = Table(columns={**bounds.columns, "norms": 10**norms})
        margin, product = growth(bounds, "median_margin").n, growth(table, "norms").n
        assert product - margin == pytest.approx(growth(bounds, "row_norm").n + 0.5) and product > margin + 0.15 > 0.4

    def test_most_networks_are_trained(self, bounds):
        assert len(trained_rows(bounds)) > 0.9 * len(bounds)
        assert (bounds["epochs_done"] <= 200).all()

    def test_figure(self, bounds):
        figure = bounds_scaling_figure(bounds)
        figure.draw_without_rendering()
        assert len(figure.axes) == 3 and all(len(ax.lines) == len(SHOWN) + 1 for ax in figure.axes)
