"""From the name of a task to its functions, and its parameters checked by name before anything runs."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import TYPE_CHECKING

from theory._errors import InvalidInput

if TYPE_CHECKING:
    from simulations.sweep.study import Study
    from simulations.sweep.tasks import Task


def load_task(name: str) -> Task:
    """The registered task, or the function ``"package.module:function"`` of the user's own code.

    Such a module is found from the current folder first, which stays on ``sys.path``. Where the function has an
    attribute ``batch``, a vectorised form from a list of configurations to a list of records or exceptions, that runs.

    Raises
    ------
    InvalidInput : no such task, a module that cannot be imported, no such function in it.
    """
    from simulations.sweep.tasks import TASKS, Task

    module, colon, function = name.partition(":")
    if not colon:
        if name not in TASKS:
            known = ", ".join(TASKS)
            raise InvalidInput(f"no task is called {name!r}; there are {known}, or your own 'module:function'.")
        return TASKS[name]
    here = current_folder()
    if here is not None and here not in sys.path:
        sys.path.insert(0, here)
    try:
        compute = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # a user's module runs here
        raise InvalidInput(f"task {name!r} cannot be imported: {error_text(error)}.") from None
    if not callable(compute):
        raise InvalidInput(f"task {name!r} is not a function, but {type(compute).__name__}.")
    summary = inspect.getdoc(compute) or ""
    return Task(name=name, compute=compute, batch=getattr(compute, "batch", None), summary=summary)


def check_parameters(task: Task, study: Study) -> None:
    """The study's parameters are those of the task.

    Raises
    ------
    InvalidInput : a name that the task does not know, or one that it needs and is not given.
    """
    try:
        known = inspect.signature(task.compute).parameters.values()
    except (TypeError, ValueError):  # some builtins hide theirs; each configuration then fails or not by itself
        return
    named = [p for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    allowed, given = [p.name for p in named], study.parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known):
        for name in given:
            if name not in allowed:
                takes = ", ".join(allowed) or "none"
                raise InvalidInput(f"task {task.name!r} has no parameter {name!r}; it takes {takes}.")
    missing = [p.name for p in named if p.default is p.empty and p.name not in given]
    if missing:
        wanted = " and ".join(missing)
        raise InvalidInput(f"task {task.name!r} needs {wanted}, which study {study.name!r} does not give.")


def current_folder() -> str | None:
    """None where it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def error_text(error: BaseException) -> str:
    """Class and message on one line, at most 500 characters."""
    try:
        message = " ".join(str(error).split()).rstrip(".")
    except Exception:  # a class of the user's own may fail at this
        message = ""
    message = message.encode("utf-8", "backslashreplace").decode()  # SQLite takes no half characters
    return f"{type(error).__name__}: {message}"[:500] if message else type(error).__name__
