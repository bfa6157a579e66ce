"""The one error that a user is meant to read."""

from __future__ import annotations


class BadInput(ValueError):
    """Input that cannot be used; the command line prints it and exits with code 2.

    The message names the place, the value, what was expected and the next step.
    """
