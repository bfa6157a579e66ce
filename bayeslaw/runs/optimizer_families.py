"""What one unit of an optimizer's learning rate means: its family, and its convention in the runs at hand.

Rates compare within a family. A normalised step moves each weight by about the rate, whatever the gradient; a
matrix step moves a weight matrix by the rate in spectral norm, and each weight by less unless it is rescaled;
an unnormalised step is the rate times the gradient, so its best rate is a property of the loss.
"""

from __future__ import annotations

import math
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


class Usual(NamedTuple):
    """A usual peak learning rate, as a multiple of AdamW's, and who says so."""

    ratio: float
    source: str


USUAL_RATES: dict[str, Usual] = {
    "adam": Usual(1.0, "the same step"),
    "adamw": Usual(1.0, "itself"),
    "cautious": Usual(1.0, "Liang et al. 2024, arXiv 2411.16085: AdamW's settings"),
    "kron": Usual(1 / 3, "distributed_kron: start three times lower"),
    "lion": Usual(1 / math.sqrt(30), "Chen et al. 2023, arXiv 2302.06675: 3 to 10 times lower"),
    "mini": Usual(1.0, "Zhang et al. 2024, arXiv 2406.16793: AdamW's settings"),
    "rmsprop": Usual(1.0, "the same step without momentum"),
    "sgd": Usual(100.0, "0.1 (He et al. 2016, arXiv 1512.03385) where Adam has 0.001 (Kingma and Ba 2015)"),
    "soape": Usual(1.0, "Vyas et al. 2024, arXiv 2409.11321: 3e-3 for both"),
    "sophia": Usual(0.8, "Liu et al. 2023, arXiv 2305.14342: slightly lower"),
}
"""Left out are optimizers without a usual multiple: Muon's depends on how its step is scaled, LAMB's and
Adafactor's on the weights."""


def log_usual_rates(optimizers: Iterable[str]) -> list[float]:
    """ln of each optimizer's usual rate over AdamW's; NaN where none is usual.

    >>> [round(value, 2) for value in log_usual_rates(["sgd", "adamw", "muon"])]
    [4.61, 0.0, nan]
    """
    return [math.log(USUAL_RATES[name].ratio) if name in USUAL_RATES else math.nan for name in optimizers]


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
