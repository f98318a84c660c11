"""The exceptions of the toolkit. Each message is one sentence: what was given, what is wanted."""

from __future__ import annotations


class TheoryError(Exception):
    """Base of every error raised on purpose by this package."""


class InvalidInput(TheoryError, ValueError):
    """An argument is outside the domain of the formula: NaN, wrong shape, negative count, ..."""


class PreconditionError(TheoryError, ValueError):
    """A hypothesis of the theorem or model fails; the message names it."""


class NotConverged(TheoryError, RuntimeError):
    """A solver stopped before its tolerance.

    Attributes
    ----------
    partial : the best record reached, with its honest certificate, or None.
    """

    def __init__(self, message: str, partial: object | None = None) -> None:
        super().__init__(message)
        self.partial = partial
