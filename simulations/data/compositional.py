"""Compositionally sparse targets: functions of many variables on a binary tree of functions of two.

Such a function of 2^depth variables is what a convolutional network of kernel and stride 2 can follow node by node,
while a dense network does not see the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simulations.data.dataset import Dataset
from theory._arrays import as_count, as_floats
from theory._errors import InvalidInput

REFERENCE = 4096  # inputs, uniform on the cube, that set each node's shift and scale and the thresholds of classes
DEEPEST = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BinaryTree:
    r"""A function of 2^depth variables in [-1, 1], each node a function of its two children.

    .. math:: h(a, b) = \bigl(\tanh(p\,a + q\,b + r\,a b) - m\bigr) / s

    Leaves are the variables in order, two neighbours to a node; the value is the root's.

    Parameters
    ----------
    levels : for each level above the leaves the coefficients p, q, r, m, s, (1, 5) where one function serves the whole
        level and (nodes, 5) where each node has its own.
    """

    levels: tuple[np.ndarray, ...]

    @property
    def depth(self) -> int:
        """Levels above the leaves."""
        return len(self.levels)

    @property
    def shared(self) -> bool:
        """One function to a level."""
        return all(len(level) == 1 for level in self.levels)

    def value(self, X: ArrayLike) -> np.ndarray:
        """The root's values (n,) at ``X`` (n, 2^depth), or of any shape (n, ...) with so many entries a sample.

        Raises
        ------
        InvalidInput : another number of variables, not finite.
        """
        h = as_floats("X", X)
        h = h.reshape(len(h), -1) if h.ndim else h
        if h.ndim != 2 or h.shape[1] != 2**self.depth:
            raise InvalidInput(f"X must hold {2**self.depth} variables a sample, but has shape {np.shape(X)}.")
        for level in self.levels:
            h = _node(h, level)
        return h[:, 0]

    def describe(self) -> str:
        """Every node's function in words, a line to a level, coefficients to three digits."""
        lines = []
        for i, level in enumerate(self.levels, start=1):
            written = [f"(tanh({p:+.3g} a {q:+.3g} b {r:+.3g} ab) {-m:+.3g}) / {s:.3g}" for p, q, r, m, s in level]
            nodes = 2 ** (self.depth - i)
            head = f"level {i}, {nodes} node{'s' * (nodes > 1)}: h(a, b) = "
            lines.append(head + (written[0] if len(written) == 1 else "; ".join(written)))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Depth and coefficients."""
        return {"depth": self.depth, "shared": self.shared, "levels": [level.tolist() for level in self.levels]}

    def __repr__(self) -> str:
        return (
            f"BinaryTree(depth {self.depth}, {'one function a level' if self.shared else 'a function for each node'})"
        )


def binary_tree(depth: int, seed: int = 0, *, shared: bool = True) -> BinaryTree:
    """A random tree: p and q standard normal, r normal with standard deviation 2.

    m and s are mean and standard deviation (1/n) of the node over 4,096 inputs uniform on the cube, so that values
    neither die out nor saturate from level to level.

    Parameters
    ----------
    depth : 1..12. shared : one function to a level, and not one to a node.

    Raises
    ------
    InvalidInput : out of range.

    Examples
    --------
    >>> tree = binary_tree(3)
    >>> tree.value(np.zeros((1, 8))).shape
    (1,)
    """
    depth = as_count("depth", depth)
    if depth > DEEPEST:
        raise InvalidInput(f"depth must be at most {DEEPEST}, but is {depth}.")
    rng = np.random.default_rng([as_count("seed", seed, minimum=0), 20])
    h = rng.uniform(-1, 1, (REFERENCE, 2**depth))
    levels = []
    for i in range(1, depth + 1):
        pqr = rng.standard_normal((1 if shared else 2 ** (depth - i), 3)) * [1, 1, 2]
        raw = _node(h, np.column_stack([pqr, np.zeros(len(pqr)), np.ones(len(pqr))]))
        over: Any = None if shared else 0
        m, s = raw.mean(axis=over), raw.std(axis=over)
        level = np.column_stack([pqr, np.broadcast_to(m, len(pqr)), np.broadcast_to(s, len(pqr))])
        levels.append(level)
        h = _node(h, level)
    return BinaryTree(levels=tuple(levels))


def compositional(
    depth: int, n: int, seed: int = 0, *, num_classes: int = 2, shared: bool = True, function_seed: int | None = None,
    test_size: int = 1000,
) -> Dataset:  # fmt: skip
    """Inputs uniform on [-1, 1]^(2^depth), labelled by the value of ``binary_tree(depth, function_seed)``.

    Class k holds the values between the k/K and (k+1)/K quantiles of 4,096 inputs drawn apart, so that classes are
    about equally large. The notes state the tree and the thresholds. With one seed the first samples of a larger n are
    those of a smaller one.

    Parameters
    ----------
    n : samples in all. seed : of the inputs. function_seed : of the tree; the same where None.
    test_size : held-out samples, drawn apart; 0 for none.

    Returns
    -------
    Dataset with samples (n, 1, 2^depth): one channel, for convolutions along the leaves.

    Raises
    ------
    InvalidInput : out of range, or a class without a sample.

    Examples
    --------
    >>> data = compositional(2, 50)
    >>> print(data.notes)
    Uniform on [-1, 1]^4 (seed 0); classes by the value of a binary tree (seed 0) at the thresholds ...
    level 1, 2 nodes: h(a, b) = (tanh(... a ... b ... ab) ...) / ...
    level 2, 1 node: h(a, b) = (tanh(... a ... b ... ab) ...) / ...
    """
    n, held, K = (
        as_count("n", n),
        as_count("test_size", test_size, minimum=0),
        as_count("num_classes", num_classes, minimum=2),
    )
    seed = as_count("seed", seed, minimum=0)
    law = seed if function_seed is None else as_count("function_seed", function_seed, minimum=0)
    tree = binary_tree(depth, law, shared=shared)
    d = 2**tree.depth
    reference = tree.value(np.random.default_rng([law, 21]).uniform(-1, 1, (REFERENCE, d)))
    thresholds = np.quantile(reference, np.arange(1, K) / K)

    def draw(count: int, stream: int) -> tuple[np.ndarray, np.ndarray]:
        X = np.random.default_rng([seed, stream]).uniform(-1, 1, (count, 1, d))
        return X, np.searchsorted(thresholds, tree.value(X), side="right")

    X, y = draw(n, 22)
    X_test, y_test = draw(held, 23) if held else (None, None)
    head = (
        f"Uniform on [-1, 1]^{d} (seed {seed}); classes by the value of a binary tree (seed {law}) at the thresholds "
    )
    return Dataset(
        name=f"compositional, depth {tree.depth}", X=X, y=y, X_test=X_test, y_test=y_test, num_classes=K,
        notes=head + ", ".join(f"{t:.3g}" for t in thresholds) + ".\n" + tree.describe(),
    )  # fmt: skip


def _node(h: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The next level's values (n, nodes) from the children's (n, 2 nodes)."""
    a, b = h[:, 0::2], h[:, 1::2]
    p, q, r, m, s = level.T
    return (np.tanh(p * a + q * b + r * a * b) - m) / s
