"""Architectures as small JSON or YAML files.

A description names the input shape and the nodes in order; each node has the kind of its operation and its arguments,
and may have a name and inputs (default: the node before)::

    {"input_shape": [1, 8, 8],
     "nodes": [{"op": "conv", "out_channels": 8, "kernel_size": 3, "padding": 1, "name": "c1"},
               {"op": "activation", "name": "relu"},
               {"op": "flatten"},
               {"op": "linear", "out_features": 10}]}

Activations may be written by their own name, ``{"op": "relu"}``.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path

from theory._errors import InvalidInput, PreconditionError
from theory.architecture.activation import _SLOPED, _TABLE, Activation
from theory.architecture.graph import Architecture, GraphBuilder
from theory.architecture.operations import (
    Add,
    Attention,
    AvgPool,
    BatchNorm,
    Bias,
    Conv,
    Dropout,
    FilterResponseNorm,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    LayerNorm,
    Linear,
    MaxPool,
    Operation,
    Scale,
)  # fmt: skip

_KINDS: dict[str, type[Operation]] = {
    kind.__name__.lower(): kind
    for kind in (
        Activation, Add, Attention, AvgPool, BatchNorm, Bias, Conv, Dropout, FilterResponseNorm, Flatten,
        GlobalAvgPool, GlobalMaxPool, LayerNorm, Linear, MaxPool, Scale,
    )
}  # fmt: skip


def read_architecture(path: str | Path) -> Architecture:
    """The architecture described in a ``.json``, ``.yaml`` or ``.yml`` file.

    Raises
    ------
    InvalidInput : no such file, another format, text that does not parse, a description that makes no network.
    PreconditionError : a YAML file where PyYAML is not installed.
    """
    path = Path(path)
    shown = repr(str(path)[-300:])
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise InvalidInput(f"{shown} is neither .json nor .yaml.")
    if not os.path.isfile(path):  # a pipe or a device would be read for ever
        raise InvalidInput(f"cannot read {shown}: no such file.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidInput(f"cannot read {shown}: {reason}.") from None
    try:
        described = json.loads(text) if path.suffix == ".json" else _from_yaml(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{shown} does not parse: {' '.join(str(error).split())[:300].rstrip('.')}.") from None
    return from_description(described)


def from_description(described: object) -> Architecture:
    """The architecture of a description as a dictionary.

    Raises
    ------
    InvalidInput : a missing or unknown key, an unknown operation, arguments that make no network.

    Examples
    --------
    >>> net = from_description({"input_shape": [4], "nodes": [{"op": "linear", "out_features": 2}]})
    >>> to_description(net)["nodes"]
    [{'op': 'linear', 'name': 'linear1', 'inputs': ['input'], 'out_features': 2, 'bias': True}]
    """
    # reprlib throughout: a few lines of YAML's references stand for more values than could ever be printed
    if not isinstance(described, Mapping) or not {"input_shape", "nodes"} <= set(described):
        raise InvalidInput("a description is an object with the keys 'input_shape' and 'nodes'.")
    extra = set(described) - {"input_shape", "nodes"}
    if extra:
        raise InvalidInput(f"unknown key {min(map(_shown, extra))} in the description.")
    shape, nodes = described["input_shape"], described["nodes"]
    numbers = shape if isinstance(shape, list | tuple) else (shape,)
    if not all(_is_number(n) for n in numbers) or not isinstance(nodes, list | tuple):
        raise InvalidInput("'input_shape' is a number or a list of them, 'nodes' a list of objects.")
    builder = GraphBuilder(numbers)
    for node in nodes:
        _add(builder, node)
    return builder.build()


def to_description(architecture: Architecture) -> dict[str, object]:
    """The description of an architecture, as plain lists, numbers and strings."""
    nodes = []
    for node in architecture.nodes:
        op = node.operation
        arguments = {f.name: _plain(getattr(op, f.name)) for f in fields(op)}  # type: ignore[arg-type]
        if isinstance(op, Activation):
            kept = {key: value for key, value in arguments.items() if key != "name" and value is not None}
            nodes.append({"op": op.name, "name": node.name, "inputs": list(node.inputs), **kept})
        else:
            nodes.append({"op": op.kind, "name": node.name, "inputs": list(node.inputs), **arguments})
    return {"input_shape": list(architecture.input_shape), "nodes": nodes}


def _add(builder: GraphBuilder, node: object) -> None:
    if not isinstance(node, Mapping) or not isinstance(node.get("op"), str):
        raise InvalidInput(f"a node is an object with the key 'op', not {_shown(node)}.")
    given = {str(key): value for key, value in node.items()}
    kind, name, inputs = given.pop("op"), given.pop("name", None), given.pop("inputs", ())
    for word in (kind, name):
        if word is not None and not (isinstance(word, str | int) and len(str(word)) <= 100 and str(word).isprintable()):
            raise InvalidInput(f"names are printable and of at most 100 characters, not {_shown(word)}.")
    if kind in (*_TABLE, *_SLOPED) or "lipschitz" in given:
        operation_type: type[Operation] = Activation
        given["name"] = kind
    elif kind == "activation":
        operation_type = Activation
        given["name"], name = name if name is not None else "relu", None
    elif kind in _KINDS:
        operation_type = _KINDS[kind]
    else:
        raise InvalidInput(f"unknown operation {kind!r}; there are {', '.join((*_KINDS, *_TABLE, *_SLOPED))}.")
    known = {f.name: f for f in fields(operation_type)}  # type: ignore[arg-type]
    unknown = [key for key in given if key not in known]
    missing = [key for key, f in known.items() if f.default is MISSING and key not in given]
    if unknown or missing:
        what = f"takes no {_shown(unknown[0])}" if unknown else f"needs {missing[0]!r}"
        raise InvalidInput(f"operation {kind!r} {what}; its arguments are {', '.join(known) or 'none'}.")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    if not isinstance(inputs, list | tuple) or not all(isinstance(read, str) for read in inputs):
        raise InvalidInput(f"'inputs' of {kind!r} is a list of names, not {_shown(inputs)}.")
    _check_types(kind, arguments)
    try:
        operation = operation_type(**arguments)
    except TypeError:
        raise InvalidInput(f"the arguments of {kind!r} do not make an operation: {_shown(arguments)}.") from None
    builder.add(operation, *inputs, name=None if name is None else str(name))


def _check_types(kind: str, arguments: Mapping[str, object]) -> None:
    for key, value in arguments.items():
        if key in ("bias", "count_include_pad"):
            if not isinstance(value, bool):
                raise InvalidInput(f"{key!r} of {kind!r} is true or false, not {_shown(value)}.")
        elif key == "padding_mode":
            if not isinstance(value, str):
                raise InvalidInput(f"{key!r} of {kind!r} is a word, not {_shown(value)}.")
        elif key == "name" or value is None or (key == "padding" and value == "same"):
            continue
        elif not all(map(_is_number, value if isinstance(value, tuple) else (value,))):
            raise InvalidInput(f"{key!r} of {kind!r} is a number or a list of them, not {_shown(value)}.")


def _shown(value: object) -> str:
    text = reprlib.repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _from_yaml(text: str) -> object:
    try:
        import yaml
    except ImportError:
        raise PreconditionError("a YAML description needs PyYAML: pip install pyyaml; JSON works without it.") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, AttributeError, LookupError, TypeError) as error:  # "!!bool x" is a KeyError of PyYAML's
        raise ValueError(f"{type(error).__name__}: {error}") from None
