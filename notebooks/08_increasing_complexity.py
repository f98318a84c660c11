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
# # Functions of increasing complexity
#
# **Claim** (Nakkiran et al. 2019). A network first knows what a linear classifier knows, keeps it, and only then learns
# the rest. In bits: the performance correlation mu_Y(F; L) = I(F; Y) - I(F; Y | L) of the network F with the best
# linear classifier L is all of I(F; Y) at first, and never falls again.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from simulations.experiments.increasing_complexity import draw, run
from simulations.experiments.result import table_text
from simulations.notebooks import read_record
from theory.complexity import estimate, exact

torch.set_num_threads(1)

# %% [markdown]
# ## The measure on tables that are known
#
# Exclusive or: neither variable knows anything of Y alone, both know everything together, and mu is minus one bit.

# %%
xor = np.zeros((2, 2, 2))
for f in (0, 1):
    for l in (0, 1):
        xor[f, f ^ l, l] = 0.25
print(exact(xor))
assert abs(exact(xor).mu + 1) < 1e-12

rng = np.random.default_rng(0)
y = rng.integers(2, size=20_000)
linear = np.where(rng.random(len(y)) < 0.2, 1 - y, y)
network = np.where(linear == y, y, np.where(rng.random(len(y)) < 0.75, y, 1 - y))    # knows all that linear knows
found = estimate(network, y, linear)
print(f"I(F;Y) = {found.I_FY:.3f}, mu = {found.mu:.3f}, I(L;Y) = {found.I_LY:.3f} bits")
p = 0.2
print(f"1 - h(0.2) = {1 + p * np.log2(p) + (1 - p) * np.log2(1 - p):.3f}")
assert abs(found.I_LY - (1 + p * np.log2(p) + (1 - p) * np.log2(1 - p))) < 0.01

# %% [markdown]
# ## Networks in training
#
# One seed of each task here; `I(F;Y|L)` is what the network knows beyond the best linear classifier, `I(L;Y|F)` what it
# has lost of it.

# %% tags=["rtol=0.05"]
result = run(quick=True)
print(table_text(result.table))
checks = result.agreement
print(f"{checks.verdict}: {checks.agreeing} of {len(checks.checks)} checks")
for task in ("shortcut", "digits"):
    assert checks[f"{task}: largest I(F;Y|L) in the first phase"].agrees  # first only what the linear one knows
    assert checks[f"{task}: I(L;Y|F) at the end"].agrees  # and it is kept

# %% [markdown]
# ## All seeds
#
# `theory validate increasing-complexity`, its record. Left, a model that is solved exactly: lines are theory, points a
# linear predictor and a ReLU network in training. Middle and right, trained networks: while black and grey agree, the
# network knows nothing that the classifier L does not know; then mu(F; L) stays, and I(F; Y) goes on without it.

# %%
full = read_record("increasing-complexity")
figure = plt.figure(layout="constrained")
draw(full, figure)
plt.show()
print(f"{full.agreement.verdict}: {full.agreement.agreeing} of {len(full.agreement.checks)} checks")
print("\n".join(full.notes))
assert full.agreement.agrees
