"""What one unit of an optimizer's learning rate means: its family, and its convention in the runs at hand.

Rates compare within a family. A normalised step moves each weight by about the rate, whatever the gradient; a
matrix step moves a weight matrix by the rate in spectral norm, and each weight by less unless it is rescaled;
an unnormalised step is the rate times the gradient, so its best rate is a property of the loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NORMALISED = "normalised"
MATRIX = "matrix"
UNNORMALISED = "unnormalised"


class Convention(NamedTuple):
    """Family of an optimizer, and what its learning rate multiplies."""

    family: str
    words: str


_BY_ENTRY = "a step of about the rate per weight"
_DECOUPLED = f"{_BY_ENTRY}, decay decoupled"

OPTIMIZERS: dict[str, Convention] = {
    "adam": Convention(NORMALISED, f"{_BY_ENTRY}, decay within the gradient"),
    "adamw": Convention(NORMALISED, _DECOUPLED),
    "adafactor": Convention(NORMALISED, "a step of the rate in root mean square"),
    "cautious": Convention(NORMALISED, _DECOUPLED),
    "kron": Convention(NORMALISED, f"{_BY_ENTRY}, preconditioned by Kronecker factors"),
    "lamb": Convention(NORMALISED, "a step of the rate times the norm of the layer's weights"),
    "lion": Convention(NORMALISED, "the rate times a sign: every weight moves by it"),
    "mars": Convention(NORMALISED, _DECOUPLED),
    "mini": Convention(NORMALISED, _DECOUPLED),
    "muon": Convention(
        MATRIX,
        "an orthogonal update times a factor of the matrix's shape, which differs by implementation: "
        "sqrt(max(1, rows/columns)) in the shipped posterior's runs (Jordan et al. 2024), "
        "0.2 sqrt(max(rows, columns)) to match AdamW's steps (Moonlight, 2025)",
    ),
    "rmsprop": Convention(NORMALISED, _BY_ENTRY),
    "scion": Convention(MATRIX, "a step of the rate in the layer's operator norm (Pethick et al. 2025)"),
    "sgd": Convention(UNNORMALISED, "the rate times the gradient (with momentum, over 1 - momentum)"),
    "soape": Convention(NORMALISED, "Adam in Shampoo's eigenbasis, a step of about the rate per weight"),
    "sophia": Convention(NORMALISED, "a clipped Newton step of at most the rate per weight"),
}
"""Of the optimizers in ``optimizer_names.ALIASES`` and of those that the lab trains with."""


def convention_of(optimizer: str) -> str | None:
    """What an optimizer's rate multiplies, with its family; None for one that is not listed.

    >>> convention_of("lion")
    'normalised: the rate times a sign: every weight moves by it'
    """
    row = OPTIMIZERS.get(optimizer)
    return None if row is None else f"{row.family}: {row.words}"


def of_other_families(optimizer: str, known: Iterable[str]) -> str | None:
    """The optimizer's family, where none of the ``known`` ones belongs to it; None where one does.

    >>> of_other_families("sgd", ["adamw", "muon"]), of_other_families("lion", ["adamw"])
    ('unnormalised', None)
    """
    row = OPTIMIZERS.get(optimizer)
    if row is None or optimizer in (names := list(known)):
        return None
    families = {OPTIMIZERS[name].family for name in names if name in OPTIMIZERS}
    return None if row.family in families else row.family
