"""``python -m tests.mutants [--only MODULE] [--per-function N] [--again]``: judge mutants, rewrite the table.

Goes on where it was stopped: what was judged is in ``build/mutants/verdicts.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tests.mutants.operators import Mutant, sample
from tests.mutants.report import explanations, write
from tests.mutants.targets import ROOT, apart, path_of, targets


def plan(per_function: int) -> tuple[dict[str, str], list[Mutant]]:
    """The modules with their reasons, and the mutants drawn from them."""
    found = targets()
    return found, [m for module in found for m in sample(module, path_of(module).read_text(), per_function)]


def main() -> None:
    """Judge, then write docs/mutants.md and docs/mutants.json."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--only", metavar="MODULE", help="judge those of one module, or of one room: theory.norms")
    parser.add_argument("--per-function", type=int, default=1, help="mutants drawn for each function (1)")
    parser.add_argument(
        "--again", action="store_true", help="judge unexplained survivors anew, with ten times the tests"
    )
    parser.add_argument("--fresh", action="store_true", help="find anew which tests reach which lines")
    parser.add_argument("--report", action="store_true", help="only rewrite the table")
    given = parser.parse_args()
    folder = ROOT / "build" / "mutants"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    reasons, drawn = apart(plan, given.per_function)
    store = folder / "verdicts.jsonl"
    known = read(store)
    if not given.report:
        wanted = [m for m in drawn if given.only is None or f"{m.module}.".startswith(f"{given.only}.")]
        open_ = {key for key, row in known.items() if given.again and row["outcome"] == "survived"} - set(
            explanations()
        )
        wanted = [m for m in wanted if m.key not in known or m.key in open_]
        for room in dict.fromkeys(m.module.split(".")[1] for m in wanted):
            known_room = (folder / f"{room}.json").exists() and not given.fresh
            if not known_room:
                subprocess.run([sys.executable, "-m", "tests.mutants.reach", str(folder), room], check=True, cwd=ROOT)
            run([m for m in wanted if m.module.split(".")[1] == room], folder, room, store, again=given.again)
    write(reasons, drawn, read(store), per_function=given.per_function)


def run(wanted: list[Mutant], folder: Path, room: str, store: Path, *, again: bool) -> None:
    """Judge and append each verdict at once."""
    from tests.mutants.reach import Reach
    from tests.mutants.run import AGAIN, BUDGET, judge, warm_up

    reach = Reach.read(folder, room)
    warm_up(reach)
    with store.open("a") as out:
        for n, mutant in enumerate(wanted, 1):
            verdict = judge(mutant, reach, AGAIN if again else BUDGET)
            print(json.dumps({"key": mutant.key, **asdict(verdict)}), file=out, flush=True)
            if verdict.outcome == "survived":
                print(f"survived {mutant.key} {mutant.module}:{mutant.line} {mutant.function}\n{mutant.diff}")
            if n % 25 == 0 or n == len(wanted):
                print(f"{n} of {len(wanted)}", flush=True)


def read(store: Path) -> dict[str, dict]:
    """Verdicts by key, the latest of each."""
    lines = store.read_text().splitlines() if store.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


if __name__ == "__main__":
    main()
