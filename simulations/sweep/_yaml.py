"""A study file as plain Python: YAML without the parts that surprise, every mistake in it one sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from theory._errors import InvalidInput

MOST_BYTES = 10**6


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e3 as a number (YAML 1.2), and refuses repeated keys and references."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # a few lines of them stand for 10^9 values, or for themselves
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "references (*name) are not read", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return found


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+0123456789.")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises
    ------
    InvalidInput : no such file, unreadable, not YAML, a repeated key, no mapping.
    """
    shown = repr(str(path))
    try:
        if not os.path.isfile(path):  # False where the name is too long, too
            raise InvalidInput(f"no file {shown}.")
        if path.stat().st_size > MOST_BYTES:
            raise InvalidInput(f"{shown} has more than {MOST_BYTES} bytes, which no study needs.")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except InvalidInput:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {shown}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f" (line {mark.line + 1})"
        raise InvalidInput(f"{shown} is not a study: {error.problem or 'not YAML'}{where}.") from None
    except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a ValueError
        reason = (str(error).splitlines() or ["not YAML"])[0].rstrip(".")
        raise InvalidInput(f"{shown} is not a study: {reason}.") from None
    except Exception as error:  # PyYAML raises what it comes to where a tag such as !!bool does not fit its value
        reason = "nested too deeply" if isinstance(error, RecursionError) else "a tag does not fit its value"
        raise InvalidInput(f"{shown} is not a study: {reason}.") from None
    if not isinstance(content, dict):
        raise InvalidInput(f"{shown} is not a study: wanted are keys and values such as 'name: my-study'.")
    return content
