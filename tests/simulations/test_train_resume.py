"""Checkpoints: killed, interrupted or failed, a run goes on to the bits of one that was never stopped."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from simulations.data import Dataset, gaussians
from simulations.networks import perceptron
from simulations.train import train
from tests.simulations.training import BLOBS, linear, noisy_network, plan_of, resumable, same
from theory import InvalidInput

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


KILLED = """
import sys, time, torch
sys.path.insert(0, {root!r})
torch.set_num_threads(1)
from tests.simulations.training import BLOBS, noisy_network, resumable
from simulations.train import train
def slowly(epoch, model, row):
    if epoch == 2:
        print("begun", flush=True)
    time.sleep(0.03)
train(noisy_network(), BLOBS, resumable(), checkpoint={path!r}, checkpoint_every=1, callback=slowly)
"""


def test_killed_and_resumed_equals_never_stopped(tmp_path):
    path = tmp_path / "run.pt"
    code = KILLED.format(root=str(ROOT), path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout.readline() == b"begun\n"
        time.sleep(random.SystemRandom().uniform(0, 0.4))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    path.with_name("run.pt.partial").write_bytes(b"half a file")
    held = torch.load(path, weights_only=True)
    epochs = []
    run = train(noisy_network(), BLOBS, resumable(), checkpoint=path, callback=lambda e, m, r: epochs.append(e))
    straight = train(noisy_network(), BLOBS, resumable())
    assert 1 <= held["epoch"] < 20 and epochs == list(range(held["epoch"] + 1, 21))
    assert same(run.model, straight.model) and run.rows == straight.rows
    assert run.first_zero_error == straight.first_zero_error and np.array_equal(run.labels, straight.labels)


def test_an_error_of_the_callback_loses_no_epoch(tmp_path):
    def fail(epoch, model, row):
        if epoch == 3:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        train(linear(), BLOBS, plan_of(), checkpoint=tmp_path / "run.pt", callback=fail)
    assert torch.load(tmp_path / "run.pt", weights_only=True)["epoch"] == 2


@pytest.mark.parametrize("other", [{}, {"sampling": "balanced", "normalisation": "weight", "evaluate_every": 4}])
@pytest.mark.parametrize("stop", [0, 7])
def test_an_interrupt_saves_and_goes_on_to_the_caller(tmp_path, stop, other):
    path, straight = tmp_path / "run.pt", train(noisy_network(), BLOBS, resumable(**other))

    def interrupt(epoch, model, row):
        if epoch == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(noisy_network(), BLOBS, resumable(**other), checkpoint=path, callback=interrupt)
    assert torch.load(path, weights_only=True)["epoch"] == max(stop - 1, 0)
    epochs = []
    run = train(noisy_network(), BLOBS, resumable(**other), checkpoint=path, callback=lambda e, m, r: epochs.append(e))
    assert epochs[0] == stop  # once more: it may not have been done with it
    assert same(run.model, straight.model) and run.rows == straight.rows


def test_a_finished_run_is_read_and_not_trained_again(tmp_path):
    path, data = tmp_path / "run.pt", gaussians(3, 20, 4, 8.0, test_size=0)
    plan = plan_of(epochs=60, learning_rate=0.02, stop_after=2)
    run = train(linear(), data, plan, checkpoint=path)
    again = train(linear(), data, plan, checkpoint=str(path), callback=lambda e, m, r: pytest.fail("trained again"))
    assert same(run.model, again.model) and again.status == "terminal phase" and run.seconds == again.seconds
    assert run.first_zero_error == again.first_zero_error and run.learning_rate.tolist() == again.learning_rate.tolist()
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_is_written_each_few_epochs(tmp_path):
    path, held = tmp_path / "run.pt", []

    def look(epoch, model, row):
        held.append(torch.load(path, weights_only=True)["epoch"] if path.exists() else None)

    train(linear(), BLOBS, plan_of(epochs=7), checkpoint=path, checkpoint_every=3, callback=look)
    assert held == [None, *[0] * 3, *[3] * 3, 6] and torch.load(path, weights_only=True)["epoch"] == 7


@pytest.mark.parametrize("change", ["plan", "samples", "held out", "weights", "layers"])
def test_the_checkpoint_of_another_run_is_refused(tmp_path, change):
    path = tmp_path / "run.pt"
    train(linear(), BLOBS, plan_of(), checkpoint=path)
    fields = {name: getattr(BLOBS, name).copy() for name in ("X", "y", "X_test", "y_test")}
    if change in ("samples", "held out"):
        fields["X" if change == "samples" else "X_test"][0, 0] += 1e-9
    net = {"weights": linear(1), "layers": perceptron([4, 3], seed=0, bias=False, dtype="float64")}.get(
        change, linear()
    )
    with pytest.raises(InvalidInput, match="belongs to another plan, network or data set"):
        train(net, Dataset(name="x", **fields), plan_of(momentum=0.5 if change == "plan" else 0.0), checkpoint=path)
    assert train(linear(), BLOBS, plan_of(), checkpoint=path).status == "all epochs"


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "run.pt"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="is not a checkpoint of a training run"):
        train(linear(), BLOBS, plan_of(), checkpoint=path)
    assert path.read_bytes() == content
    torch.save(linear().state_dict(), path)
    with pytest.raises(InvalidInput, match="is not a checkpoint of a training run"):
        train(linear(), BLOBS, plan_of(), checkpoint=path)
    with pytest.raises(InvalidInput, match="does not exist"):
        train(linear(), BLOBS, plan_of(), checkpoint=tmp_path / "no" / "run.pt")


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    run = train(linear(), BLOBS, plan_of(), checkpoint=path)
    content = path.read_bytes()
    weight = run.model.state_dict()["classifier.weight"].numpy().tobytes()
    at = content.index(weight) + 3  # the sign and exponent of a weight
    path.write_bytes(content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :])
    with pytest.raises(InvalidInput, match="is not a checkpoint of a training run"):
        train(linear(), BLOBS, plan_of(), checkpoint=path)
    torch.save({"format": "training run 1"}, path)
    with pytest.raises(InvalidInput, match="belongs to another plan, network or data set"):
        train(linear(), BLOBS, plan_of(), checkpoint=path)
