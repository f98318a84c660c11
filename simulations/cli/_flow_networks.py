"""The networks of ``theory flow`` by name: which sizes each takes, how it is built, and where it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import InvalidInput

if TYPE_CHECKING:
    from theory.flow.networks import Network

MOST_UNITS, MOST_LAYERS = 100_000, 1000  # of a layer; of a network
SIZES = {"width": "--width", "depth": "--depth", "widths": "--widths", "slope": "--slope", "bias": "--bias"}


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of network on the command line: its activation (None: diagonal), its layers, the options it takes."""

    activation: str | None
    takes: tuple[str, ...]
    layers: int | None = None  # fixed number of weight layers

    def build(self, d: int, K: int, sizes: dict[str, Any]) -> Network:
        """The network for d inputs and K outputs."""
        from theory.flow.networks import diagonal_linear, fully_connected

        if self.activation is None:
            if K != 1:
                raise InvalidInput(f"a diagonal network has one output, but the labels ask for {K}.")
            return diagonal_linear(d, **({"depth": sizes["depth"]} if "depth" in sizes else {}))
        options = {name: sizes[name] for name in ("slope", "bias") if name in sizes}
        return fully_connected((d, *self._hidden(sizes), K), activation=self.activation, **options)

    def _hidden(self, sizes: dict[str, Any]) -> tuple[int, ...]:
        if "widths" in sizes:
            if "width" in sizes or "depth" in sizes:
                raise InvalidInput("give --widths, or --width and --depth, not both.")
            return _widths(sizes["widths"])
        layers = self.layers or sizes.get("depth", 3)
        if layers < 1:
            raise InvalidInput(f"--depth must be at least 1, but is {layers}.")
        if layers > 1 and "width" not in sizes:
            raise InvalidInput("this network needs --width, the number of units of a hidden layer.")
        return (sizes["width"],) * (layers - 1) if layers > 1 else ()


TWO, DEEP = ("width", "bias"), ("width", "depth", "widths", "bias")
NETWORKS = {
    "linear": Family("linear", ("bias",), 1),
    "deep-linear": Family("linear", DEEP),
    "diagonal": Family(None, ("depth",)),
    "two-layer-linear": Family("linear", TWO, 2),
    "two-layer-relu": Family("relu", TWO, 2),
    "two-layer-leaky-relu": Family("leaky_relu", (*TWO, "slope"), 2),
    "two-layer-relu^2": Family("relu^2", TWO, 2),
    "two-layer-quadratic": Family("quadratic", TWO, 2),
    "deep-relu": Family("relu", DEEP),
    "deep-leaky-relu": Family("leaky_relu", (*DEEP, "slope")),
    "deep-relu^2": Family("relu^2", DEEP),
    "deep-quadratic": Family("quadratic", DEEP),
}


def make_network(name: str, d: int, K: int, sizes: dict[str, Any]) -> Network:
    """The network of this name for d inputs and K outputs; ``sizes`` holds the options that were given.

    Raises
    ------
    InvalidInput : an unknown name, an option of another network, a width that is missing or not positive.
    """
    if name not in NETWORKS:
        raise InvalidInput(f"--network must be one of {', '.join(NETWORKS)}, but is {name[:40]!r}.")
    family = NETWORKS[name]
    for option in sizes:
        if option not in family.takes:
            raise InvalidInput(f"{SIZES[option]} is not an option of {name}.")
    if sizes.get("bias") == "all":
        sizes = {**sizes, "bias": True}
    elif "bias" in sizes and sizes["bias"] != "first":
        raise InvalidInput(f"--bias must be first or all, but is {str(sizes['bias'])[:40]!r}.")
    for option, most in (("width", MOST_UNITS), ("depth", MOST_LAYERS)):
        if sizes.get(option, 0) > most:
            raise InvalidInput(f"{SIZES[option]} must be at most {most}.")
    return family.build(d, K, sizes)


def _widths(text: str) -> tuple[int, ...]:
    """``10,10`` as numbers."""
    try:
        widths = tuple(int(item) for item in text.split(","))
    except ValueError:
        raise InvalidInput(f"--widths must be whole numbers such as 10,10, but is {text[:40]!r}.") from None
    if len(widths) > MOST_LAYERS or max(widths) > MOST_UNITS:
        raise InvalidInput(f"--widths must name at most {MOST_LAYERS} layers of at most {MOST_UNITS} units.")
    return widths


def first_parameters(
    network: Network, seed: int, scale: float, *, balanced: bool = False, paired: bool = False
) -> np.ndarray:
    """A Gaussian theta (P).

    ``paired``: the second half of the units repeats the first with opposite outgoing weights, so that the network
    starts at zero. ``balanced``: outgoing weights rescaled as in :func:`balance`, after that.

    Raises
    ------
    InvalidInput : a seed below 0, a scale that is not positive, ``balanced`` without hidden units, ``paired`` for
        another network than two layers of even width.
    """
    from theory._arrays import as_positive

    if seed < 0:
        raise InvalidInput(f"--seed must be at least 0, but is {seed}.")
    theta = network.random_parameters(rng=seed, scale=as_positive("--scale", scale))
    theta = pair(network, theta) if paired else theta
    return balance(network, theta) if balanced else theta


def pair(network: Network, theta: np.ndarray) -> np.ndarray:
    """``theta`` (P) of two layers with the second half of the units made the opposite of the first."""
    half = network.n_units // 2
    if len(network.units) != 1 or network.n_units != 2 * half:
        raise InvalidInput("--paired needs two layers and an even width.")
    theta = theta.copy()
    views = network.views(theta)
    for name, view in views.items():
        if name == "W2":
            view[:, half:] = -view[:, :half]
        elif name in ("W1", "b1"):
            view[half:] = view[:half]
    return theta


def balance(network: Network, theta: np.ndarray) -> np.ndarray:
    """``theta`` (P) with the outgoing weights of every unit rescaled until ``||in||^2 = k ||out||^2``."""
    if not network.units:
        raise InvalidInput(f"--balanced needs hidden units, but a {network.name} network has none.")
    theta = theta.copy()
    views = network.views(theta)
    for layer in range(1, len(network.units) + 1):
        W, out = views[f"W{layer}"], views[f"W{layer + 1}"]
        square = np.square(W).sum(axis=1) + np.square(views.get(f"b{layer}", 0.0))
        out *= np.sqrt(square / network.activation.power) / np.linalg.norm(out, axis=0)
    return theta
