"""Inputs for every command, from the signatures of the commands themselves, and for every reader of files.

All choices are drawn from one ``random.Random``: a seeded one in long runs, hypothesis's own in the tests, which then
shrink what they find.
"""

from __future__ import annotations

import json
import re
import shlex
import types
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import typer.main

from simulations.cli import app
from tests.fuzz import hints
from tests.fuzz.corpus import CONV, DENSE, SAMPLED, STUDY, YAML
from tests.fuzz.files import ODD, OUT

SUFFIXES = (".npy", ".npz", ".csv", ".json", ".yaml", ".pt", ".pt2", ".sqlite")
ODD_SUFFIXES = (".npy", ".npz", ".csv", ".json", ".yaml", ".yml", ".pt", ".pt2", ".sqlite", ".txt", "")


@dataclass(frozen=True, slots=True)
class Option:
    """One option or argument of a command, as its signature says it."""

    name: str
    flags: tuple[str, ...]  # none of an argument
    kind: type
    is_flag: bool
    help: str


@cache
def commands() -> dict[str, tuple[Option, ...]]:
    """The options of every command of ``theory``."""
    out = {}
    for info in app.registered_commands:
        hinted = typing.get_type_hints(info.callback)
        built = typer.main.get_command(app).commands[info.name]
        out[info.name] = tuple(_option(param, hinted[param.name]) for param in built.params)
    return out


def _option(param: typing.Any, hinted: typing.Any) -> Option:
    while typing.get_origin(hinted) is not None:  # X | None, list[X]
        hinted = next(part for part in typing.get_args(hinted) if part is not types.NoneType)
    flags = (*param.opts, *param.secondary_opts) if param.param_type_name == "option" else ()
    return Option(param.name, flags, hinted, hinted is bool, getattr(param, "help", None) or "")


@cache
def lines(command: str) -> tuple[tuple[str, ...], ...]:
    """Command lines that work: the examples of the command's help, and those of ``hints``."""
    callback = next(info.callback for info in app.registered_commands if info.name == command)
    text = re.sub(r"\s+", " ", callback.__doc__ or "")
    found = re.findall(rf"Example: theory {command} (.*?)(?= Example:| *$)", text)
    known = set(corpus_names())
    out = []
    for line in found:
        words = [f"@{Path(word).name}" if Path(word).name in known else word for word in shlex.split(line)]
        # an example may ask for more work than a moment's
        if "--steps" in words:
            words[words.index("--steps") + 1] = "20"
        elif command in ("flow", "rho"):
            words += ["--max-steps", "20"]
        out.append(tuple(words))
    out = [line for line in out if command not in ("validate", "sweep")]  # minutes of work
    out += [tuple(word.replace("~", " ") for word in line.split()) for line in hints.LINES.get(command, ())]
    return tuple(out) or ((),)


@cache
def corpus_names() -> tuple[str, ...]:
    """Names of the valid files that need no PyTorch to be named."""
    return (
        "points.csv", "bare.csv", "line.csv", "classes.csv", "labels.csv", "column.csv", "net.json", "dense.json",
        "dense.yaml", "study.yaml", "sampled.yaml", "H.npy", "H32.npy", "y.npy", "W.npy", "b.npy", "F.npy", "T.npy",
        "linear.npy", "steps.npy", "words.npy", "kernel.npy", "kernel1.npy", "theta.npy", "scalar.npy", "none.npy",
        "H.csv", "points.npz", "packed.npz", "trajectory.npz", "net.npz", "start.npz", "A.npz", "B.npz", "data.npz",
        "blobs.npz", "results.sqlite", "threshold-map.sqlite", "old.sqlite", "A.pt", "legacy.pt", "B.pt", "module.pt",
        "odd-complex.pt", "odd-sparse.pt", "odd-meta.pt", "odd-half.pt", "odd-bool.pt", "odd-nan.pt", "odd-scalar.pt",
        "odd-keys.pt", "odd-list.pt", "odd-nested.pt", "training.pt", "program.pt2",
    )  # fmt: skip


def command_line(rng: Random, command: str) -> list[str]:
    """One input of a command: a line that works, with up to four changes."""
    words = [command, *rng.choice(lines(command))] if rng.random() < 0.92 else [command]
    for _ in range(rng.choices((0, 1, 2, 3, 4), (2, 6, 5, 3, 1))[0]):
        _change(rng, command, words)
    if "--only" not in words and rng.random() < 0.97 and any(option.name == "only" for option in commands()[command]):
        words += ["--only", rng.choice(hints.TEXTS["only"][:4])]  # all bounds together take seconds
    if rng.random() < 0.3 and any(option.name == "json" for option in commands()[command]):
        words.append("--json")
    # the code of a trusted file is run, and damaged code is not to be
    if any(word.startswith("@") and " " in word for word in words):
        words = [word for word in words if word != "--trust"]
    return words


def _change(rng: Random, command: str, words: list[str]) -> None:
    files = [k for k, word in enumerate(words) if word.startswith("@") and " " not in word and k]
    what = rng.random()
    if files and what < 0.4:
        place = rng.choice(files)
        words[place] = damaged(rng, words[place][1:])
    elif what < 0.93:
        options = commands()[command]
        if rng.random() < 0.5:  # one that is there already fits the others
            options = tuple(known for known in options if set(known.flags) & set(words)) or options
        option = rng.choice(options)
        flag = rng.choice(option.flags) if option.flags else None
        if option.is_flag:
            words.append(flag or text(rng))
            return
        said = value(rng, command, option)
        if flag is None:
            words.insert(rng.randint(1, len(words)), said)
        elif flag in words[:-1] and rng.random() < 0.9:
            words[words.index(flag) + 1] = said
        elif rng.random() < 0.05:
            words.append(flag + "=" + said)
        else:
            words += [flag, said]
    elif what < 0.96 and len(words) > 1:
        del words[rng.randrange(1, len(words))]
    else:
        words.insert(rng.randint(1, len(words)), rng.choice(("--help", "--", "-", "-x", "--x", text(rng))))


def value(rng: Random, command: str, option: Option) -> str:
    """A value for an option: of its form most of the time."""
    form = hints.TEXTS.get(option.name) if option.kind is not Path else None
    if form is not None and rng.random() < (
        1 if form is hints.WORK or option.name in ("max_steps", "steps", "jobs") else 0.85
    ):
        return form(rng) if callable(form) else rng.choice(form)
    if option.kind is Path:
        return path(rng, option)
    if option.kind is int:
        return str(rng.randrange(10)) if rng.random() < 0.5 else rng.choice(hints.TRICKY_COUNTS)
    if option.kind is float:
        return f"{10 ** rng.uniform(-9, 6):.3g}" if rng.random() < 0.5 else rng.choice(hints.TRICKY_NUMBERS)
    words = re.findall(r"[\w^-]+", option.help)
    return rng.choice(words) if words and rng.random() < 0.6 else text(rng)


def path(rng: Random, option: Option) -> str:
    """A file that the help of the option speaks of, valid, damaged or none at all."""
    if option.name == "out":
        return "@out " + rng.choice(OUT)
    if rng.random() < 0.1:
        return rng.choice(("", ".", "..", "~", "no/such/file.npz", text(rng), "a" * 5000))
    wanted = [suffix for suffix in SUFFIXES if re.search(rf"\{suffix}\b", option.help)] or list(SUFFIXES)
    names = [name for name in corpus_names() if Path(name).suffix in wanted or rng.random() < 0.05]
    name = rng.choice(names or corpus_names())
    return f"@{name}" if rng.random() < 0.5 else damaged(rng, name)


def text(rng: Random) -> str:
    """Any text without NUL, which cannot be an argument, and without a slash: it may become a folder to write in."""
    if rng.random() < 0.03:
        return rng.choice(("x" * 10_000, "9" * 10_000, "é" * 3000, "\n" * 100, "," * 1000))
    alphabet = "abxyz019.,:;-=+_\\'\"{}[]()<>%$&*?! \t\n\r\x1b\x7fé٣²½\u2028\u202e\ufeff😀\udcff"
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, 8)))


def damaged(rng: Random, name: str) -> str:
    """A recipe for a file like this one of the corpus, but not quite."""
    suffix, what = Path(name).suffix, rng.random()
    if what < 0.1:
        return f"@odd {rng.choice(ODD)} {rng.choice(ODD_SUFFIXES) if rng.random() < 0.2 else suffix}".rstrip()
    if what < 0.15:
        return f"@as {rng.choice(ODD_SUFFIXES[:-1])} {name}"
    if what < 0.2:
        return f"@bytes {suffix} {rng.randbytes(rng.choice((0, 1, 2, 8, 64))).hex()}"
    if what < 0.45 or suffix not in MAKERS:
        where = f"{rng.random():.6f}"
        return rng.choice((
            f"@cut {where} {name}", f"@flip {where} {rng.randbytes(rng.choice((1, 1, 1, 4))).hex()} {name}",
            f"@flip {where} {1 << rng.randrange(8):02x} {name}",
            f"@splice {where} {rng.randbytes(rng.choice((1, 3))).hex()} {name}",
            f"@drop {where} {rng.choice((1, 2, 8, 100))} {name}",
        ))  # fmt: skip
    return MAKERS[suffix](rng, name)


def array(rng: Random) -> str:
    """Type, shape and content of an array."""
    return f"{rng.choice(hints.DTYPES)}:{rng.choice(hints.SHAPES)}:{rng.choice(hints.FILLS)}"


def npy(rng: Random, name: str) -> str:
    """A ``.npy`` file of an odd array, or with an odd header."""
    return f"@array {array(rng)}" if rng.random() < 0.7 else f"@header {rng.choice(hints.HEADERS)}"


def npz(rng: Random, name: str) -> str:
    """An archive with odd arrays."""
    made = [f"{rng.choice(hints.ARRAY_NAMES)}={array(rng)}" for _ in range(rng.choice((1, 1, 2)))]
    if rng.random() < 0.15:
        made = [f"-{rng.choice(hints.ARRAY_NAMES)}"]
    return f"@arrays {' '.join(made)}" if rng.random() < 0.2 else f"@edit {' '.join(made)} {name}"


def csv(rng: Random, name: str) -> str:
    """A table, right or ragged."""
    columns = rng.choice((1, 2, 3, 3, 4))
    rows = [",".join(rng.choice(("x1", "x2", "y", "kind", "label", "id", "", "y")) for _ in range(columns))]
    if rng.random() < 0.4:
        rows = []
    for _ in range(rng.choice((0, 1, 3, 4, 12))):
        width = columns if rng.random() < 0.9 else rng.randint(0, 5)
        rows.append(",".join(rng.choice(hints.CELLS[:5] if rng.random() < 0.85 else hints.CELLS) for _ in range(width)))
    end = rng.choice(("\n", "\n", "\n", "\r\n", "\r", ";\n"))
    start = rng.choice(("", "", "", "\ufeff", "\n", "#"))
    return f"@text .csv {start}{end.join(rows)}{rng.choice(('', end))}"


def described(rng: Random, name: str) -> str:
    """An architecture in JSON with a value changed or added, or made of random nodes; or no such thing."""
    what = rng.random()
    if what < 0.1:
        nested = hints.nested(rng.choice((5, 300, 990, 5000)))
        return f"@text .json {rng.choice((*nested, *hints.NO_DESCRIPTIONS))}"
    if what < 0.5:
        nodes = [_node(rng) for _ in range(rng.randint(0, 4))]
        shape = rng.choice(([4], [2], [1, 4, 4], [1, 6, 6], [2, 5], 3, 0, "x", None, [1, 2, 3, 4], [], [10**9, 10**9]))
        return f"@text .json {json.dumps({'input_shape': shape, 'nodes': nodes})}"
    return f"@text .json {json.dumps(_altered(rng, rng.choice((CONV, DENSE))))}"


def _node(rng: Random) -> dict[str, object]:
    extra = {rng.choice(hints.KEYS[1:20]): rng.choice(hints.VALUES) for _ in range(rng.randint(0, 4))}
    return {"op": rng.choice(hints.KINDS), **extra}


def _altered(rng: Random, tree: typing.Any) -> typing.Any:
    """A copy of nested lists and objects with one thing changed, added or taken away."""
    tree = json.loads(json.dumps(tree))
    at = tree
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        deeper = [key for key in keys if isinstance(at[key], dict | list) and len(at[key])]
        if not deeper or rng.random() < 0.15:
            break
        at = at[rng.choice(deeper)]
    change = rng.random()
    if change < 0.5 and keys:
        at[rng.choice(keys)] = rng.choice(hints.VALUES)
    elif change < 0.65 and keys:
        at.pop(rng.choice(keys))
    elif isinstance(at, dict):
        at[rng.choice(hints.KEYS)] = rng.choice(hints.VALUES)
    else:
        at.append(rng.choice(hints.VALUES))
    return tree


def yaml(rng: Random, name: str) -> str:
    """An architecture or a study in YAML with a piece put in, or an altered one in YAML's JSON form."""
    study = "study" in name or "sampled" in name
    if rng.random() < 0.05:
        return f"@text .yaml {hints.ALIAS_BOMB}"
    if rng.random() < 0.4:
        import yaml as reader

        tree = reader.safe_load(rng.choice((STUDY, SAMPLED)) if study else YAML)
        said = json.dumps(_altered(rng, tree)).replace("NaN", ".nan").replace("Infinity", ".inf")
        return f"@text .yaml {said}"
    whole, piece = rng.choice((STUDY, SAMPLED)) if study else YAML, rng.choice(hints.YAML_SNIPPETS)
    if rng.random() < 0.3:
        return f"@text .yaml {piece}"
    places = [match.start() for match in re.finditer(r"(?<=[ \[])[^ \[\]{}]+", whole)]
    start = rng.choice(places)
    end = re.compile(r"[ ,\]}\n]|$").search(whole, start).start() if rng.random() < 0.7 else start
    return f"@text .yaml {whole[:start]}{piece}{whole[end:]}"


def store(rng: Random, name: str) -> str:
    """A store in which a cell is replaced."""
    column, said = rng.choice(hints.COLUMNS), rng.choice(hints.STORED)
    return f"@row {rng.random():.3f} {column} {said} {name}"


MAKERS = {".npy": npy, ".npz": npz, ".csv": csv, ".json": described, ".yaml": yaml, ".sqlite": store}
