"""The site says what the code says: every label, certificate, reference file, experiment and page is there."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import check_links  # noqa: E402
from _generate import certificates, docstrings, evidence, inventory, labels, notebooks, reference  # noqa: E402

THEORY = sorted((DOCS / "theory").glob("*.md"))
OWN = sorted(DOCS.glob("*.md"))


def test_every_public_formula_has_a_label():
    assert not inventory.unlabelled()
    assert sum(item.formula for item in inventory.public().values()) > 150


def test_definitions_are_formulas_without_a_label():
    for name in inventory.DEFINITIONS:
        assert inventory.public()[name].formula
        assert not inventory.public()[name].labels


def test_what_counts_as_a_label():
    assert inventory.LABEL.findall("*derived* (x), *published form* in y, *measure*; proved") == [
        "derived", "published form", "measure"
    ]  # fmt: skip


def test_every_labelled_object_is_on_exactly_one_page_of_theory():
    found = [item.name for items in labels.claims().values() for item in items]
    labelled = {item.name for item in inventory.public().values() if item.labels}
    left_out = {name for name in labelled if name.startswith(("theory.symbolic.", "theory.plots.", "theory.Cert"))}
    assert len(found) == len(set(found))
    assert set(found) == labelled - left_out
    assert sum(labels.counts().values()) == len(found)


def test_objects_are_on_the_page_of_their_subject():
    page = {item.short: name for name, items in labels.claims().items() for item in items}
    wanted = {
        "seli_two_groups": "seli", "SaxeModes": "exact_flows", "certified_radii": "robustness",
        "steepest_flow": "algorithms", "margins": "gradient_flow", "collapse_threshold": "layer_peeled",
    }  # fmt: skip
    assert {name: page[name] for name in wanted} == wanted


@pytest.mark.parametrize("page", labels.PAGES)
def test_pages_of_theory_include_their_table(page):
    assert f"{{include}} ../generated/labels_{page}.md" in (DOCS / "theory" / f"{page}.md").read_text()
    table = labels.table_of(page)
    for item in labels.claims()[page]:
        assert f"{{py:obj}}`~{item.name}`" in table


@pytest.mark.parametrize("path", THEORY, ids=lambda p: p.stem)
def test_pages_of_theory_have_their_parts(path):
    text = path.read_text()
    assert path.stem in {*labels.PAGES, "symbolic"}
    assert f"theory/{path.stem}\n" in (DOCS / "theories.md").read_text()
    if path.stem != "symbolic":
        for part in ("$$", "**Hypotheses.**", "**What fails outside.**", "## Results", "## Use", "/reference/"):
            assert part in text, part


def test_every_page_is_in_the_table_of_contents():
    entries = set(re.findall(r"^(\w+)$", (DOCS / "index.md").read_text(), re.M))
    more = evidence.more_pages()
    for path in OWN:
        assert path.stem in entries | {"index"} or f"/{path.stem}\n" in more, path


def test_bounds_and_closed_forms_are_listed_with_their_labels():
    from theory import symbolic
    from theory.bounds import all_bounds

    bounds, forms = labels.bounds_table(), labels.symbolic_list()
    assert all(f"| `{bound.name}`" in bounds and bound.status in bounds for bound in all_bounds())
    for form in symbolic.closed_forms():
        told = forms.split(f"`{form.name}` -- ")[1].split("\n---\n")[0]
        assert f" = {form.latex()}\n" in told
        assert f"\n**{form.label}**" in told


def test_every_record_with_a_certificate_is_in_the_table():
    known = {**certificates.ENTRIES, **certificates.OTHERS}
    assert set(certificates.found()) == set(known)
    assert not set(certificates.ENTRIES) & set(certificates.OTHERS)
    table = certificates.tables()
    for real in certificates.ENTRIES:
        assert re.search(rf"^\| [^|]*{real.rpartition('.')[2]}`", table, re.M), real


def test_what_counts_as_a_certificate():
    assert all(certificates.FIELD.search(name) for name in ("gap", "relative_gap", "residual_R00", "kkt_residual"))
    assert not any(certificates.FIELD.search(name) for name in ("gaps", "error", "n_certificates", "stopgap"))


@pytest.mark.parametrize("real", sorted(certificates.ENTRIES))
def test_the_tests_of_a_certificate_read_it(real):
    """The named file reads one of its attributes."""
    text = (ROOT / "tests" / certificates.ENTRIES[real][3]).read_text()
    assert any(re.search(rf"[.\"']{name}\b", text) for name in certificates.found()[real][1])


@pytest.mark.parametrize("path", evidence.reference_files(), ids=lambda p: p.name)
def test_reference_files_have_a_source_and_a_reader(path):
    row = next(line for line in evidence.reference_table().splitlines() if f"`{path.name}`" in line)
    _, _, source, numbers, readers, _ = (part.strip() for part in row.split("|"))
    assert len(source) > 30
    assert int(numbers) == evidence.count_numbers(json.loads(path.read_text())) > 0
    assert readers.startswith("`tests/")
    assert "shared/" not in row


def test_experiments_are_told_with_their_verdicts():
    table, sections = evidence.experiment_table(), evidence.experiment_sections()
    pages = "".join(path.read_text() for path in THEORY)
    assert len(evidence.experiments()) >= 14
    for name, record in evidence.experiments().items():
        checks = record["agreement"]["checks"]
        agree = sum(check["agrees"] for check in checks)
        assert f"`{name} <experiment-{name}>`" in table
        assert f"| {record['agreement']['verdict']} | {agree} | {len(checks) - agree} |" in table
        assert f"## {name}\n" in sections
        assert f"{{include}} ../generated/verdict_{name}.md" in pages, name


def test_tests_are_counted():
    path = Path(__file__)
    tests, given, lists = evidence.tests_of(path)
    assert tests == len(re.findall(r"^def test_", path.read_text(), re.M))
    assert (given, lists) == (0, len(re.findall(r"^@pytest.mark.parametrize", path.read_text(), re.M)))


def test_public_objects_named_on_pages_exist():
    from importlib import import_module

    pages = OWN + THEORY
    names = {name for path in pages for name in re.findall(r"\{py:obj\}`~([\w.]+)`", path.read_text())}
    assert len(names) > 60
    for name in names - set(inventory.public()):
        module, _, short = name.rpartition(".")
        assert hasattr(import_module(module), short), name


def commands():
    text = "".join(path.read_text() for path in OWN + THEORY if path.stem not in ("benchmarks", "mutants", "fuzz"))
    inline = re.findall(r"`(theory [a-z][\w-]*(?: [^`]*)?)`", text)
    fenced = [re.sub(r"\s+#.*", "", line) for line in re.findall(r"^(theory [a-z][\w-]* .*)$", text, re.M)]
    return sorted({*inline, *fenced})


@pytest.mark.parametrize("line", commands())
def test_commands_on_pages_are_understood(line):
    import typer

    from simulations.cli import app

    name, *words = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]
    if words:  # else the subcommand is only named
        command.make_context(name, words)


@pytest.mark.parametrize(("K_A", "K_B", "E_H"), [(5, 5, 5), (3, 7, 2), (2, 9, 0.3), (1, 4, 2)])
def test_the_merging_point_as_the_page_of_the_layer_peeled_model_has_it(K_A, K_B, E_H):
    from math import exp, log, sqrt

    from scipy.optimize import brentq

    from theory.peeled import collapse_threshold

    K = K_A + K_B
    T = K * sqrt(E_H)

    def at(x):
        sin, r = sqrt(K * K_A) / (K_A + K_B * exp(x)), K_B / K * x * (K_A + K_B * exp(x))
        cos, a = sqrt(1 - sin**2), (T - r) / max(K_A - 1, 1)
        left = (K_A - 1) * (sqrt(K / K_B) * r * cos - K_A * log(K_B / K_A * (sqrt(K / K_B) / cos - 1)))
        m = (1 - 1 / K_A) * a + sqrt(K / K_B) * r * cos / K_A
        return left - (T - r), cos / sqrt(K * K_B) * (K_B + exp(m) * (1 + (K_A - 1) * exp(-a)))

    root = brentq(lambda x: at(x)[0], 1e-9, T / K_B, xtol=1e-14)
    wanted = collapse_threshold(majority=K_A, minority=K_B, E_W=1, E_H=E_H).R0
    assert at(root)[1] == pytest.approx(wanted, rel=1e-9)


def test_help_of_every_subcommand_is_on_the_page():
    from simulations.cli import app

    text = reference.command_line()
    for command in app.registered_commands:
        assert f"## theory {command.name}\n" in text
        assert f"Usage: theory {command.name} " in text


def test_reference_lists_every_public_object_once():
    pages = reference.pages()
    rooms = "".join(text for name, text in pages.items() if not name.startswith("api/"))
    for name in inventory.public():
        assert rooms.count(f":py:obj:`~{name}`\n") == 1, name
    files = reference.filenames()
    assert len({name.lower() for name in files.values()}) == len(inventory.public())
    assert {f"api/{name}" for name in files.values()} <= set(pages)


def test_docstrings_are_unfolded():
    lines = [
        "One of |x| and (n, *shape), *measure*.", "", ".. math:: |x|^*", "", "Parameters", "----------",
        "K : classes,", "    at least 2. fang2021layerpeeled", "", "Raises", "------", "InvalidInput : K < 2.", "",
        "Cost: nothing.", "", "Examples", "--------", ">>> 1 | 2",
    ]  # fmt: skip
    assert docstrings.unfold(lines) == [
        r"One of \|x\| and (n, \*shape), *measure*.", "", ".. math:: |x|^*", "", "Parameters", "----------",
        "K", "    classes,", "    at least 2. :cite:t:`fang2021layerpeeled`", "", "Raises", "------", "InvalidInput",
        "    K < 2.", "", "", "Notes", "-----", "Cost: nothing.", "", "", "Examples", "--------", ">>> 1 | 2",
    ]  # fmt: skip


def test_columns_of_names_keep_their_lines():
    lines = ["Head.", "", "``a``, ``b``  first", "``c``       second", "", "``d``  no list"]
    assert docstrings.unfold(lines) == [*lines[:2], "| ``a``, ``b``  first", "| ``c``       second", *lines[4:]]


def test_notebooks_are_in_the_gallery():
    text = notebooks.gallery()
    assert len(notebooks.sources()) >= 11
    for source in notebooks.sources():
        assert f":link: notebooks/{source.stem}\n" in text
        assert f"\nnotebooks/{source.stem}\n" in text


def test_broken_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a id="x" href="b.html#y">b</a> <a href="#x">x</a> <a href="https://a.b">o</a>')
    (tmp_path / "b.html").write_text('<h1 id="y">b</h1>')
    assert check_links.broken(tmp_path) == ([], 2, 1)
    (tmp_path / "b.html").write_text('<h1 id="z">b</h1> <img src="none.png">')
    assert check_links.broken(tmp_path)[0] == ["a.html: b.html#y", "b.html: none.png"]
    readme = tmp_path / "README.md"
    readme.write_text("[a](a.html) ![c](c.png) [w](https://a.b)")
    assert check_links.broken_in_readme(readme) == ["README.md: c.png"]
    assert not check_links.broken_in_readme()


def test_the_study_on_the_page_of_sweeps_is_read(tmp_path):
    from simulations.sweep import TASKS, read_study, shipped_studies

    page = (DOCS / "sweeps.md").read_text()
    (tmp_path / "study.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.S)[1])
    configurations = list(read_study(tmp_path / "study.yaml").configurations())
    assert len(configurations) == 300
    assert configurations[0].items() >= {"minority": 5, "E_W": 1, "majority": 1}.items()
    assert all(f"| `{name}` |" in reference.task_table() for name in TASKS)
    assert all(f"| `{name}` |" in reference.study_table() for name in shipped_studies())
