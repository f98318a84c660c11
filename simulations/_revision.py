"""Which code computed a number: the commit of the package's source, where it is known, and the versions beside it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ("theory", "simulations", "pyproject.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """``version`` of the package, ``revision`` of its source (None: not known), ``versions`` beside it as JSON."""

    version: str
    revision: str | None
    versions: str


@lru_cache(maxsize=1)
def provenance() -> Provenance:
    """Of this process, found once.

    The revision is the commit of the package's source, with ``+changes`` where theory/ or simulations/ differ from it;
    None where the package was installed without its history, or git is missing.
    """
    from importlib.metadata import version

    from theory import __version__

    versions = {
        "deep-classifier-theory": __version__, "numpy": version("numpy"), "scipy": version("scipy"),
        "python": platform.python_version(),
    }  # fmt: skip
    return Provenance(version=__version__, revision=_revision(ROOT), versions=json.dumps(versions))


def _revision(root: Path) -> str | None:
    # an environment may lie inside somebody's own repository, whose commit says nothing about this package
    if _git(root, "ls-files", "--error-unmatch", "simulations/_revision.py") is None:
        return None
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--", *SOURCE)
    return None if not commit or changes is None else commit + ("+changes" if changes else "")


def _git(root: Path, *words: str) -> str | None:
    # inside a hook, git's own variables name another repository
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, env=environment, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()
