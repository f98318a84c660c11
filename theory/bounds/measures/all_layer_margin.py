"""The all-layer margin: the least relative perturbation of all layers at once that changes the class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from theory.architecture import INPUT, Architecture, Node
from theory.architecture.forward import apply
from theory.bounds._problem import Problem
from theory.bounds.measures._backward import Arrays, backward, check_differentiable, parameters_of
from theory.bounds.measures._record import Measure
from theory.bounds.measures._sample import along, batch_for, norms, part_of, rival, weighted_nodes

NAMES = ("all-layer-margin-first-order", "all-layer-margin-upper")
FAMILY = "all-layer margin"
DOUBLINGS, HALVINGS = 6, 12  # how far along a ray the boundary is sought, and how closely


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AllLayerMargins:
    """Two estimates of the all-layer margin of each sample (m); 0 where the class is wrong.

    Attributes
    ----------
    first_order : of the linearised network; neither above nor below the margin in general.
    upper : length of a perturbation that was found to change the class: never below the margin.
    """

    first_order: np.ndarray
    upper: np.ndarray

    def __repr__(self) -> str:
        return f"AllLayerMargins({len(self.upper)} samples)"


def all_layer_margins(problem: Problem, *, samples: int = 128, rounds: int = 4, starts: int = 6) -> AllLayerMargins:
    r"""The least relative perturbation of all layers at once that changes the class, estimated twice.

    .. math:: m(x, y) = \min \Bigl\{ \bigl(\sum_i \|\delta_i\|^2\bigr)^{1/2} : M(x, \delta) \le 0 \Bigr\},
              \qquad h_i = f_i(h_{i-1}) + \delta_i \|h_{i-1}\|

    for the layers i with weights (dense, convolution, scale), h_{i-1} what the layer reads, perturbed like the rest;
    M = v_y - max_{j != y} v_j. *measure*, after wei2020improved, whose bound is in the mean of 1/m^2 with hidden
    constants. The minimum is out of reach, so two values are given:

    - first order (*derived*): M_j is linear in delta up to second order, with gradient ``||h_{i-1}|| dM_j/dh_i``; the
      least length that brings a linear function to zero is M_j / ||gradient||, and the least over j is taken.
    - upper: along the ray of that solution, and along those that move one layer only, the first multiple that
      changes the class is sought (doubling, then bisection); then along rays to ``starts`` random points
      (fixed seed; a dead ReLU has no gradient at 0) and to the nearest zero of the linearisation there; then
      ``rounds`` times to that of the linearisation at the best point so far. The shortest perturbation that
      did change the class, as evaluated, is kept; infinite where none did.

    Deterministic. Exact for one layer; elsewhere the second can stay well above the margin, where kinks lie between.

    Parameters
    ----------
    samples : at most so many, evenly spaced.
    rounds : of refinement.
    starts : random points that a search begins from as well, for networks whose gradient vanishes or breaks.

    Raises
    ------
    PreconditionError : an operation that is not differentiated here.

    Cost: (K - 1) reverse sweeps a round; about 20 evaluations for each of L + 1 + 2 starts + rounds rays.

    Examples
    --------
    >>> from theory.architecture import Architecture, Linear
    >>> net = Architecture.sequential([Linear(1, bias=False), Linear(1, bias=False)], input_shape=1)
    >>> found = all_layer_margins(Problem(net, {"linear1.weight": [[3]], "linear2.weight": [[4]]}, ([[2]], [1])))
    >>> round(float(found.first_order[0]), 9), round(float(found.upper[0]), 2)  # 3 4 / 5, and min(3, 4)
    (2.4, 3.0)
    """
    graph, named = problem.graph, problem.named
    check_differentiable(graph)
    part = part_of(problem, samples)
    layers = weighted_nodes(graph)
    step = batch_for(graph, 6)
    first, upper = np.zeros(len(part)), np.zeros(len(part))
    for start in range(0, len(part), step):
        at = slice(start, start + step)
        search = _Search(graph, named, part.X[at], part.y[at], layers)
        first[at], upper[at] = search.run(rounds, starts)
    return AllLayerMargins(first_order=first, upper=upper)


class _Search:
    """The search on one batch."""

    def __init__(
        self,
        graph: Architecture,
        named: Mapping[str, np.ndarray],
        X: np.ndarray,
        y: np.ndarray,
        layers: tuple[Node, ...],
    ) -> None:
        self.graph, self.named, self.X, self.y = graph, named, X, y
        self.layers = tuple(node.name for node in layers)
        self.K = graph.output_shape[0]
        self.rivals = max(1, self.K - 1)

    def run(self, rounds: int, starts: int) -> tuple[np.ndarray, np.ndarray]:
        values = self.values({})
        wrong = self.margin(values) <= 0
        subsets = [self.layers, *((name,) for name in self.layers)]
        lengths, rays = self.nearest({}, values, subsets)
        at = {name: np.zeros_like(values[name]) for name in self.layers}
        best = np.full(len(self.y), np.inf)
        for ray in rays:
            best = self.keep(best, at, ray)
        for s in range(starts):
            start = self.start(values, s)
            best = self.keep(best, at, start)
            _, (ray,) = self.nearest(start, self.values(start), [self.layers])
            best = self.keep(best, at, ray)
        for _ in range(rounds):
            _, (ray,) = self.nearest(at, self.values(at), [self.layers])
            best = self.keep(best, at, ray)
        return np.where(wrong, 0.0, lengths[0]), np.where(wrong, 0.0, best)

    def start(self, values: Arrays, s: int) -> Arrays:
        """A perturbation about as long as the values themselves; the same for every batch of one size."""
        generator, found = np.random.default_rng(s), {}
        for name in self.layers:
            z, read = values[name], norms(values[self.graph[name].inputs[0]])
            length = np.divide(norms(z), read, out=np.zeros_like(read), where=read > 0)
            found[name] = along(length / np.sqrt(z[0].size), z) * generator.standard_normal(z.shape)
        return found

    def keep(self, best: np.ndarray, at: Arrays, ray: Arrays) -> np.ndarray:
        """The shorter of the best length and that along a ray; ``at`` follows."""
        found, length = self.boundary(ray)
        better = length < best
        for name in at:
            at[name] = np.where(along(better, at[name]), found.get(name, 0.0), at[name])
        return np.where(better, length, best)

    def values(self, delta: Mapping[str, np.ndarray]) -> Arrays:
        """Values of all nodes of the perturbed network."""
        found: Arrays = {INPUT: self.X}
        for node in self.graph.nodes:
            x = [found[name] for name in node.inputs]
            y = apply(node, parameters_of(node, self.named), *x)
            if node.name in delta:
                y = y + delta[node.name] * along(norms(x[0]), y)
            found[node.name] = y
        return found

    def margin(self, values: Arrays) -> np.ndarray:
        """M (n,)."""
        scores = values[self.graph.output]
        return np.min([(rival(self.y, self.K, r) * scores).sum(axis=1) for r in range(self.rivals)], axis=0)

    def nearest(
        self, delta: Arrays, values: Arrays, subsets: list[tuple[str, ...]]
    ) -> tuple[list[np.ndarray], list[Arrays]]:
        """Shortest perturbations of some layers at which a linearised M_j vanishes: their lengths and themselves."""
        lengths = [np.full(len(self.y), np.inf) for _ in subsets]
        rays = [{name: np.zeros_like(values[name]) for name in subset} for subset in subsets]
        reads = {name: norms(values[self.graph[name].inputs[0]]) for name in self.layers}

        def extra(node: Node, g: np.ndarray, x: np.ndarray) -> np.ndarray:
            size = reads[node.name]
            inner = (g * delta[node.name]).reshape(len(g), -1).sum(axis=1)
            return x * along(np.divide(inner, size, out=np.zeros_like(inner), where=size > 0), x)

        for r in range(self.rivals):
            c = rival(self.y, self.K, r)
            kept, _ = backward(
                self.graph, self.named, values, {self.graph.output: c}, keep=self.layers, extra=extra if delta else None
            )
            gradient = {name: g * along(reads[name], g) for name, g in kept.items()}
            target = -(c * values[self.graph.output]).sum(axis=1)  # the change of M_j that is wanted
            for name in delta:
                target = target + (gradient[name] * delta[name]).reshape(len(c), -1).sum(axis=1)
            for i, subset in enumerate(subsets):
                square = sum((norms(gradient[name]) ** 2 for name in subset), np.zeros(len(c)))
                factor = np.divide(target, square, out=np.full_like(target, np.nan), where=square > 0)
                distance = np.abs(factor) * np.sqrt(square)
                better = distance < lengths[i]
                lengths[i] = np.where(better, distance, lengths[i])
                for name in subset:
                    g = gradient[name]
                    rays[i][name] = np.where(along(better, g), g * along(factor, g), rays[i][name])
        return lengths, rays

    def boundary(self, ray: Arrays) -> tuple[Arrays, np.ndarray]:
        """The first multiple of each ray that was found to change the class, and its length (infinite for none)."""
        size = np.sqrt(sum((norms(part) ** 2 for part in ray.values()), np.zeros(len(self.y))))

        def changed(t: np.ndarray) -> np.ndarray:
            return self.margin(self.values({name: part * along(t, part) for name, part in ray.items()})) <= 0

        low, high = np.zeros(len(self.y)), np.full(len(self.y), 0.5)
        for _ in range(DOUBLINGS):
            out = changed(high)
            low, high = np.where(out, low, high), np.where(out, high, 2 * high)
            if out.all():
                break
        reached = changed(high)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            out = changed(middle)
            low, high = np.where(out, low, middle), np.where(out, middle, high)
        return {name: part * along(high, part) for name, part in ray.items()}, np.where(reached, size * high, np.inf)


def all_layer_measures(problem: Problem) -> tuple[Measure, ...]:
    """Mean of 1/m^2 over the sample for both estimates; infinite where a sample is wrong."""
    found = all_layer_margins(problem)
    lost = int(np.isinf(found.upper).sum())
    how = {
        "first-order": (found.first_order, "m of the linearised network (an approximation)"),
        "upper": (found.upper, "m replaced by a perturbation that was found, so that the mean is from below"
                  + (f"; for {lost} samples none was found" if lost else "")),
    }
    measures = []
    for name, (m, said) in how.items():
        mean = float((1 / m**2).mean()) if (m > 0).all() else float("inf")
        measures.append(Measure(
            name=f"all-layer-margin-{name}", value=mean, family=FAMILY, source="wei2020improved",
            statement=f"mean over {len(m)} samples of 1/m^2, {said}; infinite where a sample is wrong",
        ))  # fmt: skip
    return tuple(measures)
