"""The loop behind ``simulations.train``: its state at an epoch's end, one epoch, what is saved."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils import parametrizations, parametrize

from simulations import _checkpoint
from simulations._progress import Progress
from simulations._torch import as_device, check_values, deep_copy, first_line
from simulations._training_record import TrainingPlan, TrainingRow, TrainingRun
from simulations._training_steps import Stream, batches, loss_of, measured, noisy_labels, steps_per_epoch, stream_seed
from simulations.data.dataset import Dataset
from theory._errors import InvalidInput, NotConverged

SECONDS_BETWEEN_WRITES = 30.0
NORMALISED = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


class Loop:
    """A run at the end of an epoch: new, or as its checkpoint holds it."""

    def __init__(self, model: Any, data: Dataset, plan: TrainingPlan, path: Path | None) -> None:
        self.plan, self.data, self.path = plan, data, path
        device, dtype = as_device(plan.device), getattr(torch, plan.dtype)
        self.stream = Stream(stream_seed(plan.seed, 4), device)
        self.order = torch.Generator().manual_seed(stream_seed(plan.seed, 5))
        self.labels = noisy_labels(data, plan)
        self.model = _own(model, plan, device).to(device, dtype)
        self.loss, targets_of = loss_of(plan, data.num_classes)
        self.X, self.y = torch.tensor(data.X, dtype=dtype, device=device), torch.tensor(self.labels, device=device)
        self.targets = targets_of(self.y)
        self.held = None
        if data.X_test is not None:
            self.held = (torch.tensor(data.X_test, dtype=dtype, device=device), torch.tensor(data.y_test).to(device))
        n, counts = len(self.labels), np.bincount(self.labels, minlength=data.num_classes)
        each = 1 / (data.num_classes * counts[self.labels]) if plan.sampling == "balanced" else np.full(n, 1 / n)
        self.weights = torch.tensor(each, device=device)
        self.draw, self.steps = batches(plan, self.labels, device), steps_per_epoch(plan, self.labels)
        self.optimizer = _optimizer(self.model, plan)
        self.rows: list[TrainingRow] = []
        self.epoch, self.seconds = 0, 0.0
        self.first_zero: int | None = None
        self.status: str | None = None
        self._check_outputs()
        if path is not None:
            self._mark = _checkpoint.identity(plan, data, self.model)
            content = _checkpoint.read(path, self._mark)
            if content is not None:
                self._restore(content)

    def run(self, every: int | None, callback: Callable[..., object] | None, line: Progress | None) -> None:
        """Train to the end of the plan, or to the terminal phase.

        Raises
        ------
        NotConverged : the loss is not finite.
        """
        written = time.monotonic()
        began = written - self.seconds
        saved = self._snapshot()
        try:
            while self.status is None:
                loss = self._train_epoch() if self.rows else None
                self._measure(loss, callback)
                self.seconds = time.monotonic() - began
                saved = self._snapshot()
                if self.path is not None:
                    due = self.epoch % every == 0 if every else time.monotonic() - written > SECONDS_BETWEEN_WRITES
                    if due or self.status is not None:
                        self._write(saved)
                        written = time.monotonic()
                if line is not None:
                    self._show(line)
        except BaseException:  # an interrupt, or an error of the callback: the epochs that are done are kept
            self._write(saved)
            raise

    def _train_epoch(self) -> torch.Tensor:
        """All steps of the next epoch; the last step's loss."""
        self.model.train()
        self.epoch += 1
        index = self.draw(self.order)
        loss = torch.zeros(())
        try:
            with self.stream.drawn(), torch.enable_grad():
                for step, part in enumerate(index):
                    rate = self._rate(step)
                    for group in self.optimizer.param_groups:
                        group["lr"] = rate
                    X, targets = (self.X, self.targets) if part is None else (self.X[part], self.targets[part])
                    self.optimizer.zero_grad()
                    loss = self.loss(self.model(X), targets)
                    loss.backward()
                    self.optimizer.step()
        except ValueError as error:  # batch normalisation refuses a last batch of one sample
            raise InvalidInput(f"a training step fails: {first_line(error)}; another batch_size may help.") from error
        return loss.detach()

    def _rate(self, step: int) -> float:
        """Learning rate in the middle of a step of the current epoch."""
        return self.plan.rate_at(self.epoch - 1 + (step + 0.5) / self.steps)

    def _measure(self, loss: torch.Tensor | None, callback: Callable[..., object] | None) -> None:
        """Measure the epoch that ended where it is due, tell the callback, decide whether the run is over."""
        plan, e = self.plan, self.epoch
        finite = loss is None or bool(torch.isfinite(loss))
        stop = self.first_zero is not None and plan.stop_after is not None and e >= self.first_zero + plan.stop_after
        rate = self._rate(self.steps - 1) if e else plan.rate_at(0)
        row = TrainingRow(epoch=e, loss=math.nan, error=math.nan, test_error=math.nan, learning_rate=rate)
        self.model.eval()
        if e % plan.evaluate_every == 0 or e == plan.epochs or stop or not finite:
            with self.stream.drawn():
                value, error = measured(self.model, self.X, self.y, self.targets, self.loss, self.weights)
                held = math.nan
                if self.held is not None:
                    held = measured(self.model, *self.held, None, self.loss, self.weights)[1]
            row = TrainingRow(epoch=e, loss=value, error=error, test_error=held, learning_rate=rate)
            self.rows.append(row)
            finite = finite and math.isfinite(value)
            if error == 0 and finite and self.first_zero is None:
                self.first_zero = e
                stop = plan.stop_after == 0
        if not finite:
            self.status = "diverged"
            raise NotConverged(
                f"training diverged: at epoch {e} the loss is not finite; a lower learning_rate may help.",
                self.record(),
            )
        if callback is not None:
            callback(e, self.model, row)
        self.status = "terminal phase" if stop else "all epochs" if e == plan.epochs else None

    def record(self) -> TrainingRun:
        """The run so far."""
        return TrainingRun(
            model=self.model.eval(), plan=self.plan, data=self.data.to_json(), rows=tuple(self.rows),
            first_zero_error=self.first_zero, status=self.status or "unfinished", labels=self.labels,
            noisy=int((self.labels != self.data.y).sum()), seconds=self.seconds, threads=torch.get_num_threads(),
        )  # fmt: skip

    def _snapshot(self) -> dict[str, Any]:
        """Copies of all that the next epoch starts from; nothing where no checkpoint is asked for."""
        if self.path is None:
            return {}
        return {
            "identity": self._mark, "epoch": self.epoch, "seconds": self.seconds, "first_zero": self.first_zero,
            "status": self.status, "rows": list(self.rows), "order": self.order.get_state(),
            "streams": list(self.stream.states), "model": _copied(self.model.state_dict()),
            "optimizer": _copied(self.optimizer.state_dict()),
        }  # fmt: skip

    def _write(self, saved: dict[str, Any]) -> None:
        if self.path is not None:
            rows = torch.tensor([astuple(row) for row in saved["rows"]], dtype=torch.float64)
            _checkpoint.write(self.path, {**saved, "rows": rows})

    def _restore(self, content: dict[str, Any]) -> None:
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.order.set_state(content["order"])
        self.stream.states = content["streams"]
        self.epoch, self.seconds = content["epoch"], content["seconds"]
        self.first_zero, self.status = content["first_zero"], content["status"]
        self.rows = [
            TrainingRow(epoch=int(e), loss=loss, error=error, test_error=held, learning_rate=rate)
            for e, loss, error, held, rate in content["rows"].tolist()
        ]

    def _show(self, line: Progress) -> None:
        row, left = self.rows[-1], self.seconds / max(self.epoch, 1) * (self.plan.epochs - self.epoch)
        line.draw(
            f"epoch {self.epoch} of {self.plan.epochs}, loss {row.loss:.2e}, error {row.error:.4f}, {left:.0f} s left"
        )

    def _check_outputs(self) -> None:
        """One sentence where the network does not take these samples.

        Raises
        ------
        InvalidInput : it raises on them, changes them, or does not give one number for each class.
        """
        shape, K = tuple(self.X.shape[1:]), self.data.num_classes
        self.model.eval()
        samples = self.X[:2].clone()
        try:
            with torch.no_grad(), self.stream.drawn():
                outputs = self.model(samples)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise InvalidInput(f"the network does not take samples of shape {shape}: {first_line(error)}.") from error
        if not torch.equal(samples, self.X[:2]):
            raise InvalidInput("the network changes its inputs in place, which would change the data of later epochs.")
        wanted = (len(samples), K)
        if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != wanted:
            got = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
            raise InvalidInput(f"the network must give {K} numbers a sample, shape {wanted} for two, but gives {got}.")


def _own(model: Any, plan: TrainingPlan, device: torch.device) -> torch.nn.Module:
    """A copy of the network, or what its builder makes of the seed, normalised as the plan says."""
    if not isinstance(model, torch.nn.Module):
        if not callable(model):
            raise InvalidInput(
                f"model must be a torch.nn.Module or a function of a seed, but is a {type(model).__name__}."
            )
        with Stream(stream_seed(plan.seed, 6), device).drawn():
            model = model(plan.seed)
        if not isinstance(model, torch.nn.Module):
            raise InvalidInput(f"the builder must return a torch.nn.Module, but returned a {type(model).__name__}.")
    if isinstance(model, torch.jit.ScriptModule):
        raise InvalidInput("the network is TorchScript, which cannot be copied for training: give the Python module.")
    check_values(model)
    own = deep_copy(model)
    if plan.normalisation == "weight":
        for module in own.modules():
            if isinstance(module, NORMALISED) and not parametrize.is_parametrized(module, "weight"):
                parametrizations.weight_norm(module, "weight")
    return own


def _optimizer(model: torch.nn.Module, plan: TrainingPlan) -> torch.optim.SGD:
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise InvalidInput("the network has no parameter to train.")
    free = [p for p in trained if plan.decay == "weights" and p.ndim < 2]
    groups = [{"params": [p for p in trained if not any(p is q for q in free)], "weight_decay": plan.weight_decay}]
    if free:
        groups.append({"params": free, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum, nesterov=plan.nesterov)


def _copied(state: Any) -> Any:
    """A state dictionary with every tensor copied."""
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list | tuple) else state
