"""Data and networks that the trainer's tests share."""

import torch
from torch import nn

from simulations.data import gaussians
from simulations.networks import perceptron
from simulations.train import TrainingPlan

BLOBS = gaussians(3, 20, 4, 3.0, test_size=30)


def linear(seed=0, bias=True):
    return perceptron([4, 3], bias=bias, seed=seed, dtype="float64")


def same(a, b):
    left, right = a.state_dict(), b.state_dict()
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


def plan_of(**other):
    return TrainingPlan(**{"epochs": 4, "learning_rate": 0.1, "dtype": "float64", **other})


class Noisy(nn.Module):
    """Dropout and batch normalisation, which depend on the mode; draws from torch's global stream in training."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 3))

    def forward(self, x):
        return self.body(x)


def noisy_network():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Noisy()


def resumable(**other):
    return plan_of(epochs=20, batch_size=16, momentum=0.9, weight_decay=1e-3, schedule="cosine", label_noise=0.1,
                   dtype="float32", **other)  # fmt: skip
