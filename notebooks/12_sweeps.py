# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The threshold of minority collapse over 100,000 configurations
#
# **Claim.** Among 100 classes, the imbalance from which minority classifiers are equal falls with the share of majority
# classes and rises with the norm budgets, at every one of 100,007 points; and the minority vanishes at a finite
# imbalance exactly where the product of the budgets is below a closed form.
#
# The points are the shipped study `threshold-map`; `theory sweep threshold-map` computes them again in seconds. Here a
# small sweep runs first, and then a larger one that takes over its rows.

# %%
import matplotlib.pyplot as plt
import numpy as np

from simulations.store import ResultsStore
from simulations.sweep import (
    Study,
    bounds_scaling_figure,
    growth,
    plot_table,
    read_table,
    run_study,
    stored_table,
    threshold_map_figure,
)
from theory.peeled import LayerPeeledModel, collapse_threshold, solve, vanishing_product

# %% [markdown]
# ## A sweep in a few lines
#
# A study is a task with axes. Every configuration becomes one row of an SQLite store, under a key made of its
# parameters: what is there is not computed again.

# %%
axes = {"majority": {"integer": [2, 8]}, "E_H": {"log": [0.1, 30], "count": 40}}
study = Study(name="ten-classes", task="threshold", fixed={"K": 10, "E_W": 1}, grid=axes)
part = Study(name="a-part", task="threshold", fixed={"K": 10, "E_W": 1}, grid={**axes, "majority": [5]})

with ResultsStore(":memory:") as store:
    first = run_study(part, store)
    rest = run_study(study, store)
    table = read_table(store, "ten-classes")
print(f"{first.done} rows, then {rest.done} more and {rest.skipped} that were there already")

assert (first.done, rest.done, rest.skipped) == (40, 240, 40)
assert len(table) == 280 and table["residual"].max() < 1e-11

# %%
_ = plot_table(table, "E_H", "majority", "R0", log=("x", "color"), figure=plt.figure())

# %% [markdown]
# ## The stored map
#
# Random points of it against the scalar solver, and against the optimum itself, which knows nothing of thresholds: just
# below the threshold the minority classifiers differ, just above they are equal.

# %%
stored = stored_table("threshold-map")
print(stored)

worst = 0.0
for i in np.random.default_rng(0).integers(len(stored), size=200):
    found = collapse_threshold(majority=int(stored["majority"][i]), minority=100 - int(stored["majority"][i]), E_W=1,
                               E_H=float(stored["E_H"][i]))  # fmt: skip
    worst = max(worst, abs(np.log(found.R0) - stored["log_R0"][i]))
    assert np.isfinite(found.R00) == np.isfinite(stored["R00_over_R0"][i])
print(f"log R0 at 200 random points: off by {worst:.1e} at most; largest residual {stored['residual'].max():.1e}")

assert worst < 1e-10
assert stored["residual"].max() < 1e-11

# %%
at = stored.where((stored["majority"] == 50) & (stored["E_H"] > 10))
R0, E_H = float(np.exp(at["log_R0"][0])), float(at["E_H"][0])
for side, phase in ((1 - 1e-6, "separated"), (1 + 1e-6, "merged")):
    minority = 10**9
    counts = [round(minority * R0 * side)] * 50 + [minority] * 50
    solution = solve(LayerPeeledModel(counts=counts, E_W=1, E_H=E_H))
    print(f"R = R0 * {side:.6f}: {solution.groups[1].phase}")
    assert solution.groups[1].phase == phase

# %% [markdown]
# The claim, at every point.

# %%
log_R0 = stored["log_R0"].reshape(97, -1)  # one row for each number of majority classes
assert (np.diff(log_R0, axis=1) > 0).all()
assert (np.diff(log_R0, axis=0) < 0).all()

edges = np.array([vanishing_product(majority=k, minority=100 - k) for k in range(2, 99)])
vanishes = np.isfinite(stored["R00_over_R0"]).reshape(97, -1)
assert (vanishes == (stored["E_H"].reshape(97, -1) < edges[:, None])).all()

_ = threshold_map_figure(stored, plt.figure())

# %% [markdown]
# ## A study of trained networks
#
# `bounds-scaling` trained 400 perceptrons on digits, of sizes and by a plan chosen after trials so that nearly all of
# them train. Terms that multiply norms grow about five to tenfold with each layer; the one that counts parameters
# hardly grows.

# %%
networks = stored_table("bounds-scaling")
names = ("group_norm", "row_norm", "operator_frobenius", "path_norm", "covering", "parameter_dudley")
laws = {name: growth(networks, name) for name in names}
print(*(law.summary() for law in laws.values()), sep="\n")

assert all(-0.55 < law.n < 0 for law in laws.values())
assert all(law.depth > 0.6 for name, law in laws.items() if name != "parameter_dudley")
assert laws["parameter_dudley"].depth < 0.2

_ = bounds_scaling_figure(networks, plt.figure())

# %% [markdown]
# The first four are norms over margin and $\sqrt n$, times what hardly depends on n. They fall more slowly than
# $n^{-1/2}$, so the norms over the margin grow with the sample: margins grow, and norms grow faster.

# %%
margin = growth(networks, "median_margin")
print(f"median margin: n^({margin.n:+.2f} +- {margin.n_spread:.2f})")
for name in names[:4]:
    print(f"{name}: norms over the margin n^({laws[name].n + 0.5:+.2f} +- {laws[name].n_spread:.2f})")

assert margin.n > 0.25
assert all(0.1 < laws[name].n + 0.5 < 0.25 for name in names[:4])
