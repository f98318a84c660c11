"""Reference pages, one to a face, each a list whose entries have pages of their own; and the command line's help."""

from __future__ import annotations

import importlib
import inspect

from _generate.inventory import Public, faces, public, table

TITLES = {
    "theory.bounds.one_by_one": "Bounds, one by one",
    "simulations.experiments": "Experiments",
    "theory": "The face of the package",
    "theory.peeled": "Models of the last layer",
    "theory.frames": "Target geometries",
    "theory.collapse": "Collapse metrics",
    "theory.flow": "Gradient flow, margins, algorithms",
    "theory.flow.exact": "Exact solutions of gradient flow",
    "theory.square_loss": "The square loss",
    "theory.norms": "Norms",
    "theory.bounds": "Bounds",
    "theory.bounds.measures": "Measures that bound nothing",
    "theory.kernels": "Kernels",
    "theory.complexity": "Complexity of functions",
    "theory.connectivity": "Connectivity",
    "theory.architecture": "Architectures",
    "theory.symbolic": "Closed forms in sympy",
    "theory.plots": "Figures",
    "simulations.bridge": "The bridge to PyTorch",
    "simulations.data": "Data",
    "simulations.train": "Training",
    "simulations.networks": "Networks to train",
    "simulations.store": "The store of results",
    "simulations.sweep": "Sweeps",
}
ONE_BY_ONE = "theory.bounds.one_by_one"  # the page of all modules of theory.bounds that are faces of their own


def pages() -> dict[str, str]:
    """The text (reStructuredText) of every reference page, by name; ``api/...`` are those of single objects."""
    members: dict[str, list[str]] = {}
    for face in faces():
        members.setdefault(page_of(face), []).append(face)
    files = filenames()
    found = {page: _page(page, inside, files) for page, inside in members.items() if any(map(names_in, inside))}
    return found | {f"api/{files[name]}": _object(item) for name, item in public().items()}


def page_of(face: str) -> str:
    """The page that lists what a face holds."""
    if face.startswith("theory.bounds.") and face != "theory.bounds.measures":
        return ONE_BY_ONE
    return "simulations.experiments" if face.startswith("simulations.experiments") else face


def names_in(face: str) -> list[str]:
    """Public names at a face, in alphabetical order."""
    return sorted((name for name, item in public().items() if item.face == face), key=str.lower)


def title_of(page: str) -> str:
    """The heading of a page."""
    return TITLES.get(page, page)


def _page(page: str, members: list[str], files: dict[str, str]) -> str:
    lines = [title_of(page), "=" * len(title_of(page)), ""]
    for face in members:
        if not names_in(face):
            continue
        if len(members) > 1:
            lines += [f"``{face}``", "-" * (len(face) + 4), ""]
        lines += [f".. automodule:: {face}", "   :no-members:", ""]
        for kind, heading in (("function", "Functions"), ("class", "Classes")):
            chosen = [name for name in names_in(face) if public()[name].kind == kind]
            if chosen:
                lines += [f".. rubric:: {heading}", "", ".. list-table::", "   :widths: 30 70", ""]
                for name in chosen:
                    lines += [f"   * - :py:obj:`~{name}`", f"     - {public()[name].cell}"]
                lines += ["", ".. toctree::", "   :hidden:", "", *(f"   api/{files[name]}" for name in chosen), ""]
    return "\n".join(lines)


def _object(item: Public) -> str:
    title = item.short
    module = item.name.rpartition(".")[0]
    directive = "autoclass" if item.kind == "class" else "autofunction"
    members = "   :members:\n" if item.kind == "class" else ""
    return f"{title}\n{'=' * len(title)}\n\n.. currentmodule:: {module}\n\n.. {directive}:: {title}\n{members}"


def filenames() -> dict[str, str]:
    """A file to a name; names that differ only in case get files that differ in more."""
    seen: set[str] = set()
    found = {}
    for name in sorted(public(), key=lambda n: (n.lower(), n)):
        found[name] = f"{name}_{public()[name].kind}" if name.lower() in seen else name
        seen.add(name.lower())
    return found


def command_line() -> str:
    """The help of every subcommand, as typer prints it."""
    import typer

    from simulations.cli import app

    group = typer.main.get_command(app)
    parts = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        context = command.make_context(name, [], resilient_parsing=True, terminal_width=100, max_content_width=100)
        context.info_name = f"theory {name}"
        parts.append(f"## theory {name}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "\n".join(parts)


def room_table() -> str:
    """The rooms and what they hold."""
    rows = []
    for page in dict.fromkeys(map(page_of, faces())):
        inside = [face for face in faces() if page_of(face) == page]
        count = sum(len(names_in(face)) for face in inside)
        if not count:
            continue
        text = (inspect.getdoc(importlib.import_module(page)) or "").split("\n")[0] if page in inside else ""
        rows.append((f"[{title_of(page)}](reference/{page})", f"`{page}`" if page in inside else "", text, count))
    return table(("page", "import from", "what it is", "names"), rows)


def task_table() -> str:
    """What a sweep can compute, and with which parameters."""
    from simulations.sweep import TASKS

    rows = []
    for task in TASKS.values():
        given = inspect.signature(task.compute).parameters.values()
        shown = ", ".join(f"`{p.name}`" if p.default is p.empty else f"`{p.name}={p.default}`" for p in given)
        rows.append((f"`{task.name}`", task.summary, shown))
    return table(("task", "what a row holds", "parameters, with their defaults"), rows)


def study_table() -> str:
    """The shipped studies and the comment that heads each."""
    from simulations.sweep import read_study, shipped_studies

    rows = []
    for name, path in shipped_studies().items():
        study = read_study(name)
        lines = path.read_text(encoding="utf-8").splitlines()
        told = " ".join(line[2:] for line in lines if line.startswith("# "))
        rows.append((f"`{name}`", f"`{study.task}`", f"{len(study):,}", told))
    return table(("study", "task", "configurations", "what it is"), rows)
