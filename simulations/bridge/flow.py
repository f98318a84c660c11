"""The gradient flow of a PyTorch module: its field by ``torch.func``, for the integrators of ``theory.flow``."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from simulations.bridge._flow_module import ModuleNetwork
from theory._arrays import as_count, as_floats, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow.integrate import integrate
from theory.flow.losses import Loss, as_loss
from theory.flow.networks import Network
from theory.flow.solution import FlowSolution

if TYPE_CHECKING:
    import torch

__all__ = ["ModuleFlow", "ModuleNetwork", "flow_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModuleFlow:
    """The gradient flow problem of a module on data.

    Attributes
    ----------
    network : what ``theory.flow`` integrates: its own network where the module is one (kinks are followed), else a
        ``ModuleNetwork``.
    X, y : inputs (N, d), flattened in C order, and labels (N), or targets of the square loss.
    loss : summed over samples; PyTorch's mean over samples is 1/N of it, so time runs N times slower there.
    theta0 : the module's trainable parameters (P), float64.
    names : of the parameters, in their order in theta.
    notes : what was set aside.
    template : a copy of the module, from which ``module`` makes others.
    """

    network: Network
    X: np.ndarray
    y: np.ndarray
    loss: Loss
    theta0: np.ndarray
    names: tuple[str, ...]
    notes: tuple[str, ...]
    template: torch.nn.Module = field(repr=False)

    __repr__ = short_repr

    @property
    def follows_kinks(self) -> bool:
        """Whether the flow runs on a network of ``theory.flow``, with events and sliding."""
        return not isinstance(self.network, ModuleNetwork)

    def integrate(self, until: Any = "margin-converged", **options: Any) -> FlowSolution:
        """``theory.flow.integrate`` from ``theta0``; options and errors as there."""
        return integrate(self.network, (self.X, self.y), self.loss, self.theta0, until=until, **options)

    def module(self, theta: ArrayLike) -> torch.nn.Module:
        """A new module with the weights theta (P), in the dtype, on the device and in the mode of the given one.

        Raises
        ------
        InvalidInput : theta of another shape; NaN or infinity.
        """
        import torch

        flat = as_floats("theta", theta)
        if flat.shape != self.theta0.shape:
            raise InvalidInput(f"theta must have shape {self.theta0.shape}, but has {flat.shape}.")
        made, start = copy.deepcopy(self.template), 0
        with torch.no_grad():
            for name in self.names:
                parameter = made.get_parameter(name)
                values = flat[start : start + parameter.numel()].reshape(parameter.shape)
                parameter.copy_(torch.tensor(values))
                start += parameter.numel()
        return made

    def state_dict(self, theta: ArrayLike) -> dict[str, Any]:
        """The ``state_dict`` of ``module(theta)``."""
        return self.module(theta).state_dict()

    def summary(self) -> str:
        """The problem in a few lines."""
        degree = f"degree {self.network.degree}" if self.network.homogeneous else "not homogeneous"
        kinks = "kinks followed" if self.follows_kinks else "no kinks followed"
        lines = [
            f"gradient flow of {self.network.name}: {len(self.theta0)} parameters, {degree}, {kinks}",
            f"  {len(self.X)} samples of dimension {self.X.shape[1]}, {self.loss.name} loss, summed over samples",
        ]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def to_json(self) -> dict[str, object]:
        """Plain values, without the arrays."""
        return {
            "network": self.network.to_json(), "samples": len(self.X), "loss": self.loss.name,
            "names": list(self.names), "notes": list(self.notes),
        }  # fmt: skip


def flow_of(
    module: torch.nn.Module,
    data: Any,
    loss: str | Loss,
    *,
    degree: int | None = None,
    kinks: str = "follow",
) -> ModuleFlow:
    r"""The gradient flow of a module on data, :math:`\dot\theta \in -\partial \sum_n \ell(f_\theta(x_n), y_n)`.

    A chain that ``theory.flow`` has itself (see below) becomes its network with the same theta, so that kinks are
    located and sliding is followed. Any other module without kinks is differentiated by ``torch.func`` in float64,
    in evaluation mode. The module is copied and left as it was. *derived*: nothing is approximated but by rounding.

    Parameters
    ----------
    module : its trainable parameters in the order of ``named_parameters`` are theta; frozen ones stay fixed. Chains of
        Linear, or of Conv1d / Conv2d without bias and then Linear, with the same ReLU or LeakyReLU (or nothing) between
        them, all trainable and defined in the order of their use, are followed through their kinks.
    data : inputs (N, ...) and labels (N) as a pair of arrays or tensors, or a record with ``X`` and ``y``.
    loss : ``exponential``, ``logistic`` (labels -1 and +1), ``cross_entropy`` (0..K-1) or ``square`` (targets).
    degree : of homogeneity in theta, which is then checked; None measures it. Deviations up to 1e-9 count as none.
    kinks : ``follow``, which refuses kinks that cannot be followed; ``ignore`` integrates the field that automatic
        differentiation gives, without events.

    Returns
    -------
    ModuleFlow

    Raises
    ------
    InvalidInput : data that the module does not take; no trainable parameters; outputs that are not one array.
    PreconditionError : kinks (hypothesis: f is smooth in theta), batch normalisation in training mode or samples that
        are coupled otherwise, random operations, a degree that the module does not have.

    Notes
    -----
    Kinks are looked for among the operations of one forward pass; a module that chooses another branch later, or
    whose kink is written as arithmetic (``sqrt(x**2)``), is not seen through. Past log(1/Loss) = 10 the integrator
    forms the Hessian (P, P): a few hundred parameters are comfortable, thousands are not.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False))
    >>> _ = torch.nn.init.zeros_(net[0].weight)
    >>> flow = flow_of(net, ([[1.0]], [1.0]), "exponential").integrate(until=100.0, rtol=1e-12)
    >>> bool(abs(flow.theta[0] - np.log(101.0)) < 1e-10)
    True
    """
    import torch

    from simulations.bridge import _flow_prepare as prepare
    from simulations.bridge._flow_translate import as_theory_network

    if not isinstance(module, torch.nn.Module):
        raise InvalidInput(f"a torch.nn.Module is wanted, but {type(module).__name__} was given.")
    if kinks not in ("follow", "ignore"):
        raise InvalidInput(f"kinks must be 'follow' or 'ignore', but is {kinks!r}.")
    wanted = None if degree is None else as_count("degree", degree)
    criterion = as_loss(loss)
    X, y = prepare.arrays(data)
    notes: list[str] = []
    template = prepare.copied(module, notes)
    frozen = prepare.evaluated(template, notes)
    named = {name: p.detach().cpu().numpy() for name, p in frozen.named_parameters() if p.requires_grad}
    if not named:
        raise InvalidInput("the module has no trainable parameters.")
    theta0, flat = np.concatenate([p.ravel() for p in named.values()]), X.reshape(len(X), -1)
    own = as_theory_network(frozen, X) if kinks == "follow" else None
    smooth = prepare.smooth_network(
        frozen.requires_grad_(False), tuple(named), tuple(p.shape for p in named.values()), X
    )
    network: Network
    if own is not None and prepare.agree(own, smooth, theta0, flat):
        network = own
        if wanted is not None and (not own.homogeneous or own.degree != wanted):
            has = f"has degree {own.degree}" if own.homogeneous else "is not homogeneous: it has biases"
            raise PreconditionError(f"the module is declared homogeneous of degree {wanted}, but {has}.")
    else:
        prepare.check_smooth(smooth, X, theta0, kinks=kinks, notes=notes)
        network = prepare.graded(smooth, theta0, flat, wanted)
    return ModuleFlow(
        network=network, X=flat, y=criterion.labels(y, len(X), network.n_outputs), loss=criterion,
        theta0=theta0, names=tuple(named), notes=tuple(notes), template=template,
    )  # fmt: skip
