"""The figure of sliding neurons: thick exactly where the modes say sliding, and there the cosine is 0."""

import matplotlib.figure
import numpy as np
import pytest

from theory._errors import InvalidInput, PreconditionError
from theory.flow import fully_connected, integrate, two_layer
from theory.plots import flow_sliding

X = np.array([[0.99, 0.31], [0.82, 1.07], [-0.02, 1.25], [-0.43, 0.42],
              [-1.19, -0.48], [-0.22, -0.59], [0.33, -1.14], [0.67, -0.32]])  # fmt: skip
Y = np.array([1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def flow():
    network = two_layer(2, 10)
    start = network.random_parameters(rng=0, scale=0.2)
    return integrate(network, (X, Y), "exponential", start, until="log-loss:100", dense=False)


def drawn(flow, **options):
    ax = matplotlib.figure.Figure().add_subplot()
    assert flow_sliding(flow, ax, **options) is ax
    return ax


def test_thick_lines_are_the_slides_and_lie_at_zero(flow):
    ax = drawn(flow, most=4)
    thick = [line for line in ax.lines if line.get_linewidth() == 3.0]
    assert thick
    for line in thick:
        assert np.abs(line.get_ydata()).max() < 1e-9
    assert flow.event_counts["release"] > 0
    # the modes, not the events, say at which steps a pair slides; a release ends the step before it
    labels = [line.get_label().split() for line in ax.lines if line.get_label().startswith("unit")]
    pairs = [(int(sample) - 1, int(unit) - 1) for _, unit, _, _, sample in labels]
    modes = np.array([flow.modes(step) for step in range(flow.steps + 1)])
    want = sorted(step for pair in pairs for step in np.flatnonzero(modes[:, *pair] == 2))
    assert sorted(int(step) for line in thick for step in line.get_xdata()[:-1]) == want


def test_the_title_counts_the_neurons_that_slide(flow):
    units = {event.unit for event in flow.events if event.kind == "sliding"}
    assert drawn(flow).get_title(loc="left").startswith(f"{len(units)} of 10 ")
    assert len([line for line in drawn(flow, most=1).lines if line.get_label().startswith("unit")]) == 1


def test_refusals(flow):
    with pytest.raises(InvalidInput, match="most"):
        drawn(flow, most=0)
    smooth = fully_connected((2, 4, 1), activation="quadratic")
    path = integrate(smooth, (X, Y), "square", smooth.random_parameters(rng=0, scale=0.1), until=0.1)
    with pytest.raises(PreconditionError, match="no unit"):
        drawn(path)
    biased = fully_connected((2, 4, 1), bias=True)
    path = integrate(biased, (X, Y), "square", biased.random_parameters(rng=0, scale=0.1), until=0.1)
    with pytest.raises(PreconditionError, match="without bias"):
        drawn(path)
