"""What arguments of a formula must satisfy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput


def positive(place: str, name: str, values: ArrayLike) -> Floats:
    """Values as an array, all finite and above 0.

    Args:
        place: the function, for the error.
        name: of the argument.
        values: any shape.

    Raises:
        BadInput: a value that is no number, not finite, or not above 0.

    >>> positive("bound", "samples", [1e6, -1.0])
    Traceback (most recent call last):
    ...
    bayeslaw.errors.BadInput: bound: samples = -1.0; expected finite numbers above 0; correct this argument
    """
    array = _floats(place, name, values, "finite numbers above 0")
    return _all(place, name, array, array > 0, "finite numbers above 0")


def not_negative(place: str, name: str, values: ArrayLike) -> Floats:
    """Values as an array, all finite and at least 0.

    Raises:
        BadInput: a value that is no number, not finite, or negative.
    """
    array = _floats(place, name, values, "finite numbers of at least 0")
    return _all(place, name, array, array >= 0, "finite numbers of at least 0")


def share(place: str, name: str, values: ArrayLike) -> Floats:
    """Values as an array, all above 0 and at most 1.

    Raises:
        BadInput: a value that is no number, or lies outside.

    >>> share("bound", "alpha", 1.5)
    Traceback (most recent call last):
    ...
    bayeslaw.errors.BadInput: bound: alpha = 1.5; expected numbers above 0 and at most 1; correct this
    argument
    """
    array = _floats(place, name, values, "numbers above 0 and at most 1")
    return _all(place, name, array, (array > 0) & (array <= 1), "numbers above 0 and at most 1")


def _floats(place: str, name: str, values: ArrayLike, expected: str) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"{place}: {name} = {values!r}; expected {expected}; correct this argument") from None


def _all(place: str, name: str, array: Floats, valid: NDArray[np.bool_], expected: str) -> Floats:
    valid = valid & np.isfinite(array)
    if not valid.all():
        first = float(array[~valid].flat[0])
        raise BadInput(f"{place}: {name} = {first!r}; expected {expected}; correct this argument")
    return array
