"""Partial pooling: parameters of any group, seen or unseen, given the fitted groups.

The values that a parameter takes over (study, optimizer) groups are, in each draw, jointly
Gaussian: N(mean, sd^2 + between_optimizers^2 [same optimizer] + between_studies^2 [same study] + NUGGET I).
The population mean and the optimizer and study effects are integrated out, in the fit as here; a group
never seen is drawn from the conditional distribution given those seen (Rasmussen & Williams 2006,
equation 2.19). All functions are deterministic in their seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.law.parameters import INTERCEPT, MULTIPLES, NUGGET, derived, usual_shifts
from bayeslaw.posterior.draws import Posterior
from bayeslaw.runs.optimizer_families import log_usual_rates
from bayeslaw.target import NEVER_SEEN


def group_draws(posterior: Posterior, study: str | None, optimizer: str, seed: int = 0) -> dict[str, Floats]:
    """Every parameter's value in one group: its own draws where seen, else drawn given the seen groups.

    Args:
        posterior: the fit.
        study: name of the study; None, or a name not in the posterior, is an unseen study.
        optimizer: name of the optimizer, which may be unseen.
        seed: seed of draws of unseen values; equal groups get equal draws.

    Returns:
        parameter -> shape (draw,); ``gamma`` beside them.
    """
    own = posterior.groups.index((study, optimizer)) if is_seen(posterior, study, optimizer) else None
    rng = keyed_rng(seed, "group", study, optimizer)
    result = {}
    for name, values in posterior.group.items():
        normal = rng.standard_normal(
            posterior.draws
        )  # always, so that no parameter's numbers depend on another's
        if own is not None and not np.isnan(values[:, own]).any():
            result[name] = values[:, own]
        else:
            result[name] = _unseen(posterior, name, study, optimizer, normal)
    return result | derived(result)


def is_seen(posterior: Posterior, study: str | None, optimizer: str) -> bool:
    """Whether the posterior holds runs of this optimizer in this study."""
    return study is not None and (study, optimizer) in posterior.groups


def borrowed(posterior: Posterior, study: str | None, optimizer: str, name: str) -> bool:
    """Whether a seen group lacks its own values of a parameter, because its runs never varied it."""
    if not is_seen(posterior, study, optimizer):
        return False
    own = posterior.groups.index((study, optimizer))
    return bool(np.isnan(posterior.group[name][:, own]).any())


def study_draws(posterior: Posterior, study: str | None, seed: int = 0) -> dict[str, Floats]:
    """Values of all study parameters: the study's own draws if seen, else draws from the prior.

    Returns:
        parameter -> shape (draw,).
    """
    if study in posterior.studies:
        column = posterior.studies.index(study)
        return {name: values[:, column] for name, values in posterior.study.items()}
    rng = keyed_rng(seed, "study", study)
    return {
        name: mean + sd * rng.standard_normal(posterior.draws)
        for name, (mean, sd) in posterior.study_prior.items()
    }


def factor_draws(posterior: Posterior, name: str, value: str, seed: int = 0) -> Floats:
    """What a factor adds to its quantity, (draw,).

    Args:
        posterior: the fit.
        name: of the factor.
        value: of its column. One never fitted is drawn from the population of values.
        seed: of such a draw.
    """
    known = posterior.factor_values[name]
    if value in known:
        return posterior.factor[name][:, known.index(value)]
    return posterior.factor_spread[name] * keyed_rng(seed, "factor", name, value).standard_normal(
        posterior.draws
    )


def population_draws(posterior: Posterior, seed: int = 0) -> dict[str, Floats]:
    """The mean of each parameter's population given all groups, as of AdamW; parameter -> shape (draw,)."""
    rng = keyed_rng(seed, "population")
    parts = posterior.provenance.get("parts", ())
    result = {}
    for name in posterior.group:
        mean, sd = posterior.group_prior[name]
        values, covariance, index = seen_groups(posterior, name)
        values = values - usual_shifts(name, [posterior.groups[i][1] for i in index], parts)
        cross = np.full_like(values, sd**2)
        variance = np.full(posterior.draws, sd**2)
        normal = rng.standard_normal(posterior.draws)
        result[name] = conditional_draw(values, mean, covariance, cross, variance, normal)
    return result | derived(result)


def ground(posterior: Posterior, groups: Iterable[tuple[str | None, str]], seed: int = 0) -> Posterior:
    """Extend a posterior to ``groups``: parameters of a group never seen are drawn once, as if it were seen.

    The study None gets the name ``NEVER_SEEN``. Cells are not extended: a cell never seen stays so.
    """
    known = posterior
    for study, optimizer in sorted(groups, key=str):
        name = study or NEVER_SEEN
        values = group_draws(posterior, study, optimizer, seed)
        if name not in known.studies:
            settings = study_draws(posterior, study, seed)
            known = replace(
                known,
                studies=(*known.studies, name),
                study={k: np.column_stack([v, settings[k]]) for k, v in known.study.items()},
            )
        seen = (name, optimizer) in known.groups
        column = known.groups.index((name, optimizer)) if seen else len(known.groups)
        known = replace(
            known,
            groups=known.groups if seen else (*known.groups, (name, optimizer)),
            group={k: _with_column(v, column, values[k]) for k, v in known.group.items()},
        )
    return known


def _with_column(table: Floats, column: int, values: Floats) -> Floats:
    if column == table.shape[1]:
        return np.column_stack([table, values])
    if not np.isnan(table[:, column]).any():
        return table
    table = table.copy()
    table[:, column] = values
    return table


def conditional_draw(
    values: Floats, mean: float, covariance: Floats, cross: Floats, variance: Floats, normal: Floats
) -> Floats:
    """Draw one value given others that are jointly Gaussian with it, for many draws at once.

    Args:
        values: known values, shape (draw, k); k may be 0.
        mean: mean of every value before conditioning.
        covariance: covariance of the known values, shape (draw, k, k).
        cross: covariance between the wanted value and the known values, shape (draw, k).
        variance: variance of the wanted value before conditioning, shape (draw,).
        normal: standard normal numbers, shape (draw,).

    Returns:
        Shape (draw,).

    >>> one, half = np.ones(1), np.full((1, 1), 0.5)  # correlation 1/2, known value 2: mean 1
    >>> conditional_draw(np.full((1, 1), 2.0), 0.0, np.ones((1, 1, 1)), half, one, 0 * one)
    array([1.])
    """
    weights = np.linalg.solve(covariance, cross[..., None])[..., 0]
    centre = mean + np.sum(weights * (values - mean), axis=1)
    remaining = np.maximum(variance - np.sum(weights * cross, axis=1), 0.0)
    return centre + np.sqrt(remaining) * normal


def keyed_rng(seed: int, *keys: object) -> np.random.Generator:
    """Make a generator that depends only on the seed and the keys, in any process.

    >>> bool(keyed_rng(0, "a").random() == keyed_rng(0, "a").random() != keyed_rng(0, "b").random())
    True
    """
    return np.random.default_rng([seed, *(zlib.crc32(repr(key).encode()) for key in keys)])


def _unseen(posterior: Posterior, name: str, study: str | None, optimizer: str, normal: Floats) -> Floats:
    mean, sd = posterior.group_prior[name]
    values, covariance, index = seen_groups(posterior, name)
    own, others = usual_rates(posterior, name, optimizer, [posterior.groups[i][1] for i in index])
    same_study = np.array([posterior.groups[i][0] == study for i in index], float)
    same_optimizer = np.array([posterior.groups[i][1] == optimizer for i in index], float)
    optimizers, studies = posterior.between_optimizers[name], posterior.between_studies[name]
    cross = sd**2 + np.outer(optimizers**2, same_optimizer) + np.outer(studies**2, same_study)
    variance = sd**2 + optimizers**2 + studies**2 + NUGGET
    return own + conditional_draw(values - others, mean, covariance, cross, variance, normal)


def usual_rates(posterior: Posterior, name: str, optimizer: str, seen: Sequence[str]) -> tuple[float, Floats]:
    """What is usual of a parameter of an optimizer, and of those that have runs, AdamW at 0.

    Learning rates of optimizers have other units, and usual multiples of each other
    (`bayeslaw.runs.optimizer_families.USUAL_RATES`): what is drawn is the deviation from it. Fits without
    part ``multiples`` know nothing of it where the optimizer has runs.

    Args:
        posterior: the fit.
        name: of the parameter; only alpha, the level of the best learning rate, has such multiples.
        optimizer: the one that is wanted.
        seen: that of each group with runs.

    Returns:
        ln of its multiple, and of each seen group's, (group,). Where none is usual, 0 in a fit with the part;
        without it the mean of the others'. All 0 without it where the optimizer has runs, or nothing is usual
        of it or of all that do.
    """
    parts = posterior.provenance.get("parts", ())
    if MULTIPLES in parts:
        own, *others = usual_shifts(name, [optimizer, *seen], parts)
        return float(own), np.array(others)
    nothing = 0.0, np.zeros(len(seen))
    if name != INTERCEPT or optimizer in seen:
        return nothing
    (wanted,), known = log_usual_rates([optimizer]), np.array(log_usual_rates(seen))
    if np.isnan(wanted) or np.isnan(known).all():
        return nothing
    return wanted, np.where(np.isnan(known), np.nanmean(known), known)


def seen_groups(posterior: Posterior, name: str) -> tuple[Floats, Floats, list[int]]:
    """Values of the groups that have a parameter, (draw, k); their covariance (draw, k, k); which ones."""
    everything = posterior.group[name]
    index = [int(i) for i in np.flatnonzero(~np.isnan(everything).any(axis=0))]
    studies, optimizers = ([posterior.groups[i][k] for i in index] for k in (0, 1))
    _, sd = posterior.group_prior[name]
    covariance = (
        sd**2
        + posterior.between_optimizers[name][:, None, None] ** 2 * same_labels(optimizers, optimizers)
        + posterior.between_studies[name][:, None, None] ** 2 * same_labels(studies, studies)
        + NUGGET * np.eye(len(index))
    )
    return everything[:, index], covariance, index


def same_labels(one: Sequence[str], other: Sequence[str]) -> Floats:
    """1 where two labels agree, else 0, (one, other).

    >>> same_labels(["a", "b"], ["b"]).tolist()
    [[0.0], [1.0]]
    """
    return np.array([[float(x == y) for y in other] for x in one]).reshape(len(one), len(other))
