"""Advice on the schedule of a run: decay share, shape and final rate, with intervals and expected cost.

Warm-up cannot come from these laws: in all of them a step at less than the peak rate is a step lost. What is
said of it is a rule of practice (``warmup_steps``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.schedules.features import Features, schedule_features
from bayeslaw.schedules.fitting import ScheduleFit, predicted_losses
from bayeslaw.schedules.laws import LAWS
from bayeslaw.theory.schedule_bounds import learning_rate_shift, schedule_shape

SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
DECAYS = ("linear", "root", "cosine", "square")
FINALS = (0.0, 0.1)
RESOLUTION = 4000
"""Steps that a schedule is described by; a longer one is stretched."""

LEAST_STEPS = 100
WARMUP_SHARE, BETA2 = 0.01, 0.95
WARMUP_FROM = (
    "a rule of practice, the larger of 1% of the steps and 2 / (1 - beta2): no law of the schedule gives a "
    "reason for warm-up; it comes from curvature at the start, or from runs that compare it"
)
ALIKE, OTHER_SHAPE = 0.5, 0.5
"""Distance in ln share over which a law errs alike, and the correlation between decays of other shapes."""

REACH = 4.0
"""Times the longest fitted schedule beyond which advice is doubtful."""
SHORT = 16.0
"""Times shorter than the longest fitted schedule, below which it is doubtful too."""


class Option(NamedTuple):
    """A schedule after warm-up: constant, then a decay over the last share of the steps to a final ratio."""

    decay: str
    share: float
    final: float


def warmup_steps(steps: int, beta2: float = BETA2) -> int:
    """The larger of 1% of the steps and 2 / (1 - beta2): a rule of practice, from memory.

    >>> warmup_steps(50_000), warmup_steps(1000)
    (500, 40)
    """
    return max(round(WARMUP_SHARE * steps), round(2 / (1 - beta2)))


def advise(fit: ScheduleFit, steps: int, peak: float | None, level: float = 0.9) -> dict[str, Any]:
    """The schedule with the least expected loss, and what others cost.

    Args:
        fit: of ``fitting.fit_schedule``, or ``pooled.POOLED``.
        steps: of the run, at least ``LEAST_STEPS``.
        peak: learning rate that all schedules share; None lets each have its best (the law ``power`` only).
        level: of the intervals.

    The intervals hold the draws of the law and its misfit to the runs fitted (``fit.noise``).

    Returns:
        JSON-ready. ``use``: decay, decay_share, final_ratio, warmup_steps. ``decay_share``: lower and upper
        end of the best share of a linear decay to 0. ``costs``: of other options, the expected loss over the
        least in per mille, with lower and upper end, all at ``held_peak`` (None: each at its best peak).
        ``peak_factors``: by usual schedule, what to multiply
        its best peak learning rate with. ``warmup_from`` and ``warnings``.

    Raises:
        BadInput: too few steps.
    """
    if steps < LEAST_STEPS:
        raise BadInput(
            f"schedule advise: {steps:g} steps; expected at least {LEAST_STEPS}; the schedule of so short "
            "a run "
            "is all warm-up: give more tokens or a smaller batch"
        )
    warmup = min(warmup_steps(steps), steps // 4)
    options = _options(1 - warmup / steps)
    losses, excess = _excess(fit, options, steps, warmup / steps, peak)
    best = int(np.argmin(losses.mean(axis=0)))
    tails = (1 - level) / 2, (1 + level) / 2
    linear = [place for place, each in enumerate(options) if each.decay == "linear" and each.final == 0]
    shares = np.array([options[place].share for place in linear])[np.argmin(excess[:, linear], axis=1)]
    return {
        "use": {
            "decay": options[best].decay,
            "decay_share": options[best].share,
            "final_ratio": options[best].final,
            "warmup_steps": warmup,
        },
        "decay_share": dict(zip(("lower", "upper"), np.quantile(shares, tails).tolist(), strict=True)),
        "held_peak": peak,
        "costs": [_cost(options[place], excess[:, place], tails) for place in _told(options, best)],
        "peak_factors": _peak_factors(options[best], warmup / steps),
        "warmup_from": WARMUP_FROM,
        "warnings": _warnings(fit, steps, peak),
    }


def option_costs(
    fit: ScheduleFit, steps: int, peak: float | None, decay: str, final: float = 0.0, level: float = 0.9
) -> tuple[Floats, Floats, Floats]:
    """Lower end, mean and upper end of the cost of each of ``SHARES``, in per mille over the best option.

    Args:
        fit: of ``fitting.fit_schedule``, or ``pooled.pooled_fit``.
        steps: of the run.
        peak: as ``advise``.
        decay: a key of ``theory.schedule_bounds.DECAYS``.
        final: last rate over the peak: one of ``FINALS``.
        level: of the interval.
    """
    warmup = warmup_steps(steps) / steps
    options = _options(1 - warmup)
    excess = _excess(fit, options, steps, warmup, peak)[1]
    at = [options.index(Option(decay, share, final)) for share in SHARES]
    lower, upper = np.quantile(excess[:, at], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return lower, excess[:, at].mean(axis=0), upper


def _excess(
    fit: ScheduleFit, options: Sequence[Option], steps: int, warmup: float, peak: float | None
) -> tuple[Floats, Floats]:
    """Losses by the law, and costs over the best in per mille with its misfit; shape (draw, option)."""
    losses = _losses(fit, _stretched([_shape(each, warmup) for each in options], steps), peak)
    wrong = losses * (1 + _misfit(options, fit.noise, len(losses)))
    return losses, 1e3 * (wrong / wrong.min(axis=1, keepdims=True) - 1)


def _options(largest: float) -> list[Option]:
    shares = [share for share in SHARES if share < largest] + [largest]
    decays = [Option(decay, share, 0.0) for decay in DECAYS for share in shares]
    return decays + [Option("linear", share, FINALS[1]) for share in shares]


def _shape(option: Option, warmup: float) -> Floats:
    return schedule_shape(RESOLUTION, option.decay, share=option.share, final=option.final, warmup=warmup)


def _stretched(shapes: Sequence[Floats], steps: int) -> Features:
    """Features of shapes of ``RESOLUTION`` steps at a peak of 1, for a run of ``steps``."""
    by = steps / RESOLUTION
    f = schedule_features(shapes)
    return f._replace(
        steps=f.steps * by,
        area=f.area * by,
        area_since_peak=f.area_since_peak * by,
        distance=f.distance / by,
        area_since=f.area_since * by,
        age=f.age * by,
    )


def _losses(fit: ScheduleFit, features: Features, peak: float | None) -> Floats:
    """Losses of each draw and option, shape (draw, option)."""
    law = LAWS[fit.law]
    if peak is not None:
        return predicted_losses(fit, law, _at_peak(features, peak))
    if fit.law != "power":
        raise BadInput(f"schedule advise: the {fit.law} law has no best peak; expected a peak; name one")
    a, b = fit.draws["distance_exponent"][:, None], fit.draws["noise_exponent"][:, None]
    far = fit.draws["first"][:, None] * features.distance**a
    noisy = fit.draws["second"][:, None] * features.noise**b
    rate = (a * far / (b * noisy)) ** (1 / (a + b))
    return np.asarray(fit.draws["floor"][:, None] + far * rate**-a + noisy * rate**b)


def _misfit(options: Sequence[Option], noise: float, draws: int) -> Floats:
    """What the law may be wrong by, relative, shape (draw, option); alike for like share and shape."""
    share = np.log([each.share for each in options])
    other = np.array([[a[::2] != b[::2] for b in options] for a in options])
    alike = np.exp(-0.5 * ((share[:, None] - share) / ALIKE) ** 2) * np.where(other, OTHER_SHAPE, 1.0)
    covariance = noise**2 * alike
    rng = np.random.default_rng(0)
    return rng.multivariate_normal(np.zeros(len(options)), covariance, draws, method="eigh")


def _at_peak(f: Features, peak: float) -> Features:
    return f._replace(
        area=f.area * peak,
        peak=f.peak * peak,
        area_since_peak=f.area_since_peak * peak,
        distance=f.distance / peak,
        noise=f.noise * peak,
        drop=f.drop * peak,
        rate=f.rate * peak,
        area_since=f.area_since * peak,
    )


def _told(options: Sequence[Option], best: int) -> list[int]:
    """Options worth a line: linear decays to 0 over some shares; beside the best, other shapes and ends."""
    wanted = {
        Option("linear", share, 0.0) for share in (0.1, 0.2, 0.4, 0.6, 0.8, max(o.share for o in options))
    }
    share = options[best].share
    wanted |= {Option(decay, share, 0.0) for decay in DECAYS} | {Option("linear", share, FINALS[1])}
    wanted |= {Option("cosine", max(o.share for o in options), 0.0), options[best]}
    return [place for place, each in enumerate(options) if each in wanted]


def _cost(option: Option, excess: Floats, tails: tuple[float, float]) -> dict[str, Any]:
    lower, upper = np.quantile(excess, tails)
    return option._asdict() | {
        "expected_per_mille": float(excess.mean()),
        "lower": float(lower),
        "upper": float(upper),
    }


def _peak_factors(option: Option, warmup: float) -> dict[str, float]:
    """Factor on the best peak of usual schedules, by the two scalars of the shapes."""
    own = _shape(option, warmup)
    usual = {
        "cosine to 0": Option("cosine", 1 - warmup, 0.0),
        "cosine to 10%": Option("cosine", 1 - warmup, 0.1),
        "linear to 0": Option("linear", 1 - warmup, 0.0),
        "linear over the last 20%": Option("linear", 0.2, 0.0),
    }
    return {
        name: float(np.exp(learning_rate_shift(_shape(each, warmup), own))) for name, each in usual.items()
    }


def _warnings(fit: ScheduleFit, steps: int, peak: float | None) -> list[str]:
    said = []
    if steps > REACH * fit.steps:
        said.append(
            f"{steps:g} steps are {steps / fit.steps:.2g} times the longest schedule fitted "
            f"({fit.steps:g}): the "
            "best share of so long a run was not seen"
        )
    if steps < fit.steps / SHORT:
        said.append(
            f"{steps:g} steps are {fit.steps / steps:.2g} times fewer than the longest schedule fitted has "
            f"({fit.steps:g}): the best share of so short a run was not seen; give curves of your own"
        )
    low, high = fit.peaks
    if peak is not None and not 0.5 * low <= peak <= 2 * high:
        said.append(
            f"peak {peak:.3g} is outside the fitted {low:.3g} to {high:.3g} by more than a factor of 2"
        )
    return said
