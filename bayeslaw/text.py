"""Format numbers and names for tables, texts and figures."""

from __future__ import annotations

import math
import re


def setting(name: str, value: float) -> str:
    """Format a hyperparameter's value: batches as counts, the rest to three digits."""
    return short(value) if name == "batch_tokens" else three_digits(value)


def percent(fraction: float) -> str:
    """Format a fraction as a percentage of two digits.

    >>> percent(0.00123)
    '0.12%'
    """
    return f"{100 * fraction:.2g}%"


def three_digits(value: float) -> str:
    """Format a number to three significant digits."""
    return f"{value:.3g}"


def parse_size(text: str) -> float:
    """A count as a person writes it, as in the report's calculator (``parsed`` in words.js); NaN for none.

    >>> parse_size("7e9"), parse_size("1.4T"), parse_size("2k"), parse_size("7,000,000,000"), parse_size("7X")
    (7000000000.0, 1400000000000.0, 2000.0, 7000000000.0, nan)
    """
    try:
        number = float(text)
    except ValueError:
        plain = re.sub(r"^\d{1,3}(,\d{3})+(?=\D|$)", lambda digits: digits[0].replace(",", ""), text.strip())
        found = re.fullmatch(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*([kmbgt]?)", plain, re.I | re.A)
        if not found:
            return math.nan
        power = {"k": 3, "m": 6, "b": 9, "g": 9, "t": 12}.get(found[3].lower(), 0)
        number = float(f"{found[1]}e{power + int((found[2] or 'e0')[1:])}")
    return number if math.isfinite(number) else math.nan


def short(value: float) -> str:
    """Format a count to three digits.

    >>> short(214_663_680), short(1e11), short(512)
    ('215M', '100B', '512')
    """
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.0f}{letter}" if scaled >= 99.95 else f"{scaled:.3g}{letter}"
    return f"{value:.3g}"
