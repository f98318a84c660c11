"""The notebooks with their stored outputs, copied beside the pages, and a gallery of them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from _generate.inventory import ROOT


def sources() -> list[Path]:
    """All notebooks, in order."""
    return sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def copy(folder: Path) -> None:
    """Copies of the notebooks, and the first figure of each; what is no longer there goes."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {}
    for source in sources():
        wanted[source.name] = source.read_bytes()
        figure = first_figure(json.loads(source.read_text(encoding="utf-8")))
        if figure:
            wanted[f"{source.stem}.png"] = figure
    for path in folder.iterdir():
        if path.is_file() and path.name not in wanted:
            path.unlink()
    for name, data in wanted.items():
        if not (folder / name).exists() or (folder / name).read_bytes() != data:
            (folder / name).write_bytes(data)


def first_figure(notebook: dict) -> bytes | None:
    """The first figure among the outputs."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            png = output.get("data", {}).get("image/png")
            if png:
                return base64.b64decode("".join(png))
    return None


def heading(notebook: dict) -> tuple[str, str]:
    """The title and the first paragraph."""
    text = "".join(next(cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")["source"])
    title = re.search(r"^# (.*)$", text, re.M)
    body = text[title.end():] if title else text
    first = next((part for part in body.split("\n\n") if part.strip()), "")
    return (title[1] if title else text.split("\n")[0]), " ".join(first.split())


def gallery() -> str:
    """Cards that lead to the notebooks, and the table of contents behind them."""
    cards, entries = [], []
    for source in sources():
        notebook = json.loads(source.read_text(encoding="utf-8"))
        title, claim = heading(notebook)
        image = f":img-top: notebooks/{source.stem}.png\n" if first_figure(notebook) else ""
        cards.append(
            f":::{{grid-item-card}} {source.stem[:2]} {title}\n:link: notebooks/{source.stem}\n:link-type: doc\n{image}"
            f"\n{claim}\n:::\n"
        )
        entries.append(f"notebooks/{source.stem}")
    grid = "::::{grid} 1 2 2 2\n:gutter: 3\n\n" + "\n".join(cards) + "::::\n"
    return grid + "\n```{toctree}\n:hidden:\n\n" + "\n".join(entries) + "\n```\n"
