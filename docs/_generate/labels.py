"""Tables of results with their labels, one to a page of theory; every labelled public object is on exactly one."""

from __future__ import annotations

from functools import cache

from _generate.inventory import KEY, LABELS, Public, cite, markdown, public, table

# page: prefixes of where its objects are defined; the longest prefix that fits decides.
PAGES: dict[str, tuple[str, ...]] = {
    "layer_peeled": ("theory.peeled",),
    "unconstrained_features": (
        "theory.peeled.unconstrained", "theory.peeled.penalised_thresholds", "theory.peeled.balanced_forms",
        "theory.peeled.regularization", "theory.peeled.regression", "theory.peeled.maps.penalty_map",
        "theory.peeled.maps.PenaltyMap"),
    "seli": ("theory.peeled.seli", "theory.peeled.closed_forms_seli"),
    "deep_models": ("theory.peeled.deep_linear", "theory.peeled.deep_collapse"),
    "frames": ("theory.frames", "theory.peeled.softmax_code", "theory.peeled.hull_distance"),
    "collapse_metrics": ("theory.collapse",),
    "gradient_flow": ("theory.flow",),
    "exact_flows": ("theory.flow.exact",),
    "algorithms": (
        "theory.flow.algorithms", "theory.flow._algorithm", "theory.flow.steepest", "theory.flow._steepest",
        "theory.flow.late_stage"),
    "square_loss": ("theory.square_loss",),
    "norms": ("theory.norms", "theory.architecture"),
    "bounds": ("theory.bounds",),
    "robustness": (
        "theory.bounds.certified_radius", "theory.bounds.adversarial", "theory.norms.lipschitz",
        "theory.norms.orthogonal", "theory.norms.residual"),
    "complexity": ("theory.complexity",),
    "connectivity": ("theory.connectivity",),
    "kernels": ("theory.kernels", "theory.bounds.kernel"),
    "bridge": ("simulations",),
}  # fmt: skip
ELSEWHERE = ("theory.symbolic", "theory.plots", "theory._")


def page_of(item: Public) -> str | None:
    """The page of theory that an object belongs to."""
    if item.real.startswith(ELSEWHERE):
        return None
    fits = [(len(p), page) for page, prefixes in PAGES.items() for p in prefixes if fitting(item.real, p)]
    return max(fits)[1] if fits else None


def fitting(real: str, prefix: str) -> bool:
    """Whether a place is the prefix, inside it, or (``_algorithm``) in a module of which it is the beginning."""
    return real == prefix or real.startswith(prefix + ".") or ("._" in prefix and real.startswith(prefix + "_"))


@cache
def claims() -> dict[str, list[Public]]:
    """The labelled objects of each page."""
    found: dict[str, list[Public]] = {page: [] for page in PAGES}
    for item in public().values():
        page = page_of(item)
        if page and item.labels:
            found[page].append(item)
    return found


def table_of(page: str) -> str:
    """Result, what it says, label, source."""
    rows = [
        (f"{{py:obj}}`~{item.name}`", markdown(item.summary), ", ".join(item.labels), cite(item.keys[:4]))
        for item in sorted(claims()[page], key=lambda item: (item.kind, item.short.lower()))
    ]
    return table(("result", "what it says", "label", "source"), rows)


def bounds_table() -> str:
    """The registered bounds by their own word for their source."""
    from theory.bounds import all_bounds

    places = {item.real: name for name, item in public().items()}
    rows = []
    for bound in all_bounds():
        real = f"{type(bound).__module__}.{type(bound).__qualname__}"
        source = KEY.sub(r"{cite:t}`\g<0>`", bound.source)
        link = f" ({{py:obj}}`~{places[real]}`)" if real in places else ""
        rows.append((f"`{bound.name}`{link}", bound.title, bound.status, source))
    return table(("bound", "what it rests on", "status", "label and source"), rows)


def symbolic_list() -> str:
    """The closed forms: what each says, the formula, its label and hypotheses."""
    from theory import symbolic

    parts = []
    for form in symbolic.closed_forms():
        sources = cite(tuple(form.citations))
        told = [f"**{form.label}**" + (f", {sources}" if sources else "")]
        told += [f"hypotheses: {markdown('; '.join(form.hypotheses))}"] if form.hypotheses else []
        parts.append(
            f"`{form.name}` -- {markdown(form.statement)}\n\n$$\n{form.quantity} = {form.latex()}\n$$\n\n"
            f"{'; '.join(told)}\n\n---\n"
        )
    return "\n".join(parts)


def counts() -> dict[str, int]:
    """How many results have which label first."""
    found: dict[str, int] = {}
    for items in claims().values():
        for item in items:
            found[item.labels[0]] = found.get(item.labels[0], 0) + 1
    return found


def count_sentence() -> str:
    """The counts in words; a result with several labels counts under its first."""
    found = counts()
    told = ", ".join(f"{found[label]} *{label}*" for label in LABELS if label in found)
    return f"Of {sum(found.values())} results on these pages, by their first label: {told}.\n"
