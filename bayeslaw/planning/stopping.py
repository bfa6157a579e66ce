"""The stop rule: whether the best remaining runs are worth making, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import place, surface_at, surface_draws
from bayeslaw.arrays import Floats
from bayeslaw.hardware import training_flops
from bayeslaw.law import surface
from bayeslaw.posterior import pooling
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target
from bayeslaw.text import percent

LEVEL = 0.9
"""Probability with which the regret must lie below the tolerance."""

TOLERANCE = 1e-3
"""Regret small enough where nothing says what a gain is worth [fraction of the loss]."""

LEAST_SLOPE = 0.005
"""Least -d ln loss / d ln compute of a draw: about that of Chinchilla's law at 7B parameters and 14T tokens
(arXiv 2203.15556, constants of 2404.10102). Where the level is hardly known, draws of it may even rise with
tokens, and no sum would be too much for a gain."""


class Stop(NamedTuple):
    """Whether to stop, the reason in plain words, and the numbers compared (fractions of the loss, costs)."""

    stop: bool
    reason: str
    numbers: dict[str, float]


def stop_rule(
    reduction: float,
    cost: float,
    bound: float,
    tolerance: float | None = None,
    target_cost: float | None = None,
    slope: float | None = None,
) -> Stop:
    """Decide whether the best remaining runs are worth making.

    Stops if the regret lies below the tolerance with probability ``LEVEL``, or if the runs cost more than
    they save. Training the target on more tokens lowers its ln loss by ``slope`` for each nat of compute, so
    a fall of the regret saves

        saving = target_cost (exp(reduction / slope) - 1).

    The noise of a run is no reason to stop: an expected gain is real although no single run shows it.

    Args:
        reduction: expected fall of the expected regret by the best affordable batch [fraction of the loss]. A
            batch and not a run, because one run promises nothing while the level of a set-up is unknown.
        cost: cost of that batch.
        bound: what the regret exceeds with probability 1 - ``LEVEL`` [fraction of the loss]
            (``regret_bound``).
        tolerance: regret small enough to stop at [fraction of the loss]; ``TOLERANCE`` by default, where no
            cost of the target says what a gain is worth.
        target_cost: cost of the target run, in the unit of ``cost``.
        slope: -d ln loss / d ln compute at the target (``compute_slope``).
    """
    numbers = {"regret_reduction": reduction, "regret_bound": bound, "cost": cost}
    priced = target_cost is not None and slope is not None
    if tolerance is None and not priced:
        tolerance = TOLERANCE
    buys = f"the best runs left are expected to lower the regret by {percent(reduction)} of the loss"
    if tolerance is not None:
        numbers["tolerance"] = tolerance
        if bound < tolerance:
            reason = (
                f"the regret is below {percent(bound)} with probability {LEVEL:.0%}, within the tolerance"
            )
            return Stop(True, f"{reason} of {percent(tolerance)}", numbers)
    if target_cost is None or slope is None:
        reason = f"{buys}, and it may still be {percent(bound)}, more than the tolerance"
        return Stop(False, f"{reason} of {percent(numbers['tolerance'])}", numbers)
    saving = target_cost * math.expm1(min(reduction / slope, 50.0))
    numbers |= {"target_cost": target_cost, "compute_slope": slope, "saving": saving}
    spared = f"which spares {saving:.3g} at the target, and cost {cost:.3g}"
    return Stop(saving < cost, f"{buys}, {spared}", numbers)


def verdict(
    posterior: Posterior,
    targets: Sequence[Target],
    reduction: float,
    cost: float,
    unit: str,
    tolerance: float | None = None,
    target_cost: float | None = None,
    weights: Floats | None = None,
    seed: int = 0,
) -> Stop:
    """``stop_rule`` for runs that a posterior proposes.

    Args:
        posterior: the fit.
        targets: one or more; regrets and slopes are averaged.
        reduction, cost, tolerance: as of ``stop_rule``.
        unit: of the cost.
        target_cost: of all target runs together; by default 6 N D of each, where the unit is FLOP.
        weights: of the draws, (draw,).
        seed: as of ``surface_at``.
    """
    if target_cost is None and unit == "FLOP":
        target_cost = sum(training_flops(t.params_nonembedding, t.tokens) for t in targets)
    slope = float(np.mean([compute_slope(posterior, t, weights, seed) for t in targets]))
    bound = regret_bound(posterior, targets, weights, seed)
    return stop_rule(reduction, cost, bound, tolerance, target_cost, slope)


def regret_bound(
    posterior: Posterior, targets: Sequence[Target], weights: Floats | None = None, seed: int = 0
) -> float:
    """Quantile at ``LEVEL`` of the regret of today's advice, averaged over targets [fraction of the loss].

    Args:
        posterior: the fit.
        targets: one or more.
        weights: of the draws, (draw,).
        seed: as of ``surface_at``.
    """
    surfaces = [surface_at(posterior, target, seed) for target in targets]
    regret = np.mean([outcome_of(at, decide(at), seed).regret for at in surfaces], axis=0)
    w = np.ones(len(regret)) if weights is None else weights
    return float(np.quantile(regret, LEVEL, weights=w, method="inverted_cdf"))


def seed_noise(posterior: Posterior, target: Target, weights: Floats | None = None, seed: int = 0) -> float:
    """Standard deviation of ln loss between repeats of a run with the best settings, averaged over draws."""
    p = pooling.study_draws(posterior, target.study, seed)
    dof = surface.noise_dof(p, np.zeros(1))
    return float(np.average(np.exp(p["log_noise"]) * np.sqrt(dof / (dof - 2.0)), weights=weights))


def compute_slope(
    posterior: Posterior, target: Target, weights: Floats | None = None, seed: int = 0
) -> float:
    """-d ln loss / d ln compute at a target whose tokens grow at fixed N, averaged over draws; at least
    ``LEAST_SLOPE`` in each."""
    p = surface_draws(posterior, target.study, target.optimizer, seed)
    x = place(posterior, target)
    ends = [surface.log_level(p, x | {"d": x["d"] + step}) for step in (-0.05, 0.05)]
    return float(np.average(np.maximum((ends[0] - ends[1]) / 0.1, LEAST_SLOPE), weights=weights))
