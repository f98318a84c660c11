"""``theory complexity``: the library's numbers, checkpoints against several references, one sentence for bad input."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

from simulations.cli import main
from theory.complexity import estimate, learning_curve


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("complexity"), np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    line = np.where(rng.random(200) < 0.7, y, rng.integers(0, 3, 200))
    F = np.where(rng.random(200) < 0.9, y, line)
    wide = np.where(rng.random(200) < 0.8, F, y)
    rows = np.stack([line, np.where(rng.random(200) < 0.5, line, F), F])
    for name, array in {"y": y, "line": line, "F": F, "wide": wide, "rows": rows, "steps": np.array([0.0, 2.0, 9.0]),
                        "short": y[:9], "half": y + 0.5, "many": np.arange(4000)}.items():  # fmt: skip
        np.save(folder / f"{name}.npy", array)
    np.savetxt(folder / "y.csv", y, fmt="%d")
    (folder / "other").mkdir()
    np.save(folder / "other" / "line.npy", wide)
    return folder, {"y": y, "line": line, "F": F, "wide": wide, "rows": rows}


@pytest.fixture
def call(monkeypatch, capsys, files):
    def run(*words):
        words = [str(files[0] / w) if str(w).endswith((".npy", ".csv")) else str(w) for w in words]
        monkeypatch.setattr(sys, "argv", ["theory", "complexity", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return run


ONE = ["--predictions", "F.npy", "--labels", "y.npy", "--reference", "line.npy"]


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(name))


def test_json_is_the_estimate_of_the_library(call, files):
    arrays = files[1]
    code, out, err = call(*ONE, "--bootstrap", 50, "--level", 0.8, "--seed", 4, "--unit", "nats", "--json")
    want = estimate(arrays["F"], arrays["y"], arrays["line"], unit="nats", n_bootstrap=50, level=0.8, rng=4)
    assert (code, err) == (0, "") and strict(out) == want.to_json() and len(strict(out)["intervals"]) == 8


def test_plug_in_by_hand(call, files):
    """mu = I(F;Y) + I(L;Y) - I(F,L;Y) from frequencies, without the library."""
    code, out, _ = call(*ONE, "--estimator", "plug-in", "--json")
    arrays = files[1]

    def H(*columns):
        _, counts = np.unique(np.stack(columns), axis=1, return_counts=True)
        return -sum(c / 200 * math.log2(c / 200) for c in counts)

    F, Y, L = arrays["F"], arrays["y"], arrays["line"]
    mu = (H(F) + H(Y) - H(F, Y)) + (H(L) + H(Y) - H(L, Y)) - (H(F, L) + H(Y) - H(F, L, Y))
    assert code == 0 and strict(out)["mu"] == pytest.approx(mu, abs=1e-12) and mu > 0.3


def test_text_has_every_measure_and_csv_is_read(call):
    code, out, err = call("--predictions", "F.npy", "--labels", "y.csv", "--reference", "line.npy")
    assert (code, err) == (0, "") and "in bits (miller-madow, 200 samples)" in out
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["I_FY", "I_LY", "I_FL"]


def test_checkpoints_against_several_references(call, files):
    arrays = files[1]
    words = ["--predictions", "rows.npy", "--labels", "y.npy", "--reference", "line.npy", "--reference", "wide.npy"]
    code, out, _ = call(*words, "--steps", "steps.npy", "--json")
    references = {name: arrays[name] for name in ("line", "wide")}
    want = learning_curve(arrays["rows"], arrays["y"], references, steps=[0, 2, 9])
    assert code == 0 and strict(out) == json.loads(json.dumps(want.to_json()))
    code, text, _ = call(*words)
    table = text.split("\n\n")[0].splitlines()
    assert code == 0 and "mu, wide" in table[0] and len(table) == 4 and table[-1].split()[0] == "2"
    assert float(table[-1].split()[1]) == pytest.approx(want.values("I_FY", "wide")[-1], rel=1e-3)
    at = {name: k for k, name in enumerate(part.strip() for part in table[0].split("  ") if part.strip())}
    for measure, said in (("mu", "mu, wide"), ("I_LY_given_F", "I(L;Y|F), line")):
        told = float(table[-2].split()[at[said]])
        assert told == pytest.approx(want.values(measure, said.split(", ")[1])[1], rel=1e-3, abs=1e-6)


def test_one_checkpoint_against_two_references_is_a_curve(call):
    code, out, _ = call(*ONE, "--reference", "wide.npy", "--json")
    assert code == 0 and list(strict(out)["points"]) == ["line", "wide"] and strict(out)["steps"] == [0.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--predictions", "none.npy", *ONE[2:]], "no file"),
        (["--predictions", "short.npy", *ONE[2:]], "must have one length"),
        (["--predictions", "half.npy", *ONE[2:]], "predictions"),
        ([*ONE, "--reference", "other/line.npy"], "two are called the same"),
        ([*ONE, "--steps", "steps.npy"], "there is one checkpoint"),
        (["--predictions", "rows.npy", *ONE[2:], "--steps", "y.npy"], "increasing"),
        (["--predictions", "many.npy", "--labels", "many.npy", "--reference", "many.npy"], "are these classes?"),
        ([*ONE, "--estimator", "magic"], "estimator must be one of"),
        ([*ONE, "--unit", "bytes"], "unit must be"),
        ([*ONE, "--bootstrap", "-1"], "n_bootstrap"),
        ([*ONE, "--bootstrap", "9" * 9], "at most 1000000"),
        ([*ONE, "--bootstrap", "9", "--level", "1"], "level"),
        ([*ONE, "--seed", "-1"], "seed"),
    ],
    ids=lambda value: " ".join(map(str, value[-2:])) if isinstance(value, list) else "",
)
def test_refusals(call, words, said):
    code, out, err = call(*words)
    assert (code, out) == (2, "") and said in err and err.startswith("theory: ") and err.count("\n") == 1
