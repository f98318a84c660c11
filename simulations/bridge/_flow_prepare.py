"""What ``flow_of`` does before there is a flow: copies, checks of the hypotheses, the degree of homogeneity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from simulations._torch import deep_copy
from simulations.bridge._flow_module import ModuleNetwork
from simulations.bridge._flow_translate import operations
from simulations.bridge._modules import private_copy
from theory._arrays import as_floats
from theory._errors import InvalidInput, PreconditionError
from theory.flow.networks import Network, homogeneity_defect

SAME = 1e-9  # relative deviation up to which two evaluations agree, and a network counts as homogeneous
PROBED = 64  # samples on which homogeneity is measured


def arrays(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (N, ...) in float64 and labels, from a pair or a record with ``X`` and ``y``."""
    try:
        X, y = (data.X, data.y) if hasattr(data, "X") else data
    except (TypeError, ValueError, AttributeError):
        raise InvalidInput("data must be a pair: inputs (N, ...) and labels (N).") from None
    X, y = (a.detach().cpu().numpy() if isinstance(a, torch.Tensor) else a for a in (X, y))
    inputs = as_floats("inputs", X)
    if inputs.ndim < 2 or not inputs.size:
        raise InvalidInput(f"inputs must have shape (N, ...) with N at least 1, but have {inputs.shape}.")
    return inputs, as_floats("labels", y)


def copied(module: nn.Module, notes: list[str]) -> nn.Module:
    """A copy without the user's hooks, which would run, and see, every evaluation."""
    made = deep_copy(module)
    dropped = 0
    for part in made.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks):
            # those of torch.nn.utils, such as pruning, belong to the function, as in private_copy
            mine = [key for key, hook in hooks.items() if not type(hook).__module__.startswith("torch.nn.utils")]
            dropped += len(mine)
            for key in mine:
                del hooks[key]
    if dropped:
        notes.append(f"hooks set aside: {dropped}")
    return made


def evaluated(template: nn.Module, notes: list[str]) -> nn.Module:
    """A float64 copy in evaluation mode.

    Raises
    ------
    PreconditionError : batch normalisation that uses the statistics of the batch.
    InvalidInput : as ``private_copy``; parameters that are not floats, or not finite.
    """
    twin = private_copy(template)[0]
    if next(template.parameters(), None) is None:
        raise InvalidInput("the module has no trainable parameters.")
    for name, part in template.named_modules():
        if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None):
            raise PreconditionError(
                f"batch normalisation {name or 'of the module'!r} uses the statistics of the batch, which couples the "
                "samples (hypothesis: an output depends on its own sample only); call .eval() to use running ones."
            )
    dropout = [n for n, p in template.named_modules() if isinstance(p, nn.modules.dropout._DropoutNd) and p.p > 0]
    if dropout:
        notes.append(f"dropout is the identity, as in evaluation: {', '.join(dropout)}")
    for name, parameter in template.named_parameters():
        if not parameter.is_floating_point():
            raise InvalidInput(f"the parameter {name!r} must be floating-point, but is {parameter.dtype}.")
        if not torch.isfinite(parameter).all():
            raise InvalidInput(f"the parameter {name!r} must be finite, but contains NaN or infinity.")
    dtypes = {str(p.dtype).removeprefix("torch.") for p in template.parameters()} - {"float64"}
    if dtypes:
        notes.append(f"{', '.join(sorted(dtypes))} weights are continued in float64")
    still = [name for name, p in template.named_parameters() if not p.requires_grad]
    if still:
        notes.append(f"frozen: {', '.join(still)}")
    return twin.to(next(template.parameters()).device)


def smooth_network(
    module: nn.Module, names: tuple[str, ...], shapes: tuple[tuple[int, ...], ...], X: np.ndarray
) -> ModuleNetwork:
    """The module differentiated by ``torch.func``; its outputs are looked at once.

    Raises
    ------
    InvalidInput : inputs that the module does not take; outputs that are not one real array, or not finite.
    """
    held = next(module.parameters())
    inputs = torch.tensor(X, device=held.device)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            f = module(inputs)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InvalidInput(f"the module cannot be evaluated on inputs of shape {X.shape}: {reason}.") from None
    if not isinstance(f, torch.Tensor) or not f.is_floating_point() or len(f) != len(X):
        what = f"an array of shape {tuple(f.shape)}" if isinstance(f, torch.Tensor) else type(f).__name__
        raise InvalidInput(f"the module must return one array of {len(X)} rows of real outputs, but returns {what}.")
    if not torch.isfinite(f).all():
        raise InvalidInput("the module's outputs must be finite, but contain NaN or infinity.")
    return ModuleNetwork(
        module=module, names=names, shapes=shapes, input_shape=X.shape[1:], n_outputs=f[0].numel(),
        device=held.device, name=f"module {type(module).__name__}",
    )  # fmt: skip


def check_smooth(network: ModuleNetwork, X: np.ndarray, theta: np.ndarray, *, kinks: str, notes: list[str]) -> None:
    """Refuse what the flow of a smooth network does not cover.

    Raises
    ------
    PreconditionError : kinks, unless they are ignored; random operations; samples that are coupled.
    """
    seen = operations(network.module, torch.tensor(X, device=network.device))
    if seen.random:
        raise PreconditionError(
            f"the module draws random numbers ({', '.join(sorted(seen.random))}; hypothesis: f is a function of theta)."
        )
    if seen.kinked and kinks == "follow":
        raise PreconditionError(
            f"the module has kinks ({', '.join(sorted(seen.kinked))}; hypothesis: f is smooth in theta) and is not a "
            "chain whose kinks theory.flow follows; kinks='ignore' integrates automatic differentiation's field."
        )
    if seen.kinked:
        notes.append(f"kinks ignored ({', '.join(sorted(seen.kinked))}): no events, no sliding")
    flat = X.reshape(len(X), -1)
    together = network.output(theta, flat)
    for at in {0, len(X) - 1}:
        alone = network.output(theta, flat[at : at + 1])[0]
        if np.abs(alone - together[at]).max() > SAME * max(np.abs(together).max(), np.finfo(float).tiny):
            raise PreconditionError(
                "the module couples the samples of a batch (hypothesis: an output depends on its own sample only)."
            )


def agree(network: Network, smooth: ModuleNetwork, theta: np.ndarray, X: np.ndarray) -> bool:
    """Whether both give the same outputs, at theta and beside it."""
    if network.n_parameters != len(theta) or network.n_inputs != X.shape[1]:
        return False
    for point in (theta, _beside(theta)):
        f, g = network.output(point, X), smooth.output(point, X)
        if f.shape != g.shape or np.abs(f - g).max() > SAME * np.abs(g).max():
            return False
    return True


def graded(network: ModuleNetwork, theta: np.ndarray, X: np.ndarray, degree: int | None) -> ModuleNetwork:
    """The network with its degree of homogeneity, measured beside theta, where biases are not zero by chance.

    Raises
    ------
    PreconditionError : the declared degree is not its own.
    """
    point, X = _beside(theta), X[:PROBED]
    sizes = [np.linalg.norm(network.output(c * point, X)) for c in (1.0, 2.0)]
    found = round(float(np.log2(sizes[1] / sizes[0]))) if all(0 < s < np.inf for s in sizes) else 0
    tried = replace(network, homogeneous=True, degree=max(found if degree is None else degree, 1))
    defect = homogeneity_defect(tried, point, X) if sizes[0] > 0 else np.inf
    if defect <= SAME:
        return tried
    if degree is not None:
        raise PreconditionError(
            f"the module is declared homogeneous of degree {degree}, but scaling theta shows a defect of {defect:.1e}."
        )
    return network


def _beside(theta: np.ndarray) -> np.ndarray:
    """A generic point near theta."""
    size = np.linalg.norm(theta) / np.sqrt(len(theta)) or 1.0
    return theta + 0.5 * size * np.random.default_rng(0).standard_normal(len(theta))
