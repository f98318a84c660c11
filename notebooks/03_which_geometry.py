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
# # The assumptions decide the geometry, not the data
#
# **Claim.** The analytic models of the last layer predict five different geometries: the simplex frame (ETF), the
# simplex-encoded labels (SELI), the general orthogonal frame (GOF: orthogonal, of unequal lengths), merged rare
# classes, and rare classes of length zero (vanishing). Which one it is follows from the loss, from whether norms are
# bounded or penalised, from how strongly, and from the counts; where one turns into another is a number with a
# certificate.
#
# Each row below is a global optimum. The relative gap bounds its distance to the optimal objective.

# %%
import numpy as np

from simulations.cli.compare import standard_models
from theory import plots
from theory.frames import gram_distance
from theory.peeled import LayerPeeledModel, SELIModel, UnconstrainedFeaturesModel, solve
from theory.peeled.compare import compare
from theory.peeled.maps import penalty_map
from theory.peeled.penalised_thresholds import merge_threshold
from theory.peeled.regularization import regularization_path

counts = [100] * 3 + [20] * 3 + [3] * 4
K, N = len(counts), sum(counts)

# %% [markdown]
# ## Eight models, the same ten classes
#
# `standard_models` puts the penalty between the merge thresholds of the two rarest groups (`theory compare --help`
# states the rule).

# %%
result = compare(standard_models(counts))
print(result.summary())

phase = {name: [g.phase for g in s.groups] for name, s in zip(result.names, result.solutions, strict=True)}
assert max(s.relative_gap for s in result.solutions) < 1e-9
assert phase["penalised"][2] == phase["layer-peeled"][2] == "merged"
assert phase["squared error"][2] == phase["squared error, 2 layers"][2] == "vanishing"
assert set(phase["SELI (penalty → 0)"]) == {"separated"}

_ = plots.comparison(result)

# %% [markdown]
# ## The five geometries
#
# Each against its definition, from the counts alone. $Y$ are the one-hot labels (K, N), centred over classes for SELI:
# $(I - \mathbf 1 \mathbf 1^T\!/K)\, Y = V \Lambda U^T$.
#
# | geometry | who has it | definition of $W W^T$, up to a factor |
# |---|---|---|
# | ETF | every model with cross-entropy or a free bias, *equal* counts | $I - \mathbf 1 \mathbf 1^T / K$ |
# | SELI | cross-entropy, penalty to 0 | $V \Lambda V^T$ |
# | GOF | squared error, no bias | diagonal, $(\sqrt{n_k} - N \lambda_Z)_+$ |
# | merged | cross-entropy, $\lambda_Z \ge \sqrt{n_k}/N$; budgets, $R \ge R_0$ | equal rows within the group |
# | vanishing | squared error, $\lambda_Z \ge \sqrt{n_k}/N$; budgets, $R \ge R_{00}$ | zero rows |

# %%
found = dict(zip(result.names, result.solutions, strict=True))
gram = {name: solution.gram_classifier() for name, solution in found.items()}
rare = slice(6, 10)

labels = np.repeat(np.eye(K), counts, axis=1)  # (K, N)
V, Lam, _ = np.linalg.svd(labels - 1 / K, full_matrices=False)
square = found["squared error"].model
equal = compare(standard_models([20] * 5))
etf = [d for name, d in zip(equal.names, equal.etf_distance, strict=True) if name in
       ("layer-peeled", "penalised", "penalised, ReLU features", "SELI (penalty → 0)", "squared error, free bias")]
lengths = np.maximum(np.sqrt(counts) - N * np.sqrt(square.lam_W * square.lam_H), 0)

distance = {
    "ETF": max(etf),
    "SELI": gram_distance(gram["SELI (penalty → 0)"], (V * Lam) @ V.T),
    "GOF": gram_distance(gram["squared error"], np.diag(lengths)),
    "merged": np.ptp(gram["penalised"][rare, rare]) / gram["penalised"].max(),
    "vanishing": np.abs(gram["squared error"][rare]).max() / gram["squared error"].max(),
}  # fmt: skip
for name, value in distance.items():
    print(f"{name:10} {'as defined, to 1e-7' if value < 1e-7 else f'DIFFERS by {value:.1e}'}")
assert max(distance.values()) < 1e-7
print("lengths of the GOF, over the longest:", np.sqrt(lengths / lengths.max()).round(4)[[0, 3, 6]])

# %% [markdown]
# A free bias takes the mean out of the orthogonal frame: rows have negative inner products, and the rarest classes
# merge instead of vanishing.

# %%
between, with_bias = (found[name].cos_between[:2, :2] for name in ("squared error", "squared error, free bias"))
print("cosines between the groups that live, no bias:", np.abs(between).round(8).ravel())
print("with a free bias:                             ", with_bias.round(8).ravel())

assert np.abs(between).max() < 1e-12
assert with_bias.max() < -0.05
assert phase["squared error, free bias"][2] == "merged"

# %% [markdown]
# ## The penalty: each group merges at its own number
#
# With the cross-entropy and penalties, a group of $n_g$ samples per class is merged if and only if
# $\lambda_Z = \sqrt{\lambda_W \lambda_H} \ge \sqrt{n_g} / N$, whatever the other groups do. The solver knows nothing of
# that formula, and agrees with it from both sides.

# %%
threshold = merge_threshold(counts)
print(threshold.summary())

for group, lam in enumerate(threshold.lam_Z[1:], 1):
    for side, want in ((1 - 1e-6, "separated"), (1 + 1e-6, "merged")):
        found = solve(UnconstrainedFeaturesModel(counts=counts, lam_W=lam * side, lam_H=lam * side))
        print(f"n = {counts[3 * group]:>3}, lam_Z = threshold * {side:.6f}: {found.groups[group].phase}")
        assert found.groups[group].phase == want

assert np.allclose(threshold.lam_Z, np.sqrt([100, 20, 3]) / N, rtol=1e-12)

# %%
model = UnconstrainedFeaturesModel(counts=counts, lam_W=1, lam_H=1)
path = regularization_path(model, lam_Z=np.geomspace(3e-4, 5e-2, 60))
assert (path.gap / path.objective).max() < 1e-9
_ = plots.regularization_path(path)

# %%
_ = plots.penalty_map(penalty_map(5, 5, np.geomspace(1, 1e4, 60), np.geomspace(1, 1e4, 60)))

# %% [markdown]
# ## Two limits that are not the same
#
# Let the constraint fade, and the cross-entropy tends to a maximum-margin geometry; but to which one depends on how it
# fades. Larger *budgets* lead to the simplex frame: the mean of the squared feature norms is taken class by class, so
# the counts drop out. Smaller *penalties* lead to SELI, which keeps the imbalance: penalties are paid per sample.
# Both get there like one over the margin: $1/\sqrt{E_W E_H}$ for budgets, but $1/\log(1/\lambda)$ for penalties.

# %%
pair = [10] * 3 + [1] * 3
budgets = [5, 20, 80, 320]
to_frame = [compare({"": LayerPeeledModel(counts=pair, E_W=1, E_H=E)}).etf_distance[0] for E in budgets]
for E, distance in zip(budgets, to_frame, strict=True):
    print(f"E_W E_H = {E:>4}: distance to the simplex {distance:.4f}, times sqrt(E_W E_H) {distance * E**0.5:.3f}")

large = solve(LayerPeeledModel(counts=pair, E_W=1, E_H=20_000))
print("cosines at E_W E_H = 20000:", [round(g.cos_within, 4) for g in large.groups], "simplex:", -1 / 5)
assert (np.diff(to_frame) < 0).all()
assert abs(to_frame[-1] * 320**0.5 / (to_frame[-2] * 80**0.5) - 1) < 0.05
assert max(abs(g.cos_within + 1 / 5) for g in large.groups) < 0.002

# %%
seli = solve(SELIModel(counts=pair)).gram_classifier()
penalties = [1e-2, 1e-4, 1e-8, 1e-16]
solved = [solve(UnconstrainedFeaturesModel(counts=pair, lam_W=lam, lam_H=lam)) for lam in penalties]
to_seli = [float(gram_distance(s.gram_classifier(), seli)) for s in solved]
for lam, distance in zip(penalties, to_seli, strict=True):
    print(f"lam_Z = {lam:.0e}: distance to SELI {distance:.4f}, times log(1/lam_Z) {distance * np.log(1 / lam):.3f}")

assert (np.diff(to_seli) < 0).all()
assert np.ptp([distance * np.log(1 / lam) for lam, distance in zip(penalties, to_seli, strict=True)]) < 0.1
assert to_seli[-1] > 0.01  # sixteen decades are not enough: trust the limit, not a small penalty

# %% [markdown]
# With *equal* counts all of this is one geometry, and the squared error without a bias stays orthogonal.

# %%
distance = dict(zip(equal.names, equal.etf_distance, strict=True))
for name, value in distance.items():
    print(f"{name:26} to the simplex frame: {value:.6f}")
assert distance["squared error"] > 0.1
