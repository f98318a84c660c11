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
# # Sparse against dense
#
# **Claim.** On a target that is a tree of functions of two variables, a network with the same tree of connections errs
# less on average than a dense one at most sample sizes, and the advantage is gone when the leaves are in another
# order. The bound of the sparse network shrinks by a factor that is known from the architecture alone; training gives
# part of it back, for the sparse network's norms over margin are larger.
#
# The comparison is that of Xu, Rangamani, Liao, Galanti and Poggio (2023) and of Galanti et al.; the factor here has
# its constants and its logarithm.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

from simulations.data import binary_tree, compositional
from simulations.experiments.dense_versus_convolutional import draw
from simulations.networks import perceptron, tree_network
from simulations.notebooks import read_record
from simulations.train import TrainingPlan, train
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear
from theory.bounds import sparse_dense_ratio

torch.set_num_threads(1)

# %% [markdown]
# ## The target, stated

# %%
depth = 3
print(binary_tree(depth, 0).describe())
data = compositional(depth, 512, seed=0, test_size=4000)
print(data)

# %% [markdown]
# ## What the architecture alone promises

# %%
layers = []
for _ in range(depth):
    layers += [Conv(16, 2, stride=2), Activation("relu")]
tree = Architecture.sequential([*layers, Flatten(), Linear(2)], input_shape=(2, 2**depth))
promise = sparse_dense_ratio(tree)
print(f"bound of the tree network over that of the dense one: {promise.ratio:.3f}")
assert 0 < promise.ratio < 1
deeper = []
for levels in range(1, 9):
    stack = [part for _ in range(levels) for part in (Conv(16, 2, stride=2), Activation("relu"))]
    net = Architecture.sequential([*stack, Flatten(), Linear(2)], input_shape=(2, 2**levels))
    deeper.append(sparse_dense_ratio(net).ratio)
assert np.all(np.diff(deeper) < 0)

figure, ax = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
ax.semilogy(range(1, 9), deeper, "-o", color="0.2", markersize=4)
ax.set(xlabel="levels of the tree (inputs: 2 to that power)", ylabel="sparse bound / dense bound")
ax.set_title("The deeper the tree, the more its connections are worth", loc="left", fontsize=10)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## Two networks, the same samples, the same training
#
# One of each, at 512 samples, on the target and on the target with its leaves in another order.

# %% tags=["rtol=0.05"]
plan = TrainingPlan(epochs=120, batch_size=64, learning_rate=0.05, momentum=0.9, weight_decay=1e-4, schedule="cosine",
                    evaluate_every=40)  # fmt: skip
order = np.random.default_rng(1).permutation(2**depth)
misaligned = replace(data, name="shuffled leaves", X=data.X[..., order], X_test=data.X_test[..., order])
networks = {
    "tree": tree_network(depth, 16, 2, seed=0),
    "dense": perceptron([2**depth, 128, 64, 32, 2], bias=True, seed=0),
}
errors = {
    (target, name): train(network, sample, plan).test_error[-1]
    for target, sample in (("aligned", data), ("shuffled", misaligned))
    for name, network in networks.items()
}
for (target, name), error in errors.items():
    print(f"{target:<10}{name:<8}held-out error {error:.3f}")
assert errors["aligned", "tree"] < errors["aligned", "dense"]
assert errors["shuffled", "tree"] > errors["aligned", "tree"]

# %% [markdown]
# ## The whole experiment
#
# `theory validate dense-versus-convolutional`: four learners, three targets, sample sizes from 128 to 2,048. Points are
# means over targets and seeds, bars their range: single targets differ much more than learners do. Right, the ratio of
# the bounds: lines what the architecture promises, points what is left of it after training.

# %%
full = read_record("dense-versus-convolutional")
figure = plt.figure(layout="constrained")
draw(full, figure)
plt.show()

# %%
print(f"{full.agreement.verdict}: {full.agreement.agreeing} of {len(full.agreement.checks)} checks")
print("\n".join(note for note in full.notes if "at n = 2048" in note or note.startswith("bound") or "power" in note))

last = {(row["target"], row["learner"]): row["error"] for row in full.table if row["n"] == 2048}
assert all(last["aligned", name] < last["aligned", "dense"] / 2 for name in ("tree", "local", "convnet"))
assert all(last["misaligned", name] > last["misaligned", "dense"] for name in ("tree", "local", "convnet"))
