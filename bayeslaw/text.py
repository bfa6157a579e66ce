"""Format numbers and names for tables, texts and figures."""

from __future__ import annotations


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
