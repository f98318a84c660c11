"""docs/mutants.md and docs/mutants.json: what was judged, and every survivor with its explanation."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from tests.mutants.operators import SEED, Mutant, count
from tests.mutants.targets import ROOT, path_of

EXPLAINED = Path(__file__).with_name("survivors.yaml")
KINDS = {
    "equivalent": "Equivalent: no input gives another result",
    "rounding": "Rounding: an allowance of some 1e-16, which no test in float64 can see",
    "tolerance": "Tolerance: the result stays valid, a little looser or dearer",
    "guard": "Guard: a case that the callers or the checks before it exclude, or that arithmetic alone also handles",
    "open": "Open: a test is wanted",
}
INTRODUCTION = """# Mutation testing

Closed forms, their numeric twins, bounds, norms and certificates are changed on purpose, one change at a time, and the
tests that reach the changed line are run: does one of them fail? A change that no test notices has *survived*, and is
explained below.

What is changed comes from the registries: the modules of the {forms} symbolic forms, what the tests of their numeric
twins compare them with, the modules of the registered bounds and what these compute with, the operator norms, and
every module that builds a certificate. Changes are those of mutmut for numbers (one more), arithmetic (`+` for `-`,
`*` for `/`, `**` for `*`), comparisons (`<` for `<=`), `and`/`or`/`not`, `in`, `True`, augmented assignments and
either arm of a ternary; to these come the opposite inequality, a neighbouring function (`min`/`max`, `any`/`all`,
`floor`/`ceil`, `sqrt`/`cbrt`, `log`/`log1p`, `exp`/`expm1`) and a returned number that is 0.1 % too large. Left out
are docstrings, strings, messages, annotations, decorators, `__repr__`, `summary`, `to_json` and the argument of
`gamma` (how many roundings a bound allows for).

The {total} possible changes are sampled: {per_function} of each function (and of the statements outside functions of
each module), the first of a shuffle seeded by {seed} and the function's name. A change is judged by the tests of its
room (for twins also those of `tests/symbolic`) that reach the line, the nearest and quickest first, as many as take
{budget:g} seconds unchanged (with `--again`, as many as take {again:g}); hypothesis draws {examples} examples.
The whole suite does more: a survivor here may still fall there.

`make mutants` runs it (about an hour of one core), goes on where it was stopped, and rewrites this page;
`python -m tests.mutants --only theory.norms` judges one room or module, `--per-function 3` draws more, `--again` judges
the unexplained survivors anew, with tests written since.
"""


def write(reasons: Mapping[str, str], drawn: Iterable[Mutant], verdicts: Mapping[str, dict], per_function: int) -> None:
    """The table and the survivors of the drawn mutants that have a verdict."""
    from tests.mutants.reach import EXAMPLES
    from tests.mutants.run import AGAIN, BUDGET
    from theory.symbolic import closed_forms

    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    survivors = []
    for mutant in drawn:
        verdict = verdicts.get(mutant.key)
        outcomes[mutant.module][verdict["outcome"] if verdict else "not judged"] += 1
        if verdict and verdict["outcome"] == "survived":
            survivors.append(mutant)
    possible = {module: count(path_of(module).read_text()) for module in reasons}
    total = sum(outcomes.values(), Counter())
    facts = {"forms": len(closed_forms()), "total": sum(possible.values()), "per_function": per_function, "seed": SEED,
             "budget": BUDGET, "again": AGAIN, "examples": EXAMPLES}  # fmt: skip
    lines = [INTRODUCTION.format(**facts)]
    lines += [_summary(total)]
    lines += _table(reasons, possible, outcomes) + _listing(survivors)
    (ROOT / "docs" / "mutants.md").write_text("\n".join(lines) + "\n")
    record = {
        "seed": SEED, "per_function": per_function, "outcomes": dict(sorted(total.items())),
        "survivors": [{"key": m.key, "module": m.module, "function": m.function, "before": m.before, "after": m.after}
                      for m in survivors],
    }  # fmt: skip
    (ROOT / "docs" / "mutants.json").write_text(json.dumps(record, indent=1) + "\n")


def explanations() -> dict[str, tuple[str, str]]:
    """Kind and reason of every explained survivor, by key."""
    groups = yaml.safe_load(EXPLAINED.read_text()) or []
    return {key: (group["kind"], group["why"].strip()) for group in groups for key in group["mutants"]}


def _summary(total: Counter[str]) -> str:
    judged = total["killed"] + total["timeout"] + total["survived"]
    share = 100 * (total["killed"] + total["timeout"]) / judged if judged else 0.0
    waiting = f" {total['not judged']} more are drawn and wait for a run." if total["not judged"] else ""
    return (
        f"{judged} changes judged: {total['killed']} killed, {total['timeout']} ran out of time (noticed too), "
        f"{total['survived']} survived. Noticed: {share:.1f} %.{waiting}\n"
    )


def _table(reasons: Mapping[str, str], possible: Mapping[str, int], found: Mapping[str, Counter]) -> list[str]:
    rows = ["## By module\n", "| module | why | possible | judged | killed | timeout | survived |",
            "|---|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for module, reason in reasons.items():
        n = found[module]
        judged = n["killed"] + n["timeout"] + n["survived"]
        rows.append(f"| `{module}` | {reason} | {possible[module]} | {judged} | {n['killed']} | {n['timeout']} | "
                    f"{n['survived']} |")  # fmt: skip
    return rows


def _listing(survivors: Iterable[Mutant]) -> list[str]:
    known = explanations()
    groups: dict[tuple[str, str], list[Mutant]] = defaultdict(list)
    for mutant in survivors:
        groups[known.get(mutant.key, ("open", "Not looked at yet."))].append(mutant)
    lines = ["\n## Survivors"]
    for kind, title in KINDS.items():
        here = [(why, group) for (of, why), group in groups.items() if of == kind]
        if here:
            lines.append(f"\n### {title}\n")
        for why, group in here:
            lines.append(f"{why}\n\n```diff")
            for mutant in group:
                lines += [f"# {mutant.module} {mutant.function} ({mutant.key})", mutant.diff]
            lines.append("```\n")
    return lines
