"""Options that several commands read alike."""

from __future__ import annotations

from bayeslaw.errors import BadInput
from bayeslaw.text import parse_size


def size(option: str, text: str) -> float:
    """A number above 0, as ``text.parse_size`` reads it.

    >>> size("--params", "7B")
    7000000000.0
    """
    number = parse_size(text)
    if not number > 0:
        raise BadInput(f"{option} {text}: expected a finite number above 0; give it as 7e9, 7B, 500M or 2k")
    return number


def optional_size(option: str, text: str | None) -> float | None:
    """The same, or None where the option is not given."""
    return None if text is None else size(option, text)
