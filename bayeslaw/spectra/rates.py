"""How far the optimizer can go along its next update: critical rate and directional sharpness."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bayeslaw.errors import BadInput
from bayeslaw.spectra.landscape import Cost, Landscape, NextStep, finite

REACH = 40
"""Doublings, or halvings, of the first learning rate until the search gives up."""


@dataclass(frozen=True)
class CriticalLearningRate:
    """Where the loss along the next update comes back to what it is.

    Attributes:
        value: geometric mean of ``lower`` and ``upper``; 0 where every step raises the loss, infinite where
            none does.
        lower, upper: the loss is no higher at the one, and higher at the other.
        cost: of the measurement.
    """

    value: float
    lower: float
    upper: float
    cost: Cost

    @property
    def sharpness(self) -> float:
        """Critical sharpness, 2 over the critical learning rate.

        >>> CriticalLearningRate(0.5, 0.49, 0.51, Cost(2.0, 0.0)).sharpness
        4.0
        """
        return 2 / self.value if self.value else math.inf


@dataclass(frozen=True)
class DirectionalSharpness:
    """u'Hu / u'g along the next update u: on a quadratic, 2 over the critical learning rate.

    Attributes:
        value: negative where the loss curves down, or the update does not descend.
        cost: of the measurement.
    """

    value: float
    cost: Cost


def critical_learning_rate(
    here: Landscape, step: NextStep, start: float, tolerance: float = 1 / 16
) -> CriticalLearningRate:
    """Learning rate at which a step along the next update leaves the loss of these sequences as it is.

    The first rate is doubled, or halved, until the loss changes side; then the interval is halved in its
    logarithm. Source: arXiv:2601.16979, critical sharpness.

    Args:
        here: where.
        step: of the optimizer.
        start: a first learning rate, such as the one in use.
        tolerance: stop where upper / lower is at most 1 + this.

    Raises:
        BadInput: a first rate that is no number above 0, a loss that is not finite.
    """
    if not 0 < start < math.inf:
        raise BadInput(
            f"critical_learning_rate: start = {start}; expected a number above 0; give the peak rate"
        )
    spent = here.meter.start()
    level = finite(here.loss(None), "loss")

    def higher(rate: float) -> bool:
        return not here.loss(-rate * step.update) <= level  # a loss that is no number is higher

    lower, upper = _bracket(higher, start)
    while lower > 0 and upper < math.inf and upper / lower > 1 + tolerance:
        middle = math.sqrt(lower * upper)
        lower, upper = (lower, middle) if higher(middle) else (middle, upper)
    return CriticalLearningRate(math.sqrt(lower * upper) if lower else 0.0, lower, upper, spent())


def _bracket(higher: Callable[[float], bool], start: float) -> tuple[float, float]:
    """Two rates a factor of 2 apart, the loss higher at the upper one only; 0 or infinity where none is."""
    if higher(start):
        for k in range(1, REACH + 1):
            if not higher(start / 2**k):
                return start / 2**k, start / 2 ** (k - 1)
        return 0.0, start / 2**REACH
    for k in range(1, REACH + 1):
        if higher(start * 2**k):
            return start * 2 ** (k - 1), start * 2**k
    return start * 2**REACH, math.inf


def directional_sharpness(here: Landscape, step: NextStep) -> DirectionalSharpness:
    """Curvature along the next update, over the slope: one Hessian product.

    For steepest descent in a norm whose ball has no largest curvature that can be computed (Lion, the sign of
    its momentum: a maximum cut) it is what stands for the preconditioned eigenvalue, and never above it where
    P exists and the update is P^-1 times the gradient.

    Raises:
        BadInput: an update that is zero.
    """
    spent = here.meter.start()
    slope = float(step.update @ step.gradient)
    if slope == 0:
        raise BadInput("directional_sharpness: the update is orthogonal to the gradient; expected a descent")
    with here.hessian() as product:
        curvature = float(step.update @ product(step.update))
    return DirectionalSharpness(curvature / slope, spent())
