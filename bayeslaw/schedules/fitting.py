"""Fit a law of the schedule to losses, by least squares of the relative residuals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.schedules.amplitudes import design, draw_amplitudes, solve_amplitudes
from bayeslaw.schedules.features import Features
from bayeslaw.schedules.laws import ScheduleLaw
from bayeslaw.theory.checks import positive

TRIES = 6
"""Starts, best first, from which the shape parameters are searched."""

SEARCH = 120
"""Evaluations of the residuals' slope in one search."""

WIDEST = 1.0
"""Prior standard deviation of ln shape parameter about the estimate, for what the losses do not tell."""

DRAWS = 400
LEAST_NOISE = 2e-4
"""Relative: losses of repeated runs differ by more."""


@dataclass(frozen=True)
class ScheduleFit:
    """A fitted law.

    Attributes:
        law: its name.
        params: best value of each parameter.
        draws: values of each parameter, shape (draw,).
        noise: standard deviation of ln loss about the law.
        losses: how many were fitted.
        method: ``least squares`` or ``nuts``.
        steps: of the longest schedule fitted.
        peaks: smallest and largest peak learning rate fitted.
    """

    law: str
    params: dict[str, float]
    draws: dict[str, Floats]
    noise: float
    losses: int
    method: str
    steps: float
    peaks: tuple[float, float]


def fit_schedule(
    law: ScheduleLaw, features: Features, losses: ArrayLike, seed: int = 0, draws: int = DRAWS
) -> ScheduleFit:
    """Fit by least squares of loss/prediction - 1; amplitudes are solved for, shape parameters searched.

    The draws are Gaussian in ln shape parameter about the estimate, with the covariance of the linearised fit
    and at most ``WIDEST``; amplitudes are drawn given each. Losses along one curve are taken as independent,
    which they are not: the draws are too narrow where many points share a curve.

    Args:
        law: of ``laws.LAWS``.
        features: of the schedules up to each loss.
        losses: [nats/token], shape (loss,).
        seed: of the draws.
        draws: how many.

    Raises:
        BadInput: losses that are not above 0 or as many as schedules, not more losses than parameters, or
            schedules shorter than the law can remember.
    """
    observed = check_losses(law, features, losses)
    shapes = _search(law, features, observed)
    amplitudes, residuals = _amplitudes(law, shapes, features, observed)
    free = len(observed) - len(law.parameters)
    noise = max(float(np.sqrt(residuals @ residuals / free)), LEAST_NOISE)
    rng = np.random.default_rng(seed)
    covariance = shape_covariance(law, shapes, features, observed, noise)
    logs = rng.multivariate_normal(np.log(shapes), covariance, draws) if len(shapes) else np.zeros((draws, 0))
    return ScheduleFit(
        law=law.name,
        params=dict(zip(law.parameters, [*amplitudes.tolist(), *shapes.tolist()], strict=True)),
        draws=with_amplitudes(law, logs, features, observed, np.full(draws, noise), rng),
        noise=noise,
        losses=len(observed),
        method="least squares",
        steps=float(features.steps.max()),
        peaks=(float(features.peak.min()), float(features.peak.max())),
    )


def check_losses(law: ScheduleLaw, features: Features, losses: ArrayLike) -> Floats:
    """Losses as an array, if they can be fitted.

    Raises:
        BadInput: as ``fit_schedule``.
    """
    observed = positive("schedule fit", "losses", losses)
    if observed.shape != features.steps.shape:
        raise BadInput(
            f"schedule fit: {observed.size} losses of {len(features.steps)} schedules; expected as many; "
            "give one loss per schedule"
        )
    if len(observed) <= len(law.parameters):
        raise BadInput(
            f"schedule fit: {len(observed)} losses; the {law.name} law has {len(law.parameters)} parameters "
            "and needs more losses than that; give longer or more curves, or choose a law with fewer"
        )
    shortest = max((shape.low for shape in law.shapes if shape.name == "memory"), default=0.0)
    if features.steps.max() <= shortest:
        raise BadInput(
            f"schedule fit: curves of at most {features.steps.max():g} steps are shorter than the memory of "
            f"the {law.name} law, more than {shortest:g} steps; give longer curves or choose another law"
        )
    return observed


def predicted_losses(fit: ScheduleFit, law: ScheduleLaw, features: Features) -> Floats:
    """Draws of the law's losses [nats/token], without the noise of a run, shape (draw, loss)."""
    each = zip(*fit.draws.values(), strict=True)
    return np.array([law.loss(dict(zip(fit.draws, values, strict=True)), features) for values in each])


def with_amplitudes(
    law: ScheduleLaw,
    logs: Floats,
    features: Features,
    observed: Floats,
    noise: Floats,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Draws of all parameters from draws of the ln shape parameters, shape (draw, shape), and of the noise.

    Draws that leave no amplitudes above 0 are dropped.

    Raises:
        BadInput: none is left.
    """
    kept = []
    for x, sd in zip(logs, noise, strict=True):
        shapes = named_shapes(law, np.exp(x))
        drawn = draw_amplitudes(solve_amplitudes(law, shapes, features, observed, float(sd)), rng)
        if drawn is not None:
            kept.append([*drawn, *shapes.values()])
    if not kept:
        raise BadInput(
            f"schedule fit: the {law.name} law does not describe these losses: a term of it comes out "
            "negative; "
            "expected losses that fall along a curve and fall faster as the rate decays; choose another law"
        )
    return dict(zip(law.parameters, np.array(kept).T, strict=True))


def named_shapes(law: ScheduleLaw, values: ArrayLike) -> dict[str, float]:
    """Shape parameters by name."""
    return dict(zip((shape.name for shape in law.shapes), np.asarray(values), strict=True))


def shape_covariance(
    law: ScheduleLaw, shapes: Floats, features: Features, observed: Floats, noise: float
) -> Floats:
    """Covariance of ln shape parameter, the amplitudes tuned along, shape (shape, shape)."""
    centre, step = np.log(shapes), 1e-4

    def residuals(x: Floats) -> Floats:
        return _amplitudes(law, np.exp(x), features, observed)[1]

    moves = step * np.eye(len(centre))
    slopes = [(residuals(centre + move) - residuals(centre - move)) / (2 * step) for move in moves]
    jacobian = np.reshape(slopes, (len(centre), len(observed)))
    return np.asarray(np.linalg.inv(jacobian @ jacobian.T / noise**2 + np.eye(len(centre)) / WIDEST**2))


def _search(law: ScheduleLaw, features: Features, observed: Floats) -> Floats:
    """Best shape parameters; a memory is at most the longest schedule."""
    from scipy.optimize import least_squares

    if not law.shapes:
        return np.empty(0)
    low = np.log([s.low for s in law.shapes])
    high = np.log([min(s.high, features.steps.max()) if s.name == "memory" else s.high for s in law.shapes])

    def residuals(x: Floats) -> Floats:
        return _amplitudes(law, np.exp(x), features, observed)[1]

    grid = [np.clip(np.log(start), low, high) for start in product(*(s.start for s in law.shapes))]
    grid.sort(key=lambda x: float(np.sum(residuals(x) ** 2)))
    ends = (low - 1e-9, high + 1e-9)
    found = [least_squares(residuals, x, bounds=ends, max_nfev=SEARCH) for x in grid[:TRIES]]
    return np.exp(min(found, key=lambda each: float(each.cost)).x)


def _amplitudes(
    law: ScheduleLaw, shapes: Floats, features: Features, observed: Floats
) -> tuple[Floats, Floats]:
    """Floor and amplitudes of at least 0 that fit best with given shapes, and the relative residuals."""
    from scipy.optimize import nnls

    columns = design(law, named_shapes(law, shapes), features, observed, np)
    scale = np.abs(columns).max(axis=0) + 1e-300
    scaled, _ = nnls(columns / scale, np.ones(len(observed)))
    return scaled / scale, (columns / scale) @ scaled - 1
