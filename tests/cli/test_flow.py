"""``theory flow``: the library's numbers, every file whole, nothing lost, one sentence for bad input."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulations.cli import _flow_watch, main
from simulations.cli._flow_data import prepared_labels, read_points
from simulations.cli._flow_networks import NETWORKS, balance, first_parameters, make_network
from simulations.cli._flow_record import cautions
from simulations.cli._flow_watch import progress_line
from theory import InvalidInput
from theory.flow import descend, fully_connected, integrate
from theory.flow.kkt import kkt_certificate
from theory.flow.limit import limit_direction

THREE_POINTS = Path(__file__).parents[2] / "notebooks" / "data" / "three_points.csv"
ANGLES = 2 * np.pi * (np.arange(6) + 0.3 * np.array([0, 1, 0, 2, 1, 0])) / 6
X = np.round(np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1) * np.array([1, 0.8, 1.2, 0.9, 1.1, 1])[:, None], 4)
Y = np.array([1, 1, -1, -1, -1, 1])
NUMBERS = ("log_inverse_loss", "margin", "smoothed_margin", "conservation_drift", "steps", "field_evaluations")


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("x1,x2,y\n" + "".join(f"{a},{b},{c}\n" for (a, b), c in zip(X, Y, strict=True)))
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``theory flow WORDS`` in this process; returns (exit code, stdout, stderr)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["theory", "flow", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


def small(points, *more):
    return ["--data", points, "--width", 4, "--scale", 0.5, *more]


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(name))


def test_json_is_the_flow_of_the_library(run, points):
    code, out, err = run(*small(points, "--seed", 2, "--until", "log-loss:300", "--json"))
    assert (code, err) == (0, "")
    got = strict(out)
    net = fully_connected((2, 4, 1))
    theta = net.random_parameters(rng=2, scale=0.5)
    want = integrate(net, (X, Y), "exponential", theta, until="log-loss:300")
    assert {key: got[key] for key in NUMBERS} == {key: want.to_json()[key] for key in NUMBERS}
    assert got["events"] == want.event_counts and got["status"] == want.status.value and got["seconds"] > 0
    kkt = kkt_certificate(net, X, Y, "exponential", want.theta, modes=want.modes(), slackness=1.0)
    assert (got["kkt_eps"], got["kkt_delta"]) == (kkt.eps, kkt.delta)
    limit = limit_direction(net, X, Y, "exponential", want.theta, modes=want.modes())
    assert got["limit"] == {"margin": limit.margin, "residual": limit.residual, "kind": limit.kind}
    assert limit.residual <= 1e-12 and got["limit_reason"] is None
    assert got["smoothed_margin"] < got["margin"] < limit.margin


def test_a_limit_that_the_flow_does_not_head_to_is_named():
    net = fully_connected((2, 4, 1))
    solution = integrate(net, (X, Y), "exponential", net.random_parameters(rng=2, scale=0.5), until="log-loss:100")
    limit = limit_direction(net, X, Y, "exponential", solution.theta, modes=solution.modes())
    assert cautions(solution, limit) == [] == cautions(solution, None)
    smoothed = solution.smoothed_margins()[-1]
    (said,) = cautions(solution, replace(limit, margin=smoothed * (1 - 1e-8)))
    assert "passes this point" in said
    saddle = replace(limit, order=replace(limit.order, kind="saddle"))
    assert "saddle" in cautions(solution, saddle)[0]


def test_text_and_files(run, points, tmp_path):
    folder = tmp_path / "out"
    code, out, _ = run(*small(points, "--until", "log-loss:100", "--out", folder))
    assert code == 0 and "limit: margin" in out and "KKT residuals" in out and str(folder) in out
    pictures = {"margin.png", "kkt.png", "neurons.png", "boundary.png"}
    assert set(os.listdir(folder)) == {"solution.json", "trajectory.npz", "events.csv"} | pictures
    assert all((folder / name).read_bytes()[:4] == b"\x89PNG" for name in pictures)
    record = strict((folder / "solution.json").read_text())
    with np.load(folder / "trajectory.npz") as saved:
        assert saved["thetas"].shape == (record["steps"] + 1, 12)
        assert saved["log_inverse_loss"][-1] == pytest.approx(100, rel=1e-7)
        np.testing.assert_allclose(saved["norms"], np.linalg.norm(saved["thetas"], axis=1))
        np.testing.assert_allclose(saved["normalized_margins"], saved["margins"] / saved["norms"] ** 2)
        assert saved["normalized_margins"][-1] == pytest.approx(record["margin"], rel=1e-14)
        assert saved["log_t"].shape == saved["clocks"].shape and saved["clocks"][-1] == "log-log"
        assert np.linalg.norm(saved["limit_theta"]) ** -2 == pytest.approx(record["limit"]["margin"])
    with (folder / "events.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == sum(record["events"].values()) > 0
    assert {row["kind"] for row in rows} == set(record["events"])


def test_a_flow_goes_on_from_its_trajectory(run, points, tmp_path):
    common = small(points, "--no-limit")
    assert run(*common, "--until", "log-loss:20", "--out", tmp_path / "a")[0] == 0
    onward = ["--start", tmp_path / "a" / "trajectory.npz", "--until", "log-loss:100", "--json"]
    code, out, _ = run(*common, *onward)
    whole = strict(run(*common, "--until", "log-loss:100", "--json")[1])
    got = strict(out)
    assert code == 0 and got["steps"] < whole["steps"]
    assert got["margin"] == pytest.approx(whole["margin"], rel=1e-6)
    assert got["log_t"] == pytest.approx(whole["log_t"], rel=1e-6)
    assert got["limit"] is None and "--no-limit" in got["limit_reason"]
    code, _, err = run(*common, *onward, "--out", tmp_path / "a")
    assert code == 2 and "give another folder" in err
    code, _, err = run("--data", points, "--width", 5, *onward)
    assert code == 2 and "another network" in err
    theta = fully_connected((2, 4, 1)).random_parameters(rng=0, scale=0.5)
    np.save(tmp_path / "theta.npy", theta)
    code, out, _ = run(*common, "--start", tmp_path / "theta.npy", "--until", "log-loss:100", "--json")
    assert strict(out)["margin"] == whole["margin"]


def test_the_published_three_points_end_at_linear_regression(run):
    """Small balanced start: the flow stops at the least-squares line, though 20 units could fit the points."""
    words = ["--width", 20, "--bias", "first", "--scale", 1e-3, "--balanced", "--loss", "square", "--until", "t:60"]
    code, out, _ = run("--data", THREE_POINTS, *words, "--json")
    x, y = np.array([-0.75, -0.5, 0.125]), np.array([1.1, 0.1, 0.8])
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    mse = y.var() - covariance**2 / x.var()
    got = strict(out)
    assert code == 0 and got["mean_squared_error"] == pytest.approx(mse, rel=1e-6)
    assert mse == pytest.approx(0.1750427350427350, rel=1e-12)
    assert got["limit"] is None and "no exponential tail" in got["limit_reason"]
    assert got["margin"] is None and got["kkt_eps"] is None and got["kkt_reason"]
    assert got["conservation_drift"] < 1e-9


def test_max_steps_is_exit_code_1_and_loses_nothing(run, points, tmp_path):
    code, out, err = run(*small(points, "--max-steps", 12, "--out", tmp_path / "a"))
    assert (code, out) == (1, "") and err.count("\n") == 1 and "max_steps" in err and str(tmp_path / "a") in err
    with np.load(tmp_path / "a" / "trajectory.npz") as saved:
        assert len(saved["log_t"]) >= 12
    assert "max_steps" in json.loads((tmp_path / "a" / "solution.json").read_text())["status"]
    code, _, err = run(*small(points, "--max-steps", 12))
    assert code == 1 and "--out DIR keeps" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_flow_is_kept(run, points, tmp_path, monkeypatch, number):
    calls = []

    def draw(self, text):
        calls.append(text)
        if len(calls) == 10:
            signal.raise_signal(number)

    monkeypatch.setattr(_flow_watch.Progress, "draw", draw)
    before = signal.getsignal(number)
    code, out, err = run(*small(points, "--out", tmp_path))
    assert (code, out) == (1, "") and "interrupted at log(1/loss)" in err and err.count("\n") == 1
    assert len(calls) == 10 and signal.getsignal(number) is before
    with np.load(tmp_path / "trajectory.npz") as saved:
        assert len(saved["log_t"]) == 11
    assert json.loads((tmp_path / "solution.json").read_text())["status"].startswith("interrupted")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="checkpoints need fork")
def test_checkpoints_leave_the_run_alone(run, points, tmp_path, monkeypatch):
    words = small(points, "--until", "log-loss:30", "--json")
    want = strict(run(*words)[1])
    monkeypatch.setattr(_flow_watch, "PERIOD", 0.0)
    seen = []
    original = _flow_watch.Watch._fork

    def fork(self):
        original(self)
        if len(seen) == 0 and self._child:
            os.waitpid(self._child, 0)
            self._child = 0
            seen.append(json.loads((tmp_path / "solution.json").read_text()))

    monkeypatch.setattr(_flow_watch.Watch, "_fork", fork)
    got = strict(run(*words, "--out", tmp_path)[1])
    assert "checkpoint" in seen[0]["status"] and 0 < seen[0]["steps"] < got["steps"]
    assert {key: got[key] for key in NUMBERS} == {key: want[key] for key in NUMBERS}
    assert json.loads((tmp_path / "solution.json").read_text())["status"] == got["status"]
    assert not list(tmp_path.glob("*.partial"))


def test_progress_line():
    assert progress_line(7, 99.0, 99.0) == f"[{'#' * 20}] log(1/loss) = 99, step 7"
    assert progress_line(7, np.expm1(3.0), np.expm1(6.0)).startswith(f"[{'#' * 10}{' ' * 10}] ")
    assert progress_line(0, -5.0, 100.0).startswith("[ ")
    assert progress_line(3, 2.0, None) == "log(1/loss) = 2, step 3"
    assert progress_line(3, np.nan, 5.0) == "log(1/loss) = nan, step 3"


def test_points_from_every_kind_of_file(tmp_path):
    np.savez(tmp_path / "a.npz", X=X, y=Y, other=-Y)
    files = {
        "a.npz": None,
        "b.csv": "x1,label,x2\n" + "".join(f"{a},{c},{b}\n" for (a, b), c in zip(X, Y, strict=True)),
        "c.csv": "".join(f"{a}, {b}, {c}\n" for (a, b), c in zip(X, Y, strict=True)),
        "d.csv": "\ufeffy,a,b\n\n" + "".join(f"{c},{a},{b}\n" for (a, b), c in zip(X, Y, strict=True)),
    }
    for name, text in files.items():
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
        got = read_points(tmp_path / name, "label" if name == "b.csv" else None)
        np.testing.assert_array_equal(got[0], X)
        np.testing.assert_array_equal(got[1], Y)
    np.testing.assert_array_equal(read_points(tmp_path / "a.npz", "other")[1], -Y)


def test_labels_ask_for_outputs():
    assert prepared_labels(np.array([0.0, 2.0]), "cross_entropy")[1] == 3
    assert prepared_labels(np.array([0.0, 0.0]), "cross_entropy")[1] == 2
    assert prepared_labels(np.zeros((4, 3)), "square")[1] == 3
    for wrong in (np.array([0.5]), np.array([-1]), np.array([1e9]), np.array(["a"])):
        with pytest.raises(InvalidInput, match="label"):
            prepared_labels(wrong, "cross_entropy")


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_by_name(name):
    family = NETWORKS[name]
    sizes = {"width": 3} if "width" in family.takes else {}
    net = make_network(name, 2, 1, sizes)
    layers = {"linear": 1, "diagonal": 2}.get(name, 2 if name.startswith("two") else 3)
    power = 2 if name.endswith(("^2", "quadratic")) else 1
    assert net.degree == sum(power**i for i in range(layers)) and net.n_inputs == 2
    if "depth" in family.takes:
        assert make_network(name, 2, 1, {**sizes, "depth": 4}).degree == sum(power**i for i in range(4))


def test_widths_and_refused_sizes():
    assert make_network("deep-relu", 3, 2, {"widths": "5,4"}).units == (5, 4)
    assert make_network("deep-relu", 3, 2, {"depth": 1}).units == ()
    assert not make_network("two-layer-relu", 3, 1, {"width": 2, "bias": "all"}).homogeneous
    assert make_network("two-layer-leaky-relu", 3, 1, {"width": 2, "slope": 0.3}).activation.slope == 0.3
    for name, sizes, said in [
        ("relu", {}, "must be one of"),
        ("two-layer-relu", {}, "needs --width"),
        ("two-layer-relu", {"width": 0}, "at least 1"),
        ("two-layer-relu", {"width": 2, "depth": 2}, "--depth is not an option"),
        ("two-layer-relu", {"width": 2, "slope": 0.1}, "--slope is not an option"),
        ("two-layer-relu", {"width": 2, "bias": "some"}, "--bias must be"),
        ("deep-relu", {"width": 2, "widths": "2"}, "not both"),
        ("deep-relu", {"widths": "2,x"}, "whole numbers"),
        ("deep-relu", {"width": 2, "depth": 0}, "at least 1"),
        ("linear", {"width": 2}, "--width is not an option"),
    ]:
        with pytest.raises(InvalidInput, match=said):
            make_network(name, 3, 1, sizes)
    with pytest.raises(InvalidInput, match="one output"):
        make_network("diagonal", 3, 2, {})


@pytest.mark.parametrize(("activation", "power"), [("relu", 1), ("relu^2", 2), ("linear", 1)])
def test_balanced_weights(activation, power):
    net = fully_connected((3, 4, 5, 2), activation=activation, bias="first")
    theta = net.random_parameters(rng=0)
    views = net.views(balance(net, theta))
    first = np.square(views["W1"]).sum(axis=1) + views["b1"] ** 2
    np.testing.assert_allclose(first, power * np.square(views["W2"]).sum(axis=0))
    np.testing.assert_allclose(np.square(views["W2"]).sum(axis=1), power * np.square(views["W3"]).sum(axis=0))
    assert theta.tolist() == net.random_parameters(rng=0).tolist()
    with pytest.raises(InvalidInput, match="hidden units"):
        balance(fully_connected((3, 1)), np.ones(3))


def test_paired_units_start_at_zero():
    for options in ({}, {"bias": "first", "activation": "relu^2"}):
        net = fully_connected((2, 4, 3), **options)
        theta = first_parameters(net, 1, 2.0, paired=True)
        assert np.abs(theta).max() > 0.5 and np.abs(net.output(theta, X)).max() < 1e-14
        theta = first_parameters(net, 1, 2.0, paired=True, balanced=True)
        assert theta.any() and np.abs(net.output(theta, X)).max() < 1e-14
    for widths in ((2, 3, 1), (2, 1), (2, 2, 2, 1)):
        with pytest.raises(InvalidInput, match="even width"):
            first_parameters(fully_connected(widths), 0, 1.0, paired=True)


BAD = {
    "text.csv": "x,y\n1,a\n",
    "short.csv": "x1,x2,y\n1,2,1\n1,2\n",
    "empty.csv": "",
    "head.csv": "x,y\n",
    "nolabel.csv": "a,b\n1,1\n",
    "one.csv": "1\n2\n",
    "nan.csv": "x,y\nnan,1\n1,-1\n",
    "ylabel.csv": "x,y\n1,0\n2,1\n",
    "twice.csv": "x1,x2,y\n1,2,1\n1,2,-1\n",
    "zero.csv": "x1,x2,y\n0,0,1\n1,2,-1\n",
    "x.txt": "1",
    "broken.npz": "no archive",
}


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("none.csv", [], "no file"),
        ("x.txt", [], "neither .csv nor .npz"),
        ("text.csv", [], "not a number"),
        ("short.csv", [], "row 2"),
        ("empty.csv", [], "no rows"),
        ("head.csv", [], "at least one input"),
        ("one.csv", [], "at least one input"),
        ("nolabel.csv", [], "one column 'y'"),
        ("one.csv", ["--labels-column", "z"], "no header"),
        ("nan.csv", [], "finite"),
        ("ylabel.csv", [], "labels -1 and +1"),
        ("twice.csv", [], "different labels"),
        ("zero.csv", [], "zero"),
        ("broken.npz", [], "cannot read"),
        (None, ["--until", "soon"], "until must be"),
        (None, ["--until", "log-loss:1e13"], "1e12"),
        (None, ["--loss", "hinge"], "loss must be one of"),
        (None, ["--loss", "square", "--until", "log-loss:10"], "exponential tail"),
        (None, ["--network", "x"], "--network must be"),
        (None, ["--scale", "0"], "--scale must be positive"),
        (None, ["--seed", "-1"], "--seed"),
        (None, ["--rtol", "nan"], "rtol"),
        (None, ["--max-steps", "0"], "max_steps"),
        (None, ["--clock", "x"], "clock must be"),
        (None, ["--ambiguous", "x"], "ambiguous must be"),
        (None, ["--bias", "all"], "homogeneous"),
        (None, ["--start", "none.npz"], "no file"),
        (None, ["--start", "broken.npz"], "not a trajectory"),
        (None, ["--network", "linear", "--width", "3"], "--width is not an option"),
    ],
)
def test_bad_input_is_one_sentence(run, points, tmp_path, monkeypatch, name, words, said):
    monkeypatch.chdir(tmp_path)
    for file, text in BAD.items():
        Path(file).write_text(text)
    width = [] if "--width" in words else ["--width", 3]
    code, out, err = run("--data", name or points, *width, *words)
    assert (code, out) == (2, "")
    assert said in err and err.startswith("theory: ") and err.count("\n") == 1 and err.endswith(".\n")


def test_an_algorithm_is_that_of_the_library_and_writes_what_a_flow_writes(run, points, tmp_path):
    words = small(points, "--algorithm", "nesterov", "--step", 0.01, "--steps", 400, "--no-limit", "--json")
    code, out, err = run(*words, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    net = fully_connected((2, 4, 1))
    theta = net.random_parameters(rng=0, scale=0.5)
    want = descend(net, (X, Y), "exponential", theta, step=0.01, steps=400, momentum=0.9, nesterov=True)
    got = strict(out)
    assert got["updates"] == 400 and got["algorithm"]["name"] == want.algorithm.name
    assert {key: got[key] for key in NUMBERS} == {key: want.to_json()[key] for key in NUMBERS}
    saved = np.load(tmp_path / "run" / "trajectory.npz")
    np.testing.assert_array_equal(saved["thetas"], want.thetas)
    assert (tmp_path / "run" / "solution.json").is_file()
    code, out, err = run(*small(points, "--start", tmp_path / "run" / "trajectory.npz", "--until", "log-loss:50"))
    assert (code, err) == (0, "")
    text = run(*small(points, "--algorithm", "sgd", "--batch", 2, "--steps", 3, "--out", tmp_path / "few"))
    assert text[0] == 0 and "SGD, 2 samples a step" in text[1] and "the objective rose in" in text[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--algorithm", "adam"], "--algorithm must be one of gd, sgd"),
        (["--step", 0.1], "--step belongs to a discrete algorithm"),
        (["--algorithm", "gd", "--until", "t:3"], "--until belongs to the flow"),
        (["--algorithm", "gd", "--max-steps", 50], "--max-steps belongs to the flow"),
        (["--algorithm", "gd", "--momentum", 0.5], "--momentum belongs to heavy-ball"),
        (["--algorithm", "sgd"], "belongs to sgd, which needs it"),
        (["--algorithm", "gd", "--steps", 0], "steps must be at least 1"),
    ],
)
def test_options_of_algorithms_that_do_not_fit(run, points, words, sentence):
    code, _, err = run(*small(points, *words))
    assert code == 2 and sentence in err and len(err.strip().splitlines()) == 1


def test_an_overflowing_algorithm_keeps_what_was_reached(run, points, tmp_path):
    words = small(points, "--algorithm", "gd", "--loss", "square", "--step", 100, "--out", tmp_path / "run")
    code, _, err = run(*words)
    assert code == 1 and "the iterates overflow before update" in err
    assert np.isfinite(np.load(tmp_path / "run" / "trajectory.npz")["thetas"]).all()
