"""Reference pages, one to a face, each a list whose entries have pages of their own; and the command line's help."""

from __future__ import annotations

import importlib
import inspect

from _generate.inventory import faces, public

TITLES = {
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
    """The text (reStructuredText) of every reference page, by name."""
    found: dict[str, list[str]] = {}
    for face in faces():
        single = face.startswith("theory.bounds.") and face != "theory.bounds.measures"
        page = ONE_BY_ONE if single else face.split(".experiments")[0] + ".experiments" * (".experiments" in face)
        found.setdefault(page, []).append(face)
    return {page: _page(page, members) for page, members in found.items() if any(map(_names, members))}


def _names(face: str) -> list[str]:
    return [name for name in public() if name.rpartition(".")[0] == face]


def _page(page: str, members: list[str]) -> str:
    if page == ONE_BY_ONE:
        title = "Bounds, one by one"
    else:
        title = TITLES.get(page, "Experiments" if page.endswith("experiments") else page)
    lines = [title, "=" * len(title), ""]
    for face in members:
        names = _names(face)
        if not names:
            continue
        if len(members) > 1:
            lines += [f"``{face}``", "-" * (len(face) + 4), ""]
        lines += [f".. automodule:: {face}", "   :no-members:", ""]
        for kind, heading in (("function", "Functions"), ("class", "Classes")):
            chosen = sorted((n for n in names if public()[n].kind == kind), key=str.lower)
            if chosen:
                lines += [f".. rubric:: {heading}", "", ".. autosummary::", "   :toctree: api", "   :nosignatures:", ""]
                lines += [f"   {name}" for name in chosen] + [""]
    return "\n".join(lines)


def filename_map() -> dict[str, str]:
    """Names that differ only in case get files that differ in more."""
    seen: dict[str, str] = {}
    clash = {}
    for name in sorted(public(), key=lambda n: (n.lower(), n)):
        if name.lower() in seen:
            clash[name] = name + "_function" if public()[name].kind == "function" else name + "_class"
        seen[name.lower()] = name
    return clash


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
    from _generate.inventory import table

    rows = []
    for page in pages():
        face = "theory.bounds" if page == ONE_BY_ONE else page
        text = (inspect.getdoc(importlib.import_module(face)) or "").split("\n")[0]
        title = "Bounds, one by one" if page == ONE_BY_ONE else TITLES.get(page, "Experiments")
        count = sum(name.rpartition(".")[0] == page for name in public()) or ""
        rows.append((f"[{title}](reference/{page})", f"`{face}`", text if page != ONE_BY_ONE else "", count))
    return table(("page", "import from", "what it is", "names"), rows)
