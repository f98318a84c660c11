"""A study stands for exactly the configurations that its lines say, in one order; every mistake is one sentence."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest
from scipy.stats.qmc import Sobol

from simulations.sweep import Sample, Study, read_study, shipped_studies
from simulations.sweep._axes import axis, draw_from
from simulations.sweep._load import check_parameters, load_task
from theory import InvalidInput

TEXT = """
name: map
task: threshold
fixed: {minority: 5}
grid: {majority: [1, 2, 5], E_W: {log: [0.1, 10], count: 5}}
seeds: 2
"""


def written(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


def test_a_grid_is_the_product_of_its_axes(tmp_path):
    study = read_study(written(tmp_path, TEXT))
    expected = [
        {"minority": 5, "majority": a, "E_W": b, "seed": s}
        for a, b, s in itertools.product([1, 2, 5], [0.1, 0.316227766017, 1.0, 3.16227766017, 10], [0, 1])
    ]
    assert list(study.configurations()) == expected and len(study) == 30
    assert list(study.configurations()) == expected
    assert study.parameters == ("minority", "majority", "E_W", "seed") and "30 configurations" in repr(study)


@pytest.mark.parametrize(("kind", "reference"), [("log", np.geomspace), ("linear", np.linspace)])
@pytest.mark.parametrize(("low", "high", "count"), [(0.1, 10, 100), (1e-300, 1e300, 7), (3, 4, 2)])
def test_spaced_axes(kind, reference, low, high, count):
    values = axis("x", {kind: [low, high], "count": count})
    assert len(values) == count and values[0] == low and values[-1] == high
    assert np.allclose(values, reference(low, high, count), rtol=1e-11, atol=0)
    assert all(float(f"{value:.12g}") == value for value in values)


def test_equal_points_of_two_spacings_are_the_same_number():
    """So that a finer grid finds the rows of a coarser one."""
    coarse, fine = (axis("x", {"log": [0.1, 10], "count": count}) for count in (100, 199))
    assert fine[::2] == coarse


def test_axes_of_whole_numbers_and_words():
    assert axis("x", {"integer": [-1, 2]}) == (-1, 0, 1, 2)
    assert axis("x", ["a", None, True, 1, 1.5, [1, 2]]) == ("a", None, True, 1, 1.5, [1, 2])
    assert axis("x", np.array([1.5, 2.5])) == (1.5, 2.5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 5, 4096, 5000])
def test_a_sobol_sample_is_scipys(count):
    ranges = {"E_W": {"log": [0.1, 10]}, "width": {"integer": [1, 20]}, "kind": ["a", "b"]}
    found = list(Sample(count=count, ranges=ranges, seed=3).points())
    points = Sobol(3, rng=np.random.default_rng(3)).random(8192)[:count]
    assert len(found) == count
    for got, (u, v, w) in zip(found, points, strict=True):
        assert got["E_W"] == pytest.approx(0.1 * 100**u, rel=1e-11)
        assert got["width"] == 1 + int(20 * v) and got["kind"] == "ab"[int(2 * w)]


def test_a_uniform_sample_fills_its_ranges():
    ranges = {"n": {"integer": [3, 5]}, "x": {"linear": [-1, 3]}}
    found = list(Sample(count=20_000, ranges=ranges, method="uniform").points())
    counts = np.bincount([point["n"] for point in found])
    assert len(counts) == 6 and (np.abs(counts[3:] - 20_000 / 3) < 300).all()
    x = np.array([point["x"] for point in found])
    assert abs(x.mean() - 1) < 0.03 and x.min() > -1.0001 and x.max() < 3 and abs(x.std() - 4 / 12**0.5) < 0.02


def test_the_ends_of_a_range():
    low = np.nextafter(1.0, 0)
    assert [draw_from("n", {"integer": [3, 5]})(u) for u in (0.0, low)] == [3, 5]
    assert [draw_from("n", ["a", "b"])(u) for u in (0.0, 0.5, low)] == ["a", "b", "b"]


def test_a_longer_sample_begins_like_a_shorter_one():
    ranges = {"x": {"linear": [0, 1]}, "y": {"log": [1, 2]}}
    for method in ("sobol", "uniform"):
        short, long = (list(Sample(count=n, ranges=ranges, method=method).points()) for n in (10, 5000))
        assert long[:10] == short
        assert short != list(Sample(count=10, ranges=ranges, method=method, seed=1).points())


def test_a_sample_is_crossed_with_grid_and_seeds():
    sample = Sample(count=3, ranges={"x": {"linear": [0, 1]}})
    study = Study(name="s", task="t", grid={"a": [1, 2]}, sample=sample, seeds=2)
    points = [point["x"] for point in sample.points()]
    assert list(study.configurations()) == [
        {"a": a, "x": x, "seed": s} for x in points for a in (1, 2) for s in (0, 1)
    ] and len(study) == 12  # fmt: skip


def test_ten_million_configurations_are_not_all_made_at_once():
    began = time.process_time()
    study = Study(name="s", task="t", grid={"a": {"integer": [1, 1000]}, "b": {"integer": [1, 1000]}}, seeds=10)
    assert len(study) == 10**7 and next(study.configurations()) == {"a": 1, "b": 1, "seed": 0}
    sampled = Study(name="s", task="t", sample=Sample(count=10**7, ranges={"x": {"linear": [0, 1]}}))
    assert len(sampled) == 10**7 and set(next(sampled.configurations())) == {"x"}
    assert time.process_time() - began < 2


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    """YAML 1.1 reads 1e3 as text."""
    text = "name: e\ntask: t\nfixed: {a: 1e3, b: -2.5E-2}\ngrid: {x: {log: [1e-1, 1e1], count: 2}}"
    study = read_study(written(tmp_path, text))
    assert study.fixed == {"a": 1000.0, "b": -0.025} and study.grid == {"x": (0.1, 10.0)}


BAD = {
    "not yaml": ("name: [", "line"),
    "a list": ("- 1", "keys and values"),
    "nothing": ("", "keys and values"),
    "deep": ("name: " + "[" * 5000, "nested too deeply"),
    "reference": ("name: &a [1]\ntask: *a", "references"),
    "date": ("name: a\ntask: t\nfixed: {x: 2026-01-01}", "numbers, text"),
    "no such date": ("name: a\ntask: t\nfixed: {x: 2026-13-01}", "month"),
    "python": ("name: !!python/object/apply:os.system [ls]", "constructor"),
    "tag": ("name: a\ntask: !!bool x", "tag does not fit"),
    "other tag": ("name: !!timestamp x\ntask: t", "tag does not fit"),
    "no name": ("task: t", "no 'name'"),
    "no task": ("name: a", "no 'task'"),
    "folder as name": ("name: ../a\ntask: t", "name of a study"),
    "number as name": ("name: 3\ntask: t", "name of a study"),
    "number as task": ("name: a\ntask: 3", "task must be"),
    "unknown key": ("name: a\ntask: t\ngrids: {x: [1]}", "unknown key 'grids'"),
    "key twice": ("name: a\ntask: t\nname: b", "'name' is there twice"),
    "axis twice": ("name: a\ntask: t\ngrid: {x: [1], x: [2]}", "'x' is there twice"),
    "fixed and grid": ("name: a\ntask: t\nfixed: {x: 1}\ngrid: {x: [1]}", "given twice"),
    "seed and seeds": ("name: a\ntask: t\nfixed: {seed: 1}\nseeds: 2", "given twice"),
    "empty grid": ("name: a\ntask: t\ngrid: {}", "empty grid"),
    "no grid": ("name: a\ntask: t\ngrid:", "empty grid"),
    "grid is a list": ("name: a\ntask: t\ngrid: [1]", "parameters with values"),
    "nothing fixed": ("name: a\ntask: t\nfixed:", "nothing under"),
    "empty axis": ("name: a\ntask: t\ngrid: {x: []}", "is empty"),
    "one value": ("name: a\ntask: t\ngrid: {x: 1}", "must be a list"),
    "twice": ("name: a\ntask: t\ngrid: {x: [1, 2, 1]}", "1 twice"),
    "form": ("name: a\ntask: t\ngrid: {x: {power: [1, 2], count: 2}}", "must be a list"),
    "no count": ("name: a\ntask: t\ngrid: {x: {log: [1, 2]}}", "must be a list"),
    "count 1": ("name: a\ntask: t\ngrid: {x: {log: [1, 2], count: 1}}", "at least 2"),
    "count 1.5": ("name: a\ntask: t\ngrid: {x: {log: [1, 2], count: 2.5}}", "whole"),
    "log of 0": ("name: a\ntask: t\ngrid: {x: {log: [0, 2], count: 3}}", "positive"),
    "falling": ("name: a\ntask: t\ngrid: {x: {linear: [2, 1], count: 3}}", "must rise"),
    "three ends": ("name: a\ntask: t\ngrid: {x: {linear: [2, 1, 3], count: 3}}", "low, high"),
    "half": ("name: a\ntask: t\ngrid: {x: {integer: [1.5, 3]}}", "whole"),
    "infinite": ("name: a\ntask: t\ngrid: {x: {linear: [0, .inf], count: 3}}", "finite"),
    "text": ("name: a\ntask: t\ngrid: {x: {linear: [a, b], count: 3}}", "real number"),
    "too close": ("name: a\ntask: t\ngrid: {x: {linear: [1, 1.00000000001], count: 1000}}", "tell apart"),
    "long axis": ("name: a\ntask: t\ngrid: {x: {integer: [1, 100000000]}}", "more than 10000000"),
    "too many": ("name: a\ntask: t\ngrid: {x: {integer: [1, 10000]}}\nseeds: 1001", "10010000 configurations"),
    "seeds 0": ("name: a\ntask: t\nseeds: 0", "at least 1"),
    "no seeds": ("name: a\ntask: t\nseeds:", "nothing under"),
    "sample is a number": ("name: a\ntask: t\nsample: 3", "sample must have"),
    "sample without ranges": ("name: a\ntask: t\nsample: {count: 3}", "no 'ranges'"),
    "empty ranges": ("name: a\ntask: t\nsample: {count: 3, ranges: {}}", "needs ranges"),
    "sample of 0": ("name: a\ntask: t\nsample: {count: 0, ranges: {x: [1, 2]}}", "at least 1"),
    "method": ("name: a\ntask: t\nsample: {count: 3, method: grid, ranges: {x: [1, 2]}}", "sobol or uniform"),
    "seed": ("name: a\ntask: t\nsample: {count: 3, seed: -1, ranges: {x: [1, 2]}}", "at least 0"),
    "range": ("name: a\ntask: t\nsample: {count: 3, ranges: {x: {log: [1, 2], count: 3}}}", "range of 'x'"),
    "range is text": ("name: a\ntask: t\nsample: {count: 3, ranges: {x: abc}}", "range of 'x'"),
    "parameter name": ("name: a\ntask: t\nfixed: {a b: 1}", "cannot be called 'a b'"),
    "parameter 1": ("name: a\ntask: t\nfixed: {1: 1}", "cannot be called '1'"),
    "parameter task": ("name: a\ntask: t\nfixed: {task: 1}", "cannot be called 'task'"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_one_sentence(tmp_path, name):
    text, said = BAD[name]
    with pytest.raises(InvalidInput) as caught:
        read_study(written(tmp_path, text))
    message = str(caught.value)
    assert said in message and message.endswith(".") and "\n" not in message and len(message) < 400


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00name")
    (tmp_path / "large.yaml").write_text("#" * 1_000_001)
    (tmp_path / "folder.yaml").mkdir()
    files = {"binary.yaml": "UTF-8", "large.yaml": "bytes", "folder.yaml": "no file", "none.yaml": "no file",
             "none": "no shipped study"}  # fmt: skip
    for path, said in files.items():
        with pytest.raises(InvalidInput, match=said):
            read_study(tmp_path / path)


def test_shipped_studies_are_read_by_name():
    for name in shipped_studies():
        study = read_study(name)
        assert study.name == name
        check_parameters(load_task(study.task), study)


def test_parameters_are_those_of_the_task(monkeypatch, functions):
    task = load_task("sweep_functions:inverse")
    check_parameters(task, Study(name="s", task=task.name, grid={"x": [1]}, seeds=2))
    for given, said in [({"y": 1, "x": 2}, "no parameter 'y'; it takes x, seed, delay"), ({"seed": 1}, "needs x,")]:
        with pytest.raises(InvalidInput, match=said):
            check_parameters(task, Study(name="s", task=task.name, fixed=given))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "no task is called 'nobody'"),
        ("no_such_module:f", "ModuleNotFoundError"),
        ("sweep_functions:nothing", "AttributeError"),
        ("sweep_functions:CALLS", "not a function, but list"),
        (":f", "cannot be imported"),
    ],
)
def test_tasks_that_are_not_there(functions, name, said):
    with pytest.raises(InvalidInput, match=said):
        load_task(name)


def test_configurations_are_plain():
    study = Study(name="s", task="t", fixed={"a": np.float64(1.5)}, grid={"x": np.arange(3)})
    assert json.loads(json.dumps(list(study.configurations()))) == [{"a": 1.5, "x": x} for x in range(3)]
    with pytest.raises(InvalidInput, match="'a' must be numbers"):
        Study(name="s", task="t", fixed={"a": object()})
