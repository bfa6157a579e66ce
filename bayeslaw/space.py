"""Settings that vary, as plans and search spaces write them in TOML, and points drawn in them.

optimizer = ["adamw", "muon"]                     # a list is a choice
learning_rate = {low = 1e-4, high = 1e-1}         # a range; even in the logarithm unless log = false
momentum = {low = 0.8, high = 0.98}               # even in ln(1 - momentum); beta2 likewise
weight_decay = {low = 0.0, high = 0.2}            # from 0: even in the value
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bayeslaw.errors import BadInput

LARGEST = 100_000
"""Most runs of one plan or space."""

NEAR_ONE = ("momentum", "beta2")
MAY_BE_ZERO = ("weight_decay", "final_lr_ratio", "warmup_tokens", "warmup_share", "epsilon", "grad_clip")

Function = Callable[[float], float]


def read_toml(path: Path, expected: str) -> dict[str, Any]:
    """Contents of a TOML file.

    Args:
        path: of the file.
        expected: what it should be, for messages.

    Raises:
        BadInput: no such file, or one that is no TOML in UTF-8.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{path}: no such file; expected {expected}; check the path (now in {Path.cwd()})"
        ) from None
    except IsADirectoryError:
        raise BadInput(f"{path}: is a folder; expected {expected}; give the file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a readable TOML file ({error}); correct it there") from None


def whole_number(name: str, number: Any, place: str, least: int = 0, most: int = 2**63) -> int:
    """A whole number within its bounds.

    Raises:
        BadInput: any other number or value.
    """
    real = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not real or number % 1 or not least <= number <= most:
        raise BadInput(
            f"{place}: {name} = {number}; expected a whole number from {least} to {most}; correct it"
        )
    return int(number)


def draw(
    varied: Mapping[str, Any], count: int, seed: int, place: str, random: bool = False
) -> dict[str, list[Any]]:
    """Values of every setting that varies, by name; the first ones do not depend on ``count``.

    Drawn numbers have six digits, which no mathematics library rounds differently from the next.

    Args:
        varied: lists of choices and tables of low and high, by name.
        count: points to draw.
        seed: of the draw.
        place: what names the space in messages.
        random: points independent of each other, instead of a scrambled Sobol sequence.

    Raises:
        BadInput: an empty list, or a range that is none.

    >>> draw({"optimizer": ["adamw", "lion"], "learning_rate": {"low": 1e-4, "high": 1e-1}}, 2, 0, "example")
    {'learning_rate': [0.0356251, 0.00226305], 'optimizer': ['lion', 'adamw']}
    """
    values = {name: _values(name, varied[name], f"{place}: {name}") for name in sorted(varied)}
    if random:
        points = np.random.default_rng(seed).random((count, len(values)))
    else:
        points = sobol(count, len(values), seed)
    return {name: at(u) for (name, at), u in zip(values.items(), points.T, strict=True)}


def sobol(count: int, dimensions: int, seed: int) -> np.ndarray:
    """The first points of a scrambled Sobol sequence in [0, 1)^dimensions, (count, dimension).

    Sobol (1967), scrambled after Owen (1998). They do not depend on ``count``.

    >>> bool((sobol(5, 2, seed=0)[:3] == sobol(3, 2, seed=0)).all())
    True
    """
    from scipy.stats import qmc

    return qmc.Sobol(dimensions, seed=seed).random_base2((count - 1).bit_length())[:count]


def _values(name: str, given: Any, where: str) -> Callable[[np.ndarray], list[Any]]:
    """From points of [0, 1) to choices, or to a range."""
    if isinstance(given, list):
        if not given:
            raise BadInput(f"{where} = []; expected at least one choice; add one")
        return lambda u: [given[int(x * len(given))] for x in u]
    where = f"{where} = {given}"
    low, high = (_number(given.get(end)) for end in ("low", "high"))
    if given.keys() - {"low", "high", "log"} or not low < high:
        raise BadInput(
            f"{where}; expected {{low = ..., high = ...}}, two numbers with low < high; correct it"
        )
    to, back = _scale(name, low, high, given.get("log"), where)
    first, last = to(low), to(high)
    return lambda u: [back(y) for y in (first + u * (last - first)).tolist()]


def _scale(name: str, low: float, high: float, log: bool | None, where: str) -> tuple[Function, Function]:
    """To the scale in which a range is even, and back."""
    if name in NEAR_ONE:
        if not 0 <= low < high < 1:
            raise BadInput(f"{where}; expected 0 <= low < high < 1; correct it")
        return (lambda x: math.log1p(-x)), (lambda y: round(1 - _six_digits(math.exp(y)), 7))
    if log is False or (log is None and low <= 0 and name in MAY_BE_ZERO):
        return float, _six_digits
    if low <= 0:
        raise BadInput(f"{where}; expected low > 0, for it is even in the logarithm; or log = false")
    return math.log, (lambda y: _six_digits(math.exp(y)))


def _number(value: Any) -> float:
    """NaN for what is no finite number."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if known else math.nan


def _six_digits(x: float) -> float:
    return float(f"{x:.6g}")
