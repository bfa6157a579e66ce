"""The stop rule: whether the best remaining runs are worth making, and why."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bayeslaw.advice.target_surface import place, surface_draws
from bayeslaw.arrays import Floats
from bayeslaw.law import surface
from bayeslaw.posterior import pooling
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target
from bayeslaw.text import percent


class Stop(NamedTuple):
    """Whether to stop, the reason in plain words, and the numbers compared (fractions of the loss, costs)."""

    stop: bool
    reason: str
    numbers: dict[str, float]


def stop_rule(
    reduction: float,
    cost: float,
    noise: float,
    tolerance: float | None = None,
    target_cost: float | None = None,
    slope: float | None = None,
) -> Stop:
    """Decide whether the best remaining runs are worth making.

    Stops if the expected regret would fall by less than the noise of one run at the target, which nobody
    would notice; by less than the user's tolerance; or if the runs cost more than they save. Training the
    target on more tokens lowers its ln loss by ``slope`` for each nat of compute, so a fall of the regret
    saves

        saving = target_cost (exp(reduction / slope) - 1).

    Args:
        reduction: expected fall of the expected regret by the best affordable batch [fraction of the loss]. A
            batch and not a run, because one run promises nothing while the level of a set-up is unknown.
        cost: cost of that batch.
        noise: standard deviation of ln loss between repeats of one run.
        tolerance: regret small enough to stop at [fraction of the loss].
        target_cost: cost of the target run, in the unit of ``cost``.
        slope: -d ln loss / d ln compute at the target (``compute_slope``).
    """
    numbers = {"regret_reduction": reduction, "cost": cost, "seed_noise": noise}
    if tolerance is not None:
        numbers["tolerance"] = tolerance
    if target_cost is not None and slope is not None:
        numbers |= {
            "target_cost": target_cost,
            "compute_slope": slope,
            "saving": target_cost * math.expm1(min(reduction / slope, 50.0)),
        }
    buys = f"the best runs left are expected to lower the regret by {percent(reduction)} of the loss"
    if reduction < noise:
        return Stop(True, f"{buys}, less than two runs differ by their seeds ({percent(noise)})", numbers)
    if tolerance is not None and reduction < tolerance:
        return Stop(True, f"{buys}, less than the tolerance of {percent(tolerance)}", numbers)
    if "saving" in numbers and numbers["saving"] < cost:
        spared = f"which spares {numbers['saving']:.3g} at the target, and cost {cost:.3g}"
        return Stop(True, f"{buys}, {spared}", numbers)
    return Stop(False, f"{buys}, more than two runs differ by their seeds ({percent(noise)})", numbers)


def seed_noise(posterior: Posterior, target: Target, weights: Floats | None = None, seed: int = 0) -> float:
    """Standard deviation of ln loss between repeats of a run with the best settings, averaged over draws."""
    p = pooling.study_draws(posterior, target.study, seed)
    dof = surface.noise_dof(p, np.zeros(1))
    return float(np.average(np.exp(p["log_noise"]) * np.sqrt(dof / (dof - 2.0)), weights=weights))


def compute_slope(
    posterior: Posterior, target: Target, weights: Floats | None = None, seed: int = 0
) -> float:
    """-d ln loss / d ln compute at a target whose tokens grow at fixed N, averaged over draws; at least
    1e-4."""
    p = surface_draws(posterior, target.study, target.optimizer, seed)
    x = place(posterior, target)
    ends = [surface.log_level(p, x | {"d": x["d"] + step}) for step in (-0.05, 0.05)]
    return max(float(np.average((ends[0] - ends[1]) / 0.1, weights=weights)), 1e-4)
