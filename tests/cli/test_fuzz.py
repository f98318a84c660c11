"""Whatever the arguments and files, every command answers, or says one sentence; no traceback."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from simulations.cli import main

EXAMPLES = 200
QUICK = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
numbers = st.sampled_from(["1", "5", "0.1", "1e-9", "30", "1e9", "0", "-1", "nan", "inf", "1e400", "0x5", "٣", ""])
samples = st.sampled_from(["1", "2", "10", "999999999999", "0", "-1", "1.5", "x", ""])
times = st.sampled_from(["x1", "x2", "x3", "x7", "x0", "xx2", "x-1", "x1e3", "x10000000", ""])
item = st.tuples(samples, times).map("".join)
items = st.lists(item, max_size=4).map(",".join)


def option(name, values):
    return st.one_of(st.just([]), values.map(lambda value: [name, value]))


def run(words):
    """(exit code, stdout, stderr) of ``theory WORDS`` in this process; any other exception travels up and fails."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", ["theory", *words])
    with argv, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    return code, out.getvalue(), err.getvalue()


def check(words):
    code, out, err = run(words)
    assert code in (0, 1, 2), (words, code)
    assert "Traceback" not in err
    if code == 0:
        assert err == "" and out
        if "--json" in words and "--help" not in words:
            json.loads(out, parse_constant=lambda name: (_ for _ in ()).throw(AssertionError(name)))
    else:
        assert out == "" and err
        assert err.startswith("Usage: ") or (err.startswith("theory: ") and err.count("\n") == 1), err
    return code, out


@QUICK
@given(
    st.tuples(
        option("--counts", items | text),
        st.sampled_from([["--E-W", "1"], ["--E-W", "1"], []]) | numbers.map(lambda v: ["--E-W", v]),
        st.sampled_from([["--E-H", "5"], ["--E-H", "5"], []]) | numbers.map(lambda v: ["--E-H", v]),
        option("--weights", items | st.sampled_from(["balanced", "1x2,2x2"]) | text),
        option("--dimension", st.sampled_from(["1", "2", "9", "0", "-1", "a", "9" * 30])),
        option("--method", st.sampled_from(["auto", "closed-form", "groups", "dense", "svd", ""])),
        option("--rtol", st.sampled_from(["1e-9", "1e-3", "1e-300", "nan", "0"])),
        option("--labels", text),
        st.sampled_from([[], [], [], ["--json"], ["--help"]]),
    )
)
@example((["--counts", "999999999999x2,1x2"], ["--E-W", "1"], ["--E-H", "5"], ["--json"]))
def test_peel(parts):
    words = [word for part in parts for word in part]
    code, out = check(["peel", *words])
    if code == 0 and "--json" in words and "--help" not in words:
        assert json.loads(out)["gap"] >= -1e-12


@QUICK
@given(
    st.tuples(
        option("--majority", st.sampled_from(["1", "2", "5", "100", "0", "-1", "9" * 30, "x"])),
        option("--minority", st.sampled_from(["1", "2", "5", "100", "0", "-1", "9" * 30, "x"])),
        option("--E-W", numbers),
        option("--E-H", numbers),
        st.sampled_from([[], ["--json"]]),
    )
)
@example((["--majority", "5"], ["--minority", "5"], ["--E-W", "1"], ["--E-H", "1e-9"], ["--json"]))
@example((["--majority", "2"], ["--minority", "5"], ["--E-W", "30"], ["--E-H", "30"], ["--json"]))
def test_threshold(parts):
    check(["threshold", *(word for part in parts for word in part)])


@QUICK
@given(
    st.tuples(
        st.sampled_from(["peel", "threshold"]),
        option("--counts", items | st.sampled_from(["9x2,2x3", "100x3,20x3,3x4"])),
        option("--model", st.sampled_from(["lpm", "ufm", "seli", "deep-linear", "etf", ""])),
        st.sampled_from([["--lambda-W", "0.01", "--lambda-H", "0.01"], []]) | option("--lambda-W", numbers),
        option("--lambda-b", st.sampled_from(["0", "1", "-1", "nan"])),
        option("--lambda", numbers),
        option("--depth", st.sampled_from(["1", "2", "7", "900", "0", "-1"])),
        option("--loss", st.sampled_from(["mse", "cross_entropy", "hinge"])),
        option("--features", st.sampled_from(["free", "relu", ""])),
        option("--label-smoothing", st.sampled_from(["0", "0.1", "1", "nan"])),
        option("--margins", items),
        st.sampled_from([[], ["--json"]]),
    )
)
@example(("peel", ["--counts", "9x2,2x3"], ["--model", "seli"], ["--margins", "1x2,2x3"], ["--json"]))
@example(("peel", ["--counts", "9x2,2x3"], ["--model", "deep-linear"], ["--lambda", "1e-9"], ["--depth", "900"]))
def test_models(parts):
    command, *rest = parts
    check([command, *(word for part in rest for word in part)])


TABLES = ("x1,x2,y\n1,2,1\n-1,1,-1\n", "x,y\n1,1\n-2,-1\n", "1,0,1\n0,1,0\n1,1,1\n", "x,y\n30,1\n-0.1,-1\n",
          "x,y\n0,0\n", "x,y\ninf,1\n")  # fmt: skip
NETS = ("--width 3", "--network linear", "--network deep-relu --width 2", "--network diagonal --depth 3",
        "--network two-layer-quadratic --width 2", "--network deep-linear --widths 3,2", "--network relu")  # fmt: skip
FLOW_OPTIONS = st.one_of(
    *(
        st.sampled_from(values).map(lambda value, name=name: [name, value])
        for name, values in {
            "--width": ["1", "0", "-1", "x"],
            "--depth": ["1", "4", "0"],
            "--bias": ["first", "all", ""],
            "--slope": ["0.1", "nan"],
            "--until": ["t:1", "log-t:1", "log-loss:1e3", "stationary", "t:nan", "t:1e400", "t", ""],
            "--scale": ["1e-3", "10", "0", "inf"],
            "--rtol": ["1e-3", "1e-300", "0", "nan"],
            "--labels-column": ["x1", "y", ""],
            "--clock": ["t", "loss-normalised", "x"],
            "--ambiguous": ["on", "raise", ""],
        }.items()
    ),
    st.sampled_from([["--balanced"], ["--json"], ["--no-limit"]]),
)


@settings(QUICK, max_examples=30)
@given(
    st.sampled_from(TABLES) | text,
    st.sampled_from(NETS),
    st.sampled_from(["exponential", "logistic", "cross_entropy", "square", "hinge"]),
    st.lists(FLOW_OPTIONS, max_size=3, unique_by=lambda words: words[0]),
)
def test_flow(tmp_path_factory, table, net, loss, parts):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_text(table, encoding="utf-8", newline="")
    words = [*net.split(), "--loss", loss, *(word for part in parts for word in part)]
    check(["flow", "--data", str(path), "--max-steps", "40", *words])


DIGITS = Path(__file__).parents[2] / "notebooks" / "data" / "digits"
NETWORK = [str(DIGITS / name) for name in ("net.json", "net.npz", "data.npz")]
FILES = st.sampled_from([*NETWORK, "", ".", "no.npz", "x.json"])
KINDS = st.sampled_from(["linear", "conv", "relu", "maxpool", "avgpool", "add", "flatten", "batchnorm", "attention"])
VALUES = st.sampled_from([0, 1, 2, 3, -1, 1.5, True, None, "same", "x", [1, 2], [], 10**30, {}])
NODES = st.builds(
    lambda op, extra: {"op": op, **extra}, KINDS,
    st.dictionaries(st.sampled_from(["out_features", "out_channels", "kernel_size", "stride", "padding", "groups",
                                     "bias", "inputs", "name", "dilation", "padding_mode", "eps"]), VALUES, max_size=4),
)  # fmt: skip
BOUND_OPTIONS = st.one_of(
    *(
        st.sampled_from(values).map(lambda value, name=name: [name, value])
        for name, values in {
            "--delta": ["0.1", "0", "1", "nan", "1e-300", "x"],
            "--margin": ["1", "1e-300", "1e300", "0", "inf"],
            "--radius": ["8", "0", "-1", "nan", "1e-3", "1e300"],
            "--only": ["group-norm,path-norm", "covering", "galanti,ledent", "parameter-net", "x", "", ","],
            "--measures": ["norms", "x", ""],
        }.items()
    ),
    st.sampled_from([["--json"], ["--symbolic"]]),
)


@settings(QUICK, max_examples=40)
@given(FILES, FILES, FILES, st.lists(BOUND_OPTIONS, max_size=3, unique_by=lambda words: words[0]))
@example(*NETWORK, [["--margin", "1e-300"], ["--json"]])
@example(*NETWORK, [["--measures", "norms"]])
def test_bounds(net, weights, data, parts):
    extra = [word for part in parts for word in part]
    if "--only" not in extra:
        extra += ["--only", "group-norm,growth-function"]
    check(["bounds", "--architecture", net, "--weights", weights, "--data", data, *extra])


@QUICK
@given(st.lists(NODES, max_size=4), st.sampled_from([[4], [1, 6, 6], [2, 5], 3, 0, "x", None, [1, 2, 3, 4]]))
def test_descriptions(tmp_path_factory, nodes, shape):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(json.dumps({"input_shape": shape, "nodes": nodes}))
    check(["bounds", "--architecture", str(path), "--symbolic", "--only", "group-norm,path-norm,covering"])


@QUICK
@given(
    st.sampled_from([(1, 1, 3, 3), (2, 1, 2), (2, 2, 3, 1), (0, 1, 3, 3), (3,), ()]),
    st.tuples(
        option("--size", st.sampled_from(["8x8", "5", "1x1", "0x3", "x", "3x3x3", "9" * 20])),
        option("--padding", st.sampled_from(["zero", "circular", "reflect", "replicate", "valid", "1", "-1", "x"])),
        option("--stride", st.sampled_from(["1", "2", "0", "x", "9" * 20])),
        option("--groups", st.sampled_from(["1", "2", "0"])),
        option("--dilation", st.sampled_from(["1", "3", "0"])),
    ),
)
@example((1, 1, 3, 3), (["--size", "8x8"], ["--padding", "9" * 9]))
@example((1, 1, 2), (["--size", "9" * 12],))
def test_norms(tmp_path_factory, shape, parts):
    path = tmp_path_factory.getbasetemp() / "fuzz.npy"
    np.save(path, np.ones(shape))
    check(["norms", "--conv", str(path), *(word for part in parts for word in part)])


def saved_bytes():
    """What ``torch.save`` writes of the shipped network's weights; nothing where there is no PyTorch."""
    try:
        import torch
    except ImportError:
        return b""
    stream = io.BytesIO()
    torch.save({name: torch.tensor(array) for name, array in np.load(NETWORK[1]).items()}, stream)
    return stream.getvalue()


@settings(QUICK, max_examples=40)
@given(
    st.sampled_from(["whole", "cut", "changed", "bytes"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=8),
    st.sampled_from(["net.json", "no.json", ""]),
    st.tuples(
        option("--input-shape", st.sampled_from(["1,8,8", "64", "0", "1x8", "", ",", "9" * 9])),
        option("--reference", FILES),
        option("--delta", st.sampled_from(["0.1", "0", "nan"])),
        option("--data", st.sampled_from([NETWORK[2], NETWORK[1], ""])),
        st.sampled_from([[], ["--json"], ["--trust"]]),
    ),
)
@example("whole", 0.0, b"x", "net.json", (["--data", NETWORK[2]], ["--reference", NETWORK[1]], ["--json"]))
def test_inspect(tmp_path_factory, how, where, some, net, parts):
    path, whole = tmp_path_factory.getbasetemp() / "fuzz.pt", saved_bytes()
    at = int(where * len(whole))
    path.write_bytes({"whole": whole, "cut": whole[:at], "changed": whole[:at] + some + whole[at + len(some) :],
                      "bytes": some}[how])  # fmt: skip
    described = ["--architecture", str(DIGITS / net)] if net else []
    words = [*described, "--only", "group-norm,growth-function", *(word for part in parts for word in part)]
    if how != "whole":
        words = [word for word in words if word != "--trust"]  # damaged code is not to be run
    check(["inspect", str(path), *words])


@QUICK
@given(st.lists(text, max_size=5))
def test_any_words(words):
    check(words)
