"""Writes what is generated under docs/: fragments in generated/, pages in reference/, copies in notebooks/."""

from __future__ import annotations

from pathlib import Path

from _generate import certificates, evidence, labels, notebooks, reference

DOCS = Path(__file__).parents[1]


def everything() -> None:
    """All of it; a file is touched only where its text changes, so that a second build is quick."""
    wanted = {f"reference/{name}.rst": text for name, text in reference.pages().items()}
    wanted |= {f"generated/{name}.md": text for name, text in fragments().items()}
    for name, text in wanted.items():
        _put(DOCS / name, text.encode())
    for folder in ("reference", "generated"):
        for path in (DOCS / folder).rglob("*.*"):
            if str(path.relative_to(DOCS)) not in wanted:
                path.unlink()
    notebooks.copy(DOCS / "notebooks")


def fragments() -> dict[str, str]:
    """Every fragment that a page includes, by name."""
    found = {f"labels_{page}": labels.table_of(page) for page in labels.PAGES}
    found |= {f"verdict_{name}": text for name, text in evidence.verdicts().items()}
    return found | {
        "symbolic": labels.symbolic_list(),
        "label_counts": labels.count_sentence(),
        "bounds": labels.bounds_table(),
        "certificates": certificates.tables(),
        "references": evidence.reference_table(),
        "tests": evidence.test_table(),
        "experiments": evidence.experiment_sections(),
        "experiment_table": evidence.experiment_table(),
        "command_line": reference.command_line(),
        "tasks": reference.task_table(),
        "studies": reference.study_table(),
        "rooms": reference.room_table(),
        "gallery": notebooks.gallery(),
        "more": evidence.more_pages(),
    }


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)
