"""A monitor inside Lightning, and its numbers in TensorBoard or anything else that takes scalars."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from simulations.bridge.monitor import CollapseMonitor, MonitorRecord
from theory._errors import PreconditionError


class ScalarWriter(Protocol):
    """What is needed of a ``SummaryWriter``."""

    def add_scalar(self, tag: str, value: float, step: int) -> object:
        """Log one number."""


def tensorboard_writer(monitor: CollapseMonitor, writer: ScalarWriter, *, prefix: str = "collapse/") -> CollapseMonitor:
    """Send every number of every record, past and future, to ``writer``; the epoch is the step. Returns the monitor.

    Parameters
    ----------
    monitor : its ``listeners`` get one more.
    writer : has ``add_scalar(tag, value, step)``, such as ``torch.utils.tensorboard.SummaryWriter``.
    prefix : of all tags.
    """

    def write(record: MonitorRecord) -> None:
        for name, value in record.numbers().items():
            writer.add_scalar(prefix + name, value, record.epoch)

    for record in monitor.records:
        write(record)
    monitor.listeners.append(write)
    return monitor


def lightning_callback(monitor: CollapseMonitor, *, prefix: str = "collapse/") -> Any:
    """Return a Lightning callback that updates ``monitor`` at the end of each epoch and logs what is due.

    Looks are taken before the first epoch, after each that is due, and after the last, by the first process only.
    Numbers go to all loggers of the trainer; the epoch is the step.

    Parameters
    ----------
    monitor : of the data to look at.
    prefix : of all names.

    Raises
    ------
    PreconditionError : neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    Callback = _callback_class()

    class CollapseCallback(Callback):  # type: ignore[misc, valid-type]
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self._log(trainer, lambda: monitor.update(pl_module, trainer.current_epoch))

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            # Lightning counts the epoch that ends from 0
            self._log(trainer, lambda: monitor.update(pl_module, trainer.current_epoch + 1))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self._log(trainer, lambda: monitor.finish(pl_module))

        def _log(self, trainer: Any, look: Any) -> None:
            record = look() if trainer.is_global_zero else None
            if record is not None:
                values = {prefix + name: value for name, value in record.numbers().items()}
                for logger in trainer.loggers:
                    logger.log_metrics(values, step=record.epoch)

    return CollapseCallback()


def _callback_class() -> Any:
    for package in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return importlib.import_module(package).Callback
        except ImportError:
            continue
    raise PreconditionError("lightning_callback needs Lightning: pip install lightning (or pytorch-lightning).")
