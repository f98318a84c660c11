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
# # Bounds on the error of one trained network
#
# **Claim.** A bound that holds with probability 0.99 for *this* trained network, every constant and every union
# included, is a number one can compute, read as a formula, and hold against fresh samples. For a small convolutional
# network the certificates that say something are those that compress it or add noise to it; those from norms are
# right and say nothing at this sample size.
#
# The network: two convolutions and a dense layer, trained on 1,297 of scikit-learn's digits
# (`python -m simulations.experiments.digits_network`).

# %%
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from simulations.notebooks import data_file
from theory.architecture import read_architecture
from theory.bounds import Sample, all_bounds, certificates, compare, get, scaling
from theory.plots import bounds as draw_bounds
from theory.plots import scaling as draw_scaling

network = read_architecture(data_file("digits/net.json"))
weights = dict(np.load(data_file("digits/net.npz")))
sample = Sample(**np.load(data_file("digits/data.npz")))
print(network.summary())

# %% [markdown]
# All bounds at once. Pixels lie in [0, 1], so an input of 64 of them has norm at most 8: known before any data.

# %%
result = compare(network, weights, sample, delta=0.01, bounds=all_bounds(radius=8.0))
print(result.summary())

assert result.best is not None and result.best.value < 1
assert result.holdout.upper < result.best.value
assert all(report.value > result.holdout.errors / result.holdout.n for report in result.reports
           if report.status == "certificate")  # fmt: skip

# %%
ax = draw_bounds(result)
plt.show()

# %% [markdown]
# ## The same numbers as formulas
#
# Every certificate has a symbolic form, written separately from the numeric code; both give the same number, to twelve
# digits.

# %%
for bound in certificates(radius=8.0):
    report = next((r for r in result.reports if r.name == bound.name), None)
    if report is None:
        continue
    form = bound.symbolic(network)
    error = abs(float(form.evaluate(report.quantities)) / report.value - 1)
    print(f"{bound.name:22} numeric {report.value:12.6g}   symbolic {float(form.evaluate(report.quantities)):12.6g}")
    assert error < 1e-12

# %%
get("group-norm").symbolic(network).complexity

# %% [markdown]
# ## What grows with what
#
# Complexity terms of networks as training starts them (Gaussian weights of variance 2 / fan-in, inputs of length 1,
# margin 1): all fall like n^(-1/2); with depth those from norms multiply.

# %%
names = ("group-norm", "frobenius", "path-norm", "covering")
fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for ax, variable in zip(axes, ("depth", "width"), strict=True):
    laws = tuple(scaling(get(name), variable) for name in names)
    draw_scaling(laws, ax=ax)
for name in names:
    assert abs(scaling(get(name), "n", (10_000, 100_000)).exponents[0] + 0.5) < 0.05
plt.show()

# %% [markdown]
# ## Sparse against dense
#
# Weight sharing is not what helps a convolution, its few taps are: the bound in kernel norms over the same bound of the
# explicit matrix (the statement of Xu et al. 2023, with derived constants), for equally long taps.

# %%
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear
from theory.bounds import sparse_dense_ratio

sides = (8, 16, 32, 64)
ratios = []
for side in sides:
    convolutions = [Conv(16, 3, padding=1, bias=False), Activation("relu")] * 3
    net = Architecture.sequential([*convolutions, Flatten(), Linear(10, bias=False)], input_shape=(3, side, side))
    ratios.append(sparse_dense_ratio(net))
    print(f"{side:3} x {side:<3} pixels: convolutional / dense = {ratios[-1].ratio:.3g}")

assert all(b.ratio < a.ratio / 4 for a, b in pairwise(ratios))
ratios[-1].expression
