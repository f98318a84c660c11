"""``theory bounds`` and ``theory norms`` from the files that ship, and every way they refuse."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from theory.bounds import certificates, published_forms

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "notebooks" / "data" / "digits"
NET = ["--architecture", str(DIGITS / "net.json")]
WHOLE = [*NET, "--weights", str(DIGITS / "net.npz"), "--data", str(DIGITS / "data.npz")]
CALL = "from simulations.cli import main; main()"


def call(*words, cwd=None):
    command = [sys.executable, "-c", CALL, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd or ROOT)


def refusal(*words):
    done = call(*words)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds")
    done = call("bounds", *WHOLE, "--radius", 8, "--json", "--out", folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert json.loads((folder / "bounds.json").read_text()) == found
    assert (folder / "bounds.png").stat().st_size > 10_000
    return found


def test_every_bound_is_evaluated_or_refused(record):
    names = {entry["name"] for entry in record["bounds"]} | {entry["name"] for entry in record["refused"]}
    assert names == {bound.name for bound in (*certificates(), *published_forms())}
    for entry in record["bounds"]:
        wanted = {"name", "status", "value", "clipped", "log10", "terms", "assumptions", "source", "holdout"}
        assert wanted <= set(entry)
        assert entry["value"] is None or entry["value"] == pytest.approx(sum(entry["terms"].values()), rel=1e-12)
        assert entry["clipped"] == (1 if entry["value"] is None else min(1, entry["value"]))
        assert entry["value"] is None or entry["log10"] == pytest.approx(math.log10(entry["value"]), abs=1e-9)
        assert all(a["holds"] for a in entry["assumptions"])


def test_the_smallest_certificate_pays_for_the_choice(record):
    values = {e["name"]: e["value"] for e in record["bounds"] if e["status"] == "certificate"}
    best = record["best"]
    assert best["name"] == min(values, key=values.get)
    assert best["delta"] == pytest.approx(record["delta"] / len(certificates()), rel=1e-12)
    assert best["value"] > values[best["name"]]
    assert best["value"] < 1


def test_holdout(record):
    holdout = record["holdout"]
    assert (holdout["errors"], holdout["n"]) == (17, 500)
    from scipy.stats import binom

    assert binom.cdf(17, 500, holdout["upper"]) == pytest.approx(0.01, rel=1e-6)


def test_the_table():
    done = call("bounds", *WHOLE, "--only", "group-norm,growth-function,pac-bayes-spectral")
    assert done.returncode == 0
    assert "group-norm" in done.stdout and "refused" in done.stdout and "hold-out: error <= 0.0579" in done.stdout


def test_measures_stand_apart():
    words = ["bounds", *WHOLE, "--only", "group-norm", "--measures", "norms"]
    found = json.loads(call(*words, "--json").stdout)
    assert {m["status"] for m in found["measures"]} == {"measure"} and len(found["bounds"]) == 1
    assert "measures (no guarantee)" in call(*words).stdout
    assert refusal(*words[:-1], "x").count("\n") == 1


def test_formulas_need_no_weights():
    done = call("bounds", *NET, "--symbolic", "--json", "--only", "group-norm,two-layer")
    rows = json.loads(done.stdout)
    assert rows[0]["name"] == "group-norm" and "F_1" in rows[0]["complexity"] and rows[0]["latex"]
    assert "two weight layers" in rows[1]["refused"]
    assert "complexity:" in call("bounds", *NET, "--symbolic", "--only", "group-norm").stdout


def archive(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_bad_input_is_one_sentence(tmp_path):
    data = dict(np.load(DIGITS / "data.npz"))
    weights = dict(np.load(DIGITS / "net.npz"))
    few = {k: v[:20] for k, v in data.items()}

    def attempt(w=weights, d=few, *more):
        w, d = archive(tmp_path / "w.npz", **w), archive(tmp_path / "d.npz", **d)
        said = refusal("bounds", *NET, "--weights", w, "--data", d, "--only", "group-norm", *more)
        assert said.startswith("theory: ") and said.count("\n") == 1
        return said

    assert "must have shape" in attempt({**weights, "dense.weight": np.ones((10, 3))})
    assert "NaN" in attempt({**weights, "dense.weight": np.full((10, 32), np.nan)})
    assert "lack" in attempt({k: v for k, v in weights.items() if k != "conv1.weight"})
    assert "lie in 0..9" in attempt(weights, {**few, "y": few["y"] + 5})
    assert "at least one" in attempt(weights, {"X": few["X"][:0], "y": few["y"][:0]})
    assert "20 entries" in attempt(weights, {**few, "y": few["y"][:5]})
    assert "has no 'y'" in attempt(weights, {"X": few["X"]})
    assert "holds 'z'" in attempt(weights, {**few, "z": few["y"]})
    for delta in ("0", "1", "-1", "nan"):
        assert "delta" in attempt(weights, few, "--delta", delta)
    assert "margin" in attempt(weights, few, "--margin", "-2")
    assert "no bound is called 'x'" in refusal("bounds", *WHOLE, "--only", "x")
    assert "give --weights" in refusal("bounds", *NET)
    assert "no file" in refusal("bounds", *NET, "--weights", tmp_path / "none.npz", "--data", DIGITS / "data.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    assert "cannot read" in refusal("bounds", *NET, "--weights", tmp_path / "broken.npz", "--data", DIGITS / "data.npz")


def test_a_network_that_separates_nothing_is_answered(tmp_path):
    data = dict(np.load(DIGITS / "data.npz"))
    wrong = archive(tmp_path / "d.npz", X=data["X"], y=(data["y"] + 1) % 10)
    done = call("bounds", *NET, "--weights", DIGITS / "net.npz", "--data", wrong, "--only", "group-norm", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["bounds"][0]["terms"]["empirical"] > 0.9


def test_norms_of_a_kernel(tmp_path):
    np.save(tmp_path / "k.npy", np.ones((1, 1, 3, 3)))
    kernel = ["norms", "--conv", tmp_path / "k.npy", "--size", "8x8", "--json"]
    zero, circular = (json.loads(call(*kernel, "--padding", p).stdout) for p in ("zero", "circular"))
    assert zero["lower"] <= (1 + 2 * np.cos(np.pi / 9)) ** 2 <= zero["upper"] <= 1.01 * zero["lower"]
    assert circular["lower"] <= 9 <= circular["upper"] <= 9 * (1 + 1e-9) and circular["method"]
    assert "<= norm <=" in call(*kernel[:-1]).stdout
    for words, said in (
        (["--size", "8by8"], "whole numbers"), (["--size", "8x8", "--padding", "odd"], "--padding"),
        (["--size", "8"], ""), (["--size", "8x8", "--stride", "0"], ""), (["--size", "8x8", "--groups", "2"], ""),
        ([], "needs --size"),
    ):  # fmt: skip
        message = refusal("norms", "--conv", tmp_path / "k.npy", *words)
        assert said in message and message.count("\n") == 1
    assert "give --conv" in refusal("norms")


def test_norms_of_a_network():
    words = ["norms", *NET, "--weights", DIGITS / "net.npz"]
    rows = json.loads(call(*words, "--json").stdout)
    W = np.load(DIGITS / "net.npz")["dense.weight"].astype(float)
    assert [row["name"] for row in rows] == ["conv1", "conv2", "dense"]
    assert rows[2]["spectral"]["upper"] == pytest.approx(np.linalg.svd(W)[1][0], rel=1e-9)
    assert rows[2]["frobenius"] == pytest.approx(np.linalg.norm(W), rel=1e-9)
    assert "conv2" in call(*words).stdout


def test_the_committed_script_makes_the_files(tmp_path, monkeypatch):
    from simulations.experiments import digits_network

    monkeypatch.setattr(digits_network, "FOLDER", tmp_path)
    monkeypatch.setattr(digits_network, "train", lambda X, y: dict(np.load(DIGITS / "net.npz")))
    digits_network.main()
    for name in ("net.npz", "data.npz"):
        made, kept = np.load(tmp_path / name), np.load(DIGITS / name)
        assert set(made) == set(kept) and all(np.array_equal(made[k], kept[k]) for k in made)
    assert (tmp_path / "net.json").read_text() == (DIGITS / "net.json").read_text()
    shutil.rmtree(tmp_path)


def test_training_separates_the_digits():
    from simulations.experiments.digits_network import architecture, digits, train
    from theory.architecture import outputs

    data = digits()
    weights = train(data["X"], data["y"], epochs=8)
    net = architecture()
    assert (outputs(net, weights, data["X_test"]).argmax(axis=1) != data["y_test"]).mean() < 0.1
