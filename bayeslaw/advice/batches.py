"""The batch over a run, and the learning rates that go with it, from a posterior (``schedules.batches``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bayeslaw.advice.decision import decide
from bayeslaw.advice.target_surface import TargetSurface, surface_at
from bayeslaw.arrays import Floats
from bayeslaw.law.terms import optimum_of
from bayeslaw.posterior.draws import Posterior
from bayeslaw.schedules.batches import BatchPlan, Growth, plan_with_rates
from bayeslaw.target import Target

SPAN = 3 * np.log(2.0)
"""Below D, in ln tokens: where the exponent of the best batch is taken. A plan has three doublings at most."""


class BatchLaw(NamedTuple):
    """What a posterior says of the batch of one run.

    Attributes:
        at: surface of the target.
        best_batch_tokens: the advised fixed batch [tokens].
        exponent: d ln B* / d ln D from D / 8 to D, (draw,).
    """

    at: TargetSurface
    best_batch_tokens: float
    exponent: Floats


def batch_law(posterior: Posterior, target: Target, seed: int = 0) -> BatchLaw:
    """The best fixed batch of a target, and how it grows with the tokens.

    Args:
        posterior: the fit.
        target: the run; a batch that it fixes is taken as the best one.
        seed: of what must be drawn.
    """
    at = surface_at(posterior, target, seed, independent=True)
    before = {**at.x, "d": at.x["d"] - SPAN}
    gained = optimum_of("batch_tokens", at.p, at.x) - optimum_of("batch_tokens", at.p, before)
    return BatchLaw(at, decide(at)["batch_tokens"], np.asarray(gained / SPAN))


def plan_on_ridge(at: TargetSurface, growths: Sequence[Growth]) -> BatchPlan:
    """A plan whose learning rate at each batch is the one advised for a whole run with it, over the cut.

    It follows the fitted ridge: it rises with the batch up to the best batch, and hardly above.

    Args:
        at: surface of the target.
        growths: batches in order, the first from share 0.
    """

    def best_rate(batch: float) -> float:
        return decide(replace(at, target=replace(at.target, batch_tokens=batch)))["learning_rate"]

    return plan_with_rates(growths, best_rate)
