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
# # Gradient flow: every acceptance check, and the figure of each
#
# **Claim.** The integrator follows the exact solutions that are known, keeps what the flow keeps, and ends where the
# theory says. Each check compares one closed form, bound or published number with what was measured, to a stated
# tolerance.

# %% tags=["machine"]
import matplotlib.pyplot as plt

from simulations.experiments.flow_checks import all_checks, figure

checks = list(all_checks())
print(f"{'':>4} {'error':>8} {'allowed':>8}")
for check in checks:
    print(f"{check.number:>4} {check.error:8.1e} {check.tolerance:8.1e}  {check.title}")

# %%
for check in checks:
    assert check.error <= check.tolerance, f"{check.number}: {check.title}"

assert {int(check.number.rstrip("abcd")) for check in checks} == {*range(1, 15), 16, 20, 22}

# %% [markdown]
# Lines are theory, points are measurements. In 11a, 14b and 20 the line is the largest value so far; in 11c, 12b, 13b,
# 16a and 16b it is an upper bound.

# %%
whole = figure(checks)
whole.set_dpi(80)
assert len(whole.axes) == len(checks)
plt.show()
