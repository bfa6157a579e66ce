"""Learning rate over a run: a fraction of its peak, a scheduler of PyTorch, one of Optax, arguments of
transformers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.integrations.advice import Advice, optimizer_settings
from bayeslaw.law.scalars import WSD_DECAY

WARMUP_SHARE = 0.05

SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "constant": lambda done, final, decay: 1.0,
    "linear": lambda done, final, decay: 1 - (1 - final) * done,
    "cosine": lambda done, final, decay: final + (1 - final) * (1 + math.cos(math.pi * done)) / 2,
    "wsd": lambda done, final, decay: 1 - (1 - final) * max(0.0, (done - 1 + decay) / decay),
}
"""Fraction of the peak by the completed share of the steps after warm-up, the final ratio, and the share of
these steps in which WSD decays."""

FINAL_LR_RATIOS = {"constant": 1.0, "linear": 0.0, "cosine": 0.1, "wsd": 0.0}
"""Usual last learning rate over its peak: a tenth after a cosine, else as in Schaipp's and Haegele's runs."""


@dataclass(frozen=True)
class Shape:
    """How the learning rate of advice moves.

    Attributes:
        schedule: a name in ``SCHEDULES``.
        final_lr_ratio: last learning rate over its peak.
        decay_share: share of the run in which it falls.
        assumed: whether the advice is for this schedule; if not, it is a usual one.
    """

    schedule: str
    final_lr_ratio: float
    decay_share: float
    assumed: bool

    def __str__(self) -> str:
        """The schedule in words."""
        last = f"to {self.final_lr_ratio:g} of the peak" if self.final_lr_ratio else "to 0"
        whose = "as the advice assumes" if self.assumed else "take that of the fitted runs where it differs"
        after = f"after {WARMUP_SHARE:.0%} of the steps"
        words = {
            "constant": f"constant {after}",
            "wsd": f"wsd, constant {after}, then linear {last} over the last {self.decay_share:.0%}",
        }
        return f"{words.get(self.schedule, f'{self.schedule} {last} {after}')}; {whose}"

    def decay_steps(self, steps: int, warmup_steps: int) -> int:
        """Steps in which the rate falls, of a run of so many."""
        return min(round(self.decay_share * steps), steps - warmup_steps)


def shape_of(assumes: Mapping[str, Any]) -> Shape:
    """The schedule that advice assumes; a cosine where it assumes none of ``SCHEDULES``.

    Args:
        assumes: of a prediction: ``schedule``, and ``decay_share`` where the posterior knows it.

    >>> print(shape_of({"schedule": "wsd", "decay_share": 0.1}))
    wsd, constant after 5% of the steps, then linear to 0 over the last 10%; as the advice assumes
    >>> print(shape_of({"schedule": "unknown"}))
    cosine to 0.1 of the peak after 5% of the steps; take that of the fitted runs where it differs
    """
    known = assumes.get("schedule") in SCHEDULES
    schedule = str(assumes["schedule"]) if known else "cosine"
    falling = float(assumes.get("decay_share") or WSD_DECAY) if schedule == "wsd" else 1.0
    share = 0.0 if schedule == "constant" else min(falling, 1 - WARMUP_SHARE)
    return Shape(schedule, FINAL_LR_RATIOS[schedule], share, known)


def advised_schedule(advice: Advice) -> dict[str, Any]:
    """Warm-up and decay for advice: keywords of ``lr_scheduler``, ``optax_schedule``, ``training_arguments``.

    The schedule that the advice assumes (``recommended(..., covariates={"schedule": "wsd"})`` asks for one)
    after a warm-up of 5%, as the files of ``export`` say; a cosine to a tenth where it assumes none.
    """
    steps, shape = advice.steps, shape_of(advice.assumes)
    warmup_steps = round(WARMUP_SHARE * steps)
    found = {
        "total_steps": steps,
        "warmup_steps": warmup_steps,
        "schedule": shape.schedule,
        "final_lr_ratio": shape.final_lr_ratio,
    }
    if shape.schedule == "wsd":
        found["wsd_decay"] = shape.decay_share * steps / (steps - warmup_steps)
    return found


def lr_scheduler(
    optimizer: Any,
    total_steps: int,
    *,
    warmup_steps: int,
    schedule: str = "cosine",
    final_lr_ratio: float = 0.1,
    wsd_decay: float = WSD_DECAY,
) -> Any:
    """A PyTorch ``LRScheduler``, stepped once per optimizer step.

    Args:
        optimizer: a ``torch.optim.Optimizer`` whose learning rates are the peaks.
        total_steps, warmup_steps, schedule, final_lr_ratio, wsd_decay: as in ``lr_multiplier``.

    Raises:
        BadInput: as ``lr_multiplier``.
    """
    from torch.optim.lr_scheduler import LambdaLR

    multiplier = lr_multiplier(
        total_steps,
        warmup_steps=warmup_steps,
        schedule=schedule,
        final_lr_ratio=final_lr_ratio,
        wsd_decay=wsd_decay,
    )
    return LambdaLR(optimizer, multiplier)


def lr_multiplier(
    total_steps: int,
    *,
    warmup_steps: int,
    schedule: str = "cosine",
    final_lr_ratio: float = 0.1,
    wsd_decay: float = WSD_DECAY,
) -> Callable[[int], float]:
    """Fraction of the peak learning rate by step 0, 1, ..., for ``torch.optim.lr_scheduler.LambdaLR``.

    Linear warm-up reaches 1 in its last step. The last step of the run has ``final_lr_ratio``, except with
    "constant", and later steps keep it. The schedules are those of the training lab, ``train.schedules``.

    Args:
        total_steps: number of steps of the run.
        warmup_steps: number of warm-up steps; a share of 5% is ``round(0.05 * total_steps)``.
        schedule: constant, linear, cosine, or wsd: constant, then linear.
        final_lr_ratio: last learning rate over its peak.
        wsd_decay: share of the steps after the warm-up in which wsd falls.

    Raises:
        BadInput: an unknown schedule, or numbers that leave no step after the warm-up.

    >>> multiplier = lr_multiplier(6, warmup_steps=2, schedule="linear", final_lr_ratio=0.0)
    >>> [round(multiplier(step), 2) for step in range(7)]
    [0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    _check(total_steps, warmup_steps, schedule, final_lr_ratio, wsd_decay)
    return functools.partial(
        _fraction,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        schedule=schedule,
        final=final_lr_ratio,
        decay=wsd_decay,
    )


def optax_schedule(
    advice: Advice,
    total_steps: int,
    *,
    warmup_steps: int,
    schedule: str = "cosine",
    final_lr_ratio: float = 0.1,
    wsd_decay: float = WSD_DECAY,
) -> Callable[[Any], Any]:
    """The advised peak times ``lr_multiplier``, as an Optax schedule: for ``optax.adamw`` and the like.

    Weight decay in ``optax.adamw`` is decoupled, so it takes the advised value as it is.

    Args:
        advice: advice whose learning rate is the peak.
        total_steps, warmup_steps, schedule, final_lr_ratio, wsd_decay: as in ``lr_multiplier``.

    Raises:
        BadInput: as ``lr_multiplier``.
    """
    _check(total_steps, warmup_steps, schedule, final_lr_ratio, wsd_decay)
    import optax

    peak, last, steps = (
        advice.learning_rate,
        advice.learning_rate * final_lr_ratio,
        total_steps - warmup_steps,
    )
    after: dict[str, Callable[[], Any]] = {
        "constant": lambda: optax.constant_schedule(peak),
        "linear": lambda: optax.linear_schedule(peak, last, steps),
        "cosine": lambda: optax.cosine_decay_schedule(peak, steps, alpha=final_lr_ratio),
        "wsd": lambda: optax.linear_schedule(peak, last, wsd_decay * steps, (1 - wsd_decay) * steps),
    }
    decay = after[schedule]()
    if warmup_steps:
        decay = optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), decay], [warmup_steps])
    return lambda step: decay(step + 1)


def training_arguments(
    advice: Advice,
    total_steps: int,
    *,
    warmup_steps: int,
    schedule: str = "cosine",
    final_lr_ratio: float = 0.1,
    wsd_decay: float = WSD_DECAY,
) -> dict[str, Any]:
    """The advice for AdamW and its schedule, as keyword arguments of ``transformers.TrainingArguments``.

    transformers counts steps from 0, so that its rate at a step is ``lr_multiplier`` of the step before. Its
    "wsd" warms up from the last rate instead of 0.

    Args:
        advice: for AdamW; its batch is left to you, since it depends on the devices.
        total_steps, warmup_steps, schedule, final_lr_ratio, wsd_decay: as in ``lr_multiplier``.

    Raises:
        BadInput: as ``lr_multiplier``; advice for another optimizer.
    """
    _check(total_steps, warmup_steps, schedule, final_lr_ratio, wsd_decay)
    if advice.optimizer != "adamw":
        raise BadInput(
            f"training_arguments: optimizer = {advice.optimizer!r}; expected adamw, which Trainer uses; give "
            "Trainer an optimizer of your own, with optimizer_settings and lr_multiplier"
        )
    settings = optimizer_settings(advice)
    name, options = transformers_scheduler(
        schedule, advice.learning_rate, final_lr_ratio, round(wsd_decay * (total_steps - warmup_steps))
    )
    return {
        "max_steps": total_steps,
        "learning_rate": advice.learning_rate,
        "weight_decay": settings.get("weight_decay", 0.0),
        "adam_beta1": settings["betas"][0],
        "adam_beta2": settings["betas"][1],
        "warmup_steps": warmup_steps,
        "lr_scheduler_type": name,
        "lr_scheduler_kwargs": options,
    }


def transformers_scheduler(
    schedule: str, peak: float, final_lr_ratio: float, decay_steps: int
) -> tuple[str, dict[str, Any]]:
    """Name and options of the scheduler of transformers that is a schedule of ``SCHEDULES``.

    Args:
        schedule, final_lr_ratio: as in ``lr_multiplier``.
        peak: learning rate.
        decay_steps: of wsd.

    >>> transformers_scheduler("cosine", 1e-3, 0.1, 0)
    ('cosine_with_min_lr', {'min_lr_rate': 0.1})
    """
    to_an_end = ("polynomial", {"lr_end": final_lr_ratio * peak, "power": 1.0})
    decay = {"num_decay_steps": decay_steps, "decay_type": "linear", "min_lr_ratio": final_lr_ratio}
    schedulers: dict[str, tuple[str, dict[str, Any]]] = {
        "constant": ("constant_with_warmup", {}),
        "linear": to_an_end if final_lr_ratio else ("linear", {}),
        "cosine": ("cosine_with_min_lr", {"min_lr_rate": final_lr_ratio}),
        "wsd": ("warmup_stable_decay", decay),
    }
    return schedulers[schedule]


def _fraction(
    step: int, *, total_steps: int, warmup_steps: int, schedule: str, final: float, decay: float
) -> float:
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = min(1.0, (step + 1 - warmup_steps) / (total_steps - warmup_steps))
    return SCHEDULES[schedule](done, final, decay)


def _check(
    total_steps: int, warmup_steps: int, schedule: str, final_lr_ratio: float, wsd_decay: float
) -> None:
    if schedule not in SCHEDULES:
        raise BadInput(
            f"schedule = {schedule!r}; expected one of {', '.join(SCHEDULES)}; "
            "take one of them, or the framework's own"
        )
    if not 0 <= warmup_steps < total_steps:
        raise BadInput(
            f"warmup_steps = {warmup_steps} of total_steps = {total_steps}; "
            "expected at least 0 and fewer than all; shorten the warm-up"
        )
    if not (math.isfinite(final_lr_ratio) and final_lr_ratio >= 0):
        raise BadInput(
            f"final_lr_ratio = {final_lr_ratio:g}; expected at least 0: last learning rate over its peak; "
            "give 0.1 for a tenth"
        )
    if not 0 < wsd_decay <= 1:
        raise BadInput(
            f"wsd_decay = {wsd_decay:g}; expected above 0 and at most 1: share of the steps after the "
            "warm-up; give 0.2 for the last fifth"
        )
