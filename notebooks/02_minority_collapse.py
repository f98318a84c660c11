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
# # Minority collapse, predicted and measured
#
# **Claim.** Where its hypotheses hold (features that can go where the loss wants them), the theory gives the angle
# between rare classes of a *really trained* network to three digits, and the imbalance at which they merge;
# oversampling parts them again as computed. With ReLU features training can do worse than the optimum, and on digits
# the hypotheses fail: the comparison says where and by how much.
#
# The network: one hidden layer, weight decay on both layers, cross-entropy, five common and five rare classes. "Free
# inputs" means a one-hot input per sample, so that the hidden layer can give every sample any feature.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from simulations.experiments.minority_collapse import draw, run
from theory.peeled import merge_threshold

torch.set_num_threads(1)
result = run(quick=True)
print(result.summary())

# %% [markdown]
# The quick form has three ratios a panel. Lines: theory at the penalties of each run; points: trained networks.

# %%
figure: Figure = plt.figure(layout="constrained")
draw(result, figure)
plt.show()

# %%
linear = [row for row in result.table if row["setting"] == "linear, free inputs"]
assert max(abs(row["cosine"] - row["predicted"]) for row in linear if not row["oversampled"]) < 0.02
assert max(abs(row["cosine"] - row["predicted"]) for row in linear if row["oversampled"]) < 0.02
assert all(row["excess objective"] > -1e-5 for row in result.table)      # nothing lies below the certified optimum

# %% [markdown]
# ## The threshold by formula
#
# Classes with n samples merge when the geometric mean of the penalties reaches sqrt(n)/N. The decay of the hidden
# layer acts on a free feature as lam divided by the squared length of its input, so the threshold is known before
# training.

# %%
threshold = merge_threshold([20] * 5 + [2] * 5)
print(threshold.lam_Z)
assert np.allclose(threshold.lam_Z, np.sqrt([20, 2]) / 110, rtol=1e-12)

# %% [markdown]
# ## The full run
#
# `theory validate minority-collapse` trains 92 networks; its record is in the documentation.

# %%
folder = next(p for p in (Path("docs/validation"), Path("../docs/validation")) if p.exists())
full = json.loads((folder / "minority-collapse.json").read_text())
print("\n".join(full["notes"]))

rows = [row for row in full["table"] if row["setting"] == "linear, free inputs" and not row["oversampled"]]
worst = max(abs(row["cosine"] - row["predicted"]) for row in rows)
print(f"\nlinear, free inputs: largest deviation of the cosine over {len(rows)} ratios: {worst:.1e}")
assert worst < 0.02

digits = [row for row in full["table"] if row["setting"] == "ReLU, digits" and row["R"] >= 50]
assert min(row["cosine"] - row["predicted"] for row in digits if not row["oversampled"]) > 0.2   # theory is off here
