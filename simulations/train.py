"""A small honest trainer: stochastic gradient descent with every choice in a plan, resumable to the same bits.

>>> from simulations.data import digits
>>> from simulations.networks import perceptron
>>> plan = TrainingPlan(epochs=3, learning_rate=0.1, batch_size=50, momentum=0.9)
>>> train(lambda seed: perceptron([64, 32, 10], seed=seed), digits(), plan).status
'all epochs'
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from simulations._progress import Progress
from simulations._torch import import_torch
from simulations._training_record import TrainingPlan, TrainingRow, TrainingRun
from simulations.data.dataset import Dataset
from theory._arrays import as_count
from theory._errors import InvalidInput

if TYPE_CHECKING:
    import torch

__all__ = ["TrainingPlan", "TrainingRow", "TrainingRun", "train"]

Callback = Callable[[int, "torch.nn.Module", TrainingRow], object]


def train(
    model: torch.nn.Module | Callable[[int], torch.nn.Module],
    data: Dataset,
    plan: TrainingPlan,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> TrainingRun:
    """Train a copy of a network as the plan says, and tell what came of it epoch by epoch.

    On a CPU the same call gives the same bits, at one and the same number of PyTorch's threads (``run.threads``) on one
    machine and version; on CUDA that is not promised. The global random state of torch, NumPy and Python stays as it
    was; dropout draws from the plan's seed.

    Parameters
    ----------
    model : a network that maps samples (n, ...) to outputs (n, K), copied (its hooks too) and left as it is; or a
        function from a seed to one, called with the plan's seed. All its submodules are trained in training mode;
        parameters with requires_grad=False stay fixed.
    data : trained on ``X, y``; ``X_test, y_test`` are only measured.
    checkpoint : a file that holds the run so far. Where it exists and belongs to the same plan, data and network, the
        run goes on from there, to the same bits as a run that was never stopped; a run that was finished is read and
        not trained again. Written whole or not at all, at the end, at KeyboardInterrupt or an error (which goes on to
        the caller) and every ``checkpoint_every`` epochs, or every 30 s where that is None: a killed run loses at most
        so much. ``torch.load(path, weights_only=True)`` reads it.
    callback : ``callback(epoch, model, row)`` at epoch 0 and after each, the network in evaluation mode; it may change
        the mode, nothing else. After a resumption it is not called for epochs that the file holds, and is called
        once more for those since the file was written.
    progress : a line on the terminal with epoch, loss, error and time left.

    Raises
    ------
    NotConverged : the loss is no longer finite (looked for after each epoch); ``partial`` is the run so far.
    InvalidInput : a network that cannot be copied, changes its inputs in place, or does not map these samples to K
        outputs; a checkpoint of another run. PreconditionError : no PyTorch, or not the device that the plan names.

    Notes
    -----
    Cost: that of a hand-written loop that measures as often (within 5 %). Measuring each epoch is a pass without
    gradients over all samples and adds 10-35 % to an epoch of many steps, more to one of a single step; with
    ``evaluate_every=10`` it is below 10 %. Small networks train fastest with one thread (torch.set_num_threads(1)),
    above all beside other work.
    """
    import_torch("training")
    from simulations._training_loop import Loop

    if not isinstance(data, Dataset):
        raise InvalidInput(f"data must be a Dataset, but is a {type(data).__name__}.")
    if not isinstance(plan, TrainingPlan):
        raise InvalidInput(f"plan must be a TrainingPlan, but is a {type(plan).__name__}.")
    every = None if checkpoint_every is None else as_count("checkpoint_every", checkpoint_every)
    loop = Loop(model, data, plan, None if checkpoint is None else Path(checkpoint))
    if loop.status is None:
        with Progress("training") as line:
            loop.run(every, callback, line if progress else None)
    return loop.record()
