"""The docstrings' short form, one ``name : meaning`` to a line, unfolded into the form that numpydoc lays out."""

from __future__ import annotations

import re

from _generate.inventory import KEY

LISTS = {"Parameters", "Attributes", "Raises"}
ENTRY = re.compile(r"^(\*{0,2}[\w ,.*`]+?) : (.+)$")
LITERAL = re.compile(r"(``.*?``|:\w+(?::\w+)?:`[^`]*`|`[^`]*`_*)", re.S)
# Emphasis, which stays, or a single character that would be taken for markup.
STRAY = re.compile(r"(?<![\w*])(\*{1,2})(?=[^\s*])[^*]*?(?<=[^\s*])\1(?![\w*])|(?<!\\)[|*]", re.S)


def unfold(lines: list[str]) -> list[str]:
    """Meanings on a line of their own, remarks after a list moved into Notes, citation keys as references."""
    found: list[str] = []
    notes: list[str] = []
    section, remark, blank = "", False, False
    lines = prose(lines)
    for i, line in enumerate(lines):
        if ruled(lines, i):
            section, remark = line.strip(), False
            if section == "Examples":
                found, notes = found + headed(notes), []
            found.append(line)
        elif section not in LISTS or re.fullmatch(r"-{3,}", line.strip()):
            found.append(line)
        else:
            if line.strip() and not line[0].isspace():
                entry = ENTRY.match(line)
                remark = entry is None and blank
                if not remark:
                    found += [entry[1], "    " + entry[2]] if entry else [line]
            elif not remark:
                found.append(line)
            if remark:
                notes.append(line)
            blank = not line.strip()
    return found + headed(notes)


def ruled(lines: list[str], i: int) -> bool:
    """Whether a line is the heading of a section."""
    return bool(lines[i].strip()) and i + 1 < len(lines) and bool(re.fullmatch(r"-{3,}", lines[i + 1].strip()))


def headed(notes: list[str]) -> list[str]:
    """A Notes section."""
    return ["", "Notes", "-----", *notes, ""] if any(note.strip() for note in notes) else []


def prose(lines: list[str]) -> list[str]:
    """Citations and stray markup characters in running text; formulas and examples are left alone."""
    found: list[str] = []
    block: list[str] = []
    inside: int | None = None  # indent of a directive whose body we are in
    example = False
    for line in [*lines, ""]:
        indent = len(line) - len(line.lstrip())
        directive = re.match(r"\s*\.\. [\w:-]+::", line)
        if inside is not None and line.strip() and indent <= inside:
            inside = None
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        raw = inside is not None or directive or example
        if raw or not line.strip():
            found += spoken(block)
            block = []
            found.append(line)
        else:
            block.append(line)
        if directive:
            inside = indent
    return found[:-1]


def spoken(block: list[str]) -> list[str]:
    """One paragraph: ``|x|`` is no substitution here, a lone star no emphasis, and a citation key is a reference."""
    if not block:
        return []
    parts = LITERAL.split("\n".join(block))
    for i in range(0, len(parts), 2):
        text = STRAY.sub(lambda m: m[0] if len(m[0]) > 1 else "\\" + m[0], parts[i])
        parts[i] = KEY.sub(r":cite:t:`\g<0>`", text)
    lines = "".join(parts).split("\n")
    starts = all(line.lstrip().startswith("``") for line in block)
    listed = len(block) > 1 and starts and any(re.search(r"\S {2,}\S", line) for line in block)
    return ["| " + line.strip() for line in lines] if listed else lines  # names and meanings in two columns


def summary(text: str) -> str:
    """The first paragraph of a docstring, ready for a cell."""
    first = text.split("\n\n")[0].split("\n.. ")[0].split("\n\n")[0]
    return " ".join(" ".join(spoken(first.split("\n"))).split())
