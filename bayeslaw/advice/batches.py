"""The batch over a run, and the learning rates that go with it, from a posterior (``schedules.batches``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import about_fit, about_group, assumed
from bayeslaw.advice.target_surface import TargetSurface, surface_at
from bayeslaw.arrays import Floats
from bayeslaw.intervals import Interval, interval
from bayeslaw.law.terms import optimum_of
from bayeslaw.posterior.draws import Posterior
from bayeslaw.results import Result, Section
from bayeslaw.schedules.batches import (
    BatchPlan,
    Growth,
    plan_with_rates,
    running_optimum,
    seesaw,
    serial_steps,
    text_of,
)
from bayeslaw.target import NEVER_SEEN, Target
from bayeslaw.text import percent, setting, short

SPAN = 3 * np.log(2.0)
"""Way below D in ln tokens over which the exponent of the best batch is taken: a plan's three doublings."""


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


@dataclass(frozen=True, repr=False, eq=False)
class BatchAdvice(Result):
    """A batch plan beside the best fixed batch.

    Attributes:
        target: the run advised on.
        plan: batches and peak learning rates, in order.
        fixed: the best fixed batch, a power of 2, with its learning rate.
        best_batch_tokens: the same before it is rounded [tokens].
        exponent: of the best batch in D.
        schedule: that the plan is made for; None where it goes with any.
        level: probability that the interval holds.
        assumes: conventions of the learning rates.
        warnings: one sentence each.
    """

    target: Target
    plan: BatchPlan
    fixed: BatchPlan
    best_batch_tokens: float
    exponent: Interval
    schedule: str | None
    level: float
    assumes: Mapping[str, str | float]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The keys of ``bayeslaw schedule batch --json``; ``train.run`` reads them from a file."""
        steps = [serial_steps(plan, self.target.tokens) for plan in (self.plan, self.fixed)]
        return {
            "inputs": {
                "params_nonembedding": float(self.target.params_nonembedding),
                "tokens": float(self.target.tokens),
                "optimizer": self.target.optimizer,
                "study": self.target.study,
            },
            "batch_tokens": self.plan.batch_tokens,
            "learning_rate": self.plan.learning_rate,
            "schedule": self.schedule,
            "switches": [switch._asdict() for switch in self.plan.switches],
            "batch_schedule": text_of(self.plan.switches),
            "serial_steps": steps[0],
            "fixed": {
                "batch_tokens": self.fixed.batch_tokens,
                "learning_rate": self.fixed.learning_rate,
                "serial_steps": steps[1],
            },
            "best_batch_tokens": self.best_batch_tokens,
            "exponent": self.exponent.to_json(),
            "level": self.level,
            "assumes": dict(self.assumes),
            "warnings": list(self.warnings),
        }

    def sections(self) -> list[Section]:
        """One row per stage, then what it costs in steps and what it rests on."""
        target, low, high = self.target, self.exponent.lower, self.exponent.upper
        n, d = short(target.params_nonembedding), short(target.tokens)
        stages = [(0.0, self.plan.batch_tokens, self.plan.learning_rate), *self.plan.switches]
        rows = [
            [percent(share), f"{batch:,d}", setting("learning_rate", rate)] for share, batch, rate in stages
        ]
        steps, fixed = (serial_steps(plan, target.tokens) for plan in (self.plan, self.fixed))
        lines = [
            f"steps          {steps:.0f}, {steps / fixed:.2f} times those of the fixed batch of "
            f"{self.fixed.batch_tokens:,d} at learning rate "
            f"{setting('learning_rate', self.fixed.learning_rate)}",
            f"best batch     {short(self.best_batch_tokens)} tokens, as D^{self.exponent.median:.2f} "
            f"({100 * self.level:g}% interval {low:.2f} to {high:.2f})",
            f"schedule       {self.schedule or 'any that is constant until its last decay'}; learning rates "
            f"are those of whole runs with {self.assumes['schedule']}",
            *(f"warning: {text}" for text in self.warnings),
        ]
        title = f"{target.optimizer}, N = {n}, D = {d} tokens, {target.study or NEVER_SEEN}"
        return [Section(title, ("from share", "batch", "peak learning rate"), rows, lines)]


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

    It follows the fitted ridge: it rises with the batch up to the best batch, and less above.

    Args:
        at: surface of the target.
        growths: batches in order, the first from share 0.
    """

    def best_rate(batch: float) -> float:
        return decide(replace(at, target=replace(at.target, batch_tokens=batch)))["learning_rate"]

    return plan_with_rates(growths, best_rate)


def advise_batches(
    posterior: Posterior,
    target: Target,
    exchange: bool = False,
    bounds: tuple[float, float] = (1, math.inf),
    until: float = 0.8,
    level: float = 0.9,
) -> BatchAdvice:
    """A batch plan for a target: its running optimum, or Seesaw's exchange of decay for batch.

    Args:
        posterior: the fit.
        target: the run; a batch that it fixes is taken as the best one.
        exchange: Seesaw in the place of a cosine that ends at a tenth of its peak, from the best fixed batch.
        bounds: least and largest batch [tokens].
        until: share of the tokens after which the running optimum does not switch.
        level: of the exponent's interval.

    Raises:
        BadInput: as ``schedules.batches.running_optimum``.
    """
    law = batch_law(posterior, target)
    fixed = running_optimum(law.best_batch_tokens, 0.0, *bounds)
    exponent = float(law.exponent.mean())
    growths = (
        seesaw(fixed[0].batch_tokens, highest=bounds[1])
        if exchange
        else running_optimum(law.best_batch_tokens, exponent, *bounds, until)
    )
    told = interval(law.exponent, level)
    return BatchAdvice(
        target=target,
        plan=plan_on_ridge(law.at, growths),
        fixed=plan_on_ridge(law.at, fixed),
        best_batch_tokens=law.best_batch_tokens,
        exponent=told,
        schedule="constant" if exchange else None,
        level=level,
        assumes=assumed(posterior, target),
        warnings=(*about_fit(posterior), *about_group(posterior, target), *_about_growth(told, exchange)),
    )


def _about_growth(exponent: Interval, exchange: bool) -> list[str]:
    if exchange or exponent.lower > 0:
        return []
    return [
        f"the exponent of the best batch in D, {exponent.lower:.2f} to {exponent.upper:.2f}, may be 0: "
        "a fixed batch may be as good"
    ]
