"""Comparisons and the page made of them: ratios, versions, what did not finish, figures that state their claim."""

import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from simulations.benchmarks import __main__ as program
from simulations.benchmarks import _measure, _report
from simulations.benchmarks._comparison import OURS, Comparison, Entry, against, not_installed, number, walk
from theory import InvalidInput, PreconditionError


def entry(method, size, seconds, error=None, note="", version="peer 1.2"):
    return Entry(method=method, version=version, size=size, seconds=seconds, error=error, note=note)


ENTRIES = (
    entry(OURS, 10, 0.5, 1e-9), entry(OURS, 100, 2.0, 1e-9), entry("peer", 10, 2.0, 1e-3),
    entry("peer", 100, None, 1e-1, "stopped at 15 s"), not_installed("other", "torchsomething", 10),
)  # fmt: skip
SMALL = Comparison(
    name="small", claim="Ours is four times as fast", size_label="classes K", error_label="relative error",
    entries=ENTRIES, floor={10: 0.05, 100: 0.1}, floor_label="one product.", settings="One thread, seed 0.",
)  # fmt: skip


def test_ratio_is_to_the_fastest_of_ours_that_is_as_accurate():
    """Three of ours at one size: which one a peer meets depends on the peer's error."""
    ours = [entry(OURS, 1, 1.0, 1e-3), entry(OURS, 1, 3.0, 1e-6), entry(OURS, 1, 9.0, 1e-9)]
    peers = {1e-2: 6.0, 1e-3: 6.0, 1e-4: 2.0, 1e-8: 6 / 9, 1e-12: 6 / 9}
    comparison = replace(SMALL, entries=(*ours, *(entry("peer", 1, 6.0, error) for error in peers)), floor={})
    found = {e.error: comparison.ratio(e) for e in comparison.entries if e.method == "peer"}
    assert found == pytest.approx(peers)
    assert comparison.ratio(entry("peer", 1, 6.0)) == 6.0  # without an error, the fastest
    assert comparison.ratio(entry("peer", 2, 6.0)) is None and comparison.ratio(entry("peer", 1, None)) is None
    assert [comparison.ratio(e) for e in ours] == [1, 1, 1]


def test_the_page_has_ratios_versions_floors_and_what_did_not_finish(tmp_path):
    timings = tuple(replace(e, error=None) for e in ENTRIES)
    others = [replace(SMALL, name="one_size", entries=ENTRIES[:1]), replace(SMALL, name="no_errors", entries=timings)]
    page = _report.write_report([SMALL, *others], tmp_path).read_text()
    assert "| 10 | peer | peer 1.2 | 2.00 | 4.00 | 1.0e-03 |  |" in page
    assert "| 100 | peer | peer 1.2 | did not finish |  | 1.0e-01 | stopped at 15 s |" in page
    assert "| 10 | other | torchsomething | not installed |  |  | not installed |" in page
    assert "| 100 | floor |  | 0.100 | 0.0500 |  |  |" in page
    assert re.search(r"numpy \d+\.\d+.*scipy \d+\.\d+", page) and "GFLOP/s" in page
    assert page.index("## Ours is four times as fast") < page.index("figures/bench_small.png") < page.index("| 10 |")
    assert (tmp_path / "figures/bench_small.png").read_bytes()[:4] == b"\x89PNG"
    # one size or no accuracy: the table says all
    assert page.count("png") == 1 and [path.name for path in tmp_path.glob("figures/*")] == ["bench_small.png"]


def test_a_claim_with_a_colon_is_a_heading_and_a_sentence():
    page = _report.markdown(replace(SMALL, claim="Two groups: ours: 2 s"), "figures/f.png")
    assert page.startswith("## Two groups\n\n**Ours: 2 s.**\n\n![Two groups](figures/f.png)\n")


def test_rows_of_every_table_have_the_width_of_their_head():
    page = _report.markdown(replace(SMALL, entries=(*ENTRIES, entry("peer|2", 10, 1.0, 1e-3, "a|b"))), None)
    assert {line.count("|") for line in page.splitlines() if line.startswith("|")} == {len(_report.COLUMNS) + 2}


def test_figure_draws_every_method_and_the_floor_and_states_the_claim():
    figure = _report.draw(SMALL)
    cost, accuracy = figure.axes
    lines = {line.get_label(): line for line in cost.lines if not line.get_label().startswith("_")}
    assert set(lines) == {OURS, "peer", "other", "floor"}
    assert list(lines[OURS].get_xdata()) == [10, 100] and list(lines[OURS].get_ydata()) == [0.5, 2.0]
    assert list(lines["peer"].get_xdata()) == [10]  # at 100 it stands in the band above
    edge = [line for line in cost.lines if line.get_transform() != cost.transData and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in edge] == [[100]]
    assert lines[OURS].get_linestyle() == "-" and lines["peer"].get_linestyle() == "--"
    markers = [line.get_marker() for name, line in lines.items() if name != "floor"]
    assert len(set(markers)) == len(markers)
    assert cost.get_xscale() == cost.get_yscale() == accuracy.get_xscale() == accuracy.get_yscale() == "log"
    assert figure.get_suptitle() == SMALL.claim
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in accuracy.lines if line.get_marker() != "none"
              for line in [line] if len(line.get_xdata())}  # fmt: skip
    assert points == {(0.5, 1e-9), (2.0, 1e-9), (2.0, 1e-3)}


def test_of_several_entries_at_a_size_the_cost_panel_takes_the_most_accurate():
    entries = (entry(OURS, 10, 1.0, 1e-3), entry(OURS, 10, 7.0, 1e-9), entry(OURS, 100, 9.0, 1e-9))
    line = _report.draw(replace(SMALL, entries=entries, floor={})).axes[0].lines[0]
    assert list(line.get_ydata()) == [7.0, 9.0]


def test_title_says_what_the_entries_say():
    assert against(ENTRIES, "K") == (
        "ours takes 2.00 s at K = 100; the fastest peer takes 4.00 times as long at 10 with an error of 1e-03, "
        "none within 1e-06; none finished at 100"
    )
    slow = (entry(OURS, 10, 4.0, 1e-9), entry("peer", 10, 1.0, 1e-2), entry("slower", 10, 2.0, 1e-9))
    assert against(slow, "N") == (
        "ours takes 4.00 s at N = 10; the fastest peer takes 0.250 times as long with an error of 1e-02, "
        "the fastest within 1e-06 takes 0.500 times as long"
    )
    assert against(slow, "N", 0.1) == "ours takes 4.00 s at N = 10; the fastest peer takes 0.250 times as long"
    assert against((slow[0], entry("peer", 10, 8.0)), "N").endswith("the fastest peer takes 2.00 times as long")
    assert against(ENTRIES[:2], "K") == "ours takes 2.00 s at K = 100; no peer finished"


def test_a_walk_ends_with_the_first_size_that_takes_too_long():
    seen = []

    def run(size):
        seen.append(size)
        return entry("peer", size, size / 10)

    found = walk("peer", "peer 1.2", (100, 10, 1000, 10_000), run, limit=5)
    assert seen == [10, 100] and [e.size for e in found] == [10, 100, 1000]
    assert found[-1].outcome == "not tried" and "more than 5 s" in found[-1].note
    lost = walk("peer", "", (1, 2), lambda size: entry("peer", size, None, note="singular"), limit=5)
    assert [e.outcome for e in lost] == ["did not finish", "not tried"]


def test_numbers_as_people_write_them():
    assert [number(x) for x in (0.0, 1234.5, 0.25, 1e-4, 2.5e6)] == ["0.00", "1.23e+03", "0.250", "1.0e-04", "2.5e+06"]


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_entries_that_are_not_numbers_are_refused(bad):
    with pytest.raises(InvalidInput, match="seconds of 'peer'"):
        entry("peer", 1, bad)
    with pytest.raises(InvalidInput, match="error of 'peer'"):
        entry("peer", 1, 1.0, bad)
    with pytest.raises(InvalidInput, match="floor"):
        replace(SMALL, floor={10: bad})


def test_a_comparison_without_ours_is_refused():
    with pytest.raises(InvalidInput, match="no entry of 'ours'"):
        replace(SMALL, entries=ENTRIES[2:])


def test_a_package_that_is_not_there_has_no_version():
    assert _measure.version("numpy", "no-such-package") is None
    assert re.fullmatch(r"numpy \d+\S*, scipy \d+\S*", _measure.version("numpy", "scipy"))


def test_rates_of_the_machine_are_those_of_a_machine():
    # from a very old core to far beyond one
    assert 1e8 < _measure.gemm_rate(n=256) < 1e13 and 1e8 < _measure.read_rate(16) < 1e13


def test_every_benchmark_compares():
    import importlib

    assert {"layer_peeled", "collapse_metrics", "flow", "operator_norms"} <= set(program.names())
    for name in program.names():
        module = importlib.import_module(f"simulations.benchmarks.{name}")
        assert callable(module.compare) and callable(module.main)


def test_the_program_writes_the_page_of_the_chosen_modules(tmp_path, monkeypatch, capsys):
    from simulations.benchmarks import bounds, layer_peeled

    monkeypatch.setattr(layer_peeled, "compare", lambda quick, say: [replace(SMALL, settings=f"quick: {quick}")])
    monkeypatch.setattr(bounds, "compare", lambda quick, say: pytest.fail("was not chosen"))
    program.main(["--quick", "--only", "layer_peeled", "--out", str(tmp_path)])
    assert "quick: True" in capsys.readouterr().out and "quick: True" in (tmp_path / "benchmarks.md").read_text()


def test_a_module_that_lacks_its_library_says_so_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    from simulations.benchmarks import bridge_collapse, layer_peeled

    def lacking(what):
        raise PreconditionError(f"{what} needs PyTorch.")

    monkeypatch.setattr(bridge_collapse, "import_torch", lacking)
    monkeypatch.setattr(layer_peeled, "compare", lambda quick, say: [SMALL])
    program.main(["--only", "bridge_collapse,layer_peeled"])
    out = capsys.readouterr().out
    assert "bridge_collapse: this benchmark needs PyTorch." in out and SMALL.claim in out


def test_an_unknown_benchmark_is_refused_in_one_sentence():
    ran = subprocess.run(
        [sys.executable, "-m", "simulations.benchmarks", "--only", "layer_peled"], capture_output=True, text=True
    )
    assert ran.returncode == 2 and "no benchmark is called 'layer_peled'" in ran.stderr
    assert "Traceback" not in ran.stderr
