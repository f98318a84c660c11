"""Tasks: records are flat and plain, agree with the library, and do not depend on their neighbours in a batch."""

import inspect
import json
import math

import numpy as np
import pytest

from simulations.sweep._table_store import OWN
from simulations.sweep.tasks import TASKS, Task
from theory._errors import InvalidInput
from theory.peeled import LayerPeeledModel, UnconstrainedFeaturesModel, collapse_threshold, solve

SMALL = {
    "threshold": {"majority": 5, "minority": 5, "E_W": 1, "E_H": 1},
    "peel": {"counts": "10x5,1x5", "E_W": 1, "E_H": 5},
    "flow": {"width": 4, "n": 2, "d": 2, "until": "log-loss:30", "seed": 1},
    "rho": {"width": 4, "n": 2, "d": 2, "lam": 0.1, "until": "t:5", "seed": 1},
    "bounds": {"depth": 2, "width": 8, "n": 60, "bounds": "group-norm,covering", "epochs": 2},
    "training": {"width": 8, "epochs": 2, "n_majority": 20, "ratio": 4},
}


def compute(name, **changed):
    return TASKS[name].compute(**{**SMALL[name], **changed})


@pytest.mark.parametrize("name", TASKS)
class TestEveryTask:
    def test_record_is_flat_and_plain(self, name):
        if name in ("bounds", "training"):
            pytest.importorskip("torch")
        record = compute(name)
        assert all(isinstance(value, int | float | str | bool | None) for value in record.values())
        assert json.loads(json.dumps(record, allow_nan=False)) == record  # no NaN, no NumPy scalar
        assert compute(name) == record

    def test_parameters_are_named(self, name):
        task = TASKS[name]
        assert task.name == name and task.summary
        parameters = inspect.signature(task.compute).parameters.values()
        assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
        assert set(SMALL[name]) <= {p.name for p in parameters}

    def test_record_does_not_repeat_parameters(self, name):
        if name in ("bounds", "training"):
            pytest.importorskip("torch")
        # a column stands for one thing
        assert not set(compute(name)) & {*inspect.signature(TASKS[name].compute).parameters, *OWN}


class TestThreshold:
    @pytest.mark.parametrize(("A", "B", "E_W", "E_H"), [(5, 5, 1, 5), (5, 5, 1, 1), (2, 98, 0.3, 2), (90, 10, 2, 700)])
    def test_equals_the_library(self, A, B, E_W, E_H):
        found, want = TASKS["threshold"].compute(majority=A, K=A + B, E_W=E_W, E_H=E_H), collapse_threshold(
            majority=A, minority=B, E_W=E_W, E_H=E_H
        )  # fmt: skip
        assert found["R0"] == want.R0 and found["log_R0"] == pytest.approx(math.log(want.R0), abs=1e-13)
        assert found["R00"] == (None if np.isinf(want.R00) else want.R00)
        assert found["vanishes"] == np.isfinite(want.R00)
        assert (found["majority_share"], found["product"]) == (A / (A + B), pytest.approx(E_W * E_H, rel=1e-15))
        assert (found["residual"], found["residual_R00"]) == (want.residual, want.residual_R00)

    def test_beyond_float64_the_logarithm_stays(self):
        found = compute("threshold", majority=2, minority=98, E_H=5000)
        assert found["R0"] is None and found["log_R0"] > 709 and found["R00"] is None and not found["vanishes"]

    def test_batch_has_the_bits_of_one(self):
        rng = np.random.default_rng(0)
        configs = [
            {"majority": int(A), "K": 100, "E_W": 1, "E_H": float(E)}
            for A, E in zip(rng.integers(2, 98, 60), 10 ** rng.uniform(-2, 3, 60), strict=True)
        ]
        whole = TASKS["threshold"].batch(configs)
        assert whole == [TASKS["threshold"].compute(**config) for config in configs]
        assert whole[7:20] == TASKS["threshold"].batch(configs[7:20])

    def test_a_bad_configuration_leaves_its_neighbours(self):
        good = {"majority": 5, "minority": 5, "E_W": 1, "E_H": 5}
        bad = [{"E_H": -1}, {"E_H": "much"}, {"majority": 1.5}, {"minority": 1}, {"K": 10}, {"E_W": None}]
        found = TASKS["threshold"].batch([good, *({**good, **change} for change in bad), good])
        assert all(type(error) is InvalidInput for error in found[1:-1])
        assert found[0] == found[-1] == TASKS["threshold"].compute(**good)
        assert "exactly one of minority and K" in str(found[5])

    def test_missing_parameter_is_a_sentence(self):
        (found,) = TASKS["threshold"].batch([{"majority": 5, "K": 10, "E_W": 1}])
        assert isinstance(found, InvalidInput) and "E_H" in str(found)


class TestPeel:
    def test_equals_solve(self):
        found, want = compute("peel"), solve(LayerPeeledModel(counts=[10] * 5 + [1] * 5, E_W=1, E_H=5))
        assert found["objective"] == want.objective
        assert (found["lower"], found["gap"]) == (want.certificate.lower, want.certificate.gap)
        assert found["cos_minority"] == want.groups[1].cos_within and found["norm_w_majority"] == want.groups[0].norm_w
        assert found["cos_minority"] == pytest.approx(0.51749628, abs=5e-9)

    def test_step_counts_are_counts(self):
        step = {"counts": None, "K": 10, "n_majority": 10, "ratio": 10}
        assert compute("peel", **step) == compute("peel")

    def test_penalties_are_unconstrained_features(self):
        found = TASKS["peel"].compute(counts="500x5,100x5", lam_W=1e-3, lam_H=1e-5, features="relu")
        model = UnconstrainedFeaturesModel(counts=[500] * 5 + [100] * 5, lam_W=1e-3, lam_H=1e-5, features="relu")
        assert found["objective"] == solve(model).objective

    def test_undefined_cosines_are_none(self):
        assert compute("peel", counts="30x5,10x5", E_H=1)["phase_minority"] == "vanishing"
        assert compute("peel", counts="30x5,10x5", E_H=1)["cos_minority"] is None

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"E_H": None}, "E_W and E_H, or"), ({"lam_W": 1, "lam_H": 1}, "E_W and E_H, or"),
            ({"features": "relu"}, "features goes with"), ({"label_smoothing": 0.1}, "label_smoothing goes with"),
            ({"counts": "ten"}, "^counts must be"), ({"counts": None}, "give counts"), ({"K": 10}, "give counts"),
            ({"class_weights": "heavy"}, "^class_weights must be"), ({"counts": [1, -1]}, "positive integers"),
        ],
    )  # fmt: skip
    def test_bad_input_is_a_sentence(self, changed, said):
        with pytest.raises(InvalidInput, match=said):
            compute("peel", **changed)


class TestFlow:
    def test_ends_where_it_should_with_a_certificate(self):
        found = compute("flow")
        assert found["log_inverse_loss"] == pytest.approx(30, rel=1e-6)
        assert 0 < found["kkt_lower"] <= found["kkt_upper"] * (1 + 1e-9)
        assert found["kkt_eps"] <= found["kkt_size"] and found["smoothed_margin"] <= found["margin"]
        assert found["kkt_size"] == pytest.approx(found["margin"] ** -0.5, rel=1e-12)

    def test_residual_falls_along_the_flow(self):
        later = compute("flow", until="log-loss:1e4")
        assert later["kkt_eps"] < 0.5 * compute("flow")["kkt_eps"]

    def test_before_separation_there_is_no_certificate(self):
        found = compute("flow", until="t:1e-6")
        assert found["margin"] < 0 and found["kkt_eps"] is None

    def test_seeds_of_weights_and_data_are_two(self):
        base = compute("flow")
        assert compute("flow", seed=2)["margin"] != base["margin"] != compute("flow", data_seed=1)["margin"]

    def test_several_classes(self):
        found = compute("flow", classes=3, loss="cross_entropy", until="log-loss:20")
        assert found["margin"] > 0 and found["kkt_lower"] <= found["kkt_upper"] * (1 + 1e-9)

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"classes": 3}, "two classes"), ({"loss": "square"}, "task rho"), ({"data": "x"}, "data must be one of"),
            ({"data": "iris"}, "its own dimension"), ({"data": "iris", "d": None, "n": 51}, "50 samples"),
            ({"data": "iris", "d": None, "classes": 4, "loss": "cross_entropy"}, "3 classes"),
            ({"data": "teacher", "separation": 1}, "of gaussians"), ({"until": "soon"}, "until must be"),
            ({"depth": 0}, "depth must be"),
        ],
    )  # fmt: skip
    def test_bad_input_is_a_sentence(self, changed, said):
        with pytest.raises(InvalidInput, match=said):
            compute("flow", **changed)


class TestRho:
    def test_rests_where_the_theory_says(self):
        found = compute("rho", until="stationary")
        assert found["residual"] < 1e-8 and found["rho"] == pytest.approx(found["mu"] / (found["M"] + 0.1), rel=1e-7)

    def test_targets(self):
        assert compute("rho", classes=3, n=2)["M"] > 0
        with pytest.raises(InvalidInput, match="two classes"):
            compute("rho", classes=3, n=2, targets="signs")
        with pytest.raises(InvalidInput, match="targets must be"):
            compute("rho", targets="real")


class TestNetworks:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")

    def test_bounds_equal_the_library(self):
        from simulations.bridge import read_architecture
        from simulations.data import digits
        from simulations.networks import perceptron
        from theory.bounds import get

        found = compute("bounds", weights="random", kind="dense", seed=3)
        data = digits(seed=3, flat=True)
        model, X = perceptron([64, 8, 10], seed=3), data.X[:60]
        read = read_architecture(model, X[:2].astype(np.float32))
        want = get("group-norm").evaluate(read.architecture, read.weights, (X, data.y[:60]), reference=read.weights)
        assert found["group_norm_log10"] == want.log10
        covering = get("covering")  # counts from the initial weights
        given = (read.architecture, read.weights, (X, data.y[:60]))
        assert found["covering_log10"] == covering.evaluate(*given, reference=read.weights).log10
        assert found["covering_log10"] != covering.evaluate(*given).log10
        assert found["test_error"] == np.mean(model(_tensor(data.X_test)).argmax(1).numpy() != data.y_test)
        assert found["train_error"] == pytest.approx(np.mean(model(_tensor(X)).argmax(1).numpy() != data.y[:60]))
        assert found["median_margin"] < 0 and found["group_norm_complexity_log10"] is None  # an untrained network
        assert found["epochs_done"] == 0 and found["n_parameters"] == 64 * 8 + 8 * 10

    def test_training_lowers_the_error_and_the_certificates_hold(self):
        found = compute("bounds", epochs=40)
        assert found["train_error"] < 0.2 < compute("bounds", weights="random")["train_error"]
        assert found["test_error"] < found["test_upper"] < 10 ** found["best_log10"]
        assert found["group_norm_complexity_log10"] > 0 and found["best"] in ("group-norm", "covering")

    def test_convolutions(self):
        found = compute("bounds", kind="conv", weights="random", bounds="convolutional")
        assert found["convolutional_log10"] > 0 and found["n_parameters"] == 9 * 8 + 8 * 64 * 10

    def test_training_counts_and_metrics(self):
        found = compute("training", epochs=60)
        assert found["train_error"] < 0.1 and found["epochs_done"] == 60
        share = (found["test_error_majority"], found["test_error_minority"])
        assert share[0] < found["test_error"] < share[1]  # rare classes are learnt worse
        assert 0 < found["nc1_papyan"] < compute("training", epochs=1)["nc1_papyan"]

    def test_global_state_stays(self):
        import torch

        torch.manual_seed(5)
        before, threads = torch.get_rng_state(), torch.get_num_threads()
        compute("training")
        compute("bounds")
        assert torch.equal(before, torch.get_rng_state()) and torch.get_num_threads() == threads

    @pytest.mark.parametrize(
        ("name", "changed", "said"),
        [
            ("bounds", {"n": 5000}, "at most 1297"), ("bounds", {"kind": "round"}, "dense or conv"),
            ("bounds", {"weights": "old"}, "trained or random"), ("bounds", {"bounds": "best"}, "no bound is called"),
            ("bounds", {"n": 5}, "every class"), ("bounds", {"depth": 0}, "depth must be"),
            ("training", {"n_majority": None}, "ratio needs n_majority"), ("training", {"epochs": 0}, "epochs must be"),
            ("training", {"n_majority": 5000}, "samples, but"),
        ],
    )  # fmt: skip
    def test_bad_input_is_a_sentence(self, name, changed, said):
        with pytest.raises(InvalidInput, match=said):
            compute(name, **changed)


def _tensor(X):
    import torch

    return torch.as_tensor(X, dtype=torch.float32)


def test_importing_the_tasks_is_cheap():
    import subprocess
    import sys

    code = "import sys, simulations.sweep.tasks; print([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(out.stdout)) <= {"numpy"}


def test_a_task_is_a_record():
    task = Task(name="own", compute=dict, summary="nothing")
    assert task.batch is None
