"""Finding the layer that classifies, by running the module once and comparing what its layers put out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulations._torch import first_line, import_torch
from theory._errors import InvalidInput, PreconditionError

if TYPE_CHECKING:
    from torch import nn

torch = import_torch("simulations.bridge")

_SAMPLES = 16  # of the first batch, on which layers are compared
# Outputs may differ from W h + b by this share of the largest: half-precision modules round at 1e-3.
_AFFINE = 1e-2
_ROUNDING = 1e-5
_FORMS: dict[str, Callable[[Any], Any]] = {
    "its output is the module's output": lambda z: z,
    "the log-softmax of its output is the module's output": lambda z: torch.log_softmax(z, 1),
    "the softmax of its output is the module's output": lambda z: torch.softmax(z, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The classifier: its dotted path, the module, why it was taken, the paths of all modules in running order.

    ``notes`` says where its outputs are not the module's.
    """

    name: str
    layer: nn.Module
    reason: str
    order: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Call:
    path: str
    layer: nn.Module
    features: Any
    logits: Any


def find_classifier(module: nn.Module, inputs: Any, layer: str | nn.Module = "auto") -> Found:
    """The layer that classifies; ``module`` is at evaluation and guarded by the caller.

    ``auto`` takes the last layer with a weight matrix whose output equals the module's output, value by value, or
    whose log-softmax or softmax does. A layer that is named, by its dotted path or as the module itself, is taken
    whatever follows it. Either must put out W h + b for its weight W and bias b, which is checked on these inputs.

    Raises
    ------
    InvalidInput : a module that does not run on these inputs; no such layer, one without a weight matrix, one that
        runs not once but never or several times; for ``auto``, no layer or an output that is no tensor.
    PreconditionError : the module's outputs are not finite.
    """
    wanted = None if isinstance(layer, str) and layer == "auto" else _named(module, layer)
    calls, order, output = _run(module, inputs[:_SAMPLES])
    notes: tuple[str, ...] = ()
    if wanted is None:
        call, reason = _automatic(calls, output)
    else:
        name, part = wanted
        own = [call for call in calls if call.layer is part]
        if not own:
            raise InvalidInput(
                f"layer {name!r} has no weight matrix or did not run when the module was called; "
                f"layers that can be named: {_some(calls)}."
            )
        call, reason = own[-1], "named by the caller"
        if isinstance(output, torch.Tensor) and not _form(call, as_rows(output)):
            notes = (f"margins, errors and losses are those of {name!r}, whose outputs are not the module's.",)
    times = sum(other.layer is call.layer for other in calls)
    if times > 1:
        raise InvalidInput(
            f"layer {call.path!r} runs {times} times in one forward, so its features are ambiguous; name another."
        )
    _check_affine(call)
    return Found(name=call.path, layer=call.layer, reason=reason, order=order, notes=notes)


def matrix_and_bias(layer: nn.Module) -> tuple[Any, Any]:
    """Weight as a (K, d) tensor and bias (K,) or None of a linear layer or a convolution of one pixel."""
    weight: Any = layer.weight
    bias = getattr(layer, "bias", None)
    return weight.detach().flatten(1), bias.detach() if isinstance(bias, torch.Tensor) else None


def as_rows(tensor: Any) -> Any:
    """Features or logits as (n, d): trailing axes of length one, as a convolution has them, are dropped."""
    return tensor.flatten(1) if tensor.ndim > 2 and tensor.shape[2:].numel() == 1 else tensor


def first_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a layer was called with, by position or by name."""
    return args[0] if args else next(iter(kwargs.values()))


def _has_matrix(layer: nn.Module) -> bool:
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim < 2 or isinstance(layer, torch.nn.Embedding):
        return False
    return weight.ndim == 2 or (weight.shape[2:].numel() == 1 and getattr(layer, "groups", 1) == 1)


def _named(module: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    paths = dict(module.named_modules(remove_duplicate=False))
    if isinstance(layer, torch.nn.Module):
        path = next((path for path, part in paths.items() if part is layer), None)
        if path is None:
            raise InvalidInput(f"layer must be part of the module, but this {type(layer).__name__} is not.")
        return path, layer
    if not isinstance(layer, str) or layer not in paths:
        linear = [path for path, part in paths.items() if _has_matrix(part)]
        raise InvalidInput(
            f"layer must be 'auto', a part of the module or its dotted path, but is {layer!r}; "
            f"paths of layers with a weight matrix: {', '.join(map(repr, linear[-6:])) or 'none'}."
        )
    return layer, paths[layer]


def _run(module: nn.Module, inputs: Any) -> tuple[list[_Call], tuple[str, ...], Any]:
    """Calls of layers with a matrix and the paths of all modules, both in the order in which they ran."""
    calls: list[_Call] = []
    order: dict[str, None] = {}
    handles = []
    for path, part in module.named_modules():

        def note(layer: Any, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            order.setdefault(path)
            if _has_matrix(layer) and isinstance(output, torch.Tensor):
                calls.append(_Call(path, layer, first_input(args, kwargs).detach().clone(), output.detach().clone()))

        if not isinstance(part, torch.jit.ScriptModule):
            handles.append(part.register_forward_hook(note, with_kwargs=True))
    try:
        output = module(inputs.clone())  # the forward may work in place
    except RuntimeError as error:  # what torch raises where shapes or types do not meet
        kind = str(inputs.dtype).removeprefix("torch.")
        raise InvalidInput(
            f"the module does not run on inputs of shape {tuple(inputs.shape)}, {kind}: {first_line(error)}."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return calls, tuple(order), output


def _automatic(calls: list[_Call], output: Any) -> tuple[_Call, str]:
    if not isinstance(output, torch.Tensor):
        output = getattr(output, "logits", output)
    if not isinstance(output, torch.Tensor):
        raise InvalidInput(
            f"the module's output is a {type(output).__name__} and no tensor, so which layer classifies cannot be "
            f"told: name it, layer='...'; layers that can be named: {_some(calls)}."
        )
    if not torch.isfinite(output).all():
        raise PreconditionError("the module's outputs must be finite, but contain NaN or infinity.")
    output = as_rows(output)
    for form in _FORMS:
        for call in reversed(calls):
            if _form(call, output, (form,)):
                return call, f"the last layer with a weight matrix; {form}"
    raise InvalidInput(
        "no layer with a weight matrix puts out the module's output, so which one classifies cannot be told: "
        f"name it, layer='...'; layers that can be named: {_some(calls)}."
    )


def _form(call: _Call, output: Any, forms: Iterable[str] = _FORMS) -> str | None:
    """How the module's output (n, K) comes from that of a layer; None where it does otherwise."""
    logits = as_rows(call.logits)
    if logits.shape != output.shape or logits.ndim != 2:
        return None
    return next((form for form in forms if _equal(_FORMS[form](logits), output)), None)


def _equal(first: Any, second: Any) -> bool:
    return bool(torch.allclose(first.cpu().double(), second.cpu().double(), rtol=_ROUNDING, atol=_ROUNDING * 1e-3))


def _check_affine(call: _Call) -> None:
    features, logits = as_rows(call.features), as_rows(call.logits)
    W, b = matrix_and_bias(call.layer)
    if features.ndim != 2 or features.shape[1] != W.shape[1]:
        raise InvalidInput(
            f"layer {call.path!r} must see one vector of length {W.shape[1]} per sample, "
            f"but sees inputs of shape {tuple(call.features.shape)}."
        )
    expected = features.cpu().double() @ W.cpu().double().T + (0 if b is None else b.cpu().double())
    if logits.shape != expected.shape or (logits.cpu() - expected).abs().max() > _AFFINE * expected.abs().max():
        raise InvalidInput(
            f"layer {call.path!r} must put out W h + b for its weight and bias, but puts out something else."
        )


def _some(calls: list[_Call]) -> str:
    return ", ".join(dict.fromkeys(repr(call.path) for call in calls[-6:])) or "none"
