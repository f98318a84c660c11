"""One sentence for every bad input, and a partial solution where the integration stops."""

import numpy as np
import pytest

from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow import integrate
from theory.flow.networks import fully_connected, two_layer

NET = two_layer(2, 3)
X = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]])
Y = np.array([1.0, -1.0, 1.0])
THETA = NET.random_parameters(rng=0)


def call(network=NET, data=(X, Y), loss="exponential", theta0=THETA, until="t:0.1", **options):
    return integrate(network, data, loss, theta0, until=until, **options)


def with_nan(array):
    array = np.array(array, dtype=float)
    array.flat[0] = np.nan
    return array


BAD = {
    "no network": ({"network": "two-layer"}, "one of theory.flow"),
    "data not a pair": ({"data": X}, "pair"),
    "data None": ({"data": None}, "pair"),
    "inputs one-dimensional": ({"data": (X[:, 0], Y)}, "dimension"),
    "inputs of another width": ({"data": (X[:, :1], Y)}, r"shape \(N, 2\)"),
    "no sample": ({"data": (np.zeros((0, 2)), np.zeros(0))}, "at least 1"),
    "NaN in inputs": ({"data": (with_nan(X), Y)}, "NaN"),
    "infinite inputs": ({"data": (X * np.inf, Y)}, "finite"),
    "complex inputs": ({"data": (X * 1j, Y)}, "real"),
    "words": ({"data": ([["a", "b"]], [1.0])}, "real numbers"),
    "ragged inputs": ({"data": ([[1.0, 2.0], [1.0]], [1.0, 1.0])}, "real numbers"),
    "labels 0 and 1": ({"data": (X, [0.0, 1.0, 1.0])}, "-1 and"),
    "labels NaN": ({"data": (X, with_nan(Y))}, "NaN"),
    "too few labels": ({"data": (X, Y[:2])}, r"shape \(3,\)"),
    "labels in a column": ({"data": (X, Y[:, None])}, "dimension"),
    "targets of another shape": ({"data": (X, Y[:2]), "loss": "square"}, r"\(3, 1\)"),
    "classes with one output": ({"data": (X, [0, 1, 0]), "loss": "cross_entropy"}, "output"),
    "an unknown loss": ({"loss": "hinge"}, "hinge"),
    "theta too short": ({"theta0": THETA[:-1]}, "shape"),
    "theta two-dimensional": ({"theta0": THETA[None]}, "dimension"),
    "theta NaN": ({"theta0": with_nan(THETA)}, "NaN"),
    "a start at zero": ({"theta0": np.zeros(9)}, "stationary"),
    "an unknown end": ({"until": "tomorrow"}, "until must be"),
    "an end without its value": ({"until": "log-loss"}, "finite value"),
    "an end with a word": ({"until": "t:soon"}, "number"),
    "a value too many": ({"until": "stationary:3"}, "no value"),
    "an infinite time": ({"until": "t:inf"}, "finite"),
    "a NaN time": ({"until": float("nan")}, "finite"),
    "a negative time": ({"until": -1.0}, "positive"),
    "time zero": ({"until": "t:0"}, "positive"),
    "an end that is a bool": ({"until": True}, "until must be"),
    "an end that is None": ({"until": None}, "until must be"),
    "past what float64 resolves": ({"until": "log-loss:1e13"}, "1e12"),
    "log-loss of the square loss": ({"until": "log-loss:3", "loss": "square"}, "exponential tail"),
    "a margin of the square loss": ({"until": "margin-converged", "loss": "square"}, "exponential tail"),
    "a clock that does not exist": ({"clock": "sundial"}, "clock must be"),
    "the loss-normalised clock of the square loss": ({"clock": "loss-normalised", "loss": "square"}, "tail"),
    "a policy that does not exist": ({"ambiguous": "maybe"}, "ambiguous must be"),
    "rtol zero": ({"rtol": 0.0}, "positive"),
    "rtol NaN": ({"rtol": float("nan")}, "finite"),
    "atol negative": ({"atol": -1e-9}, "positive"),
    "max_steps zero": ({"max_steps": 0}, "at least 1"),
    "max_steps fractional": ({"max_steps": 2.5}, "whole"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_gets_one_sentence(options, message):
    with pytest.raises((InvalidInput, PreconditionError), match=message) as caught:
        call(**options)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 200


def test_classes_beyond_the_outputs():
    network = two_layer(2, 3, 2)
    with pytest.raises(InvalidInput):
        call(network, (X, [0, 1, 2]), "cross_entropy", network.random_parameters(rng=0))


def test_biases_have_no_margin_theory():
    network = fully_connected((2, 3, 1), bias=True)
    with pytest.raises((InvalidInput, PreconditionError), match="homogeneous"):
        call(network, theta0=network.random_parameters(rng=0), until="margin-converged")


def test_log_loss_at_the_edge_of_float64_is_still_reached():
    flow = call(two_layer(1, 1), ([[1.0]], [1.0]), theta0=[1.0, 1.0], until="log-loss:1e12")
    assert flow.status.name == "REACHED" and abs(flow.state.log_inverse_loss / 1e12 - 1) < 1e-6


def test_max_steps_attaches_the_partial_solution():
    with pytest.raises(NotConverged, match=r"max_steps.*log\(1/loss\)") as caught:
        call(until="t:100", max_steps=3)
    partial = caught.value.partial
    assert 3 <= partial.steps <= 4 and partial.status.name == "STEPS" and np.isfinite(partial.theta).all()
    assert 0 < np.exp(partial.state.log_t) < 100


def test_inseparable_data_never_claim_an_end():
    contradictory = np.array([[1.0, 0.5], [1.0, 0.5], [-0.5, 1.0]]), np.array([1.0, -1.0, 1.0])
    try:
        flow = call(data=contradictory, until="log-loss:10", max_steps=400)
    except NotConverged as error:
        flow = error.partial
    except (InvalidInput, PreconditionError) as error:
        assert str(error).endswith(".")
        return
    assert flow.status.name in ("STATIONARY", "STEPS") and flow.state.log_inverse_loss < 0


def test_every_status_is_a_sentence():
    flow = call()
    assert all(status.value.endswith(".") for status in type(flow.status))
