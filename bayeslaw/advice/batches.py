"""The batch over a run, and the learning rates that go with it, from a posterior (``schedules.batches``)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import about_fit, about_group, assumed
from bayeslaw.advice.target_surface import TargetSurface, surface_at
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.intervals import Interval, interval
from bayeslaw.law.scalars import schedule_coordinates, usual_decay_share
from bayeslaw.law.terms import FACTORS, optimum_of
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

SHAPED = ("constant", "wsd", "linear", "cosine")
"""Schedules whose learning rates can be converted."""

NO_SCHEDULE = {"unknown", "mixed"}
"""What stands in the place of a schedule in a posterior's conventions."""


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
        schedule: to train the plan with.
        decay_share: share of the tokens in which its rate falls.
        conversion: what the posterior's learning rates were multiplied with, from the schedule that it
            assumes; 1 where it knows the plan's own.
        level: probability that the interval holds.
        assumes: conventions of the learning rates.
        warnings: one sentence each.
    """

    target: Target
    plan: BatchPlan
    fixed: BatchPlan
    best_batch_tokens: float
    exponent: Interval
    schedule: str
    decay_share: float
    conversion: float
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
            "decay_share": self.decay_share,
            "conversion": self.conversion,
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
            f"schedule       {self._schedule_in_words()}",
            *(f"warning: {text}" for text in self.warnings),
        ]
        title = f"{target.optimizer}, N = {n}, D = {d} tokens, {target.study or NEVER_SEEN}"
        return [Section(title, ("from share", "batch", "peak learning rate"), rows, lines)]

    def _schedule_in_words(self) -> str:
        """The schedule, and whose learning rates these are."""
        falls = f", falling over the last {percent(self.decay_share)}" if self.schedule == "wsd" else ""
        whose = f"learning rates are those of whole runs with {self.assumes['schedule']}"
        moved = f", times {self.conversion:.3f} by the schedules' shapes" if self.conversion != 1 else ""
        return f"{self.schedule}{falls}; {whose}{moved}"


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
    schedule: str = "wsd",
    decay_share: float | None = None,
) -> BatchAdvice:
    """A batch plan for a target: its running optimum, or Seesaw's exchange of decay for batch.

    Learning rates are for the plan's schedule. A posterior that knows schedules is asked for them; those of
    another are converted from the schedule of its runs by the scalars of both (``law.scalars``).

    Args:
        posterior: the fit.
        target: the run; a batch that it fixes is taken as the best one.
        exchange: Seesaw in the place of a cosine that ends at a tenth of its peak, from the best fixed batch.
        bounds: least and largest batch [tokens].
        until: share of the tokens after which the running optimum does not switch.
        level: of the exponent's interval.
        schedule: of the run; Seesaw takes the place of a cosine whatever it says.
        decay_share: share of the run in which the rate falls; by default all that comes after ``until`` with
            ``wsd``, none with ``constant``, else the whole run.

    Raises:
        BadInput: as ``schedules.batches.running_optimum``; a schedule that neither the posterior nor
            ``SHAPED`` has.
    """
    _check_schedule(posterior, schedule)
    kind, share = ("cosine", 1.0) if exchange else (schedule, decay_share)
    if share is None:
        share = max(0.0, 1 - until) if kind == "wsd" else usual_decay_share(kind)
    asked = replace(target, covariates={**target.covariates, "schedule": kind, "share": share})
    knows = _knows_schedules(posterior)
    assumes = assumed(posterior, asked)
    conversion = 1.0 if knows else _conversion(assumes, kind, share)
    law = batch_law(posterior, asked if knows else target)
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
        plan=_converted(plan_on_ridge(law.at, growths), conversion),
        fixed=_converted(plan_on_ridge(law.at, fixed), conversion),
        best_batch_tokens=law.best_batch_tokens,
        exponent=told,
        schedule="constant" if exchange else kind,
        decay_share=0.0 if exchange else share,
        conversion=conversion,
        level=level,
        assumes=assumes,
        warnings=(
            *about_fit(posterior),
            *about_group(posterior, target),
            *_about_growth(told, exchange),
            *_about_schedule(knows, assumes, kind),
        ),
    )


def _check_schedule(posterior: Posterior, schedule: str) -> None:
    """Refuse a schedule that is neither in ``SHAPED`` nor that of any run of the posterior."""
    told = [each["schedule"] for each in posterior.conventions.values() if "schedule" in each]
    seen = [values for name, values in posterior.factor_values.items() if FACTORS[name].column == "schedule"]
    known = sorted({*SHAPED, *map(str, told), *map(str, itertools.chain(*seen))} - NO_SCHEDULE)
    if schedule not in known:
        raise BadInput(
            f"batch plan: schedule = {schedule}; expected one of {', '.join(known)}, which the posterior or "
            "this library knows; name one of them"
        )


def _knows_schedules(posterior: Posterior) -> bool:
    return "share" in posterior.pivot


def _conversion(assumes: Mapping[str, str | float], kind: str, share: float) -> float:
    """From learning rates of the assumed schedule to those of another; 1 where it has no known shape."""
    if assumes["schedule"] not in SHAPED:
        return 1.0
    usual = str(assumes["schedule"])
    before, after = schedule_coordinates([usual, kind], [usual_decay_share(usual), share])["shift"]
    return float(np.exp(after - before))


def _converted(plan: BatchPlan, factor: float) -> BatchPlan:
    switches = (at._replace(learning_rate=at.learning_rate * factor) for at in plan.switches)
    return BatchPlan(plan.batch_tokens, plan.learning_rate * factor, tuple(switches))


def _about_schedule(knows: bool, assumes: Mapping[str, str | float], kind: str) -> list[str]:
    if knows or assumes["schedule"] in SHAPED:
        return []
    return [
        f"the posterior's runs have the schedule {assumes['schedule']}: their learning rates are not "
        f"converted to {kind}"
    ]


def _about_growth(exponent: Interval, exchange: bool) -> list[str]:
    if exchange or exponent.lower > 0:
        return []
    return [
        f"the exponent of the best batch in D, {exponent.lower:.2f} to {exponent.upper:.2f}, may be 0: "
        "a fixed batch may be as good"
    ]
