"""Bounds side by side and their growth: the best pays for the choice, formulas and numbers agree."""

from __future__ import annotations

import math

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Add, Architecture, Attention, Conv, Flatten, GraphBuilder, LayerNorm, Linear
from theory.bounds import Sample, all_bounds, certificates, compare, get, published_forms, scaling
from theory.bounds._problem import Problem
from theory.bounds._scaling import Family

SLOW = {"compression", "pac-bayes-kl"}


def cheap(bounds):
    return [bound for bound in bounds if bound.name not in SLOW]


def dense(bias=False):
    ops = [Linear(6, bias=bias), Activation("relu"), Linear(3, bias=bias)]
    return Architecture.sequential(ops, input_shape=4)


def conv():
    ops = [Conv(4, 3, padding=1, bias=False), Activation("relu"), Flatten(), Linear(3, bias=False)]
    return Architecture.sequential(ops, input_shape=(2, 5, 5))


def residual():
    g = GraphBuilder(4)
    stream = g.add(Linear(4))
    branch = g.add(Linear(4), g.add(Activation("relu"), stream))
    g.add(Linear(3), g.add(Activation("relu"), g.add(Add(), stream, branch)))
    return g.build()


def attentive():
    g = GraphBuilder((3, 4))
    x = g.add(LayerNorm(), g.add(Attention(2)))
    g.add(Linear(3), g.add(Flatten(), x))
    return g.build()


def problem(net, n=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, *net.input_shape)) / 4
    weights = net.random_weights(rng=rng)
    p = Problem(net, weights, (X, np.zeros(n, dtype=int)))
    y = p.outputs.argmax(axis=1)
    return weights, Sample(X=X, y=y, X_test=X[:20], y_test=y[:20])


@pytest.mark.parametrize("net", [dense(), dense(True), conv(), residual()], ids=["dense", "biased", "conv", "residual"])
def test_symbolic_forms_are_the_numbers_and_their_parts_have_values(net):
    weights, data = problem(net)
    whole, seen = Problem(net, weights, data), 0
    for bound in cheap(all_bounds(radius=5.0)):
        try:
            report = bound.report(whole, 0.05)
        except PreconditionError:
            continue
        form = bound.symbolic_form(whole)
        value = float(form.evaluate(report.quantities))
        assert value == pytest.approx(report.value, rel=1e-12), bound.name
        assert report.log10 == pytest.approx(math.log10(report.value), abs=1e-10)
        assert (report.n_needed is None) == (bound.name in ("parameter-net", "pac-bayes-spectral"))
        if bound.status == "certificate":
            named = {s.name for s in form.complexity.free_symbols}
            assert named <= {*report.quantities, "gamma", "n"}, (bound.name, named - set(report.quantities))
        seen += 1
    assert seen >= 7


def test_the_best_is_the_smallest_certificate_at_its_share_of_delta():
    net = dense()
    weights, data = problem(net)
    bounds = cheap(all_bounds(radius=5.0))
    result = compare(net, weights, data, 0.05, bounds=bounds)
    count = len(cheap(certificates()))
    values = {r.name: r.log10 for r in result.reports if r.status == "certificate"}
    assert result.best.name == min(values, key=values.get) and result.n_certificates == count
    assert result.best.delta == 0.05 / count
    again = get(result.best.name, radius=5.0).evaluate(net, weights, data, 0.05 / count)
    assert again.value == result.best.value
    assert {r.name for r in result.reports} | {r.name for r in result.refused} == {b.name for b in bounds}
    assert [r.status for r in result.reports] == sorted(r.status for r in result.reports)
    assert result.best.name in result.summary() and "hold-out" in result.summary()


def test_every_bound_says_its_label_and_source():
    names = [bound.name for bound in all_bounds()]
    assert len(set(names)) == len(names) and len(certificates()) == 15 and len(published_forms()) == 13
    for bound in all_bounds():
        assert bound.status in ("certificate", "published form") and bound.title and bound.source
        words = ("derived", "proved") if bound.status == "certificate" else ("published form",)
        assert any(word in bound.source for word in words), bound.name


def test_attention_leaves_only_bounds_without_lipschitz_constants():
    net = attentive()
    weights, data = problem(net)
    result = compare(net, weights, data, bounds=cheap(all_bounds(radius=5.0)))
    assert result.reports == () and result.best is None
    assert any("Lipschitz" in refusal.reason for refusal in result.refused)
    assert {a.name for a in get("compression").assumptions(net) if a.holds}
    assert all(a.holds for a in get("compression").assumptions(net, weights))


def test_bad_calls():
    net = dense()
    weights, data = problem(net)
    with pytest.raises(InvalidInput, match="at least one bound"):
        compare(net, weights, data, bounds=())
    with pytest.raises(InvalidInput, match="two bounds are called 'frobenius'"):
        compare(net, weights, data, bounds=[get("frobenius")] * 2)
    with pytest.raises(InvalidInput, match="no bound is called 'x'"):
        get("x")
    with pytest.raises(PreconditionError, match="pac-bayes-spectral needs"):
        get("pac-bayes-spectral").symbolic(conv())


def test_scaling_of_norm_products():
    assert scaling(get("group-norm"), "n").exponents == pytest.approx([-0.5] * 3, rel=1e-9)
    depth = scaling(get("frobenius"), "depth", (3, 4, 5), family=Family(width=32))
    # each layer multiplies by its Frobenius norm, near 8; the least of two statements grows a little faster
    assert all(8 < ratio < 8 * 1.5 for ratio in depth.ratios)
    assert depth.to_json()["variable"] == "depth" and "per layer" in depth.said
    kernel = scaling(get("convolutional"), "kernel_size", (1, 3))
    assert len(kernel.log10) == 2 and kernel.family.startswith("convolutional")


@pytest.mark.parametrize("bound", certificates(radius=2.0), ids=lambda bound: bound.name)
def test_every_certificate_has_a_growth_law_or_refuses(bound):
    kind = "convolutional" if bound.name == "convolutional" else "dense"
    family = Family(kind=kind, width=8, n=200, depth=2 if bound.name == "two-layer" else 3)
    law = scaling(bound, "n", (100_000, 200_000), family=family)
    # the statements with an inverted relative entropy print what stands inside it, which falls like 1/n or 1
    assert -1.01 < law.exponents[0] <= 0
    if bound.name in ("group-norm", "frobenius", "row-norm", "operator-frobenius", "path-norm", "two-layer"):
        assert law.exponents[0] == pytest.approx(-0.5, abs=1e-9)


def test_scaling_refusals():
    for arguments, said in (
        (("height",), "variable must be"), (("n", (3, 2)), "increasing"), (("n", (3,)), "at least two"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=said):
            scaling(get("group-norm"), *arguments)
    with pytest.raises(InvalidInput, match="no kernels"):
        scaling(get("group-norm"), "kernel_size", family=Family())
