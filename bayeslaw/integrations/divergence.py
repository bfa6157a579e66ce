"""When a run has diverged, whoever trains it."""

from __future__ import annotations

import math

MARGIN = 1.0
"""Nats above the loss of a uniform guess."""


def has_diverged(loss: float, uniform: float) -> bool:
    """Whether a mean training loss over several steps says that the run has diverged.

    Args:
        loss: nats per token.
        uniform: loss of a uniform guess, ln(vocabulary); where the vocabulary is not known, the first loss of
            the run, which is about the same.

    >>> [has_diverged(loss, uniform=6.9) for loss in (7.5, 8.0, math.nan)]
    [False, True, True]
    """
    return not (math.isfinite(loss) and loss <= uniform + MARGIN)
