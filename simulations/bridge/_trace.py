"""The operations of one evaluation, as they happen: a torch-function mode that writes down what reads the input.

A symbolic trace cannot follow control flow on shapes and treats in-place operations as if they were not; recording a
real evaluation does both. What it cannot see, it finds out: a second evaluation on other inputs must give the
same operations and weights, and every value must be what ``theory.architecture`` computes.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from simulations.bridge._modules import state_names
from simulations.bridge._trace_declared import attention_of, check_declared
from simulations.bridge._trace_functions import CASTS, FUNCTIONS, METADATA
from simulations.bridge._trace_values import Pending, Seen, Step, Unreadable, Value, tensors_in
from theory._errors import InvalidInput
from theory.architecture import INPUT, Activation, Operation

_HINTS = dict.fromkeys(("softmax", "log_softmax"), " (give the module that returns the logits)")
_INPLACE = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div"}


@dataclass(slots=True)
class _Known:
    tensor: torch.Tensor  # held, so that its id is not given to another
    value: Value
    version: int


class Tape(TorchFunctionMode):
    """Records ``module(x)``.

    Parameters
    ----------
    module : a private copy; the forward of its parts is wrapped, for the names of the operations.
    declared : operations by path or by class name.
    keep : whether to keep the value of every step, and to hold declared facts against them.
    """

    def __init__(self, module: nn.Module, declared: Mapping[str, Operation], *, keep: bool) -> None:
        super().__init__()
        self.module, self._declared, self._keep = module, declared, keep
        self.steps: list[Step] = []
        self.used: set[str] = set()
        self.seen = Seen()
        self.input_shape: tuple[int, ...] = ()
        self.batch = 0
        self._known: dict[int, _Known] = {}
        self._parameters = state_names(module)
        self._parts = dict(module.named_modules())
        self._stack: list[str] = [""]
        self._counts: Counter[str] = Counter({INPUT: 1})
        self._paused = False
        self.out = torch.empty(0)

    def record(self, x: torch.Tensor) -> list[Step]:
        """The steps of ``module(x)`` in order; the last one gives the output, unread ones are left out."""
        self.batch, self.input_shape = len(x), tuple(x.shape[1:])
        self._bind(x, Value(INPUT, self.input_shape))
        own = {path: vars(part).get("forward") for path, part in self._parts.items()}
        for path, part in self._parts.items():
            part.forward = partial(self._forward, path, part, part.forward)
        try:
            with self:
                out = self.module(x)
        finally:
            for path, part in self._parts.items():
                del part.forward
                if own[path] is not None:
                    part.forward = own[path]
        if not isinstance(out, torch.Tensor):
            raise InvalidInput(
                f"the module returns {type(out).__name__}, but one tensor is wanted: wrap it to return the logits."
            )
        if id(out) not in self._known:
            raise InvalidInput("the module's output does not come from its input by operations that can be seen.")
        found = self._value(out)
        if isinstance(found, Pending):
            raise InvalidInput(f"the module's output cannot be read: {found.why}.")
        if found.name == INPUT:
            self._emit(Activation("identity"), (found,), {})
            self.steps[-1].value = out.numpy().copy()
            found = Value(self.steps[-1].name, found.shape)
        return _needed(self.steps, found.name)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Passes constants through; writes down what reads a value of the network."""
        kwargs = kwargs or {}
        if self._paused or not any(id(t) in self._known for t in tensors_in((args, kwargs))):
            return func(*args, **kwargs)
        try:
            return self._read(_name(func), func, args, kwargs)
        except (Unreadable, InvalidInput) as problem:
            raise InvalidInput(self._sentence(problem)) from None

    def _read(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if name in CASTS and not (args and id(args[0]) in self._known):
            return func(*args, **kwargs)  # a constant brought to the type of a value
        if name in CASTS and (name != "type" or len(args) > 1):
            return self._cast(name, func, args, kwargs)
        if name in METADATA or getattr(func, "__name__", "") == "__get__":
            result = func(*args, **kwargs)
            if not any(True for _ in tensors_in(result)):
                return result
        handler = FUNCTIONS.get(name)
        if handler is None:
            raise Unreadable(f"{name} has no counterpart in theory.architecture{_HINTS.get(name, '')}")
        given, named = self._replaced(args), self._replaced(kwargs)
        try:
            bound = inspect.signature(handler).bind(self, *given, **named)
        except TypeError:
            raise Unreadable(f"{name} is called with arguments that are not understood") from None
        result = func(*args, **kwargs)
        self.out = result[0] if name.startswith("adaptive_max_pool") and isinstance(result, tuple) else result
        if not isinstance(self.out, torch.Tensor) or self.out.shape[:1] != (self.batch,):
            shape = tuple(self.out.shape) if isinstance(self.out, torch.Tensor) else type(self.out).__name__
            raise Unreadable(f"{name} gives {shape}, where the first axis should still be the {self.batch} samples")
        value = handler(*bound.args, **bound.kwargs)
        if value.shape != tuple(self.out.shape[1:]):
            raise Unreadable(
                f"{name} gives the shape {tuple(self.out.shape[1:])} per sample, where {value.shape} can be read"
                " (ceil_mode=True, or shapes that broadcast)"
            )
        self._bind(self.out, value)
        return result

    def _cast(self, name: str, func: Any, args: Any, kwargs: Any) -> torch.Tensor:
        """Another floating-point type or device: the value itself, as a view, since it may be a copy or not."""
        if name in ("to", "type", "type_as") and not func(*args, **kwargs).is_floating_point():
            raise Unreadable(f"{name} rounds a value to another type, which has no counterpart in theory.architecture")
        value = self._value(args[0])
        self.seen.casts[self._stack[-1] or "the module itself"] = None
        result = args[0].view_as(args[0])
        self._bind(result, value)
        return result

    def emit(self, operation: Operation, *inputs: Value, fixed: bool = False, **weights: Any) -> Value:
        """A new step that reads ``inputs``; weights are tensors, by their short names; ``fixed`` ones are constants."""
        return self._emit(operation, inputs, weights, fixed=fixed)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape per sample of what the call in progress returned."""
        return tuple(self.out.shape[1:])

    def note_slope(self) -> None:
        """A learned slope was read as a constant."""
        self.seen.slopes[self._stack[-1] or "the module itself"] = None

    def reshape_input(self, value: Value, shape: tuple[int, ...]) -> Value | None:
        """The input given another shape before anything else reads it, or None where something did."""
        if value.name != INPUT or any(INPUT in step.inputs for step in self.steps):
            return None
        self.seen.reshaped = f"the module gives its input {value.shape} the shape {shape}, which is the network's here"
        self.input_shape = shape
        return Value(INPUT, shape)

    def _emit(
        self, operation: Operation, inputs: tuple[Value, ...], weights: dict[str, Any], fixed: bool = False,
        base: str | None = None, declared: bool = False,
    ) -> Value:  # fmt: skip
        for value in inputs:
            if isinstance(value, Pending):
                raise Unreadable(value.why)
            if value.name == INPUT and value.shape != self.input_shape:
                raise Unreadable("the input is read in two shapes")
        shape = operation.output_shape(*(value.shape for value in inputs))
        wanted = operation.parameters(inputs[0].shape)
        arrays = {short: np.array(_numpy(weights[short])) for short in wanted}
        for short, size in wanted.items():
            if arrays[short].shape != size:
                raise Unreadable(f"its {short} has shape {arrays[short].shape}, and not {size}")
        base = self._base(operation, weights) if base is None else base
        self._counts[base] += 1
        name = base if self._counts[base] == 1 else f"{base}@{self._counts[base]}"
        self._remember(name, base, arrays, weights, fixed)
        names, shapes = tuple(v.name for v in inputs), tuple(v.shape for v in inputs)
        self.steps.append(Step(name, operation, names, shapes, arrays, self._where(), declared=declared))
        return Value(name, shape)

    def _base(self, operation: Operation, weights: Mapping[str, Any]) -> str:
        """The name of the module whose parameters these are, or of the one that is running."""
        for short, tensor in weights.items():
            owners = [name.removesuffix(f".{short}") for name in self._parameters.get(id(tensor), ())
                      if name.endswith(f".{short}")]  # fmt: skip
            if owners:
                return self._stack[-1] if self._stack[-1] in owners else owners[0]
        path = self._stack[-1]
        part = self._parts[path]
        if path and not [name for name, _ in part.named_children() if name != "parametrizations"]:
            return path
        kind = operation.name if isinstance(operation, Activation) else operation.kind
        stem = f"{path}.{kind}" if path else kind
        while True:
            self._counts[f"{stem}#"] += 1
            name = f"{stem}{self._counts[f'{stem}#']}"
            if name not in self._parts:
                return name

    def _remember(
        self, name: str, base: str, arrays: Mapping[str, np.ndarray], weights: Mapping[str, Any], fixed: bool
    ) -> None:
        for earlier in self.steps:
            same = earlier.name.partition("@")[0] == base and earlier.weights.keys() == arrays.keys()
            same = same and bool(arrays) and not fixed
            if same and all(np.array_equal(arrays[short], earlier.weights[short]) for short in arrays):
                self.seen.again[name] = earlier.name
                return
        for short in arrays:
            known = self._parameters.get(id(weights[short]), [])
            tied = [s.name for s in self.steps if f"{s.name}.{short}" in known]
            if tied:
                self.seen.again[name] = tied[0]
            elif known and f"{name}.{short}" not in known:
                self.seen.renamed[f"{name}.{short}"] = known[0]
            elif not known and fixed:
                self.seen.constants[name] = None
            elif not known and isinstance(weights[short], torch.Tensor):
                self.seen.computed[f"{name}.{short}"] = None
            elif not known:
                self.seen.filled[name] = None

    def _forward(self, path: str, part: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._paused:
            return forward(*args, **kwargs)
        key = path if path in self._declared else type(part).__name__
        self._stack.append(path)
        try:
            self._paused = True  # a part that is read as a whole: what happens inside is not written down
            if key in self._declared:
                self.used.add(key)
                self.seen.declared[path or key] = self._declared[key]
                return self._as_declared(part, forward, self._declared[key], args, kwargs)
            if isinstance(part, nn.MultiheadAttention):
                return self._attend(part, forward, args, kwargs)
            self._paused = False
            return forward(*args, **kwargs)
        except Unreadable as problem:
            raise InvalidInput(self._sentence(problem)) from None
        finally:
            self._paused = False
            self._stack.pop()

    def _as_declared(
        self, part: nn.Module, forward: Callable[..., Any], operation: Operation, args: Any, kwargs: Any
    ) -> torch.Tensor:
        tensors = [t for t in tensors_in((args, kwargs)) if id(t) in self._known]
        values = tuple(self._value(t) for t in tensors)
        arity = operation.arity
        if len(values) != arity if arity else len(values) < 2:
            raise Unreadable(f"declared as {operation.kind}, it reads {len(values)} value(s) of the network")
        before = [t.clone() for t in tensors]
        out = forward(*args, **kwargs)
        if not isinstance(out, torch.Tensor):
            raise Unreadable(f"a declared module returns one tensor, and not {type(out).__name__}")
        if self._keep and len(args) == 1 and not kwargs:
            check_declared(forward, before[0], out.clone(), operation)
        weights = {}
        for short in operation.parameters(values[0].shape):
            try:
                weights[short] = attrgetter(short)(part)
            except AttributeError:
                raise Unreadable(f"declared as {operation.kind}, it needs the parameter {short!r}") from None
            if not isinstance(weights[short], torch.Tensor):
                raise Unreadable(f"declared as {operation.kind}, its {short!r} is no tensor")
        base = self._stack[-1] or operation.kind
        value = self._emit(operation, values, weights, base=base, declared=True)
        if (self.batch, *value.shape) != tuple(out.shape):
            raise Unreadable(
                f"declared as {operation.kind}, it should give {value.shape} per sample, not {tuple(out.shape[1:])}"
            )
        self._bind(out, value)
        return out

    def _attend(self, part: nn.MultiheadAttention, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        tensors = [t for t in tensors_in((args, kwargs)) if id(t) in self._known]
        operation, weights = attention_of(part, tensors, args, kwargs)
        value = self._emit(operation, (self._value(tensors[0]),), weights, base=self._stack[-1] or "attention1")
        result = forward(*args, **kwargs)
        self._bind(result[0], value)
        return result

    def _bind(self, tensor: torch.Tensor, value: Value) -> None:
        self._known[id(tensor)] = _Known(tensor, value, tensor._version)
        if self._keep and self.steps and value.name == self.steps[-1].name:
            self.steps[-1].value = tensor.detach().numpy().copy()

    def _value(self, tensor: torch.Tensor) -> Value:
        known = self._known[id(tensor)]
        if known.version != tensor._version:
            raise Unreadable("it reads a value that was changed in place through another view of it")
        return known.value

    def _replaced(self, given: Any) -> Any:
        """Arguments with the network's tensors replaced by what is known of them."""
        if isinstance(given, torch.Tensor):
            return self._value(given) if id(given) in self._known else given
        if isinstance(given, dict):
            return {key: self._replaced(item) for key, item in given.items()}
        if type(given) in (list, tuple):
            return type(given)(self._replaced(item) for item in given)
        return given

    def _where(self) -> str:
        path = self._stack[-1]
        kind = type(self._parts[path]).__name__
        return f"{path!r} ({kind})" if path else f"the module itself ({kind})"

    def _sentence(self, problem: Exception) -> str:
        """Where it happened and why, with the way out for a module that can be declared."""
        path = self._stack[-1]
        kind = type(self._parts[path]).__name__
        text = f"{self._where()}: {str(problem).rstrip('.')}"
        if "counterpart" not in text:
            return f"{text}."
        if not path or list(self._parts[path].children()):
            return f"{text}; put it into a submodule, whose Lipschitz constant and homogeneity can be declared."
        return (
            f"{text}; declare the module's Lipschitz constant and homogeneity, by path or class name, as in declared="
            f"{{{kind!r}: Activation({kind.lower()!r}, lipschitz=1.0, degree=1)}}, or the operation that it is."
        )


def _needed(steps: list[Step], output: str) -> list[Step]:
    """The steps that the output depends on."""
    wanted, kept = {output}, []
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(step.inputs)
            kept.append(step)
    return kept[::-1]


def _name(func: Any) -> str:
    """The plain name of a torch function, method, operator or exported operation."""
    name = getattr(func, "__name__", type(func).__name__).partition(".")[0]
    if name == "__get__":
        return str(getattr(func.__self__, "__name__", name))
    if name == "batch_norm" and func is not nn.functional.batch_norm:
        return "torch.batch_norm"
    if name in _INPLACE:
        return _INPLACE[name]
    return name if name.endswith("__") else name.removesuffix("_")


def _numpy(weight: Any) -> np.ndarray:
    if isinstance(weight, torch.Tensor):
        return weight.detach().to(dtype=torch.float64).numpy()
    return np.asarray(weight, dtype=np.float64)
