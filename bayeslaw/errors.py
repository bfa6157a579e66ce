"""Error that users are meant to read."""

from __future__ import annotations


class BadInput(ValueError):
    """Input that cannot be used. The command line prints the message and exits with code 2.

    The message names the place, the value, what was expected and the next step.
    """
