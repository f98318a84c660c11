"""``theory norms``: certified operator norms of a kernel, or of every layer of a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from theory.norms.layers import LayerNorms


def norms(
    conv: Annotated[
        Path | None, typer.Option(help="Kernel (out, in / groups, k) or (out, in / groups, k, k), .npy.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Input size of the convolution, such as 8x8 or 100.")] = None,
    padding: Annotated[
        str, typer.Option(help="zero, circular, reflect or replicate ('same' width), 'valid', or a number of zeros.")
    ] = "zero",
    stride: Annotated[int, typer.Option(help="Stride.")] = 1,
    groups: Annotated[int, typer.Option(help="Groups of channels.")] = 1,
    dilation: Annotated[int, typer.Option(help="Dilation of the kernel.")] = 1,
    weights: Annotated[Path | None, typer.Option(help="Weights by name, .npz; with --architecture.")] = None,
    architecture: Annotated[Path | None, typer.Option(help="The network, .json or .yaml; with --weights.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON.")] = False,
) -> None:
    """Operator norms with a proof: an upper bound, a lower bound beside it, and the method.

    Example: theory norms --conv kernel.npy --size 8x8 --padding zero --stride 1
    """
    from theory._errors import InvalidInput

    if (conv is None) == (architecture is None) or (architecture is None) != (weights is None):
        raise InvalidInput("give --conv with --size, or --architecture with --weights.")
    if conv is not None:
        _of_kernel(conv, size, padding, stride, groups, dilation, json)
    else:
        assert architecture is not None and weights is not None
        _of_network(architecture, weights, json)


def _of_kernel(
    conv: Path, size: str | None, padding: str, stride: int, groups: int, dilation: int, json: bool
) -> None:
    from simulations._output import json_text
    from simulations.cli._files import read_array
    from theory._errors import InvalidInput
    from theory.norms import conv_spectral_norm

    kernel = read_array(conv)
    if size is None:
        raise InvalidInput("a convolution needs --size, such as 8x8.")
    try:
        shape = tuple(int(part) for part in size.lower().split("x"))
    except ValueError:
        raise InvalidInput(f"--size must be whole numbers such as 8x8, but is {size!r}.") from None
    width, mode = _padding(padding, kernel.shape[2:], dilation)
    bracket = conv_spectral_norm(
        kernel, shape, stride=stride, padding=width, padding_mode=mode, dilation=dilation, groups=groups
    )
    record = bracket.to_json()
    text = f"{bracket.lower:.10g} <= norm <= {bracket.upper:.10g}   ({bracket.method})"
    typer.echo(json_text(record) if json else text)


def _padding(said: str, kernel: tuple[int, ...], dilation: int) -> tuple[tuple[int, ...], str]:
    """Widths and mode; a named mode pads by half the extent of the kernel, as 'same' does."""
    from theory._errors import InvalidInput

    modes = {"zero": "zeros", "zeros": "zeros", "circular": "circular", "reflect": "reflect", "replicate": "replicate"}
    if said in modes:
        return tuple(dilation * (k - 1) // 2 for k in kernel), modes[said]
    if said == "valid":
        return (0,) * len(kernel), "zeros"
    if said.isascii() and said.isdigit() and len(said) < 10:
        return (int(said),) * len(kernel), "zeros"
    raise InvalidInput(f"--padding must be one of {', '.join(modes)}, valid, or a number, but is {said!r}.")


def _of_network(architecture: Path, weights: Path, json: bool) -> None:
    from simulations._output import json_text
    from simulations.cli._files import read_archive
    from theory.architecture import read_architecture
    from theory.norms.layers import layer_norms

    found = layer_norms(read_architecture(architecture), read_archive(weights))
    if json:
        typer.echo(json_text([layer.to_json() for layer in found]))
        return
    typer.echo(norm_table(found))


def norm_table(found: Iterable[LayerNorms]) -> str:
    """One line per layer."""
    head = ("layer", "shape", "operator <=", ">=", "Frobenius", "(2,1)", "(1,inf)")
    lines = [f"{head[0]:<16} {head[1]:<18}" + "".join(f"{word:>13}" for word in head[2:]) + "   method"]
    for layer in found:
        numbers = (layer.spectral.upper, layer.spectral.lower, layer.frobenius, layer.norm_2_1, layer.norm_1_inf)
        cells = "".join(f"{number:>13.6g}" for number in numbers)
        lines.append(f"{layer.name:<16} {layer.shape!s:<18}{cells}   {layer.spectral.method}")
    return "\n".join(lines)
