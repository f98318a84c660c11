"""What goes into a training run and what comes out of it: the plan, its rows, the run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from theory._arrays import as_count, as_positive, as_real
from theory._errors import InvalidInput

if TYPE_CHECKING:
    import torch

CHOICES: dict[str, tuple[str | None, ...]] = {
    "decay": ("all", "weights"),
    "schedule": ("constant", "cosine", "thirds"),
    "loss": ("cross_entropy", "mse"),
    "sampling": ("shuffle", "replacement", "balanced"),
    "normalisation": (None, "weight"),
    "dtype": ("float32", "float64"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    r"""How a network is trained: stochastic gradient descent on the mean loss, every choice stated.

    One step at rate eta with momentum mu (heavy ball as in torch.optim.SGD, no dampening):

    .. math:: g = \nabla \ell_B(\theta) + \lambda \theta, \quad v \leftarrow \mu v + g, \quad
        \theta \leftarrow \theta - \eta v \;\text{ (Nesterov: } \theta - \eta (g + \mu v))

    so that the run descends mean loss + lam/2 ||theta||^2. *Measure*: a description, no guarantee.

    Parameters
    ----------
    epochs : passes over the data.
    learning_rate : eta at the peak of the schedule.
    batch_size : samples in a step, the last step of an epoch takes what is left; the whole epoch in one where None.
    momentum : mu in [0, 1). nesterov : as above; needs momentum.
    weight_decay : lam. decay : "all" parameters that are trained, or "weights", those with two dimensions or more
        (biases and batch normalisation's scales are left out).
    schedule : "constant"; "cosine", eta (1 + cos(pi t / epochs)) / 2; "thirds", divided by 10 at one third and again
        at two thirds of the epochs, each rounded down to a whole epoch. t counts epochs, to the middle of each step.
    warmup_epochs : the rate rises linearly over so many first epochs, times what the schedule says.
    loss : "cross_entropy", the mean over samples, natural logarithm; "mse", 1/2 the mean over samples of
        ||f(x) - e_y||^2, summed over classes.
    label_smoothing : s in [0, 1): targets (1 - s) e_y + s/K.
    sampling : "shuffle", each sample once an epoch; "replacement", n independent draws an epoch; "balanced",
        oversampling: each class as often as the largest (whole copies, and for the rest of the division samples drawn
        afresh each epoch), so that an epoch has K max_k n_k samples.
    label_noise : fraction of the training labels, rounded to a whole number of samples, replaced before training by
        one of the other classes, uniformly.
    normalisation : "weight" puts torch's weight normalisation, w = g v/||v|| for each output row, on every linear and
        convolutional layer; weight decay then acts on g and v, which are the parameters.
    stop_after : stop so many epochs after the first epoch with zero training error (the terminal phase); never if None.
    evaluate_every : epochs between two passes in evaluation mode that measure loss and errors; the first and the last
        epoch are always measured. Zero training error is seen only there.
    device : "cpu" or "cuda". dtype : "float32" or "float64"; the network is cast to it.
    seed : of the initial weights where a builder is given, and of order, label noise and dropout, each by a stream of
        its own.

    Raises
    ------
    InvalidInput : a number out of range, an unknown choice.

    Examples
    --------
    >>> plan = TrainingPlan(epochs=90, learning_rate=0.1, schedule="thirds", warmup_epochs=2)
    >>> [round(plan.rate_at(t), 4) for t in (0.5, 2, 30, 60)]
    [0.025, 0.1, 0.01, 0.001]
    """

    epochs: int
    learning_rate: float
    batch_size: int | None = None
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay: str = "all"
    schedule: str = "constant"
    warmup_epochs: int = 0
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    sampling: str = "shuffle"
    label_noise: float = 0.0
    normalisation: str | None = None
    stop_after: int | None = None
    evaluate_every: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "epochs": as_count("epochs", self.epochs),
            "learning_rate": as_positive("learning_rate", self.learning_rate),
            "warmup_epochs": as_count("warmup_epochs", self.warmup_epochs, minimum=0),
            "evaluate_every": as_count("evaluate_every", self.evaluate_every),
            "seed": as_count("seed", self.seed, minimum=0),
        }
        for name in ("batch_size", "stop_after"):
            if getattr(self, name) is not None:
                checked[name] = as_count(name, getattr(self, name), minimum=1 if name == "batch_size" else 0)
        for name, closed in (("momentum", False), ("label_smoothing", False), ("label_noise", True)):
            checked[name] = as_real(name, getattr(self, name))
            if not (0 <= checked[name] < 1 or (closed and checked[name] == 1)):
                raise InvalidInput(f"{name} must lie in [0, 1{']' if closed else ')'}, but is {checked[name]:g}.")
        checked["weight_decay"] = as_real("weight_decay", self.weight_decay)
        if checked["weight_decay"] < 0:
            raise InvalidInput(f"weight_decay must not be negative, but is {self.weight_decay:g}.")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InvalidInput(f"{name} must be one of {allowed}, but is {getattr(self, name)!r}.")
        if not isinstance(self.nesterov, bool):
            raise InvalidInput(f"nesterov must be True or False, but is {self.nesterov!r}.")
        if self.nesterov and not checked["momentum"]:
            raise InvalidInput("nesterov needs a positive momentum.")
        if not isinstance(self.device, str):
            raise InvalidInput(f"device must be 'cpu' or 'cuda', but is {self.device!r}.")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def rate_at(self, t: float) -> float:
        """Learning rate after ``t`` epochs, 0 <= t <= epochs."""
        rate = self.learning_rate
        if t < self.warmup_epochs:
            rate *= t / self.warmup_epochs
        if self.schedule == "cosine":
            return rate * (1 + math.cos(math.pi * t / self.epochs)) / 2
        if self.schedule == "thirds":
            return rate / 10 ** ((t >= self.epochs // 3) + (t >= 2 * self.epochs // 3))
        return rate

    def to_json(self) -> dict[str, Any]:
        """Every choice, by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """One epoch, measured in evaluation mode after it.

    Parameters
    ----------
    epoch : epochs done; 0 before the first step.
    loss : mean data loss over the training samples, without weight decay; under "balanced" sampling the mean over
        classes of their means, which is what the run descends.
    error, test_error : misclassified fractions of the training samples (with the labels trained on, unweighted) and of
        the held-out ones; ties go to the lowest class. test_error is NaN where nothing is held out. All three are NaN
        in the rows that a callback gets for epochs that are not measured.
    learning_rate : of the epoch's last step.
    """

    epoch: int
    loss: float
    error: float
    test_error: float
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingRun:
    """A finished run, or one that diverged (then as ``partial`` of the NotConverged that says so).

    Parameters
    ----------
    model : the trained copy, in evaluation mode, on the plan's device.
    plan, data : what was asked for; data in short.
    rows : one for each measured epoch, from epoch 0.
    first_zero_error : first measured epoch without a training error, or None.
    status : "all epochs", "terminal phase" or "diverged".
    labels : (n,) training labels after label noise. noisy : how many differ from the data's.
    seconds : of training, over all resumed parts. threads : of PyTorch on the CPU.
    """

    model: torch.nn.Module
    plan: TrainingPlan
    data: dict[str, Any]
    rows: tuple[TrainingRow, ...]
    first_zero_error: int | None
    status: str
    labels: np.ndarray
    noisy: int
    seconds: float
    threads: int

    @property
    def epoch(self) -> np.ndarray:
        """Measured epochs, (m,) integers."""
        return np.array([row.epoch for row in self.rows], dtype=np.int64)

    @property
    def loss(self) -> np.ndarray:
        """Data loss at each measured epoch, (m,)."""
        return np.array([row.loss for row in self.rows])

    @property
    def error(self) -> np.ndarray:
        """Training error at each measured epoch, (m,)."""
        return np.array([row.error for row in self.rows])

    @property
    def test_error(self) -> np.ndarray:
        """Held-out error at each measured epoch, (m,); NaN where nothing is held out."""
        return np.array([row.test_error for row in self.rows])

    @property
    def learning_rate(self) -> np.ndarray:
        """Learning rate at each measured epoch, (m,)."""
        return np.array([row.learning_rate for row in self.rows])

    def summary(self) -> str:
        """The run in three lines."""
        last, zero = self.rows[-1], self.first_zero_error
        held = "" if math.isnan(last.test_error) else f", held out {last.test_error:.4f}"
        return (
            f"{self.data['name']}: {last.epoch} of {self.plan.epochs} epochs in {self.seconds:.1f} s, {self.status}\n"
            f"loss {last.loss:.3e}, training error {last.error:.4f}{held}\n"
            f"first epoch without training error: {'none' if zero is None else zero}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plan, data in short, rows and status; not the network."""
        names = ("epoch", "loss", "error", "test_error", "learning_rate")
        return {
            "plan": self.plan.to_json(),
            "data": self.data,
            "rows": {name: getattr(self, name).tolist() for name in names},
            "first_zero_error": self.first_zero_error,
            "status": self.status,
            "noisy_labels": self.noisy,
            "seconds": self.seconds,
            "threads": self.threads,
        }

    def __repr__(self) -> str:
        last = self.rows[-1]
        return f"TrainingRun({self.status} at epoch {last.epoch}: loss {last.loss:.3e}, error {last.error:.4f})"
