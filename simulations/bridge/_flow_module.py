"""A PyTorch module as a network of ``theory.flow``: its outputs and their derivatives by ``torch.func``, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput, PreconditionError
from theory.flow._activation import Activation
from theory.flow._layered import Forward

try:
    import torch
    from torch.func import functional_call, jacrev, vjp, vmap
except ImportError:
    raise PreconditionError("flow_of needs PyTorch: pip install 'deep-classifier-theory[torch]'.") from None

SMOOTH = Activation(name="smooth", slope=1.0)  # no kink that an integrator would have to look for
CHUNK = 2**24  # entries of the derivatives that are formed at once


@dataclass(frozen=True, slots=True)
class ModuleForward(Forward):
    """One evaluation that keeps its graph from ``theta`` to ``f``."""

    theta: torch.Tensor
    f: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModuleNetwork:
    """A smooth module as ``theory.flow.Network``: theta (P) are its trainable parameters one after the other.

    There are no units (``units`` is empty), so an integrator sees no kinks and records no events. ``flow_of`` checks
    and makes it.

    Attributes
    ----------
    module : a float64 copy in evaluation mode; only its frozen parameters and its buffers are read.
    names, shapes : of the trainable parameters, in their order in theta.
    input_shape : of one sample; the flow's inputs (N, d) are given this shape, in C order.
    n_outputs : entries of an output, flattened.
    device : where the module is evaluated.
    homogeneous, degree : whether ``f(c theta) = c^degree f(theta)``; the degree is 1 where not.
    """

    module: torch.nn.Module = field(repr=False)
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    input_shape: tuple[int, ...]
    n_outputs: int
    device: torch.device = field(default=torch.device("cpu"), repr=False)
    homogeneous: bool = False
    degree: int = 1
    name: str = "module"
    activation: Activation = field(default=SMOOTH, repr=False)
    units: tuple[int, ...] = field(default=(), repr=False)
    n_units: int = field(default=0, repr=False)
    starts: tuple[int, ...] = field(default=(0,), repr=False)

    @property
    def n_inputs(self) -> int:
        """Entries of an input, flattened."""
        return prod(self.input_shape)

    @property
    def sizes(self) -> list[int]:
        """Entries of each parameter."""
        return [prod(shape) for shape in self.shapes]

    @property
    def n_parameters(self) -> int:
        """Length P of theta."""
        return sum(self.sizes)

    def views(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """The parameters by name, as views into theta (..., P)."""
        cuts = np.cumsum(self.sizes)[:-1].tolist()
        parts = np.split(theta, cuts, axis=-1)
        return {
            name: part.reshape(*theta.shape[:-1], *shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def pack(self, **named: ArrayLike) -> np.ndarray:
        """The flat theta (P) from the arrays that ``views`` names.

        Raises
        ------
        InvalidInput : a name is missing or unknown, or a shape does not fit.
        """
        if set(named) != set(self.names):
            given = ", ".join(named) or "none"
            raise InvalidInput(f"the parameters are {', '.join(self.names)}, but {given} was given.")
        parts = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            value = as_floats(name, named[name])
            if value.shape != shape:
                raise InvalidInput(f"{name} must have shape {shape}, but has {value.shape}.")
            parts.append(value.ravel())
        return np.concatenate(parts)

    def random_parameters(self, *, rng: np.random.Generator | int | None = None, scale: float = 1.0) -> np.ndarray:
        """Gaussian theta (P): standard deviation ``scale / sqrt(fan-in)``; ``scale`` for vectors."""
        generator = np.random.default_rng(rng)
        draws = [generator.standard_normal(prod(s)) / np.sqrt(prod(s[1:])) for s in self.shapes]
        return scale * np.concatenate(draws)

    def _tensor(self, array: ArrayLike) -> torch.Tensor:
        """A float64 tensor where the module is."""
        return torch.tensor(array, dtype=torch.float64, device=self.device)

    def _call(self, theta: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
        """Outputs (N, K) for flat theta (P) and inputs (N, *input_shape)."""
        parts = zip(self.names, theta.split(self.sizes), self.shapes, strict=True)
        f = functional_call(self.module, {name: part.view(shape) for name, part, shape in parts}, (X,))
        return f.reshape(len(X), -1)

    def _inputs(self, X: np.ndarray) -> torch.Tensor:
        return self._tensor(X).reshape(len(X), *self.input_shape)

    def _checked(self, theta: ArrayLike, X: ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
        """Both as tensors whose shapes fit; their entries are not looked at."""
        flat, inputs = np.asarray(theta, dtype=np.float64), np.asarray(X, dtype=np.float64)
        if flat.shape != (self.n_parameters,):
            raise InvalidInput(f"theta must have shape ({self.n_parameters},), but has {flat.shape}.")
        if inputs.ndim != 2 or inputs.shape[1] != self.n_inputs:
            raise InvalidInput(f"inputs must have shape (samples, {self.n_inputs}), but have {inputs.shape}.")
        return self._tensor(flat), self._inputs(inputs)

    def forward(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> ModuleForward:
        """Evaluate at theta (P) on inputs X (N, d); there is nothing to give slopes to."""
        none, t = np.zeros((len(X), 0)), self._tensor(theta).requires_grad_()
        with torch.enable_grad():  # half the time of torch.func.vjp
            f = self._call(t, self._inputs(X))
        return ModuleForward(f.detach().cpu().numpy(), none, none, [X], [theta], t, f)

    def output(self, theta: ArrayLike, X: ArrayLike) -> np.ndarray:
        """The outputs f (N, K) at theta (P) on inputs X (N, d).

        Raises
        ------
        InvalidInput : theta or X of another shape; NaN or infinity in them.
        """
        t, inputs = self._checked(as_floats("theta", theta), as_floats("inputs", X))
        with torch.no_grad():
            return self._call(t, inputs).cpu().numpy()

    def preactivations(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """No switching functions (N, 0)."""
        return np.zeros((len(X), 0))

    def gradient(self, at: Forward, G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``sum_nk G_nk grad f_nk`` (P), and no signals (N, 0)."""
        if not isinstance(at, ModuleForward):
            raise InvalidInput("gradient takes what forward of this network returned.")
        if not at.f.requires_grad:  # nothing of theta reaches the outputs
            return np.zeros(self.n_parameters), at.preactivations
        (pulled,) = torch.autograd.grad(at.f, at.theta, self._tensor(G), retain_graph=True)
        return pulled.cpu().numpy(), at.preactivations

    def vjp(self, theta: ArrayLike, X: ArrayLike, G: ArrayLike, slopes: np.ndarray | None = None) -> np.ndarray:
        """``sum_nk G_nk grad f_nk`` (P) for cotangents G (N, K)."""
        t, inputs = self._checked(theta, X)
        return self._gradient(t, inputs, self._tensor(G)).cpu().numpy()

    def _gradient(self, t: torch.Tensor, X: torch.Tensor, G: torch.Tensor) -> torch.Tensor:
        return vjp(lambda t: self._call(t, X), t)[1](G)[0]

    def jacobian(self, theta: ArrayLike, X: ArrayLike, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df_nk/dtheta`` (N, K, P), sample by sample."""
        t, inputs = self._checked(theta, X)
        of_one = jacrev(lambda t, x: self._call(t, x[None])[0])
        J = self._each(lambda x: of_one(t, x), inputs, self.n_outputs)
        return J.cpu().numpy()

    def jvp(self, theta: ArrayLike, X: ArrayLike, dtheta: ArrayLike, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df/dtheta . dtheta`` (..., N, K) for tangents dtheta (..., P)."""
        t, inputs = self._checked(theta, X)
        f, pull = vjp(lambda t: self._call(t, inputs), t)[:2]
        push = vjp(lambda G: pull(G)[0], torch.zeros_like(f))[1]  # the transpose of G -> J^T G is J
        return self._along(lambda v: push(v)[0], dtheta)

    def hvp(
        self, theta: ArrayLike, X: ArrayLike, G: ArrayLike, dtheta: ArrayLike, slopes: np.ndarray | None = None
    ) -> np.ndarray:
        """``(sum_nk G_nk Hess f_nk) dtheta`` (..., P) for tangents dtheta (..., P)."""
        t, inputs = self._checked(theta, X)
        pulled = self._tensor(G)
        # a vjp of the vjp, as a Hessian is symmetric: forward mode is known to fewer operations
        pull = vjp(lambda t: self._gradient(t, inputs, pulled), t)[1]
        return self._along(lambda v: pull(v)[0], dtheta)

    def hessian(self, theta: ArrayLike, X: ArrayLike, G: ArrayLike, slopes: np.ndarray | None = None) -> np.ndarray:
        """``sum_nk G_nk Hess f_nk`` (P, P)."""
        return self.hvp(theta, X, G, np.eye(self.n_parameters))

    def _along(self, push: Callable[[torch.Tensor], torch.Tensor], dtheta: ArrayLike) -> np.ndarray:
        """``push`` of every tangent; leading axes are kept."""
        tangents = self._tensor(dtheta)
        found = self._each(push, tangents.reshape(-1, self.n_parameters), 1)
        return found.reshape(*tangents.shape[:-1], *found.shape[1:]).cpu().numpy()

    def _each(self, f: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor, copies: int) -> torch.Tensor:
        """``f`` of every row at once, or one by one where an operation of the module knows no batching rule."""
        at_once = max(1, CHUNK // max(1, copies * self.n_parameters))
        try:
            return vmap(f, chunk_size=at_once)(rows)
        except (RuntimeError, ValueError, NotImplementedError):
            return torch.stack([f(row) for row in rows])

    def to_json(self) -> dict[str, object]:
        """A description in plain numbers."""
        return {
            "name": self.name,
            "parameters": self.n_parameters,
            "shapes": {name: list(shape) for name, shape in zip(self.names, self.shapes, strict=True)},
            "degree": self.degree if self.homogeneous else None,
            "homogeneous": self.homogeneous,
        }
