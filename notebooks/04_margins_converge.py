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
# **Claim.** Under gradient flow of an exponential loss the direction of a homogeneous network converges (Lyu and Li
# 2020; Ji and Telgarsky 2020), but when? A ReLU network that starts from large weights is at the largest time that a
# float64 can hold, $t = 1.8 \cdot 10^{308}$, still far below the margin of its limit. Its margin comes within 0.1 % of
# the limit only beyond $\log t = 10^5$. We follow the flow to $\log t = 10^8$, through every kink, in a few seconds,
# and certify where it goes.

# %%
import warnings

import numpy as np
from scipy.integrate import DOP853

from theory import plots
from theory.flow import fully_connected, integrate
from theory.flow.kkt import kkt_certificate
from theory.flow.limit import limit_direction

table = np.loadtxt("notebooks/data/eight_points.csv", delimiter=",", skiprows=1)
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
print(f"clocks and their first steps: {flow.phases}; events: {flow.event_counts}")

assert np.abs(network.output(start, X)).max() < 1e-10
assert flow.log_t[-1] > 0.99e8
assert flow.event_counts["crossing"] > 0 and flow.event_counts["sliding"] > 0
assert flow.conservation_drift < 1e-7

# %% [markdown]
# ## The limit
#
# The state is polished by Newton's method to a KKT point of the margin problem. The smoothed margin never falls once
# the data are separated, a theorem that the trajectory is held against.

# %%
limit = limit_direction(network, X, y, "exponential", flow.theta, modes=flow.modes())
print(limit.summary())

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
print(f"at t = 1.8e308 the margin is {share:.0%} of its limit; within 0.1 % from log t = {late:.2g} on")

assert 0.3 < share < 0.8
assert late > 1e4

# %% [markdown]
# ## What a solver in t does
#
# SciPy's DOP853 on the same flow at the same tolerance. From the large weights it ends at the very left of the axis
# above, having spent more evaluations of the field than we spent on all of it. From small weights it does not even get
# to separation: a unit slides along a kink, and the solver steps back and forth across it.


# %%
def plain(start, budget):
    """The last sound state of DOP853 in t: log t, log(1/loss), evaluations."""

    def field(t, theta):
        at = network.forward(theta, X)
        return network.gradient(at, (y * np.exp(-y * at.outputs[:, 0]))[:, None])[0]

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        solver = DOP853(field, 0.0, start, np.inf, rtol=1e-8, atol=1e-12)
        while solver.status == "running" and solver.nfev < budget and np.isfinite(solver.y).all():
            t, theta = solver.t, solver.y
            solver.step()
    return np.log(t), -np.log(np.exp(-y * network.output(theta, X)[:, 0]).sum()), solver.nfev


small = network.random_parameters(rng=0, scale=0.2)
rich = integrate(network, (X, y), "exponential", small, until="log-loss:1e8")
for name, theta, ours in (("large weights", start, flow), ("small weights", small, rich)):
    log_t, u, evaluations = plain(theta, 20_000)
    print(f"{name}: DOP853 stands at log t = {log_t:.3g}, log(1/loss) = {u:.3g} after {evaluations} evaluations")
    print(f"{'':15}we stand at log t = {ours.log_t[-1]:.3g} after {ours.field_evaluations}")
    assert log_t < largest / 2 and ours.field_evaluations < evaluations

# %% [markdown]
# ## Both starts end at the same margin
#
# Small weights reach it early. The clock of the margin is $\log t$ against the squared norm of the start.

# %%
rich_limit = limit_direction(network, X, y, "exponential", rich.theta, modes=rich.modes())
rich_gap = 1 - rich.normalized_margins() / rich_limit.margin
early = rich.log_t[np.flatnonzero(rich_gap > 1e-3)[-1] + 1]
print(f"margins {limit.margin:.9f} and {rich_limit.margin:.9f}, within 0.1 % from log t = {late:.2g} and {early:.2g}")

assert abs(limit.margin / rich_limit.margin - 1) < 1e-9
assert early < late / 10

# %% [markdown]
# ## The certificate
#
# How nearly a state satisfies the KKT conditions, with the multipliers and the slopes at the kinks found anew by a
# convex program. The residual falls slowly: hence the polish above.

# %%
certificate = kkt_certificate(network, X, y, "exponential", flow.theta, modes=flow.modes(), slackness=1.0)
print(f"eps = {certificate.eps:.2e}, delta = {certificate.delta:.2e} at log(1/loss) = {flow.log_inverse_loss[-1]:.3g}")
assert certificate.eps < 0.1 and certificate.delta < 1e-6

_ = plots.flow_kkt(flow)

# %%
_ = plots.neuron_directions(rich)

# %%
_ = plots.decision_boundary(flow)
