"""Floor and amplitudes of a law given its shape parameters: a linear regression, solved in closed form.

With noise relative to the loss, loss = law (1 + noise), the loss over the observed one is linear in floor and
amplitudes, whose prior is Gaussian in what they contribute to the loss: the floor 0.7 +- 0.3 of it, each term
0 +- 2. So a posterior needs to be sampled over the shape parameters and the noise only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.schedules.features import Features
from bayeslaw.schedules.laws import ScheduleLaw

MEANS, SPREADS = (0.7, 0.0, 0.0), (0.3, 2.0, 2.0)


class Amplitudes(NamedTuple):
    """Gaussian of floor, first and second amplitude, and the density of the losses with them integrated out.

    Attributes:
        mean: in units of ``scale``, shape (3,).
        precision: inverse covariance in these units, shape (3, 3).
        scale: what one unit is, shape (3,).
        log_density: of the losses, up to a constant.
    """

    mean: Any
    precision: Any
    scale: Any
    log_density: Any


def design(law: ScheduleLaw, shapes: Mapping[str, Any], features: Features, observed: Floats, xp: Any) -> Any:
    """What one unit of floor and amplitudes adds to loss over observed loss, shape (loss, 3)."""
    first, second = law.terms(shapes, features, xp)
    return xp.stack([xp.ones_like(first), first, law.sign * second], axis=1) / observed[:, None]


def solve_amplitudes(
    law: ScheduleLaw,
    shapes: Mapping[str, Any],
    features: Features,
    observed: Floats,
    noise: Any,
    xp: Any = np,
) -> Amplitudes:
    """Amplitudes given the shape parameters and the relative noise.

    Args:
        law: of ``laws.LAWS``.
        shapes: value of each shape parameter.
        features: of the schedules up to each loss.
        observed: losses [nats/token], shape (loss,).
        noise: standard deviation of ln loss.
        xp: ``numpy`` or ``jax.numpy``.
    """
    columns = design(law, shapes, features, observed, xp)
    size = xp.max(xp.abs(columns), axis=0) + 1e-300
    x = columns / size
    means, spreads = xp.asarray(MEANS), xp.asarray(SPREADS)
    precision = x.T @ x / noise**2 + xp.diag(1 / spreads**2)
    away = 1 - x @ means
    moved = xp.linalg.solve(precision, x.T @ away / noise**2)
    left = away - x @ moved
    misfit = left @ left / noise**2 + xp.sum((moved / spreads) ** 2)
    volume = xp.linalg.slogdet(precision)[1]
    return Amplitudes(
        mean=means + moved,
        precision=precision,
        scale=1 / size,
        log_density=-len(observed) * xp.log(noise) - 0.5 * volume - 0.5 * misfit,
    )


def draw_amplitudes(found: Amplitudes, rng: np.random.Generator, tries: int = 50) -> Floats | None:
    """One draw of floor and amplitudes, all above 0; None where hardly any is."""
    factor = np.linalg.cholesky(np.linalg.inv(found.precision))
    for _ in range(tries):
        drawn = found.mean + factor @ rng.standard_normal(3)
        if (drawn > 0).all():
            return np.asarray(drawn * found.scale)
    return None
