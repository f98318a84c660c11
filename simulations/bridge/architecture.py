"""A PyTorch module as an architecture with its weights, for the norms and bounds of ``theory``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations._torch import first_line
from theory._errors import InvalidInput, PreconditionError, TheoryError
from theory.architecture import Architecture, Operation, to_description

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadNetwork:
    """A module as ``theory`` sees it.

    Attributes
    ----------
    architecture : the graph of operations, named as the modules.
    weights : float64 arrays, named as in the module's ``state_dict``; each is what evaluation uses.
    notes : what was set aside or read in a particular way, one sentence each.
    """

    architecture: Architecture
    weights: dict[str, np.ndarray]
    notes: tuple[str, ...]

    def summary(self) -> str:
        """The architecture, one line per node, and the notes."""
        return "\n".join([self.architecture.summary(), *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, object]:
        """Description, parameter shapes and notes; the weights stay behind."""
        return {
            "architecture": to_description(self.architecture),
            "parameters": {name: list(array.shape) for name, array in self.weights.items()},
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"ReadNetwork({self.architecture!r}, {len(self.weights)} arrays, {len(self.notes)} notes)"


def read_architecture(
    module: torch.nn.Module, example_input: Any, *, declared: Mapping[str, Operation] | None = None
) -> ReadNetwork:
    """The architecture and the weights of a module, read off two evaluations of a float64 copy.

    The function is that of evaluation mode: dropout is the identity, batch normalisation stands at its running
    statistics, a parametrised weight (weight, spectral or orthogonal normalisation, pruning) at its value. Modules and
    ``torch.nn.functional`` calls are read alike, control flow on shapes is followed, in-place operations count.
    Every value of the second evaluation, on other inputs and another number of samples, is compared with what
    ``theory.architecture`` computes there (relative tolerance 1e-7): a network that was misread is refused.

    Parameters
    ----------
    module : is only read: mode, gradients, hooks, buffers, device and the global random states stay as they are.
    example_input : (n, ...) of floating-point numbers, a tensor or an array; the first axis is the batch, of which at
        most three samples are used (all of them for an exported or traced program, which may hold for one number).
    declared : operations for modules that cannot be read, by dotted path or class name:
        ``{"Snake": Activation("snake", lipschitz=2.0)}``. Any operation of ``theory.architecture`` may be declared;
        its parameters are those of the module with the same names. An activation with a declared Lipschitz constant
        is tried on a few inputs (element-wise, slope, homogeneity), which can refute it but not prove it.

    Raises
    ------
    InvalidInput : a module that cannot be copied, evaluated or read, which is named, with the reason; an example that
        is not a batch of floats; a declaration that no module meets, or that its module refutes.
    PreconditionError : PyTorch is not installed.

    Notes
    -----
    A path that depends on the values of the input cannot be read and is refused where it asks for a value. Two uses of
    the same weights become two nodes, which norms and bounds count as independent; a note says so.
    Cost: two evaluations in PyTorch and one in NumPy, at most three samples each, and a copy of the module in float64.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> read = read_architecture(net, torch.zeros(1, 4))
    >>> print(read.architecture.summary())
    input                               (4,)
    0                    linear         (8,)               40
    1                    activation     (8,)
    2                    linear         (3,)               27
    >>> sorted(read.weights) == sorted(net.state_dict())
    True
    """
    try:
        from simulations.bridge import _modules, _trace_network
        from simulations.bridge._trace import Tape
    except ImportError as error:
        if error.name != "torch":
            raise
        raise PreconditionError(
            "reading a module needs PyTorch: pip install 'deep-classifier-theory[torch]'."
        ) from None
    operations = _declarations(declared)
    example = _example(example_input)
    with _modules.undisturbed():
        twin, set_aside = _modules.private_copy(module)
        tapes, runs = [], []
        for number, x in enumerate(_two_inputs(example, fixed_batch=_modules.fixed_batch(twin))):
            tape = Tape(twin, operations, keep=number == 1)
            try:
                runs.append(_trace_network.simplified(tape.record(_modules.as_tensor(x))))
            except TheoryError:
                raise
            except Exception as error:
                raise InvalidInput(
                    f"a float64 copy of the module cannot be evaluated on an input of shape {x.shape}, whose first "
                    f"axis is the batch: {first_line(error)}."
                ) from error
            tapes.append(tape)
    tape, steps = tapes[0], runs[0]
    unused = [key for key in operations if key not in tape.used]
    if unused:
        raise InvalidInput(f"declared {unused[0]!r} is neither the path nor the class of a module that was called.")
    architecture = _trace_network.built(tape.input_shape, steps)
    weights = architecture.check_weights({f"{s.name}.{k}": w for s in steps for k, w in s.weights.items()})
    _trace_network.compare_values(architecture, steps, runs[1], x.reshape(len(x), *architecture.input_shape))
    told = (*set_aside, *_trace_network.notes(tape.seen, steps))
    return ReadNetwork(architecture=architecture, weights=weights, notes=told)


def _two_inputs(example: np.ndarray, *, fixed_batch: bool) -> tuple[np.ndarray, np.ndarray]:
    """A few samples of the example, and others of the same size in another number."""
    first, second = (len(example),) * 2 if fixed_batch else (2, 3)
    noise = np.random.default_rng(0).standard_normal((second, *example.shape[1:]))
    spread = float(example.std()) or 1.0
    return example[np.arange(first) % len(example)], example[np.arange(second) % len(example)] + spread * noise


def _declarations(declared: Mapping[str, Operation] | None) -> dict[str, Operation]:
    for key, operation in (declared or {}).items():
        if not isinstance(key, str) or not isinstance(operation, Operation):
            raise InvalidInput(
                "declared maps a path or class name to an operation of theory.architecture, such as "
                f"{{'Snake': Activation('snake', lipschitz=2.0)}}, but holds {key!r}: {operation!r}."
            )
    return dict(declared or {})


def _example(example_input: Any) -> np.ndarray:
    """The example as (n, ...) float64 array."""
    from simulations.bridge import _modules

    array = _modules.as_array(example_input)
    if array.dtype.kind != "f" or not 2 <= array.ndim <= 4 or not array.size:
        raise InvalidInput(
            "example_input must be a batch of floating-point samples (n, d), (n, C, L) or (n, C, H, W), but is "
            f"{array.dtype} of shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise InvalidInput("example_input must be finite, but contains NaN or infinity.")
    return array.astype(np.float64)
