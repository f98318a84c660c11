"""What people use for operator norms: the exact SVD, Lanczos, power iteration, the reshaped kernel; and ours.

Power iteration alternates ``v = A^T u / ||.||`` and ``u = A v / ||.||`` from a Gaussian vector and returns ``||A v||``,
as the parametrisation of PyTorch does: below the norm whatever the stop rule, 15 steps (PyTorch's at the start) or a
relative change of at most 1e-6, 1000 steps at most. Lanczos, SciPy's ARPACK, is also below.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from simulations.benchmarks._comparison import OURS
from theory.norms import NormBracket, conv_spectral_norm, spectral_norm, toeplitz_matrix

FIRST_STEPS = 15  # of torch.nn.utils.parametrizations.spectral_norm, at its start
CHANGE, MOST_STEPS = 1e-6, 1000
LANCZOS_TOLERANCE = 1e-6
Map: TypeAlias = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Layer:
    """A dense matrix ``W`` (n, n), or a kernel (O, C, k, k) on maps of ``map`` x ``map``, stride 1, padding k // 2."""

    W: np.ndarray
    map: int = 0
    mode: str = "dense"

    @property
    def n_inputs(self) -> int:
        """Dimension of the input."""
        return self.W.shape[1] * max(1, self.map) ** 2

    def bracket(self, method: str = "auto") -> NormBracket:
        """Ours."""
        if self.mode == "dense":
            return spectral_norm(self.W)
        padding = self.W.shape[2] // 2
        return conv_spectral_norm(self.W, self.map, padding=padding, padding_mode=self.mode, method=method)

    def explicit(self) -> np.ndarray:
        """The matrix of the layer."""
        if self.mode == "dense":
            return self.W
        return toeplitz_matrix(self.W, self.map, padding=self.W.shape[2] // 2, padding_mode=self.mode).toarray()

    def maps(self) -> tuple[Map, Map]:
        """``x -> A x`` and ``y -> A^T y`` on flat vectors: NumPy for a matrix, PyTorch's double for a convolution."""
        if self.mode == "dense":
            return (lambda x: self.W @ x), (lambda y: self.W.T @ y)
        return _torch_maps(self.W, self.map, self.mode == "circular")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number for the norm, a guaranteed lower end where the method has one, and a remark."""

    value: float
    lower: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Method:
    """A name, the packages whose versions are told, and what it says of a layer."""

    name: str
    packages: tuple[str, ...]
    estimate: Callable[[Layer], Estimate]


def _torch_maps(K: np.ndarray, n: int, circular: bool) -> tuple[Map, Map]:
    torch = importlib.import_module("torch")
    functional, kernel, (O, C, p) = torch.nn.functional, torch.asarray(K), (*K.shape[:2], K.shape[2] // 2)

    def forward(x: np.ndarray) -> np.ndarray:
        image = torch.asarray(x).reshape(1, C, n, n)
        with torch.no_grad():
            if circular:
                image = functional.pad(image, (p, p, p, p), mode="circular")
            return np.asarray(functional.conv2d(image, kernel, padding=0 if circular else p)).ravel()

    def adjoint(y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            image = functional.conv_transpose2d(
                torch.asarray(y).reshape(1, O, n, n), kernel, padding=0 if circular else p
            )
            for axis in (2, 3) if circular and p else ():  # what lies outside is added where it came from
                inner = image.narrow(axis, p, n).clone()
                inner.narrow(axis, n - p, p).add_(image.narrow(axis, 0, p))
                inner.narrow(axis, 0, p).add_(image.narrow(axis, n + p, p))
                image = inner
        return np.asarray(image).ravel()

    return forward, adjoint


def power_iteration(layer: Layer, *, steps: int = MOST_STEPS, change: float = 0.0, seed: int = 1) -> Estimate:
    """``||A v||`` after ``steps`` alternations, or once it changes by at most ``change`` relatively."""
    forward, adjoint = layer.maps()
    v = np.random.default_rng(seed).standard_normal(layer.n_inputs)
    v /= np.linalg.norm(v)
    u = forward(v)
    value, before, taken = float(np.linalg.norm(u)), np.inf, 0
    while taken < steps and abs(value - before) > change * value:
        v = adjoint(u)
        u = forward(v / np.linalg.norm(v))
        before, value, taken = value, float(np.linalg.norm(u)), taken + 1
    return Estimate(value, note=f"{taken} steps")


def lanczos(layer: Layer, tol: float = LANCZOS_TOLERANCE, maps: tuple[Map, Map] | None = None) -> Estimate:
    """Root of the largest eigenvalue of ``A^T A`` by ARPACK, from ``maps`` or the layer's own."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    forward, adjoint = maps or layer.maps()
    products = 0

    def product(x: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        return adjoint(forward(x))

    gram = LinearOperator((layer.n_inputs,) * 2, matvec=product, dtype=np.float64)
    start = np.random.default_rng(1).standard_normal(layer.n_inputs)
    top = eigsh(gram, k=1, v0=start, tol=tol, return_eigenvectors=False, maxiter=100_000)[0]
    return Estimate(float(np.sqrt(top)), note=f"{products} products")


def true_norm(layer: Layer) -> float:
    """Lanczos to rounding, with products of NumPy; where the SVD runs, it must agree."""
    from theory.norms._apply import Applied
    from theory.norms.geometry import as_convolution

    if layer.mode == "dense":
        return lanczos(layer, 0.0).value
    conv = as_convolution(layer.W, layer.map, padding=layer.W.shape[2] // 2, padding_mode=layer.mode)
    applied = Applied(conv)
    return lanczos(layer, 1e-13, (applied.forward, applied.adjoint)).value * 2.0**conv.exponent


def svd(layer: Layer) -> Estimate:
    """Largest singular value of the explicit matrix, as LAPACK has it."""
    return Estimate(float(np.linalg.svd(layer.explicit(), compute_uv=False)[0]))


def frequency_svd(layer: Layer) -> Estimate:
    """Sedghi, Gupta and Long's program: singular values of every frequency of the circular convolution."""
    spectrum = np.fft.fft2(layer.W, (layer.map,) * 2, axes=(2, 3)).transpose(2, 3, 0, 1)
    return Estimate(float(np.linalg.svd(spectrum, compute_uv=False).max()))


def reshaped(layer: Layer) -> Estimate:
    """Largest singular value of the kernel as a matrix (O, C k k), which PyTorch's parametrisation divides by."""
    return Estimate(float(np.linalg.svd(layer.W.reshape(len(layer.W), -1), compute_uv=False)[0]))


def _bracketed(method: str) -> Callable[[Layer], Estimate]:
    def estimate(layer: Layer) -> Estimate:
        found = layer.bracket(method)
        return Estimate(found.upper, found.lower, found.method)

    return estimate


def _ours(name: str, method: str) -> Method:
    return Method(name, ("deep-classifier-theory",), _bracketed(method))


def _power(packages: tuple[str, ...]) -> tuple[Method, Method]:
    return (
        Method(
            f"power iteration, {FIRST_STEPS} steps", packages, lambda layer: power_iteration(layer, steps=FIRST_STEPS)
        ),
        Method(f"power iteration to {CHANGE:.0e}", packages, lambda layer: power_iteration(layer, change=CHANGE)),
    )


LANCZOS = f"Lanczos to {LANCZOS_TOLERANCE:.0e}"
DENSE: tuple[Method, ...] = (
    _ours(OURS, "auto"),
    Method("SVD", ("numpy",), svd),
    Method(LANCZOS, ("scipy",), lanczos),
    *_power(("numpy",)),
)
CIRCULAR: tuple[Method, ...] = (
    _ours(OURS, "auto"),
    _ours("ours, Gram iteration", "gram"),
    Method("SVD of each frequency", ("numpy",), frequency_svd),
    Method(LANCZOS, ("scipy", "torch"), lanczos),
    *_power(("torch",)),
    Method("SVD of the reshaped kernel", ("numpy",), reshaped),
)
PADDED: tuple[Method, ...] = (
    _ours(OURS, "auto"),
    _ours("ours, frequency grid", "grid"),
    _ours("ours, Gram iteration", "gram"),
    Method("SVD of the explicit matrix", ("numpy",), svd),
    Method("SVD of each frequency, as if circular", ("numpy",), frequency_svd),
    Method(LANCZOS, ("scipy", "torch"), lanczos),
    *_power(("torch",)),
    Method("SVD of the reshaped kernel", ("numpy",), reshaped),
)


def random_layer(outputs: int, map: int = 0, mode: str = "dense", seed: int = 0) -> Layer:
    """Gaussian, square, of rows of about unit length; a kernel is 3 x 3."""
    rng: Any = np.random.default_rng(seed)
    shape = (outputs, outputs) if mode == "dense" else (outputs, outputs, 3, 3)
    return Layer(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])), map, mode)
