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
# # Minority collapse happens at a finite imbalance
#
# **Claim.** In the layer-peeled model of Fang, He, Long and Su (2021) the classifiers of the minority classes become
# *exactly* equal at a finite imbalance ratio $R_0$, and, where the norm budgets are small enough, exactly zero from a
# second finite ratio $R_{00}$ on. Both are numbers with a certificate.
#
# The paper proves the collapse for $R \to \infty$ and observes it at finite $R$. Here each point is the global optimum
# with a two-sided bracket of the optimal loss, recomputed in float64.

# %%
import numpy as np

from simulations.data import published_minority_cosines
from theory import plots
from theory.peeled import LayerPeeledModel, collapse_threshold, phase_curve, solve

# %% [markdown]
# ## One imbalance
#
# Five majority classes with 10 samples each for one sample of each of five minority classes, with the budgets of the
# paper. The gap is a bound on how far the loss is from the global optimum.

# %%
below = solve(LayerPeeledModel(counts=[10] * 5 + [1] * 5, E_W=1, E_H=5))
for group in below.groups:
    print(f"{group.classes} classes of {group.count:g}: {group.phase}, cosine {group.cos_within:.8f}")

assert below.relative_gap < 1e-9
assert abs(below.groups[1].cos_within - 0.51749628) < 5e-9

# %% [markdown]
# Balanced classes give the simplex frame, with cosine $-1/(K-1)$.

# %%
balanced = solve(LayerPeeledModel(counts=[10] * 10, E_W=1, E_H=5))
assert abs(balanced.groups[0].cos_within - (-0.11111111)) < 5e-9

_ = plots.gram(below.gram_classifier(), ["10"] * 5 + ["1"] * 5, name="$W W^T$ at R = 10")

# %% [markdown]
# ## The threshold
#
# $R_0$ is a root of the optimality system: the imbalance at which keeping minority classifiers apart stops paying.

# %%
threshold = collapse_threshold(majority=5, minority=5, E_W=1, E_H=5)
print(threshold.summary())

assert abs(threshold.R0 - 12.19244708) < 5e-9
assert np.isinf(threshold.R00)

# %% [markdown]
# The solver knows nothing of the threshold, and agrees with it from both sides.

# %%
for side, phase in ((1 - 1e-6, "separated"), (1 + 1e-6, "merged")):
    minority = 10**9
    majority = round(minority * threshold.R0 * side)
    solution = solve(LayerPeeledModel(counts=[majority] * 5 + [minority] * 5, E_W=1, E_H=5))
    print(f"R = R0 * {side:.6f}: {solution.groups[1].phase}")
    assert solution.groups[1].phase == phase

# %% [markdown]
# ## The curve, with the published values
#
# The points are what the authors' own script prints, to four digits. The line is the theory.

# %%
published = published_minority_cosines()
at_published = phase_curve(majority=5, minority=5, E_W=1, E_H=5, ratios=published[:, 0])
worst = np.abs(at_published.cos_minority - published[:, 1]).max()
print(f"largest difference from the published values: {worst:.1e}, largest certified gap: {at_published.gap.max():.1e}")

assert worst < 6e-5
assert at_published.gap.max() < 1e-9

curve = phase_curve(majority=5, minority=5, E_W=1, E_H=5, ratios=np.geomspace(1, 100, 200))
_ = plots.phase_curve(curve, points=published, points_label="published by the authors (4 digits)")

# %% [markdown]
# ## Vanishing
#
# With a budget product of 1 instead of 5 the minority classifiers first merge and then vanish. From $R_{00}$ on they
# have no direction, so their cosine is undefined: a program that reports it reports rounding errors.

# %%
small = collapse_threshold(majority=5, minority=5, E_W=1, E_H=1)
print(small.summary())

assert abs(small.R0 - 1.735415604) < 5e-10
assert abs(small.R00 - 2.748881185) < 5e-10

vanished = solve(LayerPeeledModel(counts=[30] * 5 + [10] * 5, E_W=1, E_H=1))
assert vanished.groups[1].phase == "vanishing" and vanished.groups[1].norm_w == 0
assert np.isnan(vanished.groups[1].cos_within)

_ = plots.phase_curve(phase_curve(majority=5, minority=5, E_W=1, E_H=1, ratios=np.geomspace(1, 10, 200)))
