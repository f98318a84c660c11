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
# # A ReLU network's margin converges at times that no clock in t can reach
#
# **Claim.** Under gradient flow of an exponential loss the direction of a homogeneous network converges to a KKT point
# of the margin problem (Lyu and Li 2020; Ji and Telgarsky 2020), but when? A ReLU network that starts from large
# weights is at the largest time that a float64 can hold, $t = 1.8 \cdot 10^{308}$, still far below the margin of its
# limit. Its margin comes within 0.1 % of the limit only beyond $\log t = 10^5$. We follow the flow to $\log t = 10^8$,
# through every kink and along those on which neurons *slide*, and certify where it goes.

# %%
import numpy as np

from simulations.experiments.flow_checks_relu import cost_without_events
from simulations.notebooks import data_file
from theory import plots
from theory.flow import fully_connected, integrate
from theory.flow.kkt import kkt_certificate
from theory.flow.limit import limit_direction

table = np.loadtxt(data_file("eight_points.csv"), delimiter=",", skiprows=1)
X, y = table[:, :2], table[:, 2]
print(f"{len(X)} samples in the plane, in four arcs of alternating labels: no linear classifier separates them")

# %% [markdown]
# ## The flow
#
# Ten units in pairs of opposite output, so that the network starts at $f = 0$, with weights of size 50: the flow
# starts as a kernel method and leaves that regime late. This is
# `theory flow --data notebooks/data/eight_points.csv --width 10 --scale 50 --paired --until log-loss:1e8`.

# %%
network = fully_connected((2, 10, 1))
start = network.random_parameters(rng=0, scale=50.0)
views = network.views(start)  # into start
views["W1"][5:], views["W2"][:, 5:] = views["W1"][:5], -views["W2"][:, :5]

flow = integrate(network, (X, y), "exponential", start, until="log-loss:1e8")
print(f"{flow.status.value} log t = {flow.log_t[-1]:.6g}, log(1/loss) = {flow.log_inverse_loss[-1]:.6g}")
print(f"clocks: {[clock for clock, _ in flow.phases]}; events: {flow.event_counts}")

assert np.abs(network.output(start, X)).max() < 1e-10
assert flow.log_t[-1] > 0.99e8
assert flow.event_counts["crossing"] > 0 and flow.event_counts["sliding"] > 0
assert flow.conservation_drift < 1e-7

# %% [markdown]
# ## The limit is a KKT point
#
# The state is polished by Newton's method to a KKT point of the margin problem, minimise $\|\theta\|^2/2$ with all
# margins at least 1. The smoothed margin never falls once the data are separated, a theorem that the trajectory is
# held against.

# %%
limit = limit_direction(network, X, y, "exponential", flow.theta, modes=flow.modes())
print(f"margin {limit.margin:.9f}, {limit.summary().splitlines()[0]}")

smoothed = flow.smoothed_margins()[flow.log_inverse_loss > 0]
assert limit.residual < 1e-12
assert (np.diff(smoothed) > -1e-9 * smoothed[:-1]).all()
assert flow.normalized_margins()[-1] < limit.margin * (1 + 1e-9)

_ = plots.flow_margin(flow, limit=limit)

# %%
largest = np.log(np.finfo(float).max)
at_largest = flow.at(log_t=largest)
share = (y * network.output(at_largest, X)[:, 0]).min() / np.linalg.norm(at_largest) ** 2 / limit.margin
gap = 1 - flow.normalized_margins() / limit.margin
late = flow.log_t[np.flatnonzero(gap > 1e-3)[-1] + 1]
print(f"at t = 1.8e308 the margin is {share:.0%} of its limit; it is within 0.1 % only beyond log t = 100000")

assert 0.3 < share < 0.8
assert late > 1e5

# %% [markdown]
# ## How nearly a KKT point, along the way
#
# The points are a certificate of each state: the least $(\varepsilon, \delta)$ with which it satisfies the KKT
# conditions, multipliers and slopes at the kinks found anew by convex programs. The lines are theory from the flow's
# own multipliers. The residual falls slowly: hence the polish above.

# %%
certificate = kkt_certificate(network, X, y, "exponential", flow.theta, modes=flow.modes(), slackness=1.0)
print(f"eps = {certificate.eps:.2e}, delta = {certificate.delta:.1e} at log(1/loss) = {flow.log_inverse_loss[-1]:.3g}")
assert certificate.eps < 0.1 and certificate.delta < 1e-6

_ = plots.flow_kkt(flow)

# %% [markdown]
# ## Sliding
#
# From small weights neurons first turn, and most of them slide: where the fields on both sides of a kink
# $w_j \cdot x_n = 0$ point at it, the flow stays on the kink, with a slope of its own between 0 and 1 (Filippov). The
# cosine between neuron and sample is then 0, and not nearly 0.

# %%
small = network.random_parameters(rng=0, scale=0.2)
rich = integrate(network, (X, y), "exponential", small, until="log-loss:1e8")
print(f"log t = {rich.log_t[-1]:.6g}; events: {rich.event_counts}")

_ = plots.flow_sliding(rich)

# %%
longest = 0
for step in range(rich.steps + 1):
    sliding = rich.modes(step) == 2
    pre = network.preactivations(rich.thetas[step], X)
    assert np.abs(pre[sliding]).max(initial=0) < 1e-9 * np.linalg.norm(rich.thetas[step])
    longest = max(longest, sliding.sum())
print(f"up to {longest} neurons slide at a time, each at distance 0 from its kink")
assert longest >= 3

_ = plots.neuron_directions(rich)

# %% [markdown]
# A solver that knows no kinks steps back and forth across them. On eight random samples and ten units, to $t = 3$ (the
# check 16b of `theory validate`'s flow checks), SciPy's DOP853 at the same tolerance is stopped after 13,000
# evaluations of the field and has not arrived.

# %%
cost = cost_without_events()
for rtol, theirs, ours in zip(cost.x, 10 * cost.theory, cost.measured, strict=True):
    print(f"rtol {rtol:.0e}: DOP853 at least {theirs.item():.0f} evaluations, with events {ours.item():.0f}")
    assert ours < theirs / 10

# %% [markdown]
# ## Both starts end at the same margin
#
# Small weights reach it early. The clock of the margin is $\log t$ against the squared norm of the start.

# %%
rich_limit = limit_direction(network, X, y, "exponential", rich.theta, modes=rich.modes())
rich_gap = 1 - rich.normalized_margins() / rich_limit.margin
early = rich.log_t[np.flatnonzero(rich_gap > 1e-3)[-1] + 1]
print(f"margins {limit.margin:.9f} and {rich_limit.margin:.9f}")

assert abs(limit.margin / rich_limit.margin - 1) < 1e-9
assert early < late / 10

_ = plots.decision_boundary(flow)
