"""Numbers and names as a person reads them, in tables, texts and figures."""

from __future__ import annotations


def setting(name: str, value: float) -> str:
    """A hyperparameter's value for a person: batches as counts, the rest to three digits."""
    return short(value) if name == "batch_tokens" else three_digits(value)


def percent(fraction: float) -> str:
    """Two digits, for texts.

    >>> percent(0.00123)
    '0.12%'
    """
    return f"{100 * fraction:.2g}%"


def three_digits(value: float) -> str:
    """Three significant digits, for texts."""
    return f"{value:.3g}"


def short(value: float) -> str:
    """A count for a person, three digits.

    >>> short(214_663_680), short(1e11), short(512)
    ('215M', '100B', '512')
    """
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.0f}{letter}" if scaled >= 99.95 else f"{scaled:.3g}{letter}"
    return f"{value:.3g}"
