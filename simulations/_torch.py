"""PyTorch is optional: one sentence where it is missing."""

from __future__ import annotations

from theory._errors import PreconditionError


def need_torch() -> None:
    """Import PyTorch.

    Raises
    ------
    PreconditionError : it is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise PreconditionError("this needs PyTorch: pip install 'deep-classifier-theory[torch]'.") from None
