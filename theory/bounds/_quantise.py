r"""Networks as short strings: four ways to round the weights, and the bytes from which the rounded ones come back.

The decoder, the names and the shapes are fixed before the data; everything else is in the stream: which of the four,
its setting, scales, codebooks. ``8 len(stream)`` bits is therefore the whole length of the description, and the streams
of one architecture are prefix-free. A certificate speaks of the decoded weights, never of the given ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive
from theory._errors import InvalidInput
from theory.bounds._coder import decode, encode

METHODS = ("uniform", "codebook", "sparse", "finite precision")
HEAD = 3  # bytes: the method and two settings
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """Rounded weights and the bytes that say them.

    Attributes
    ----------
    method : one of ``METHODS``.
    setting : the hyper-parameters, as text; the choice is paid by the first three bytes.
    weights : the decoded arrays by name, float64: the network that a certificate speaks of.
    stream : the bytes.
    """

    method: str
    setting: str
    weights: dict[str, np.ndarray]
    stream: bytes

    @property
    def bits(self) -> int:
        """Length of the whole description."""
        return 8 * len(self.stream)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(w.size for w in self.weights.values())

    def __repr__(self) -> str:
        return f"Quantised({self.method}, {self.setting}, {self.bits} bits for {self.parameters} weights)"

    def to_json(self) -> dict[str, object]:
        """A dictionary of plain numbers and texts, without the weights."""
        return {"method": self.method, "setting": self.setting, "bits": self.bits, "parameters": self.parameters}


def uniform_quantise(weights: Mapping[str, ArrayLike], levels: int) -> Quantised:
    r"""Round each array to an odd number of equidistant levels between its extremes.

    .. math:: \hat w = \frac{s}{m} \operatorname{round}\Bigl(\frac{m\,w}{s}\Bigr), \quad
        s = \max |w| \text{ in 32 bits per array}, \quad \text{levels} = 2 m + 1

    Parameters
    ----------
    weights : arrays by name.
    levels : odd, 3 to 513.

    Raises
    ------
    InvalidInput : no weights, NaN, values beyond float32, a number of levels that is even or out of range.

    Cost: about a second for 11 million weights.

    Examples
    --------
    >>> found = uniform_quantise({"W": [[1.0, -0.4, 0.1]]}, 5)
    >>> found.weights["W"]
    array([[ 1. , -0.5,  0. ]])
    """
    return _rounded(weights, 0, _half(levels), 0, f"{levels} levels")


def sparse(weights: Mapping[str, ArrayLike], density: float, levels: int) -> Quantised:
    r"""Set the smallest weights to zero and round the others as ``uniform_quantise`` does.

    The zeros need no list of positions: they are a frequent symbol of the same stream, and the coder charges for the
    positions what ``n`` times the binary entropy of the density says.

    Parameters
    ----------
    weights : arrays by name; magnitudes are compared after division by each array's root mean square.
    density : share kept, in (0, 1]; rounded to the grid ``2^(-j/8)``, j = 0, ..., 255.
    levels : odd, 3 to 513, zero among them: a kept weight below half a step becomes zero too.

    Raises
    ------
    InvalidInput : as ``uniform_quantise``, or a density outside (0, 1].

    Examples
    --------
    >>> sparse({"W": [4.0, -3.0, 0.1, 0.2]}, 0.5, 3).weights["W"]
    array([ 4., -4.,  0.,  0.])
    """
    share = as_positive("density", density)
    if share > 1:
        raise InvalidInput(f"density must be at most 1, but is {share:g}.")
    j = min(255, round(-8 * float(np.log2(share))))
    return _rounded(weights, 2, _half(levels), j, f"density 2^(-{j}/8), {levels} levels")


def codebook(weights: Mapping[str, ArrayLike], size: int) -> Quantised:
    r"""Round to the centres of a one-dimensional k-means, shared by all arrays up to a scale of each.

    .. math:: \hat w = s\, c_i, \qquad s = \text{root mean square of the array}

    Scales and centres are sent as 32-bit floats. Lloyd's iteration from the quantiles, on the sorted weights; it need
    not find the best codebook, and nothing depends on that.

    Parameters
    ----------
    weights : arrays by name.
    size : number of centres, 2 to 257.

    Raises
    ------
    InvalidInput : no weights, NaN, values beyond float32, a size out of range.

    Examples
    --------
    >>> codebook({"W": [3.0, 3.0, -1.0, 3.0]}, 2).weights["W"].round(6)
    array([ 3.,  3., -1.,  3.])
    """
    size = as_count("size", size, minimum=2)
    if size > 257:
        raise InvalidInput(f"size must be at most 257, but is {size}.")
    arrays = _as_weights(weights)
    scales = np.array([np.sqrt(np.mean(w**2)) if w.size else 0.0 for w in arrays.values()]).astype("<f4")
    units = [w.ravel() / float(s) if s > 0 else w.ravel() * 0 for w, s in zip(arrays.values(), scales, strict=True)]
    centres = _centres(np.sort(np.concatenate(units)), size).astype("<f4")
    middles = (centres[1:].astype(float) + centres[:-1]) / 2
    body = _code([np.searchsorted(middles, u) for u in units])
    stream = bytes([1, size - 2, 0]) + scales.tobytes() + centres.tobytes() + body
    return _finish(arrays, stream, f"{size} centres")


def finite_precision(weights: Mapping[str, ArrayLike], mantissa: int) -> Quantised:
    r"""Keep some of the 23 mantissa bits of 32-bit floats; with all 23 the float32 weights as they are.

    Exponents and up to three mantissa bits go through the coder; signs and the other mantissa bits, which have nothing
    to compress, are sent as they are. Rounding is to the nearest, halves away from zero.

    Parameters
    ----------
    weights : arrays by name.
    mantissa : bits kept, 0 to 23.

    Raises
    ------
    InvalidInput : no weights, NaN, values that round beyond float32, a number of bits out of range.

    Examples
    --------
    >>> finite_precision({"W": [1.3, -5.9]}, 1).weights["W"]
    array([ 1.5, -6. ])
    """
    b = as_count("mantissa", mantissa, minimum=0)
    if b > 23:
        raise InvalidInput(f"mantissa must be at most 23, but is {b}.")
    arrays = _as_weights(weights)
    flat = [w.astype("<f4").ravel().view("<u4").astype(np.int64) for w in arrays.values()]
    half = (1 << (23 - b)) >> 1
    codes = [((u & 0x7FFFFFFF) + half) >> (23 - b) for u in flat]  # exponent, then b bits: rounding carries upwards
    if any((c >> b == 255).any() for c in codes):
        raise InvalidInput("weights round beyond the largest float32.")
    rest = b - min(b, 3)
    raw = np.concatenate([((u >> 31) << rest) | (c & ((1 << rest) - 1)) for u, c in zip(flat, codes, strict=True)])
    planes = b"".join(np.packbits((raw >> j & 1).astype(np.uint8)).tobytes() for j in range(rest + 1))
    return _finish(arrays, bytes([3, b, 0]) + _code([c >> rest for c in codes]) + planes, f"{b} mantissa bits")


def decode_weights(stream: bytes, shapes: Shapes) -> dict[str, np.ndarray]:
    """The weights that a stream says, for an architecture's names and shapes.

    Parameters
    ----------
    stream : the bytes of a ``Quantised``; bytes after its end are not read.
    shapes : shape of each array by name, in the order in which they were given.

    Raises
    ------
    InvalidInput : the stream ends early, is none of ours, or holds other numbers of weights than the shapes ask for.

    Examples
    --------
    >>> found = uniform_quantise({"W": [[1.0, -0.4, 0.1]]}, 5)
    >>> decode_weights(found.stream, {"W": (1, 3)})["W"]
    array([[ 1. , -0.5,  0. ]])
    """
    if len(stream) < HEAD or stream[0] >= len(METHODS):
        raise InvalidInput("the stream is not that of a quantised network.")
    sizes, at = [prod(shape) for shape in shapes.values()], HEAD
    if stream[0] == 3:
        flat = _floats(stream, sizes, stream[1])
    else:
        scales, at = _read_floats(stream, at, len(sizes))
        if stream[0] == 1:
            centres, at = _read_floats(stream, at, stream[1] + 2)
        else:
            m = stream[1] + 1
            centres = np.arange(-m, m + 1) / m
        codes, _ = _uncode(stream, at, sizes)
        offset = 0 if stream[0] == 1 else stream[1] + 1
        if any(c.size and not (0 <= c.min() + offset and c.max() + offset < len(centres)) for c in codes):
            raise InvalidInput("the stream is not that of a quantised network: a level does not exist.")
        flat = [s * centres[c + offset] for s, c in zip(scales, codes, strict=True)]
    return {name: v.reshape(shape) for (name, shape), v in zip(shapes.items(), flat, strict=True)}


def _as_weights(weights: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    arrays = {name: as_floats(f"weights[{name!r}]", w) for name, w in weights.items()}
    if not sum(w.size for w in arrays.values()):
        raise InvalidInput("weights must hold at least one number.")
    if any(w.size and np.abs(w).max() > np.finfo(np.float32).max for w in arrays.values()):
        raise InvalidInput("weights must be within the range of float32.")
    return arrays


def _half(levels: int) -> int:
    levels = as_count("levels", levels, minimum=3)
    if levels % 2 == 0 or levels > 513:
        raise InvalidInput(f"levels must be odd and at most 513, but is {levels}.")
    return levels // 2


def _rounded(weights: Mapping[str, ArrayLike], method: int, m: int, j: int, setting: str) -> Quantised:
    arrays = _as_weights(weights)
    scales = np.array([np.abs(w).max() if w.size else 0.0 for w in arrays.values()]).astype("<f4")
    codes = [
        np.clip(np.rint(w.ravel() * (m / float(s))), -m, m).astype(np.int64) if s > 0 else np.zeros(w.size, np.int64)
        for w, s in zip(arrays.values(), scales, strict=True)
    ]
    if j:
        sizes = [np.abs(w.ravel()) / max(float(np.sqrt(np.mean(w**2))), 1e-300) for w in arrays.values() if w.size]
        every = np.concatenate(sizes)
        kept = max(1, round(2 ** (-j / 8) * every.size))
        threshold = np.partition(every, every.size - kept)[every.size - kept]
        ends = np.cumsum([len(c) for c in codes])[:-1]
        codes = [c * keep for c, keep in zip(codes, np.split(every >= threshold, ends), strict=True)]
    return _finish(arrays, bytes([method, m - 1, j]) + scales.tobytes() + _code(codes), setting)


def _finish(arrays: Mapping[str, np.ndarray], stream: bytes, setting: str) -> Quantised:
    """The record, with the weights read back from the stream itself."""
    decoded = decode_weights(stream, {name: w.shape for name, w in arrays.items()})
    return Quantised(method=METHODS[stream[0]], setting=setting, weights=decoded, stream=stream)


def _code(parts: Sequence[np.ndarray]) -> bytes:
    return encode(np.concatenate(parts), [p.size for p in parts])


def _uncode(stream: bytes, at: int, sizes: Sequence[int]) -> tuple[list[np.ndarray], int]:
    found = decode(stream[at:])
    if found.symbols.size != sum(sizes):
        raise InvalidInput(f"the stream holds {found.symbols.size} weights where the shapes ask for {sum(sizes)}.")
    return np.split(found.symbols, np.cumsum(sizes)[:-1]), at + found.used


def _read_floats(stream: bytes, at: int, count: int) -> tuple[np.ndarray, int]:
    if len(stream) < at + 4 * count:
        raise InvalidInput("the stream ends early.")
    return np.frombuffer(stream, "<f4", count, at).astype(np.float64), at + 4 * count


def _floats(stream: bytes, sizes: Sequence[int], b: int) -> list[np.ndarray]:
    """Undo ``finite_precision``."""
    tops, at = _uncode(stream, HEAD, sizes)
    n, rest = sum(sizes), b - min(b, 3)
    step = -(-n // 8)
    if b > 23 or len(stream) < at + step * (rest + 1):
        raise InvalidInput("the stream ends early.")
    raw = np.zeros(n, dtype=np.int64)
    for j in range(rest + 1):
        raw |= np.unpackbits(np.frombuffer(stream, np.uint8, step, at + step * j), count=n).astype(np.int64) << j
    top, low = np.concatenate(tops), raw & ((1 << rest) - 1)
    u = (((top << rest) | low) << (23 - b)) | ((raw >> rest) << 31)
    return np.split(u.astype("<u4").view("<f4").astype(np.float64), np.cumsum(sizes)[:-1])


def _centres(z: np.ndarray, size: int) -> np.ndarray:
    """Lloyd's iteration on sorted numbers, by prefix sums."""
    sums = np.concatenate([[0.0], np.cumsum(z)])
    centres = z[((np.arange(size) + 0.5) / size * z.size).astype(int)]
    for _ in range(50):
        cuts = np.concatenate([[0], np.searchsorted(z, (centres[1:] + centres[:-1]) / 2), [z.size]])
        counts = np.diff(cuts)
        means = np.diff(sums[cuts]) / np.maximum(counts, 1)
        new = np.sort(np.where(counts > 0, means, centres))
        if np.array_equal(new, centres):
            break
        centres = new
    return centres
