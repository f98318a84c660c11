"""A share of the fuzzing in the suite: hypothesis draws the inputs, and shrinks what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import hints
from tests.fuzz.check import inside, run_command, run_reader, sentence_is_wrong
from tests.fuzz.files import Files
from tests.fuzz.generate import command_line, commands, corpus_names
from tests.fuzz.readers import readers

SOME = settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
MOST = 150  # inputs of a command or reader
randoms = st.randoms(use_true_random=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with inside(folder / "here"):
        yield Files(folder)


@pytest.mark.parametrize("command", list(commands()))
def test_commands_answer_or_say_one_sentence(command, files):
    @settings(SOME, max_examples=max(3, round(MOST * min(1.0, hints.SHARE.get(command, 1.0)))))
    @given(randoms)
    def check(rng):
        words = command_line(rng, command)
        outcome = run_command(files, words)
        assert outcome.wrong is None, (words, outcome.wrong, outcome.detail)

    check()


@pytest.mark.parametrize("name", list(readers()))
def test_readers_read_or_say_one_sentence(name, files):
    reader = readers()[name]

    @settings(SOME, max_examples=round(MOST * min(1.0, reader.share)))
    @given(randoms)
    def check(rng):
        recipe = reader.recipe(rng)
        outcome = run_reader(files, reader.read, recipe)
        assert outcome.wrong is None, (name, recipe, outcome.wrong, outcome.detail)

    check()


WORKING = [(command, line) for command, known in hints.LINES.items() for line in known if "dirty" not in line]


@pytest.mark.parametrize(("command", "line"), WORKING)
def test_lines_that_the_fuzzer_changes_are_answered(command, line, files):
    # otherwise only refusals would be looked at
    outcome = run_command(files, [command, *(word.replace("~", " ") for word in line.split())])
    assert outcome.wrong is None, outcome.detail
    assert outcome.code in (0, 1) or line == "@module.pt --input-shape 2", outcome.err  # that one is not trusted


def test_readers_read_their_valid_files(files):
    for name, reader in readers().items():
        for file in reader.names:
            outcome = run_reader(files, reader.read, f"@{file}")
            assert outcome.wrong is None, (name, file, outcome.detail)


def test_corpus_names_are_files(files):
    assert set(corpus_names()) <= set(files.names())


@pytest.mark.parametrize(
    "told", ["two\nlines.", "no full stop", "x" * 2000 + ".", "Traceback (most recent call last).", "\x1b."]
)
def test_what_is_no_sentence_is_found(told):
    assert sentence_is_wrong(told) is not None
    assert sentence_is_wrong("one sentence, and its end.") is None


def test_an_exception_is_found(files, monkeypatch):
    import simulations.cli._files

    def broken(*given, **options):
        raise KeyError("planted")

    monkeypatch.setattr(simulations.cli._files, "read_array", broken)
    outcome = run_command(files, ["norms", "--conv", "@kernel.npy", "--size", "5x5"])
    assert outcome.wrong.startswith("KeyError at simulations/cli/norms.py:") and "planted" in outcome.detail


def test_a_hang_is_found(files):
    def endless(path):
        while True:
            pass

    assert run_reader(files, endless, "@y.npy", seconds=0.2).wrong.startswith("Hangs")
