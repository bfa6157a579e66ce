"""Error that users are meant to read."""

from __future__ import annotations

SEED_MAX = 2**32 - 1


def check_count(name: str, count: int, least: int, most: int) -> None:
    """Refuse a whole number out of its range.

    Raises:
        BadInput: below ``least`` or above ``most``.
    """
    if not least <= count <= most:
        raise BadInput(f"{name} = {count}; expected a whole number from {least} to {most}; give one of these")


class BadInput(ValueError):
    """Input that cannot be used. The command line prints the message and exits with code 2.

    The message names the place, the value, what was expected and the next step.
    """
