"""What a benchmark returns: one claim, the entries behind it, and the floor below which no program can go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from theory._errors import InvalidInput

OURS = "ours"
NOT_INSTALLED = "not installed"
NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One method at one size.

    Attributes
    ----------
    method : ``"ours"`` or the peer's name.
    version : package and version of what ran, such as ``"cvxpy 1.7.3, Clarabel 0.11.1"``.
    size : place on the horizontal axis.
    seconds : wall time; None where it did not finish.
    error : as the comparison's ``error_label`` says; None where there is no number.
    note : what a reader must know beside the numbers.
    """

    method: str
    version: str
    size: float
    seconds: float | None
    error: float | None
    note: str = ""

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("error", self.error)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InvalidInput(f"{name} of {self.method!r} must be finite and nonnegative or None, but is {value}.")

    @property
    def outcome(self) -> str:
        """The seconds, or why there are none."""
        if self.seconds is not None:
            return number(self.seconds)
        for reason in (NOT_INSTALLED, NOT_TRIED):
            if self.note.startswith(reason):
                return reason
        return "did not finish"

    def to_json(self) -> dict[str, object]:
        """Plain numbers and strings."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Ours against its peers over a range of sizes, measured in one process.

    Attributes
    ----------
    name : lower case, the figure is ``bench_NAME.png``.
    claim : one sentence, the title of the figure.
    size_label, error_label : the axes; the error's normalisation is part of its label.
    entries : all measurements.
    floor : seconds per size that the arithmetic alone takes.
    floor_label : which arithmetic, in one sentence.
    settings : threads, dtypes, seeds, limits, in one sentence.
    """

    name: str
    claim: str
    size_label: str
    error_label: str
    entries: tuple[Entry, ...]
    floor: Mapping[float, float] = field(default_factory=dict)
    floor_label: str = ""
    settings: str = ""

    def __post_init__(self) -> None:
        if not any(entry.method == OURS for entry in self.entries):
            raise InvalidInput(f"comparison {self.name!r} has no entry of {OURS!r}.")
        if any(not (math.isfinite(seconds) and seconds > 0) for seconds in self.floor.values()):
            raise InvalidInput(f"the floor of {self.name!r} must be positive and finite.")

    @property
    def methods(self) -> tuple[str, ...]:
        """Names in order of appearance, ours first."""
        return tuple(dict.fromkeys([OURS, *(entry.method for entry in self.entries)]))

    @property
    def sizes(self) -> tuple[float, ...]:
        """All sizes, rising."""
        return tuple(sorted({entry.size for entry in self.entries} | set(self.floor)))

    def ratio(self, entry: Entry) -> float | None:
        """Seconds of ``entry`` over ours at the same size and at no larger error.

        Of several entries of ours the fastest that is at least as accurate is taken; where none is, the most accurate.
        None where one of the two did not finish.
        """
        ours = [e for e in self.entries if e.method == OURS and e.size == entry.size and e.seconds is not None]
        if entry.seconds is None or not ours:
            return None
        if entry.method == OURS:
            return 1.0
        equal = [e for e in ours if entry.error is None or _error(e) <= entry.error]
        chosen = min(equal, key=_seconds) if equal else min(ours, key=_error)
        return _seconds(entry) / max(_seconds(chosen), 1e-12)

    def to_json(self) -> dict[str, object]:
        """Plain numbers and strings."""
        record = {name: getattr(self, name) for name in self.__slots__}
        return record | {
            "entries": [entry.to_json() for entry in self.entries],
            "floor": {f"{size:g}": seconds for size, seconds in self.floor.items()},
        }

    def __repr__(self) -> str:
        return f"Comparison({self.name}: {len(self.methods)} methods at {len(self.sizes)} sizes)"


def _seconds(entry: Entry) -> float:
    return math.inf if entry.seconds is None else entry.seconds


def _error(entry: Entry) -> float:
    return math.inf if entry.error is None else entry.error


def number(value: float) -> str:
    """Three significant digits, as people write them."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:.1e}"


def not_installed(method: str, package: str, size: float) -> Entry:
    """The line of a peer that this machine lacks."""
    return Entry(method=method, version=package, size=size, seconds=None, error=None, note=NOT_INSTALLED)


def walk(method: str, version: str, sizes: Iterable[float], run: Callable[[float], Entry], limit: float) -> list[Entry]:
    """Entries at rising sizes until one does not finish or takes longer than ``limit`` seconds; then one last line."""
    found: list[Entry] = []
    for size in sorted(sizes):
        if found and (found[-1].seconds is None or found[-1].seconds > limit):
            note = f"{NOT_TRIED}: at {found[-1].size:g} it took more than {limit:g} s"
            found.append(Entry(method=method, version=version, size=size, seconds=None, error=None, note=note))
            break
        found.append(run(size))
    return found


def against(entries: Iterable[Entry], letter: str, accurate: float = 1e-6) -> str:
    """What the entries say, for a title: ours at its largest size; the fastest peer, and the fastest that is accurate.

    ``letter`` names the size; ``accurate`` is the largest error that counts as such. Peers are taken at the largest
    size where one finished.
    """
    known = list(entries)
    ours = {e.size: e for e in known if e.method == OURS and e.seconds is not None}
    done = [e for e in known if e.method != OURS and e.seconds is not None and e.size in ours]
    if not ours:
        return "ours did not finish"
    last = max(ours)
    said = f"ours takes {number(_seconds(ours[last]))} s at {letter} = {last:g}"
    if not done:
        return f"{said}; no peer finished"

    def fastest(peers: list[Entry]) -> tuple[Entry, str]:
        size = max(e.size for e in peers)
        peer = min((e for e in peers if e.size == size), key=_seconds)
        where = f" at {size:g}" if size < last else ""
        return peer, f"takes {number(_seconds(peer) / _seconds(ours[size]))} times as long{where}"

    first, its = fastest(done)
    rest = [e for e in done if _error(e) <= accurate]
    if first.error is None or first in rest:
        said += f"; the fastest peer {its}"
    else:
        said += f"; the fastest peer {its} with an error of {first.error:.0e}"
        said += f", the fastest within {accurate:.0e} {fastest(rest)[1]}" if rest else f", none within {accurate:.0e}"
    return said if first.size == last else f"{said}; none finished at {last:g}"
