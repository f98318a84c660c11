"""How we know: reference numbers, experiments against trained networks, and what the tests are made of."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from _generate.inventory import KEY, ROOT, table

TESTS = ROOT / "tests"


def reference_files() -> list[Path]:
    """Numbers that the tests compare with."""
    return sorted((TESTS / "reference").glob("*.json"))


def readers(path: Path) -> list[Path]:
    """The tests that read a reference file."""
    return sorted(p for p in TESTS.rglob("test_*.py") if path.name in p.read_text(encoding="utf-8"))


def reference_table() -> str:
    """File, where its numbers come from, how many there are, and which test reads it."""
    rows = []
    for path in reference_files():
        data = json.loads(path.read_text(encoding="utf-8"))
        maker = path.with_name(f"make_{path.stem}.py")
        made = docstring(maker).removeprefix(f"Write {path.name}: ") if maker.exists() else ""
        source = "; ".join(sources(data)) or made
        tests = ", ".join(f"`{p.relative_to(ROOT)}`" for p in readers(path))
        rows.append((f"`{path.name}`", outward(source), count_numbers(data), tests))
    return table(("file", "where the numbers come from", "numbers", "read by"), rows)


def outward(text: str) -> str:
    """Without the address of notes that are not part of the project; keys of the bibliography as citations."""
    plain = re.sub(r"shared/reference/\w+\.md", "reference notes", text).replace("|", r"\|")
    return KEY.sub(r"{cite:t}`\g<0>`", plain)


def sources(data: Any) -> list[str]:
    """Every ``source`` in a reference file."""
    if isinstance(data, dict):
        own = [data["source"]] if isinstance(data.get("source"), str) else []
        return own + [s for value in data.values() for s in sources(value)]
    return [s for value in data for s in sources(value)] if isinstance(data, list) else []


def count_numbers(data: Any) -> int:
    """How many numbers a file holds."""
    if isinstance(data, dict):
        return sum(count_numbers(value) for value in data.values())
    if isinstance(data, list):
        return sum(count_numbers(value) for value in data)
    return int(isinstance(data, int | float) and not isinstance(data, bool))


def docstring(path: Path) -> str:
    """First line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]


def tests_of(path: Path) -> tuple[int, int, int]:
    """Test functions of a file; those over random inputs; those over a list of cases."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
    marks = [" ".join(ast.unparse(d) for d in test.decorator_list) for test in tests]
    return len(tests), sum("given(" in m for m in marks), sum("parametrize(" in m for m in marks)


def test_table() -> str:
    """The tests by folder."""
    rows: list[tuple[object, ...]] = []
    total = [0, 0, 0, 0]
    for folder in sorted({p.parent for p in TESTS.rglob("test_*.py")}):
        files = sorted(folder.glob("test_*.py"))
        sums = [sum(parts) for parts in zip(*map(tests_of, files), strict=True)]
        rows.append((f"`{folder.relative_to(ROOT)}`", len(files), *sums))
        total = [a + b for a, b in zip(total, [len(files), *sums], strict=True)]
    rows.append(("**all**", *(f"**{n}**" for n in total)))
    head = ("folder", "files", "tests", "over random inputs", "over lists of cases")
    return table(head, rows) + f"\nBesides, {examples()} examples in docstrings are run and compared.\n"


def examples() -> int:
    """Docstrings with an example."""
    found = 0
    for package in ("theory", "simulations"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                    found += ">>>" in (ast.get_docstring(node) or "")
    return found


def experiments() -> dict[str, dict[str, Any]]:
    """The stored records of full runs, by name, in the order of ``theory validate``."""
    from simulations.experiments.registry import EXPERIMENTS

    paths = {p.stem: p for p in (ROOT / "docs" / "validation").glob("*.json")}
    order = [*EXPERIMENTS, *sorted(set(paths) - set(EXPERIMENTS))]
    return {name: json.loads(paths[name].read_text(encoding="utf-8")) for name in order if name in paths}


def verdict(record: dict[str, Any]) -> str:
    """The verdict in words and counts."""
    agreement = record["agreement"]
    return f"{agreement['verdict']}, {agreement['agreeing']} of {agreement['total']} quantities"


def verdicts() -> dict[str, str]:
    """One line for a page of theory, by experiment."""
    return {
        name: f"{{ref}}`theory validate {name} <{anchor(name)}>`: {record['claim']}. Verdict of the full run: "
        f"**{verdict(record)}**.\n"
        for name, record in experiments().items()
    }


def anchor(name: str) -> str:
    """The anchor of an experiment's section."""
    return f"experiment-{name}"


def experiment_table() -> str:
    """All experiments in one table."""
    rows = []
    for name, record in experiments().items():
        checks = record["agreement"]["checks"]
        agree = sum(check["agrees"] for check in checks)
        rows.append((f"{{ref}}`{name} <{anchor(name)}>`", record["claim"], record["agreement"]["verdict"],
                     agree, len(checks) - agree))  # fmt: skip
    rows.append(("**all**", "", "", *(f"**{sum(row[i] for row in rows)}**" for i in (3, 4))))
    return table(("experiment", "claim", "verdict", "agree", "disagree"), rows)


def experiment_sections() -> str:
    """Each experiment: claim, figure, checks, settings, notes."""
    parts = []
    for name, record in experiments().items():
        figure = f"figures/validate_{name}.png"
        picture = f"![{record['claim']}]({figure})\n\n" if (ROOT / "docs" / figure).exists() else ""
        rows = [
            (cell(c["name"]), c["relation"], number(c["deviation"]), number(c["tolerance"]), c["seeds"],
             "yes" if c["agrees"] else "**no**")
            for c in record["agreement"]["checks"]
        ]  # fmt: skip
        checks = table(("quantity", "measured is, to prediction", "deviation", "tolerance", "runs", "agrees"), rows)
        given = {key: value for key, value in record["settings"].items() if key != "quick"}
        settings = "\n".join(f"- **{key}**: {cell(value)}" for key, value in given.items())
        notes = "\n".join(f"- {cell(note)}" for note in record["notes"])
        parts.append(
            f"({anchor(name)})=\n## {name}\n\n{record['claim'][0].upper()}{record['claim'][1:]}. "
            f"**Verdict: {verdict(record)}.**\n\n{picture}"
            f":::{{dropdown}} Predicted against measured\n{checks}:::\n\n"
            f":::{{dropdown}} Settings, as recorded\n{settings}\n:::\n\n"
            f":::{{dropdown}} What the run says\n{notes or '- nothing besides the table'}\n:::\n"
        )
    return "\n".join(parts)


def number(value: Any) -> str:
    """A number of a record."""
    return "" if value is None else f"{value:.2g}"


def cell(value: Any, longest: int = 600) -> str:
    """A value of a record as text that Markdown leaves alone."""
    text = value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    text = text if len(text) <= longest else text[:longest] + " ..."
    return re.sub(r"([\\`*_{}\[\]<>|$#~])", r"\\\1", text)


def more_pages() -> str:
    """Reports that other commands write, those that exist."""
    studies = sorted(f"studies/{path.stem}" for path in (ROOT / "docs" / "studies").glob("*.md"))
    known = ("benchmarks", "mutants", "fuzz", *studies)
    there = [name for name in known if (ROOT / "docs" / f"{name}.md").exists()]
    if not there:
        return ""
    entries = "\n".join(f"/{name}" for name in there)
    return f"## Reports of other commands\n\n```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n"
