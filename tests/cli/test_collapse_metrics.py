"""The subcommand ``collapse-metrics``: same numbers as the library, one sentence for a bad file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from simulations.cli.collapse_metrics import collapse_metrics as command
from theory import InvalidInput, PreconditionError
from theory.collapse import collapse_metrics


@pytest.fixture
def app():
    app = typer.Typer()
    app.command("collapse-metrics")(command)
    app.callback()(lambda: None)
    return app


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), (9, 5, 2))
    arrays = {
        "features": (rng.standard_normal((3, 6))[y] + 0.1 * rng.standard_normal((16, 6))).astype(np.float32),
        "labels": y,
        "classifier": rng.standard_normal((3, 6)),
        "bias": rng.standard_normal(3),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return tmp_path, arrays


def call(app, *words):
    """Run as the console script does, where errors travel to main() that turns them into exit code 2."""
    return CliRunner().invoke(app, ["collapse-metrics", *map(str, words)])


def options(folder, *names):
    return [word for name in names for word in (f"--{name}", folder / f"{name}.npy")]


@pytest.mark.parametrize("mean", ["class", "sample"])
def test_json_equals_the_library(app, files, mean):
    folder, arrays = files
    words = options(folder, "features", "labels", "classifier", "bias")
    result = call(app, *words, "--global-mean", mean, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == collapse_metrics(*arrays.values(), global_mean=mean).to_json()


def test_json_without_classifier_has_nulls(app, files):
    result = call(app, *options(files[0], "features", "labels"), "--json")
    assert json.loads(result.output)["nc4"] is None


def test_undefined_numbers_are_null_in_strict_json(app, files):
    folder, arrays = files
    np.save(folder / "classifier.npy", 0 * arrays["classifier"])
    result = call(app, *options(folder, "features", "labels", "classifier"), "--json")
    assert "NaN" not in result.output and json.loads(result.output)["nc3_papyan"] is None


def test_table_shows_the_numbers(app, files):
    folder, arrays = files
    result = call(app, *options(folder, "features", "labels", "classifier", "bias"))
    assert result.output.strip() == collapse_metrics(*arrays.values()).summary()


def test_labels_and_features_from_csv(app, files):
    folder, arrays = files
    rows = "".join(f"{i},{label}\n" for i, label in enumerate(arrays["labels"]))
    (folder / "labels.csv").write_text("index,class\n" + rows)
    np.savetxt(folder / "features.csv", arrays["features"].astype(float), delimiter=",", fmt="%.17g")
    words = (
        "--features",
        folder / "features.csv",
        "--labels",
        folder / "labels.csv",
        "--column",
        "class",
        "--json",
    )
    expected = collapse_metrics(arrays["features"], arrays["labels"]).to_json()
    assert json.loads(call(app, *words).output) == expected


def test_help_has_an_example(app):
    result = call(app, "--help")
    assert result.exit_code == 0 and "Example:" in result.output


def broken(folder, name, content):
    path = folder / f"{name}.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("features", b"not an array", "cannot read"),
        ("features", b"", "cannot read"),
        ("features", np.array([{}], dtype=object), "cannot read"),
        ("features", np.full((16, 6), np.nan), "finite"),
        ("features", np.ones(16), "shape"),
        ("features", np.ones((15, 6)), "15 feature rows but 16 labels"),
        ("features", np.array([["a"] * 6] * 16), "real numbers"),
        ("labels", np.repeat([0, 2], 8), "class 1 first"),
        ("labels", np.zeros(16), "class 1 first"),
        ("labels", np.zeros((16, 1)), "one-dimensional"),
        ("classifier", np.ones((3, 5)), "classifier must have shape"),
        ("classifier", np.ones((4, 6)), "class 3 first"),
        ("bias", np.ones(4), "bias must have shape"),
    ],
)
def test_bad_files_raise_one_sentence(app, files, name, content, words):
    folder, _ = files
    broken(folder, name, content)
    result = call(app, *options(folder, "features", "labels", "classifier", "bias"))
    assert isinstance(result.exception, InvalidInput)
    assert words in str(result.exception) and "\n" not in str(result.exception)


def test_truncated_features_are_refused(app, files):
    path = files[0] / "features.npy"
    path.write_bytes(path.read_bytes()[:-8])
    assert "cannot read" in str(call(app, *options(files[0], "features", "labels")).exception)


@pytest.mark.parametrize("name", ["features", "labels"])
def test_missing_files_and_other_formats(app, files, name):
    folder, _ = files
    words = options(folder, "features", "labels")
    place = words.index(f"--{name}") + 1
    for path, reason in [
        (folder / "none.npy", "no file"),
        (folder, "no file"),
        (folder / "x.txt", "neither"),
    ]:
        (folder / "x.txt").write_text("1")
        result = call(app, *words[:place], path, *words[place + 1 :])
        assert isinstance(result.exception, InvalidInput) and reason in str(result.exception)


def test_coinciding_means_and_unknown_mean(app, files):
    folder, _ = files
    words = options(folder, "features", "labels")
    assert "'class' or 'sample'" in str(call(app, *words, "--global-mean", "median").exception)
    np.save(folder / "features.npy", np.ones((16, 6)))
    assert isinstance(call(app, *words).exception, PreconditionError)
