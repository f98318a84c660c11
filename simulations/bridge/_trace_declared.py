"""Modules that are read as a whole: those that the user declares, held against what they do, and self-attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from simulations.bridge._trace_values import Unreadable
from theory.architecture import Activation, Attention, Operation

_SLACK = 1e-9


def check_declared(
    forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, out: torch.Tensor, operation: Operation
) -> None:
    """Hold a declared activation against the module on a few inputs: it may be refuted, never proved.

    Raises
    ------
    Unreadable : it mixes entries, stretches two inputs by more than its Lipschitz constant, or is not homogeneous of
        its degree.
    """
    if not isinstance(operation, Activation) or operation.lipschitz is None:
        return
    other = x.flip(0) * 0.5  # values of the same size, elsewhere
    half = torch.arange(x.numel()).reshape(x.shape) % 2 == 0
    mixed = forward(torch.where(half, x, other)).clone()
    scale = _SLACK * (1 + float(out.abs().max()))
    if float((mixed - out)[half].abs().max()) > scale:
        raise Unreadable("declared as an element-wise activation, it lets entries act on one another")
    slope = float(((mixed - out).abs() - scale).div((x - other).abs().clamp(min=1e-300)).masked_fill(half, 0).max())
    if slope > operation.lipschitz * (1 + _SLACK):
        raise Unreadable(
            f"declared with the Lipschitz constant {operation.lipschitz:g}, it stretches two inputs by {slope:.4g}"
        )
    if operation.degree is not None:
        doubled = forward(2 * x).clone()
        if float((doubled - 2**operation.degree * out).abs().max()) > 2**operation.degree * scale:
            raise Unreadable(f"declared as homogeneous of degree {operation.degree}, it is not: f(2x) is another")


def attention_of(
    part: nn.MultiheadAttention, tensors: list[torch.Tensor], args: Any, kwargs: Any
) -> tuple[Attention, dict[str, torch.Tensor]]:
    """Self-attention as ``theory.architecture`` has it, and its weights.

    Raises
    ------
    Unreadable : other than batch-first self-attention with biases, one width and no masks.
    """
    named = dict(zip(("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask"), args, strict=False))
    named |= kwargs
    plain = part.batch_first and part._qkv_same_embed_dim and part.in_proj_bias is not None and part.bias_k is None
    if not plain or part.add_zero_attn or named.get("key_padding_mask") is not None or named.get("is_causal"):
        raise Unreadable("attention has a counterpart if it is batch-first, with biases, of one width, without masks")
    if len(tensors) != 3 or any(t is not tensors[0] for t in tensors) or named.get("attn_mask") is not None:
        raise Unreadable("attention of one value to another, or with a mask, has no counterpart; self-attention has")
    weights = {
        "in_proj_weight": part.in_proj_weight, "in_proj_bias": part.in_proj_bias,
        "out_proj.weight": part.out_proj.weight, "out_proj.bias": part.out_proj.bias,
    }  # fmt: skip
    return Attention(part.num_heads), weights
