"""Loops that share no code with the package."""

from itertools import product

import numpy as np

PADS = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}


def looped_convolution(K, x, *, stride=1, padding=0, padding_mode="zeros", dilation=1, groups=1):
    """The definition, one output at a time on an image that numpy padded."""
    axes = K.ndim - 2
    s, p, d = ((v,) * axes if np.ndim(v) == 0 else tuple(v) for v in (stride, padding, dilation))
    image = np.pad(x, [(0, 0), *((q, q) for q in p)], mode=PADS[padding_mode])
    O, C, *k = K.shape
    span = [d[i] * (k[i] - 1) + 1 for i in range(axes)]
    out = [(image.shape[1 + i] - span[i]) // s[i] + 1 for i in range(axes)]
    y = np.zeros((O, *out))
    for o, t in product(range(O), np.ndindex(*out)):
        window = tuple(slice(t[i] * s[i], t[i] * s[i] + span[i], d[i]) for i in range(axes))
        first = o // (O // groups) * C
        y[(o, *t)] = (K[o] * image[(slice(first, first + C), *window)]).sum()
    return y


def looped_matrix(K, size, groups=1, **kw):
    """Column by column."""
    n = (size,) * (K.ndim - 2) if np.ndim(size) == 0 else tuple(size)
    shape = (K.shape[1] * groups, *n)
    columns = [
        looped_convolution(K, e.reshape(shape), groups=groups, **kw).ravel() for e in np.eye(int(np.prod(shape)))
    ]
    return np.stack(columns, axis=1)


def grid_of_cases():
    """k to 4, n to 6, pad to 3, stride to 3, dilation and groups to 2, every mode, 1-D and 2-D: those that exist."""
    for axes, k, n, p, s, d, g, mode in product(
        (1, 2), (1, 2, 3, 4), range(1, 7), range(4), (1, 2, 3), (1, 2), (1, 2), PADS
    ):
        fits = n + 2 * p >= d * (k - 1) + 1
        wraps = p <= {"circular": n, "reflect": n - 1}.get(mode, p)
        if fits and wraps:
            yield axes, k, n, {"stride": s, "padding": p, "dilation": d, "groups": g, "padding_mode": mode}
