"""Comparisons as a page with tables, and as figures: cost against size, accuracy against time."""

from __future__ import annotations

import os
import platform
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from simulations.benchmarks._comparison import OURS, Comparison, Entry, number
from simulations.benchmarks._measure import gemm_rate, one_thread, read_rate, version

COLUMNS = ("method", "version", "seconds", "times ours", "error", "note")
SMALLEST = 1e-17  # errors below are drawn here
# luminance and marker both tell the peers apart, so that the figure can be read in grey
PEERS = (
    ("#b3480f", "s"), ("#3f8f5f", "^"), ("#8a6fb0", "D"), ("#b59a2b", "v"), ("#4a4a4a", "P"), ("#2e86ab", "X"),
    ("#a23b72", "<"), ("#6b8e23", ">"), ("#7f7f7f", "h"), ("#c47f3d", "*"),
)  # fmt: skip

INTRODUCTION = """# What it costs, and how right it is, beside what people use today

Every table was measured in one process, on one thread, ours and its peers in turn, by
`python -m simulations.benchmarks` (`make bench`). *times ours* is the peer's seconds over ours at the same size; where
there are several entries of ours at a size, over the fastest that is at least as accurate. The *floor* is what the
arithmetic alone takes on this machine. Timings move by tens of percent from run to run; read the ratios.
"""


def rows(comparison: Comparison) -> list[tuple[float, tuple[str, ...]]]:
    """Size and cells of each line of the table, floors included, sizes rising."""
    order = {method: rank for rank, method in enumerate(comparison.methods)}
    found: list[tuple[float, tuple[str, ...]]] = []
    for size in comparison.sizes:
        entries = [entry for entry in comparison.entries if entry.size == size]
        # a reader looks along one method from coarse to fine
        entries.sort(key=lambda e: (order[e.method], -(e.error if e.error is not None else 0.0)))
        for e in entries:
            ratio = comparison.ratio(e)
            cells = (e.method, e.version, e.outcome, "" if ratio is None else number(ratio),
                     "" if e.error is None else f"{e.error:.1e}", e.note)  # fmt: skip
            found.append((size, cells))
        if size in comparison.floor:
            ours = min((e.seconds for e in entries if e.method == OURS and e.seconds is not None), default=None)
            floor = comparison.floor[size]
            found.append((size, ("floor", "", number(floor), "" if ours is None else number(floor / ours), "", "")))
    return found


def table(comparison: Comparison) -> str:
    """The table as plain text for a terminal."""
    lines = [(f"{size:g}", *cells) for size, cells in rows(comparison)]
    head = ("size", *COLUMNS)
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in [head, *lines]]
    below = [f"size: {comparison.size_label}; error: {comparison.error_label}"]
    below += [f"floor: {comparison.floor_label}"] if comparison.floor else []
    below += [comparison.settings] if comparison.settings else []
    return "\n".join([f"{comparison.name}: {comparison.claim}", *text, *below])


def markdown(comparison: Comparison, figure: str | None) -> str:
    """One section of the page; the claim up to its colon is the heading."""
    head = ["size", *COLUMNS]
    heading, _, said = comparison.claim.partition(": ")
    lines = [f"## {heading}", "", *([f"**{said[0].upper()}{said[1:]}.**", ""] if said else [])]
    if figure is not None:
        lines += [f"![{heading}]({figure})", ""]
    lines += [f"Size: {comparison.size_label}. Error: {comparison.error_label}."]
    lines += [f"Floor: {comparison.floor_label}"] if comparison.floor else []
    lines += [comparison.settings] if comparison.settings else []
    lines += ["", f"| {' | '.join(head)} |", f"|{'|'.join(['---:', '---', '---', *['---:'] * 3, '---'])}|"]
    for size, cells in rows(comparison):
        lines.append(f"| {size:g} | {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """One sentence: processor, Python, libraries, rates of one thread."""
    return (
        f"Measured on {os.cpu_count()} cores of {_processor()}, one of them used; Python {platform.python_version()}, "
        f"{version('numpy')}, {version('scipy')}. One thread does {gemm_rate() / 1e9:.0f} GFLOP/s in double and "
        f"{gemm_rate('float32') / 1e9:.0f} in single precision matrix products, and reads {read_rate() / 1e9:.0f} GB/s."
        f" The machine's load over the last fifteen minutes was {os.getloadavg()[2]:.1f}; 1 is this program alone."
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def has_figure(comparison: Comparison) -> bool:
    """Whether ours finished at two sizes or more and has errors to show; otherwise the table says all."""
    ours = [e for e in comparison.entries if e.method == OURS and e.seconds is not None]
    return len({e.size for e in ours}) > 1 and any(e.error is not None for e in ours)


def draw(comparison: Comparison) -> Any:
    """A matplotlib Figure: seconds against size on the left, error against seconds on the right, both log-log.

    Ours is the solid line with filled markers, peers are dashed with open ones. Where a method has several entries at
    a size, the left panel takes the most accurate; the markers in the band at its top did not finish.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.9), layout="constrained")
    cost, accuracy = figure.subplots(1, 2)
    lost: list[tuple[float, dict[str, Any]]] = []
    for index, method in enumerate(comparison.methods):
        style: dict[str, Any] = {"color": "#1b3a5c", "marker": "o", "linestyle": "-", "linewidth": 2.0, "zorder": 4}
        if method != OURS:
            color, marker = PEERS[(index - 1) % len(PEERS)]
            style = {"color": color, "marker": marker, "linestyle": "--", "linewidth": 1.0, "markerfacecolor": "white"}
        entries = [entry for entry in comparison.entries if entry.method == method]
        _draw_cost(cost, method, entries, style)
        _draw_accuracy(accuracy, entries, style, comparison.sizes)
        lost += [(size, style) for size in sorted({e.size for e in entries if e.outcome == "did not finish"})]
    if comparison.floor:
        sizes = sorted(comparison.floor)
        cost.plot(sizes, [comparison.floor[s] for s in sizes], color="0.3", linestyle=":", linewidth=1.4, label="floor")
    cost.set(xscale="log", yscale="log", xlabel=textwrap.fill(comparison.size_label, 60), ylabel="seconds, one thread")
    accuracy.set(
        xscale="log", yscale="log", xlabel="seconds, one thread", ylabel=textwrap.fill(comparison.error_label, 50)
    )
    _label_seconds(cost.yaxis)
    _label_seconds(accuracy.xaxis)
    several = len({(e.method, e.size) for e in comparison.entries}) < len(comparison.entries)
    at = ", each at the least error it reached" if several else ""
    cost.set_title(f"Cost against size{at}", loc="left", fontsize=9)
    accuracy.set_title("Accuracy against time (larger marker: larger size)", loc="left", fontsize=9)
    if len(comparison.sizes) <= 8:
        cost.set_xticks(comparison.sizes, [f"{size:g}" for size in comparison.sizes])
        cost.xaxis.minorticks_off()
    _draw_lost(cost, lost)
    for axes in (cost, accuracy):
        axes.tick_params(labelsize=8, which="both")
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
    figure.suptitle(textwrap.fill(comparison.claim, 115), fontsize=10.5, x=0.01, ha="left")
    handles, labels = cost.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4, fontsize=8, frameon=False)
    return figure


def _draw_cost(axes: Any, method: str, entries: list[Entry], style: dict[str, Any]) -> None:
    finest: dict[float, float] = {}
    for e in sorted(entries, key=lambda e: -(e.error if e.error is not None else 0.0)):
        if e.seconds is not None:
            finest[e.size] = e.seconds
    sizes = sorted(finest)
    axes.plot(sizes, [finest[s] for s in sizes], label=method, markersize=5.5, **style)


def _draw_accuracy(axes: Any, entries: list[Entry], style: dict[str, Any], sizes: tuple[float, ...]) -> None:
    points = sorted((e.size, -max(e.error, SMALLEST), e.seconds) for e in entries
                    if e.seconds is not None and e.error is not None)  # fmt: skip
    several = len(points) > len({size for size, _, _ in points})
    for size in sizes if several else (None,):  # lines join tolerances at one size or, without those, sizes
        part = [(seconds, -error) for s, error, seconds in points if size is None or s == size]
        axes.plot([x for x, _ in part], [y for _, y in part], **{**style, "marker": "none", "linewidth": 0.8})
    for size, error, seconds in points:
        large = sizes.index(size) / max(1, len(sizes) - 1)
        axes.plot(seconds, -error, **style, markersize=4 + 5 * large)


def _label_seconds(axis: Any) -> None:
    """Plain numbers; 2 and 5 of each decade only where there are few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _draw_lost(axes: Any, lost: list[tuple[float, dict[str, Any]]]) -> None:
    """A band above the data, one height for each method."""
    if not lost:
        return
    bottom, top = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if bottom <= tick <= top])
    axes.yaxis.minorticks_off()
    axes.set_ylim(bottom, top * (top / bottom) ** 0.2)
    axes.axhspan(top, axes.get_ylim()[1], facecolor="0.94", zorder=0)
    axes.annotate("did not finish", (0.01, 0.99), xycoords="axes fraction", fontsize=8, va="top", color="0.3")
    markers = list(dict.fromkeys(style["marker"] for _, style in lost))
    for size, style in lost:
        height = 0.84 + 0.1 * (markers.index(style["marker"]) + 0.5) / len(markers)
        axes.plot(size, height, transform=axes.get_xaxis_transform(), markersize=5.5, **style)


def write_report(comparisons: Iterable[Comparison], folder: Path) -> Path:
    """``benchmarks.md`` and ``figures/bench_NAME.png`` in ``folder``; returns the page's path."""
    from simulations._output import save_figure

    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION + "\n" + machine() + "\n"]
    for comparison in comparisons:
        name = f"bench_{comparison.name}.png" if has_figure(comparison) else None
        if name is not None:
            save_figure(draw(comparison), figures / name)
        parts.append(markdown(comparison, None if name is None else f"figures/{name}"))
    page = folder / "benchmarks.md"
    page.write_text("\n".join(parts))
    return page


def print_tables(compare: Callable[..., list[Comparison]]) -> None:
    """Run one module's comparison on one thread and print its tables; ``--quick`` is read from the command line."""
    from simulations._progress import Progress

    with one_thread(), Progress("measuring") as progress:
        found = compare("--quick" in sys.argv[1:], progress.draw)
    print("\n\n".join(table(comparison) for comparison in found))
