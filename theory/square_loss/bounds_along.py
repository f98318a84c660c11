r"""Certificates of the error along a flow of ``f = rho f_V``, each beside the part of it that V alone decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear, Operation
from theory.flow._convolution import Convolution
from theory.flow._layered import LayeredNetwork
from theory.flow.networks import Network
from theory.square_loss.solution import RhoSolution

if TYPE_CHECKING:
    from theory.bounds import Bound

# quick ones whose complexity is a norm over a margin, times a factor of depth and sample size
PRODUCTS = ("group-norm", "frobenius", "row-norm", "operator-frobenius", "path-norm")
ROWS = 12  # moments by default


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundsAlong:
    r"""Certificates of the error at moments of one flow, against t and rho.

    Attributes
    ----------
    t, rho : (T).
    names : of the bounds that apply (B). refused : of the others, with the reason.
    value, empirical, complexity : (B, T); empirical and complexity are two of the terms that add up to value.
    margin : (B, T), of f = rho f_V, at which each was taken; NaN for a bound without a margin.
    per_rho : (B, T), ``complexity margin / rho``: for products of norms it is the complexity of f_V at margin 1, which
        does not change while V stands still. Exact with ``margin="best"``; at a fixed margin rounded up, by less than
        the ratio 1.05 of the bounds' grid. Not meaningful for a bound that is no product of norms.
    mistakes : (T), share of samples that are not strictly right.
    delta, level : of all certificates together, and of each (delta / number asked).
    architecture : of the network; the bias of a first layer is a weight of a constant input 1, put behind x.
    """

    t: np.ndarray
    rho: np.ndarray
    names: tuple[str, ...]
    refused: Mapping[str, str]
    value: np.ndarray
    empirical: np.ndarray
    complexity: np.ndarray
    margin: np.ndarray
    per_rho: np.ndarray
    mistakes: np.ndarray
    delta: float
    level: float
    architecture: Architecture = field(repr=False)

    def __repr__(self) -> str:
        return f"BoundsAlong({len(self.names)} bounds at {len(self.t)} moments, rho = {self.rho[-1]:.4g} at the end)"

    def summary(self) -> str:
        """A table: the first and the last moment of each bound."""
        lines = [
            f"t = {self.t[0]:.4g} to {self.t[-1]:.4g}, rho = {self.rho[0]:.4g} to {self.rho[-1]:.4g}",
            f"{'':22}{'value':>20}{'complexity':>20}{'per rho':>20}",
        ]
        for name, *rows in zip(self.names, self.value, self.complexity, self.per_rho, strict=True):
            lines.append(f"{name:22}" + "".join(f"{f'{row[0]:.3g} to {row[-1]:.3g}':>20}" for row in rows))
        return "\n".join(lines + [f"{name:22} refused: {why}" for name, why in self.refused.items()])

    def to_json(self) -> dict[str, object]:
        """Plain numbers, None for those that are not finite; one entry per bound."""
        arrays = ("value", "empirical", "complexity", "margin", "per_rho")
        entries = {
            name: {key: [x if np.isfinite(x) else None for x in getattr(self, key)[i].tolist()] for key in arrays}
            for i, name in enumerate(self.names)
        }
        return {
            "t": self.t.tolist(), "rho": self.rho.tolist(), "mistakes": self.mistakes.tolist(), "delta": self.delta,
            "level": self.level, "bounds": entries, "refused": dict(self.refused),
        }  # fmt: skip


def bounds_along(
    solution: RhoSolution,
    times: ArrayLike | None = None,
    *,
    bounds: Sequence[Bound] | None = None,
    delta: float = 0.01,
    margin: float | str = "best",
) -> BoundsAlong:
    r"""Generalization bounds of ``theory.bounds`` at the weights that a flow passes through.

    A product of norms over a margin gamma of f is ``rho`` times that of f_V, over gamma; margins of f are ``rho`` times
    the normalised ones:

    .. math:: \mathrm{complexity} = c\,\frac{\rho \prod_k \|V_k\|}{\gamma}
        = c\,\prod_k \|V_k\| \frac{\rho}{\gamma}, \qquad M_n = \rho\, b_n

    (*derived*; homogeneity). So at a margin fixed before the sample the complexity is proportional to rho, while the
    empirical term falls with it; at the best margin, ``gamma = rho g`` for one g, rho cancels from all terms: there the
    bound sees V alone, the normalised margins b_n and the norms other than Frobenius. The labels of the bounds are
    classes: for one output with targets -1 and +1, label 1 is +1 and ``b_n = y_n f_n``; for K outputs the class is
    the largest target and b_n its output less the largest other one. This is ``solution.margins``.

    Each certificate is taken at delta over the number asked for. As each speaks of all weights at once, all hold
    together with probability 1 - delta, at all times (except ``pac-bayes-kl``, which draws afresh: at each time).
    The data must be independent samples, which a handful of chosen points is not.

    Parameters
    ----------
    solution : from ``integrate_rho``, of a dense or convolutional network (ReLU, leaky ReLU or linear).
    times : of the flow; None: up to 12 of its steps, the first and the last among them.
    bounds : which; by default products of norms, ``get(name)`` for group-norm, frobenius, row-norm,
        operator-frobenius, path-norm. To be fixed before the sample.
    delta, margin : as in ``Bound.evaluate``.

    Raises
    ------
    InvalidInput : times outside the flow; rho = 0 at one of them; options of ``theory.bounds``.
    PreconditionError : a network that ``theory.architecture`` cannot express; targets that are no classes.

    Under ``lagrange`` the norms of single layers are no state, and balanced ones are taken. Products of norms do not
    depend on them.

    Cost: the norms of each layer at each time; milliseconds for small dense networks.

    Examples
    --------
    >>> from theory.flow import two_layer
    >>> from theory.square_loss import integrate_rho
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((50, 3))
    >>> net, y = two_layer(3, 4), np.sign(X[:, 0])
    >>> found = bounds_along(integrate_rho(net, (X, y), theta0=net.random_parameters(rng=1), until=3.0), margin=1.0)
    >>> i = found.names.index("frobenius")
    >>> exact = found.complexity[i] / found.rho  # both layers have norm 1: rounded to the grid of ratio 1.05
    >>> bool(exact.max() / exact.min() < 1.05)
    True
    """
    from theory.bounds import Sample, get
    from theory.bounds._frame import as_margin
    from theory.bounds._kl import as_delta
    from theory.bounds._problem import Problem

    network, level = solution.network, as_delta(delta)
    architecture = architecture_of(network)
    labels = class_labels(solution.y)
    asked = tuple(get(name) for name in PRODUCTS) if bounds is None else tuple(bounds)
    if not asked:
        raise InvalidInput("bounds_along needs at least one bound.")
    t = _moments(solution, times)
    X = np.hstack([solution.X, np.ones((len(solution.X), 1))]) if _first_bias(network) else solution.X
    share, fixed, refused = level / len(asked), as_margin(margin), dict[str, str]()
    rho, mistakes = np.array([solution.at(x).rho for x in t.tolist()]), np.empty(len(t))
    if not (rho > 0).all():
        raise InvalidInput(f"rho is 0 at t = {t[np.argmin(rho)]:.6g}: the network is zero there and has no margin.")
    table = np.full((len(asked), len(t), 4), np.nan)
    for j, time in enumerate(t.tolist()):
        named = named_weights(network, solution.weights(time))
        problem = Problem(architecture, named, Sample(X=X, y=labels))
        mistakes[j] = problem.margins.errors
        for i, bound in enumerate(asked):
            if bound.name in refused:
                continue
            try:
                bound.check(problem)
                found = bound.compute(problem, share, fixed)  # a whole report would ask sympy for n_needed each time
            except PreconditionError as error:
                refused[bound.name] = str(error).removeprefix(f"{bound.name} needs ").rstrip(".")
                continue
            terms = [found.terms.get(key, np.nan) for key in ("empirical", "complexity")]
            table[i, j] = sum(found.terms.values()), *terms, np.nan if found.margin is None else found.margin
    kept = [i for i, bound in enumerate(asked) if bound.name not in refused]
    value, empirical, complexity, gammas = np.moveaxis(table[kept], 2, 0)
    return BoundsAlong(
        t=t, rho=rho, names=tuple(asked[i].name for i in kept), refused=refused, value=value, empirical=empirical,
        complexity=complexity, margin=gammas, per_rho=complexity * gammas / rho, mistakes=mistakes, delta=level,
        level=share, architecture=architecture,
    )  # fmt: skip


def architecture_of(network: Network) -> Architecture:
    """A network of the flow as a graph; its weights are those of ``named_weights``.

    Raises
    ------
    PreconditionError : a diagonal network, an activation with a power, biases beyond the first layer.
    """
    if not isinstance(network, LayeredNetwork):
        raise PreconditionError(f"theory.architecture has no network of the kind {network.name!r}.")
    sigma, operations = network.activation, dict[str, Operation]()
    if sigma.power > 1:
        raise PreconditionError(f"theory.architecture does not know the activation {sigma.name!r}.")
    if any(layer.bias for layer in network.layers[1:]):
        raise PreconditionError("rho f_V needs a homogeneous network, but this one has biases beyond the first layer.")
    first, last = network.layers[0], len(network.layers)
    shape = (first.in_channels, *first.size) if isinstance(first, Convolution) else (first.n_in + first.bias,)
    for number, layer in enumerate(network.layers, start=1):
        if isinstance(layer, Convolution):
            operations[f"W{number}"] = Conv(
                layer.out_channels, layer.kernel_size, layer.stride, layer.padding, bias=False
            )
        else:
            if number > 1 and isinstance(network.layers[number - 2], Convolution):
                operations["flatten"] = Flatten()
            operations[f"W{number}"] = Linear(layer.n_out, bias=False)
        if number < last and sigma.has_kink:
            name, slope = ("relu", None) if sigma.slope == 0 else ("leaky_relu", sigma.slope)
            operations[f"activation{number}"] = Activation(name, slope)
    return Architecture.sequential(operations, input_shape=shape)


def named_weights(network: Network, theta: ArrayLike) -> dict[str, np.ndarray]:
    """Flat theta (P) as the weights of ``architecture_of``; a first bias is the last column of the first weight."""
    views = network.views(as_floats("theta", theta, ndim=1))
    named = {f"{name}.weight": array for name, array in views.items() if name[0] == "W"}
    if "b1" in views:
        named["W1.weight"] = np.column_stack([views["W1"], views["b1"]])
    return named


def class_labels(y: np.ndarray) -> np.ndarray:
    """The classes 0..K-1 (N) that targets (N, K) stand for; label 1 is +1 where there is one output.

    Raises
    ------
    PreconditionError : targets other than -1 and +1, or rows other than one large entry above equal ones.
    """
    if y.shape[1] == 1:
        if not (abs(y) == 1).all():
            raise PreconditionError("bounds of the error need classes: targets -1 and +1, but there are others.")
        return (y[:, 0] > 0).astype(np.int64)
    ordered = np.sort(y, axis=1)
    if not ((ordered[:, -1] > ordered[:, -2]) & (np.ptp(ordered[:, :-1], axis=1) < 1e-12)).all():
        raise PreconditionError("bounds of the error need classes: in each row one target above K - 1 equal ones.")
    return y.argmax(axis=1)


def _first_bias(network: Network) -> bool:
    return isinstance(network, LayeredNetwork) and network.layers[0].bias


def _moments(solution: RhoSolution, times: ArrayLike | None) -> np.ndarray:
    """Times as given, or some of the steps."""
    if times is None:
        alive = np.flatnonzero(solution.rho > 0)
        return solution.t[alive[np.unique(np.linspace(0, len(alive) - 1, ROWS).round().astype(int))]]
    t = np.atleast_1d(as_floats("times", times))
    if t.ndim != 1 or not t.size:
        raise InvalidInput(f"times must be a list of at least one time, but have shape {t.shape}.")
    return t
