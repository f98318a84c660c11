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
# # Paths between solutions
#
# **Claim** (Nguyen, Brechet, Mondelli 2021). Two trained networks that look nothing alike, with a high barrier on the
# straight line between them, are joined by a path on which the loss never exceeds that of its ends, once half of the
# neurons of each layer still separate the classes. The path is explicit, and every segment of it is convex or constant
# in the loss, so that its highest point is a vertex: a proof, not a grid.

# %% tags=["rtol=0.05"]
import matplotlib.pyplot as plt
import numpy as np
import torch

from simulations.bridge import read_architecture
from simulations.data import digits
from simulations.experiments.connectivity import draw
from simulations.networks import perceptron
from simulations.notebooks import read_record
from simulations.train import TrainingPlan, train
from theory.connectivity import DenseNetwork, aligned_path, check_condition, connect, linear_path, neuron_counts

torch.set_num_threads(1)
data = digits(flat=True).subset(counts=[20] * 10, seed=0)
plan = TrainingPlan(epochs=300, batch_size=50, learning_rate=0.05, momentum=0.9, evaluate_every=50)
ends = []
for seed in (0, 1):
    trained = train(perceptron([64, 24, 24, 10], bias=True, seed=seed), data, plan)
    read = read_architecture(trained.model, data.X[:1])
    ends.append(DenseNetwork.read(read.architecture, read.weights))
    print(f"network {seed}: training loss {trained.loss[-1]:.4f}, error {trained.error[-1]:.3f}")
a, b = ends

# %% [markdown]
# ## Three paths

# %% tags=["rtol=0.05"]
paths = {
    "constructed": connect(a, b, data.X, data.y),
    "straight": linear_path(a, b, data.X, data.y),
    "straight, neurons reordered": aligned_path(a, b, data.X, data.y),
}
for name, path in paths.items():
    print(f"{name:<30} barrier {path.barrier:.3g} (at most {path.barrier_upper:.3g}), {path.points} points")
constructed = paths["constructed"]
assert constructed.points >= 1000
assert constructed.barrier < 1e-9 < 0.1 < paths["straight"].barrier
# the ends are the given networks
for end, network in ((0.0, a), (1.0, b)):
    assert np.array_equal(constructed.at(end).outputs(data.X), network.outputs(data.X))

# %%
figure, ax = plt.subplots(figsize=(5.4, 3.8), layout="constrained")
for (name, path), style in zip(paths.items(), ("-", "--", "-."), strict=True):
    place, loss = path.curve()
    ax.semilogy(place, loss, style, color="0.2", label=name)
ax.axhline(constructed.maximum, color="0.6", linewidth=0.8, linestyle=":", label="the larger loss of the ends")
ax.set(xlabel="place on the path, from one network to the other", ylabel="training loss (cross-entropy, nats)")
ax.set_title("A path on which the loss never exceeds that of its ends", loc="left", fontsize=10)
ax.spines[["top", "right"]].set_visible(False)
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## The condition, and how many neurons it asks for

# %% tags=["rtol=0.05"]
for network in ends:
    print(check_condition(network, data.X, data.y, target=constructed.maximum))
print(neuron_counts(a, b, data.X, data.y))

# %% [markdown]
# ## Twenty-one pairs
#
# `theory validate connectivity`, its record: networks of seven widths, three pairs each. Middle, the barriers: that of
# the constructed path is 0 from the width on at which half of the neurons suffice. Right, how many neurons the
# condition asks for, beside how many there are.

# %%
full = read_record("connectivity")
figure = plt.figure(layout="constrained")
draw(full, figure)
plt.show()
print("\n".join(full.notes[:2]))
suffices = [row for row in full.table if row["suffices"]]
assert suffices and all(row["barrier, half"] == 0 for row in suffices)
