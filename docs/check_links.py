"""Checks every local link, image and anchor of the built site, and the local links of README.md.

``python docs/check_links.py build/docs``: broken ones are printed, and the exit code is 1. Addresses of other sites are
counted only; ``make links`` asks them.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

README = Path(__file__).parents[1] / "README.md"


class Page(HTMLParser):
    """The anchors of a page and where it points."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect ids, names, and what href and src say."""
        given = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := given.get(key))}
        if tag != "link" or given.get("rel") in ("stylesheet", "next", "prev"):
            self.targets |= {value for key in ("href", "src") if (value := given.get(key))}


def broken(site: Path) -> tuple[list[str], int, int]:
    """What does not resolve, how many local links there are, and how many addresses elsewhere."""
    files = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in files}
    wrong, local, outside = [], 0, set()
    for path, page in pages.items():
        for target in sorted(page.targets):
            parts = urlsplit(target)
            if parts.scheme in ("http", "https"):
                outside.add(target)
            if parts.scheme or parts.netloc:
                continue
            local += 1
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            there = there / "index.html" if there.is_dir() else there
            anchors = pages[there].anchors if there in pages else None
            lost = anchors is not None and parts.fragment and unquote(parts.fragment) not in anchors
            if not there.exists() or lost:
                wrong.append(f"{path.relative_to(site)}: {target}")
    return wrong, local, len(outside)


def broken_in_readme(readme: Path = README) -> list[str]:
    """Relative links of the README that lead nowhere."""
    found = re.findall(r"\]\(([^)\s]+)\)", readme.read_text(encoding="utf-8"))
    local = [target.split("#")[0] for target in found if "://" not in target and not target.startswith("#")]
    return [f"{readme.name}: {target}" for target in local if not (readme.parent / target).exists()]


def main() -> None:
    """Print what is broken."""
    site = Path(sys.argv[1]).resolve()
    wrong, local, outside = broken(site)
    wrong += broken_in_readme()
    print("\n".join(wrong) if wrong else f"{local} local links resolve; {outside} addresses of other sites.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
