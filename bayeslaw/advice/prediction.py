"""Recommendation with intervals from a posterior: NumPy only, well under a second."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayeslaw.advice.curvature import condition
from bayeslaw.advice.decision import TOLERANCE, capped, decide, within_reach
from bayeslaw.advice.result import Prediction, Regret
from bayeslaw.advice.target_surface import (
    Settings,
    TargetSurface,
    absorbed_by,
    chance_diverged,
    extra_excess,
    log_lr_at_batch,
    lr_batch_excess,
    optimum_draws,
    place,
    settings_of,
    surface_at,
    usual_settings,
)
from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.intervals import check_level, interval
from bayeslaw.law import surface
from bayeslaw.law.terms import (
    COVARIATES,
    FACTORS,
    check_covariates,
    drifted,
    optimum_of,
    to_coordinate,
    words_of,
)
from bayeslaw.posterior import pooling
from bayeslaw.posterior.draws import Posterior
from bayeslaw.runs.optimizer_families import USUAL_RATES, convention_of, of_other_families
from bayeslaw.target import Target

DECADE = math.log(10.0)

FAR = 1.0
"""Decades beyond the fitted cells above which a warning is given."""

BEYOND, TOKENS_PER_PARAM = 10.0, 20.0
"""Example target: N over the largest fitted one, and D over N."""

ASIDE = 2.0
"""Times that advice must lie from the likeliest learning rate for a warning."""

RISKY = 0.05
"""Probability of divergence above which a warning is given."""


@dataclass(frozen=True)
class Outcome:
    """Cost of following some settings, per draw; arrays of shape (draw,).

    Attributes:
        regret: excess over the best reachable loss, as a fraction of it (0.001 is 0.1%). For a fixed batch
            the best is the best at that batch.
        batch_cost: excess of the fixed batch over the best batch, as a fraction; zeros if the batch is free.
        loss: loss of a run with these settings, run-to-run noise included [nats/token].
        diverges: probability that the run diverges.
    """

    regret: Floats
    batch_cost: Floats
    loss: Floats
    diverges: Floats


def predict(
    posterior: Posterior,
    target: Target,
    level: float = 0.9,
    seed: int = 0,
    lambda_max: float | None = None,
) -> Prediction:
    """Recommend settings, with the interval of the optimum and the price of following the advice.

    The recommendation minimises the posterior expected excess loss
    (``bayeslaw.advice.target_surface.decide``).

    Args:
        posterior: the fit.
        target: the run to advise on; a fixed batch is kept, and the learning rate follows the ridge.
        level: level of the equal-tailed intervals; ``regret.upper`` is the quantile at ``level``.
        seed: seed of draws of unseen groups, studies and cells, and of the run's noise.
        lambda_max: largest eigenvalue of the target's preconditioned Hessian early in warm-up, at its fixed
            batch; the answer is conditioned on it (``advice.curvature``).

    Raises:
        BadInput: a level outside (0, 1), or a target so far out that a number is not finite; what
            ``advice.curvature.condition`` refuses.
    """
    check_level(level)
    check_covariates(target.covariates)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        at = surface_at(posterior, target, seed, independent=True)
        seen = None if lambda_max is None else condition(at, lambda_max, level)
        at = seen.surface if seen else at
        settings = decide(at)
        outcome = outcome_of(at, settings, seed)
        optima = optimum_draws(at)
        optimum = {name: interval(draws, level) for name, draws in optima.items()}
        beyond = extrapolation(posterior, target)
        warned = _warnings(posterior, at, settings, outcome, beyond, level)
    result = Prediction(
        target=target,
        recommendation=settings,
        optimum=optimum,
        loss_nats_per_token=interval(outcome.loss, level),
        regret=Regret(
            float(outcome.regret.mean()),
            float(np.quantile(outcome.regret, level)),
            float(outcome.batch_cost.mean()),
        ),
        extrapolation=beyond,
        level=float(level),
        posterior=dict(posterior.provenance) | {"diagnostics": posterior.diagnostics},
        warnings=(*warned, *(seen.warnings if seen else ())),
        assumes=assumed(posterior, target),
        curvature=seen.told if seen else None,
    )
    _refuse_unusable(result)
    return result


def assumed(posterior: Posterior, target: Target) -> dict[str, str | float]:
    """Conventions of the advice: ``schedule``, ``params`` and what the ``learning_rate`` multiplies.

    The schedule is the target's, or the usual one, where the posterior tells schedules apart; else that of
    the study's runs, or of all studies' where the set-up was never seen. Covariates that runs may lack, such
    as ``decay_share`` and ``sequence_length``, are there where the posterior has them.
    """
    settings = settings_of(posterior, target)
    others = {
        COVARIATES[name].label: float(settings[name]) for name in posterior.pivot if COVARIATES[name].optional
    }
    if "schedule" in (FACTORS[name].column for name in posterior.factor_values):
        schedule = str(settings["schedule"])
    else:
        studies = [target.study] if target.study in posterior.studies else posterior.studies
        told = {str(posterior.conventions.get(str(name), {}).get("schedule", "unknown")) for name in studies}
        schedule = " or ".join(sorted(told)) or "unknown"
    return {
        "schedule": schedule,
        "params": "without embeddings",
        "learning_rate": convention_of(target.optimizer) or "unknown",
        **others,
    }


def outcome_of(at: TargetSurface, settings: Settings, seed: int = 0) -> Outcome:
    """Compute the outcome of a run with these settings at the target of a surface.

    Args:
        at: surface of the target.
        settings: ``learning_rate`` and ``batch_tokens``; ``weight_decay`` and ``momentum`` if fitted.
        seed: seed of the run's noise.
    """
    fixed = at.target.batch_tokens is not None
    rate, batch = (np.log([settings[name]]) for name in ("learning_rate", "batch_tokens"))
    whole = capped(lr_batch_excess(at, rate, batch))[:, 0]
    own = capped(lr_batch_excess(at, rate, batch, beyond_batch=True))[:, 0] if fixed else whole
    others = np.zeros_like(whole)
    for name in at.extras:
        others += capped(extra_excess(at, name, to_coordinate(name, np.array([settings[name]]))))[:, 0]
    log_loss = at.log_loss + whole + others + run_noise(at.p, whole + others, run_rng(seed))
    return Outcome(
        regret=np.expm1(own + others),
        batch_cost=np.expm1(np.maximum(whole - own, 0.0)),
        loss=np.exp(log_loss),
        diverges=chance_diverged(at, rate, batch)[:, 0],
    )


def run_noise(
    p: Mapping[str, Floats], excess: Floats, rng: np.random.Generator, off: Floats | float = 0.0
) -> Floats:
    """Draw Student-t noise of ln loss, of scale ``surface.noise_scale``, about ``surface.off_shift``.

    Args:
        p: ``log_noise``, ``log_noise_slope``, ``log_dof_minus_4`` and their ``log_off_`` counterparts; they
            broadcast with ``excess``.
        excess: ln loss above the best.
        rng: generator.
        off: 1 where a hyperparameter outside the model departs from its cell's usual value.
    """
    off = np.asarray(off, float)
    scale = surface.noise_scale(p, excess, off)
    return surface.off_shift(p, off) + scale * standard_noise(p, excess.shape, rng, off)


def standard_noise(
    p: Mapping[str, Floats], shape: tuple[int, ...], rng: np.random.Generator, off: Floats | float = 0.0
) -> Floats:
    """Draw the Student-t numbers of ``run_noise``, of scale 1 and the given shape; arguments as there."""
    return rng.standard_t(surface.noise_dof(p, np.asarray(off, float)), shape)


def run_rng(seed: int = 0) -> np.random.Generator:
    """Generator of the noise of the target run."""
    return pooling.keyed_rng(seed, "run")


def extrapolation(posterior: Posterior, target: Target) -> dict[str, float]:
    """How far a target lies outside the fitted cells' range of each covariate; 0 inside.

    Keys are ``params_decades``, ``tokens_decades`` and the like, in decades of covariates that are
    logarithms. The cells are those of the target's optimizer, or all where it was never seen; 0 where there
    are none.
    """
    cells = [c for c in posterior.cells if c.optimizer == target.optimizer] or list(posterior.cells)
    here = place(posterior, target)
    fitted = [place(posterior, Target.of_cell(cell)) for cell in cells]
    return {
        distance_key(name): _outside(float(here[name]), [float(x[name]) for x in fitted]) / DECADE
        for name in posterior.pivot
    }


def learning_rate_slopes(posterior: Posterior, target: Target, step: float = 0.1) -> dict[str, float]:
    """Median exponents of the best learning rate in N (``params``) and D (``tokens``) at a target.

    Along the best batch, or at the target's where it is fixed. Cells' own shifts do not count.

    Args:
        posterior: the fit.
        target: the run.
        step: way in ln N or ln D to either side.
    """
    at = surface_at(posterior, target, independent=True)

    def log_rate(name: str, way: float) -> Floats:
        x = {**at.x, name: at.x[name] + way}
        p = at.p | drifted(at.p, x)
        rate = optimum_of("learning_rate", p, x)
        if target.batch_tokens is not None:
            gap = np.log(target.batch_tokens) - optimum_of("batch_tokens", p, x)
            rate = rate + surface.ridge(gap, p["rho"], p["rho_high"])
        return np.asarray(rate)

    return {
        size: float(np.median(log_rate(name, step) - log_rate(name, -step))) / (2 * step)
        for size, name in (("params", "n"), ("tokens", "d"))
    }


def covariate_words(name: str) -> str:
    """A covariate for people: N, D, or its label."""
    return {"n": "N", "d": "D"}.get(name, COVARIATES[name].label)


def distance_key(name: str) -> str:
    """Key of how far a target lies outside in a covariate.

    >>> distance_key("n")
    'params_decades'
    """
    return f"{COVARIATES[name].label}_decades"


def _outside(value: float, fitted: Sequence[float]) -> float:
    return max(0.0, value - max(fitted), min(fitted) - value) if fitted else 0.0


def example_target(posterior: Posterior, study: str | None = None) -> Target:
    """Example target about ten times the largest fitted N, of the group with most sizes, with D = 20 N.

    Args:
        posterior: the fit.
        study: study of the target; by default that of the group.

    Raises:
        BadInput: no cell was fitted, or none of that study.
    """
    cells = [cell for cell in posterior.cells if study in (None, cell.study)]
    if not cells:
        raise BadInput(
            f"posterior: holds no cells{f' of {study}' if study else ''}; expected one to take a target "
            "from; name the target"
        )
    sizes = dict.fromkeys((cell.group, cell.params_nonembedding, cell.tokens) for cell in cells)
    (group, _) = Counter(group for group, *_ in sizes).most_common(1)[0]
    n = _two_digits_below(BEYOND * max(cell.params_nonembedding for cell in cells if cell.group == group))
    return Target(n, TOKENS_PER_PARAM * n, group[1], group[0])


def _two_digits_below(value: float) -> float:
    """Round down to two digits.

    >>> _two_digits_below(1.0737e10)
    10000000000.0
    """
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.floor(value / step) * step


def loss_curve(
    posterior: Posterior,
    target: Target,
    learning_rates: Sequence[float] | Floats,
    quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    seed: int = 0,
) -> Floats:
    """Excess loss of each learning rate at the target's batch, for plotting.

    Relative to the best learning rate at that batch, which is the target's or the recommended one.

    Args:
        posterior: the fit.
        target: the run.
        learning_rates: peak learning rates, shape (rate,).
        quantiles: quantiles over draws, shape (quantile,).
        seed: as in ``predict``.

    Returns:
        Excess loss as a fraction (0.01 is 1%), shape (quantile, rate).
    """
    at = surface_at(posterior, target, seed, independent=True)
    batch = target.batch_tokens or decide(at)["batch_tokens"]
    excess = lr_batch_excess(at, np.log(np.asarray(learning_rates, float)), np.log(batch), beyond_batch=True)
    return np.quantile(np.expm1(capped(excess)), quantiles, axis=0)


def _refuse_unusable(found: Prediction) -> None:
    parts = {
        "recommendation": found.recommendation,
        "loss_nats_per_token": found.loss_nats_per_token._asdict(),
        "regret": found.regret._asdict(),
        "extrapolation": found.extrapolation,
        **{f"optimum {name}": best._asdict() for name, best in found.optimum.items()},
    }
    numbers = {f"{part} {name}": value for part, values in parts.items() for name, value in values.items()}
    wrong = [name for name, value in numbers.items() if not np.isfinite(value)]
    rates = ("recommendation learning_rate", "optimum learning_rate lower")
    wrong += [name for name in rates if not numbers[name] > 0]
    if wrong:
        name = wrong[0]
        target = found.target
        raise BadInput(
            f"target: {name} = {numbers[name]:g} at N = {target.params_nonembedding:g}, "
            f"D = {target.tokens:g}; expected a finite number above 0, but the posterior says nothing this "
            "far out; choose a target nearer to its runs"
        )


# ------------------------------------------------------------------------------------------- warnings


def _warnings(
    posterior: Posterior,
    at: TargetSurface,
    settings: Settings,
    outcome: Outcome,
    beyond: Mapping[str, float],
    level: float,
) -> list[str]:
    """Warnings on this advice, one sentence each."""
    said = [*about_fit(posterior), *about_group(posterior, at.target)]
    for name in posterior.pivot:
        decades = beyond[distance_key(name)]
        if decades > FAR:
            said.append(
                f"{covariate_words(name)} lies {decades:.1f} decades outside the fitted runs: "
                "far to extrapolate"
            )
    said += [*_about_batch(at, settings, outcome, level), *_about_rate(at, settings, level)]
    said += _about_reach(at, settings)
    chance = float(outcome.diverges.mean())
    if chance > RISKY:
        said.append(
            f"the recommended learning rate diverges with probability {chance:.0%}: "
            "have a restart at half of it ready"
        )
    said += about_covariates(posterior, at.target)
    return said + about_extras(posterior, at.target, at.extras)


def about_fit(posterior: Posterior) -> list[str]:
    """Warnings on the fit itself, whatever the target."""
    if posterior.diagnostics.get("converged", False):
        return []
    messages = [str(text) for text in posterior.diagnostics.get("messages", [])]
    return [f"the fit has not converged: {text}" for text in messages or ["its diagnostics are missing"]]


def about_group(posterior: Posterior, target: Target) -> list[str]:
    """Warnings on a target's unseen optimizer or study."""
    said = []
    if target.optimizer not in posterior.optimizers:
        usual = USUAL_RATES.get(target.optimizer)
        times = "" if usual is None or usual.ratio == 1 else f"{usual.ratio:.3g} times "
        by_habit = f"; its rate is usually {times}that of AdamW ({usual.source})" if usual else ""
        said.append(
            f"optimizer {target.optimizer} was never seen: drawn from the population of "
            f"{len(posterior.optimizers)} ({', '.join(posterior.optimizers)}){by_habit}"
        )
        if family := of_other_families(target.optimizer, posterior.optimizers):
            rough = "and only that multiple ties it to them" if usual else "so do not use it"
            said.append(
                f"{target.optimizer} takes {family} steps, and none of the fitted optimizers does: its "
                f"learning rate has another unit than theirs, {rough}; fit runs of its own"
            )
    if target.study is None:
        said.append(
            "no study named: the intervals cover set-ups never seen; "
            f"known studies: {', '.join(posterior.studies)}"
        )
    elif target.study not in posterior.studies:
        said.append(
            f"study {target.study} was never seen: drawn from the population of {len(posterior.studies)} "
            f"({', '.join(posterior.studies)})"
        )
    if target.study not in posterior.studies:
        said.append("the loss interval is the prior's: data, tokenizer and loss kind are unknown here")
    elif target.optimizer in posterior.optimizers and not pooling.is_seen(
        posterior, target.study, target.optimizer
    ):
        said.append(
            f"{target.optimizer} was never seen in study {target.study}: pooled from its runs elsewhere"
        )
    return said


def about_covariates(posterior: Posterior, target: Target) -> list[str]:
    """Which covariates the target leaves at their defaults, and which the posterior cannot use."""
    usual = usual_settings(posterior, target.study, target.covariates)
    assumed = [
        (name, f"{COVARIATES[name].label} {value:.4g}" if name in COVARIATES else f"{name} {value}")
        for name, (value, by_all) in usual.items()
        if not by_all
    ]
    columns = {FACTORS[name].column: values for name, values in posterior.factor_values.items()}
    given = target.covariates
    said = []
    if assumed:
        names, told = (", ".join(texts) for texts in zip(*assumed, strict=True))
        said.append(f"assumed: {told}; give others with --covariate NAME=VALUE ({names})")
    said += [
        f"{column} {given[column]} was never seen: drawn from the population of {len(values)}"
        for column, values in columns.items()
        if column in given and str(given[column]) not in values
    ]
    return said + [
        f"{name} is unknown to this posterior: it has no influence on the answer"
        for name in target.covariates
        if name not in columns and not (name in posterior.pivot and COVARIATES[name].optional)
    ]


def about_extras(posterior: Posterior, target: Target, extras: Iterable[str]) -> list[str]:
    """Warnings on hyperparameters ``extras`` that the target's own runs never varied."""
    return [
        f"{name.replace('_', ' ')} was never varied in {target.study} with {target.optimizer}: "
        "borrowed from other runs"
        for name in absorbed_by(posterior, target, extras)
    ]


def _about_batch(at: TargetSurface, settings: Settings, outcome: Outcome, level: float) -> list[str]:
    fixed, tokens = at.target.batch_tokens, at.target.tokens
    if fixed is None:
        if settings["batch_tokens"] < tokens:
            return []
        return [f"the best batch exceeds the {tokens:.3g} tokens of the run: cut to a single step"]
    best = interval(np.exp(at.log_batch), level)
    if best.lower <= fixed <= best.upper:
        return []
    times = max(fixed / best.median, best.median / fixed)
    side = "above" if fixed > best.median else "below"
    return [
        f"the fixed batch is {times:.1f} times {side} the best one ({best.median:.2g} tokens), which "
        f"costs about {100 * float(outcome.batch_cost.mean()):.2g}% of the loss"
    ]


def _about_rate(at: TargetSurface, settings: Settings, level: float) -> list[str]:
    """Why the advised learning rate is far from the likeliest one at its batch, where it is."""
    best = interval(log_lr_at_batch(at, np.log(settings["batch_tokens"])), level)
    aside = float(np.log(settings["learning_rate"])) - best.median
    if not abs(aside) > math.log(ASIDE):
        return []
    side, dear = ("below", "high") if aside < 0 else ("above", "low")
    times, factor = np.exp([abs(aside), best.upper - best.lower])
    return [
        f"the advised learning rate lies {times:.1f} times {side} the likeliest one at its batch "
        f"({np.exp(best.median):.2g}): too {dear} a rate costs more, and the best one is known to a factor "
        f"of {factor:.1f} only"
    ]


def _about_reach(at: TargetSurface, settings: Settings) -> list[str]:
    """Which settings are held back because nothing like what they would be was tried."""
    fixed = at.target.batch_tokens is not None
    rates = log_lr_at_batch(at, np.log(settings["batch_tokens"])) if fixed else at.log_lr
    said = []
    for name, best in {"learning_rate": rates, **({} if fixed else {"batch_tokens": at.log_batch})}.items():
        low, high = within_reach(at, name, best)
        here = np.log(settings[name])
        if min(here - low, high - here) < 2 * TOLERANCE:
            end = "a quarter of the smallest" if here - low < high - here else "4 times the largest"
            said.append(
                f"the {words_of(name).partition(',')[0]} is held at {end} that {at.target.study} tried, "
                "carried over to this run: the model asks for more; try some on that side"
            )
    return said
