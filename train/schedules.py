"""Learning rate over a run, as a fraction of its peak."""

from __future__ import annotations

import math

from bayeslaw.integrations.schedules import SCHEDULES
from bayeslaw.law.scalars import WSD_DECAY

INVERSE_SQUARE_ROOT = "inverse_sqrt"
NAMES = (*SCHEDULES, INVERSE_SQUARE_ROOT)


def fraction(
    schedule: str, step: float, steps: float, warmup_steps: int, final: float, decay_share: float = WSD_DECAY
) -> float:
    """Fraction of the peak learning rate at ``step`` of 0, 1, ..., steps - 1, or between two of them.

    Linear warm-up reaches 1 in its last step. "wsd" falls in the last ``decay_share`` of the steps after
    it. The last step of the run has ``final``, except with "constant", and with "inverse_sqrt", which falls
    as sqrt(warm-up / step) (Vaswani et al. 2017).

    >>> [round(fraction("linear", step, 6, 2, 0.0), 2) for step in range(6)]
    [0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == INVERSE_SQUARE_ROOT:
        return math.sqrt(max(1, warmup_steps) / (step + 1))
    return SCHEDULES[schedule]((step + 1 - warmup_steps) / (steps - warmup_steps), final, decay_share)
