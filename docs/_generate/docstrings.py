"""The docstrings' short form, one ``name : meaning`` to a line, unfolded into the form that numpydoc lays out."""

from __future__ import annotations

import re

from _generate.inventory import KEY

LISTS = {"Parameters", "Attributes", "Raises"}
ENTRY = re.compile(r"^(\*{0,2}[\w ,.*`]+?) : (.+)$")


def unfold(lines: list[str]) -> list[str]:
    """Meanings on a line of their own, remarks after a list moved into Notes, citation keys as references."""
    found: list[str] = []
    notes: list[str] = []
    section, remark, blank = "", False, False
    for i, line in enumerate(lines):
        if i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1].strip()) and line.strip():
            section, remark = line.strip(), False
            if section == "Examples" and notes:
                found += headed(notes)
                notes = []
            found.append(line)
            continue
        if re.fullmatch(r"-{3,}", line.strip()):
            found.append(line)
            continue
        if section not in LISTS:
            found.append(line if section == "Examples" else cited(line))
            continue
        starts = bool(line.strip()) and not line[0].isspace()
        if starts:
            entry = ENTRY.match(line)
            remark = entry is None and (blank or line.startswith("Cost"))
            if not remark:
                found += [entry[1], "    " + cited(entry[2])] if entry else [line]
        elif not remark:
            found.append(cited(line))
        if remark:
            notes.append(cited(line))
        blank = not line.strip()
    return found + headed(notes)


def headed(notes: list[str]) -> list[str]:
    """A Notes section."""
    return ["", "Notes", "-----", *notes, ""] if any(note.strip() for note in notes) else []


def cited(line: str) -> str:
    """Citation keys as references, outside literals."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    parts = re.split(r"(``.*?``|`[^`]*`)", line)
    return "".join(part if i % 2 else KEY.sub(r":cite:t:`\g<0>`", part) for i, part in enumerate(parts))
