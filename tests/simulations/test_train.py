"""The trainer against hand-written descent, its promises of reproducibility."""

import copy
import doctest
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from simulations import _training_record
from simulations import train as train_module
from simulations.data import Dataset, digits, gaussians, imbalanced
from simulations.networks import convnet, perceptron
from simulations.train import TrainingPlan, train
from tests.simulations.training import BLOBS, linear, noisy_network, plan_of, same
from theory import InvalidInput, NotConverged, PreconditionError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_examples():
    for module in (_training_record, train_module):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0


def by_hand(data, W, b, *, epochs, eta, mu, nesterov, lam, decay, loss, s):
    """Full-batch heavy ball on a linear classifier in NumPy; weights, biases and the loss before each step."""
    K, n = len(W), len(data.y)
    targets = (1 - s) * np.eye(K)[data.y] + s / K
    v = [np.zeros_like(W), np.zeros_like(b)]
    losses = []
    for _ in range(epochs):
        Z = data.X @ W.T + b
        P = np.exp(Z - Z.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        if loss == "cross_entropy":
            losses.append(-(targets * np.log(P)).sum() / n)
            G = (P - targets) / n
        else:
            losses.append(((Z - targets) ** 2).sum() / (2 * n))
            G = (Z - targets) / n
        grads = [G.T @ data.X + lam * W, G.sum(axis=0) + (lam if decay == "all" else 0) * b]
        v = [mu * old + g for old, g in zip(v, grads, strict=True)]
        W, b = (p - eta * (g + mu * m if nesterov else m) for p, g, m in zip((W, b), grads, v, strict=True))
    return W, b, losses


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize(("mu", "nesterov", "decay", "s"), [(0.0, False, "all", 0.0), (0.9, False, "weights", 0.0),
                                                            (0.8, True, "all", 0.2)])  # fmt: skip
def test_equals_descent_by_hand(loss, mu, nesterov, decay, s):
    net, lam, eta = linear(), 0.03, 0.2
    W, b = (p.detach().numpy().copy() for p in net.parameters())
    shared = {"epochs": 12, "nesterov": nesterov, "decay": decay, "loss": loss}
    plan = plan_of(learning_rate=eta, momentum=mu, weight_decay=lam, label_smoothing=s, **shared)
    run = train(net, BLOBS, plan)
    W, b, losses = by_hand(BLOBS, W, b, eta=eta, mu=mu, lam=lam, s=s, **shared)
    for mine, theirs in zip(run.model.parameters(), (W, b), strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(run.loss[:-1], losses, rtol=1e-12)


def test_rows_are_what_the_network_gives():
    data = digits()
    run = train(
        lambda s: perceptron([64, 20, 10], seed=s), data, TrainingPlan(epochs=3, learning_rate=0.1, batch_size=50)
    )
    with torch.no_grad():
        train_outputs, test_outputs = (run.model(torch.tensor(X, dtype=torch.float32)) for X in (data.X, data.X_test))
    loss = nn.functional.cross_entropy(train_outputs.double(), torch.tensor(data.y))
    assert run.loss[-1] == pytest.approx(float(loss), rel=1e-6)
    assert run.error[-1] == (train_outputs.argmax(dim=1).numpy() != data.y).mean()
    assert run.test_error[-1] == (test_outputs.argmax(dim=1).numpy() != data.y_test).mean()
    assert run.epoch.tolist() == [0, 1, 2, 3] and run.status == "all epochs" and not run.model.training
    assert run.loss[-1] < 0.75 * run.loss[0] and run.threads == 1
    record = run.to_json()
    assert record["rows"]["loss"] == run.loss.tolist() and record["plan"]["batch_size"] == 50
    assert (
        record["data"]["name"] == "digits" and "3 of 3 epochs" in run.summary() and "all epochs at epoch 3" in repr(run)
    )


def test_large_data_are_measured_in_parts():
    data = gaussians(3, 3000, 4, 1.0, test_size=5000)
    run = train(linear(), data, plan_of(epochs=1))
    Z = data.X @ run.model.classifier.weight.detach().numpy().T + run.model.classifier.bias.detach().numpy()
    loss = np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(Z)), data.y]
    assert run.loss[-1] == pytest.approx(loss.mean(), rel=1e-12)
    assert run.error[-1] == (Z.argmax(axis=1) != data.y).mean()


def test_evaluate_every_and_missing_held_out_samples():
    seen = []
    data = Dataset(name="blobs", X=BLOBS.X, y=BLOBS.y)
    run = train(linear(), data, plan_of(epochs=7, evaluate_every=3), callback=lambda e, m, row: seen.append(row))
    assert run.epoch.tolist() == [0, 3, 6, 7] and np.isnan(run.test_error).all()
    assert [row.epoch for row in seen] == list(range(8))
    assert [math.isnan(row.loss) for row in seen] == [False, True, True, False, True, True, False, False]
    assert "held out" not in run.summary()


def test_balanced_descent_is_descent_on_the_mean_over_classes():
    data = imbalanced(BLOBS, [20, 10, 5])
    net = linear()
    run = train(net, data, plan_of(epochs=1, sampling="balanced", learning_rate=0.3))
    Z = net(torch.tensor(data.X))
    each = nn.functional.cross_entropy(Z, torch.tensor(data.y), reduction="none")
    loss = torch.stack([each[torch.tensor(data.y == k)].mean() for k in range(3)]).mean()
    loss.backward()
    assert run.loss[0] == pytest.approx(loss.item(), rel=1e-12)
    for before, after in zip(net.parameters(), run.model.parameters(), strict=True):
        assert torch.allclose(after, before - 0.3 * before.grad, rtol=1e-12, atol=1e-14)
    assert run.error[0] == (Z.argmax(dim=1).numpy() != data.y).mean()


def test_schedules():
    cosine, thirds = plan_of(epochs=8, schedule="cosine"), plan_of(epochs=10, schedule="thirds")
    np.testing.assert_allclose([cosine.rate_at(t) for t in (0, 2, 4, 8)], [0.1, 0.1 * (2 + math.sqrt(2)) / 4, 0.05, 0])
    np.testing.assert_allclose([thirds.rate_at(t) for t in (2.9, 3, 5.9, 6)], [0.1, 0.01, 0.01, 0.001])
    warm = plan_of(epochs=10, warmup_epochs=4, batch_size=30)
    assert [warm.rate_at(t) for t in (1, 4, 9)] == pytest.approx([0.025, 0.1, 0.1])
    run = train(linear(), BLOBS, plan_of(epochs=10, warmup_epochs=4, batch_size=30))
    # two steps an epoch, rates at their middles
    assert run.learning_rate == pytest.approx(
        [0, 0.1 * 0.75 / 4, 0.1 * 1.75 / 4, 0.1 * 2.75 / 4, 0.1 * 3.75 / 4] + [0.1] * 6
    )


def test_the_rate_of_the_schedule_is_the_rate_of_the_step():
    net = linear()
    run = train(net, BLOBS, plan_of(epochs=1, warmup_epochs=2))
    nn.functional.cross_entropy(net(torch.tensor(BLOBS.X)), torch.tensor(BLOBS.y)).backward()
    W = net.classifier.weight
    assert torch.allclose(run.model.classifier.weight, W - 0.1 * 0.25 * W.grad, rtol=1e-12, atol=1e-14)


def test_weight_normalisation():
    net = perceptron([4, 6, 3], bias=True, seed=1, dtype="float64")
    plain, normed = (train(net, BLOBS, plan_of(epochs=1, normalisation=n, weight_decay=0.1)) for n in (None, "weight"))
    assert normed.loss[0] == pytest.approx(plain.loss[0], rel=1e-12)  # the same function at the start
    assert "linear1.parametrizations.weight.original0" in normed.model.state_dict()
    leaves = []
    for name in ("linear1", "classifier"):
        W = net.get_submodule(name).weight.detach()
        leaves.append((W.norm(dim=1, keepdim=True).requires_grad_(), W.clone().requires_grad_()))
    rows = [g * v / v.norm(dim=1, keepdim=True) for g, v in leaves]
    h = torch.relu(torch.tensor(BLOBS.X) @ rows[0].T + net.linear1.bias.detach())
    loss = nn.functional.cross_entropy(h @ rows[1].T + net.classifier.bias.detach(), torch.tensor(BLOBS.y))
    loss.backward()
    for name, pair in zip(("linear1", "classifier"), leaves, strict=True):
        pieces = normed.model.get_submodule(name).parametrizations.weight
        for mine, start in zip((pieces.original0, pieces.original1), pair, strict=True):
            wanted = start - 0.1 * (start.grad + 0.1 * start)
            assert torch.allclose(mine, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("other", [{}, {"batch_size": 16}, {"batch_size": 16, "sampling": "replacement"},
                                   {"sampling": "balanced"}, {"label_noise": 0.2}])  # fmt: skip
def test_the_same_seed_gives_the_same_bits(other):
    first, again, changed = (
        train(lambda s: perceptron([4, 8, 3], seed=s), BLOBS, plan_of(dtype="float32", seed=s, **other))
        for s in (5, 5, 6)
    )
    assert same(first.model, again.model) and first.rows == again.rows and np.array_equal(first.labels, again.labels)
    assert not same(first.model, changed.model)


def test_a_builder_that_ignores_its_seed_is_seeded_all_the_same():
    first, again, other = (train(lambda s: nn.Linear(4, 3), BLOBS, plan_of(seed=s)) for s in (1, 1, 2))
    assert same(first.model, again.model) and not same(first.model, other.model)


def test_a_given_network_and_the_global_state_stay_as_they_were():
    net = noisy_network()
    net.body[3].eval()
    net.body[0].weight.grad = torch.ones(12, 4)
    net.body[4].weight.requires_grad_(False)
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    state, python, numpy = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    run = train(net, BLOBS, plan_of(batch_size=16, normalisation="weight"))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items()) and len(before) == len(
        net.state_dict()
    )
    assert [m.training for m in net.modules()] == modes and net.body[0].weight.dtype == torch.float32
    assert torch.equal(net.body[0].weight.grad, torch.ones(12, 4)) and net.body[1].weight.grad is None
    assert torch.equal(state, torch.get_rng_state())
    assert random.getstate() == python and str(np.random.get_state()) == numpy  # noqa: NPY002
    assert torch.is_grad_enabled() and not torch.are_deterministic_algorithms_enabled()
    # what is frozen is not trained, the rest is
    frozen = run.model.body[4].parametrizations.weight
    assert torch.allclose(frozen.original1, before["body.4.weight"].double())
    assert not torch.allclose(run.model.body[0].weight, before["body.0.weight"].double())


def test_dropout_draws_from_the_plans_seed():
    runs = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        runs.append(train(noisy_network(), BLOBS, plan_of(batch_size=16)))
    assert same(runs[0].model, runs[1].model)
    # full batch: the seed enters through dropout alone
    a, b = (train(noisy_network(), BLOBS, plan_of(seed=s)) for s in (0, 1))
    assert not same(a.model, b.model)


def test_callback_sees_every_epoch_and_may_change_the_mode():
    seen = []

    def watch(epoch, model, row):
        seen.append((epoch, row.epoch, model.training))
        model.train(epoch % 2 == 0)

    watched = train(noisy_network(), BLOBS, plan_of(batch_size=16), callback=watch)
    assert seen == [(e, e, False) for e in range(5)]
    assert same(watched.model, train(noisy_network(), BLOBS, plan_of(batch_size=16)).model)


@pytest.mark.parametrize("after", [0, 1, 4])
def test_stops_at_the_terminal_phase(after):
    data = gaussians(3, 20, 4, 8.0, test_size=0)
    full = train(linear(), data, plan_of(epochs=40, learning_rate=0.02))
    zero = int(np.flatnonzero(full.error == 0)[0])
    assert 0 < zero < 30 and full.first_zero_error == zero and full.status == "all epochs"
    run = train(linear(), data, plan_of(epochs=40, learning_rate=0.02, stop_after=after))
    assert run.first_zero_error == zero and run.epoch[-1] == zero + after and run.status == "terminal phase"
    np.testing.assert_array_equal(run.loss, full.loss[: zero + after + 1])


def test_divergence_is_said_and_the_run_so_far_is_attached():
    with pytest.raises(NotConverged, match=r"at epoch \d+ the loss is not finite") as error:
        train(linear(), BLOBS, TrainingPlan(epochs=500, learning_rate=50.0, loss="mse"))
    run = error.value.partial
    assert run.status == "diverged" and not math.isfinite(run.loss[-1]) and np.isfinite(run.loss[:-1]).all()
    assert 2 < run.epoch[-1] < 500 and str(run.epoch[-1]) in str(error.value)
    with pytest.raises(NotConverged) as rare:
        train(linear(), BLOBS, TrainingPlan(epochs=500, learning_rate=50.0, loss="mse", evaluate_every=500))
    assert rare.value.partial.epoch[-1] <= run.epoch[-1] + 1


def test_inside_no_grad_it_trains_all_the_same():
    with torch.no_grad():
        run = train(linear(), BLOBS, plan_of())
        assert not torch.is_grad_enabled()
    assert same(run.model, train(linear(), BLOBS, plan_of()).model)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x), x


class Uncopied(nn.Module):
    def __deepcopy__(self, memo):
        raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol.")


class Doubles(nn.Linear):
    def forward(self, x):
        x *= 2
        return super().forward(x)


def older():
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_older_weight_normalisation_is_copied_and_trained():
    torch.manual_seed(0)
    net = older()
    held = copy.deepcopy(net.state_dict())
    run = train(net, BLOBS, plan_of())
    assert run.loss[-1] < run.loss[0]
    assert all(torch.equal(value, held[name]) for name, value in net.state_dict().items())
    layer = run.model[0]
    normalised = layer.weight_g * layer.weight_v / layer.weight_v.norm(dim=1, keepdim=True)
    X = torch.tensor(BLOBS.X)
    torch.testing.assert_close(run.model(X), X @ normalised.T + layer.bias)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: plan_of(epochs=0), "epochs must be at least 1"),
        (lambda: plan_of(learning_rate=0), "learning_rate must be positive"),
        (lambda: plan_of(batch_size=0), "batch_size must be at least 1"),
        (lambda: plan_of(momentum=1.0), "momentum must lie in [0, 1)"),
        (lambda: plan_of(label_noise=1.1), "label_noise must lie in [0, 1]"),
        (lambda: plan_of(weight_decay=-1), "weight_decay must not be negative"),
        (lambda: plan_of(weight_decay=math.nan), "weight_decay must be finite"),
        (lambda: plan_of(schedule="step"), "schedule must be one of"),
        (lambda: plan_of(nesterov=True), "nesterov needs a positive momentum"),
        (lambda: plan_of(dtype="float16"), "dtype must be one of"),
        (lambda: train(linear(), BLOBS, plan_of(device="tpu")), "device must be 'cpu' or 'cuda'"),
        (lambda: train(linear(), BLOBS, plan_of(device="meta")), "device must be 'cpu' or 'cuda'"),
        (lambda: train(linear(), (BLOBS.X, BLOBS.y), plan_of()), "data must be a Dataset, but is a tuple"),
        (lambda: train(linear(), BLOBS, {"epochs": 3}), "plan must be a TrainingPlan, but is a dict"),
        (lambda: train("net", BLOBS, plan_of()), "model must be a torch.nn.Module or a function of a seed"),
        (lambda: train(lambda s: None, BLOBS, plan_of()), "the builder must return a torch.nn.Module"),
        (lambda: train(perceptron([5, 3]), BLOBS, plan_of()), "does not take samples of shape (4,)"),
        (lambda: train(perceptron([4, 2]), BLOBS, plan_of()), "must give 3 numbers a sample"),
        (lambda: train(Twice(), BLOBS, plan_of()), "gives tuple"),
        (lambda: train(nn.Flatten(), gaussians(3, 5, 3, 1.0), plan_of()), "no parameter to train"),
        (lambda: train(noisy_network(), BLOBS, plan_of(batch_size=59)), "another batch_size may help"),
        (lambda: train(Uncopied(), BLOBS, plan_of()), "cannot be copied"),
        (lambda: train(Doubles(4, 3), BLOBS, plan_of()), "changes its inputs in place"),
        (lambda: train(nn.Linear(4, 3, device="meta"), BLOBS, plan_of()), "has no values yet"),
        (lambda: train(nn.Linear(4, 3, dtype=torch.complex64), BLOBS, plan_of()), "real floating-point parameters"),
        (lambda: train(torch.jit.script(linear()), BLOBS, plan_of()), "is TorchScript"),
        (lambda: train(linear(), BLOBS, plan_of(), checkpoint_every=0), "checkpoint_every must be at least 1"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_bad_input_is_one_sentence(call, said):
    with pytest.raises(InvalidInput) as error:
        call()
    assert said in str(error.value) and str(error.value).endswith(".")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_cuda_device_is_said():
    with pytest.raises(PreconditionError, match="'cuda' was asked for, but PyTorch finds no CUDA device"):
        train(linear(), BLOBS, plan_of(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_trains(tmp_path):
    plan = plan_of(device="cuda", batch_size=16)
    run = train(noisy_network(), BLOBS, plan, checkpoint=tmp_path / "run.pt")
    assert run.loss[-1] < run.loss[0] and next(run.model.parameters()).is_cuda


def test_without_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        PreconditionError, match=r"training needs PyTorch: pip install 'deep-classifier-theory\[torch\]'"
    ):
        train(None, BLOBS, plan_of())


def test_importing_the_trainer_does_not_import_pytorch():
    code = "import sys, simulations.train, simulations.data, simulations.networks; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "False"


def test_progress_line(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("simulations._progress.PATIENCE", -1.0)
    monkeypatch.setattr("simulations._progress.PERIOD", -1.0)
    train(linear(), BLOBS, plan_of(), progress=True)
    shown = capsys.readouterr().err
    assert "training: epoch 3 of 4, loss " in shown and "s left" in shown
    train(linear(), BLOBS, plan_of())
    assert capsys.readouterr().err == ""


def test_a_convolutional_network_learns_digits():
    run = train(
        lambda s: convnet((1, 8, 8), (8, 16), 10, stride=2, batch_norm=True, seed=s), digits(),
        TrainingPlan(epochs=8, learning_rate=0.1, batch_size=64, momentum=0.9),
    )  # fmt: skip
    assert run.error[-1] < 0.02 and run.test_error[-1] < 0.06
