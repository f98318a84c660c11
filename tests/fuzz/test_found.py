"""What fuzzing has found, each mended and kept: the input, and what the sentence is to say."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from tests.fuzz import hints
from tests.fuzz.check import inside, run_command, run_reader
from tests.fuzz.corpus import npy_header
from tests.fuzz.files import Files
from tests.fuzz.readers import readers

DEEP = '{"input_shape": [2], "nodes": [%s]}'


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found")
    with inside(folder / "here"):
        yield Files(folder)


@pytest.mark.parametrize(
    ("name", "recipe", "said"),
    [
        *((name, f"@odd long {suffix}", "no") for name, suffix in (
            ("array, .npy", ".npy"), ("archive, .npz", ".npz"), ("points, .csv", ".csv"), ("features, .npy", ".npy"),
            ("start, .npy, .npz", ".npz"), ("architecture, .json", ".json"), ("network, .pt", ".pt"),
            ("images, pickle", ".batch"),
        )),
        ("array, .npy", "@header " + "-" * 4000 + "1", "cannot read"),  # RecursionError of NumPy's header
        ("array, .npy", "@header " + "[" * 5000, "cannot read"),
        ("array, .npy", "@header {'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }", "cannot read"),
        ("points, .npz", "@flip 0.318407 55 packed.npz", "cannot read"),  # zlib.error
        ("architecture, .json", "@odd fifo .json", "no such file"),  # waited for ever
        ("architecture, .json", "@odd endless .json", "no such file"),  # filled the memory
        ("training run, .pt", "@odd fifo .pt", "not a checkpoint"),
        ("architecture, .json", "@text .json " + DEEP % ("[" * 900 + "]" * 900), "a node is an object"),
        ("architecture, .json", f'@text .json {{"input_shape": {"[" * 900 + "]" * 900}, "nodes": []}}', "is a number"),
        ("architecture, .json", "@text .json " + DEEP % '{"op": "activation", "name": [[1]]}', "names are printable"),
        ("architecture, .json", "@text .json " + DEEP % '{"op": "x\\ny"}', "names are printable"),
        ("architecture, .yaml", f"@text .yaml {hints.ALIAS_BOMB}", "a node is an object"),
        ("store, .sqlite", "@drop 0.660383 8 old.sqlite", "cannot be"),  # DatabaseError when it is read
        ("store, .sqlite", "@row 0.5 record x old.sqlite", "not JSON"),
        ("store, .sqlite", "@row 0.5 config null old.sqlite", "not JSON"),
        ("store, .sqlite", "@odd fifo .sqlite", "it is not a file"),
        ("architecture, .yaml", "@text .yaml !!bool x", "does not parse"),  # KeyError of PyYAML
        ("architecture, .yaml", "@text .yaml !!timestamp x", "does not parse"),  # AttributeError
        ("architecture, .yaml", "@text .yaml !!float ''", "does not parse"),  # IndexError
    ],
)  # fmt: skip
def test_readers(files, name, recipe, said):
    if name not in readers():
        pytest.skip("PyTorch is not installed")
    outcome = run_reader(files, readers()[name].read, recipe)
    assert outcome.wrong is None, outcome.detail
    assert (outcome.code, said in outcome.err) == (2, True), outcome.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("flow --data @points.csv --width 99999999999", 2, "--width must be at most"),  # MemoryError
        (f"rho --data @points.csv --width {'9' * 30}", 2, "--width must be at most"),
        (f"flow --data @points.csv --network deep-relu --width 2 --depth {'9' * 20}", 2, "--depth must be at most"),
        ("flow --data @points.csv --network deep-relu --widths 2,99999999", 2, "--widths must name at most"),
        ("threshold --counts 9x2,2x3 --lambda-b 5e-324 --label-smoothing 0.1", 2, "lam_b must be 0"),  # 0 / 0
        ("peel --counts 9x2,2x3 --lambda-W 1e-2 --lambda-H 1e-2 --lambda-b 1e-50", 2, "lam_b must be 0"),  # LinAlgError
        ("peel --counts 4x2 --lambda-W 1e-2 --lambda-H 1e-2 --loss focal --gamma 5e3", 2, "gamma must be"),  # 0 / 0
        ("peel --counts 4x2 --lambda-W 1e-2 --lambda-H 1e-2 --loss focal --gamma 1e-5", 0, ""),  # overflow
    ],
)
def test_commands(files, words, code, said):
    outcome = run_command(files, words.split())
    assert outcome.wrong is None, outcome.detail
    assert outcome.code == code and said in outcome.err


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("peel --counts 999999999999x2,1x2 --E-W 1 --E-H 5", (0,)),
        ("peel --counts 9x2,2x3 --model seli --margins 1x2,2x3", (0,)),
        ("peel --counts 9x2,2x3 --model deep-linear --lambda 1e-9 --depth 900", (0, 2)),
        ("threshold --majority 5 --minority 5 --E-W 1 --E-H 1e-9", (0, 2)),
        ("threshold --majority 2 --minority 5 --E-W 30 --E-H 30", (0, 1, 2)),
        ("bounds --architecture @net.json --weights @net.npz --data @data.npz --only group-norm --margin 1e-300", (0,)),
        ("norms --conv @kernel.npy --size 8x8 --padding 999999999", (2,)),
        ("norms --conv @splice~0.653834~15~kernel.npy --size 5x5 --dilation 7", (0,)),  # a tap far below the others
        ("norms --conv @kernel1.npy --size 999999999999", (2,)),
    ],
)
def test_hard_numbers_are_answered(files, line, codes):
    outcome = run_command(files, [*(word.replace("~", " ") for word in line.split()), "--json"])
    assert outcome.wrong is None, outcome.detail
    assert outcome.code in codes, outcome.err
    if line.startswith("peel") and outcome.code == 0:
        assert json.loads(outcome.out)["gap"] >= -1e-12


@pytest.mark.parametrize("model", ["threshold", "peel --lambda-W 0.01 --lambda-H 0.01"])
def test_the_least_penalty_of_the_bias_is_the_limit(files, model):
    line, key = (
        [*model.split(), "--counts", "9x2,2x3", "--json", "--lambda-b"],
        "lam_Z" if model == "threshold" else "objective",
    )
    first, least = (json.loads(run_command(files, [*line, lam]).out)[key] for lam in ("0", "1e-16"))
    assert least == pytest.approx(first, rel=1e-12)


def test_long_words_and_control_characters_of_the_user_stay_one_line(files):
    for word in ("9" * 10_000, "\x1b[31m\n\udcff"):
        outcome = run_command(
            files, ["collapse-metrics", "--features", "@H.npy", "--labels", "@y.npy", "--global-mean", word]
        )
        assert outcome.wrong is None and outcome.code == 2, outcome.err


def test_warnings_of_a_damaged_header_do_not_stand_beside_the_sentence(files):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        outcome = run_command(files, ["norms", "--size", "5x5", "--conv", "@header {'descr': 1or 2}"])
    assert outcome.wrong is None and outcome.code == 2 and not seen, outcome.detail


def test_what_sqlite_repeats_of_a_damaged_file_is_one_line():
    from simulations.store import _said

    assert _said(ValueError("malformed (shar\n\x00d)")) == "malformed (shar  d)"


def test_no_features_of_a_huge_dimension_take_no_memory(files):
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1000000000000), }"
    outcome = run_command(files, ["collapse-metrics", "--features", f"@header {header}", "--labels", "@y.npy"])
    assert outcome.wrong is None and outcome.code == 2, outcome.detail


def test_an_archive_larger_than_the_memory_is_refused_before_it_is_filled(files, monkeypatch):
    import simulations.cli._files as module

    monkeypatch.setattr(module, "_memory", lambda: 200.0)
    outcome = run_reader(files, readers()["archive, .npz"].read, "@points.npz")
    assert outcome.wrong is None and "GiB, and this machine has" in outcome.err
    monkeypatch.undo()
    assert run_reader(files, readers()["archive, .npz"].read, "@points.npz").code == 0


def test_headers_are_numpys():
    import io

    stream = io.BytesIO(npy_header("<f8", (3,)) + np.arange(3.0).tobytes())
    assert np.load(stream).tolist() == [0, 1, 2]
