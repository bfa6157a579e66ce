"""The likelihood of runs: one density for the fit, for leave-one-out, for reweighting and for simulation.

A finished run's ln loss is Student-t about the surface, with a scatter that grows with its excess, less what
learning rate and batch add to every run of its group: best ones far from all runs must not pass for noise.
Whether a run finishes, diverges or crashes follows a cliff in the learning rate; outcomes count in studies
that report divergences. Runs off their cell's usual settings have a scatter of their own. NumPy and JAX
alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from bayeslaw.law import surface
from bayeslaw.law.parameters import CRASH_IS_MACHINE, MIXED_STATUS
from bayeslaw.law.terms import special_of, xp_of

Array = Any
Params = Mapping[str, Array]


class Moments(NamedTuple):
    """What runs are expected to do: mean, scale and degrees of freedom of ln loss, chance to diverge."""

    mean: Array
    scale: Array
    dof: Array
    fall: Array


class Outcomes(NamedTuple):
    """What runs did; arrays that broadcast with ``Moments``.

    Attributes:
        log_loss: ln loss [nats/token], any finite number where the run did not finish.
        finished, diverged, crashed: masks.
        count: whether outcomes count: the study reports diverged runs.
    """

    log_loss: Array
    finished: Array
    diverged: Array
    crashed: Array
    count: Array

    def at(self, where: Array) -> Outcomes:
        """Those of some runs."""
        return Outcomes(*(values[where] for values in self))


def moments(
    p: Params,
    level: Array,
    excess: Array,
    u: Array,
    off: Array,
    scatter: Array | None = None,
    dof: Array | None = None,
) -> Moments:
    """Moments of runs.

    Args:
        p: of ``surface.RUN_PARAMETERS``, and ``log_dof_minus_4``, ``log_off_dof_minus_2`` unless ``dof`` is
        given. level: ln loss of the cell at its best settings [nats/token]. excess: ln loss above it. u:
        how far ln eta lies off the ridge [nats]. off: 1 where a hyperparameter outside the model departs
        from its cell's usual value, else 0. scatter: the excess with which the scatter grows: less what
        all runs of the group have, ``excess`` by default. dof: degrees of freedom, where they are known
        already.
    """
    return Moments(
        mean=level + excess + surface.off_shift(p, off),
        scale=surface.noise_scale(p, excess if scatter is None else scatter, off),
        dof=surface.noise_dof(p, off) if dof is None else dof,
        fall=chance_recorded(chance_diverged(p, u)),
    )


def chance_diverged(p: Params, u: Array) -> Array:
    """Probability that a run falls off the cliff, a logistic function of u [nats].

    >>> p = {"cliff": np.array(1.7), "log_cliff_width": np.array(-1.2)}
    >>> float(chance_diverged(p, np.array(1.7)))
    0.5
    """
    xp = xp_of(u)
    z = (u - p["cliff"]) / xp.exp(p["log_cliff_width"])
    return 1.0 / (1.0 + xp.exp(-xp.clip(z, -50.0, 50.0)))


def chance_recorded(fall: Array) -> Array:
    """Probability that a run is recorded as diverged: some divergences, and survivals, have other causes."""
    return MIXED_STATUS + (1.0 - 2.0 * MIXED_STATUS) * fall


def log_density(m: Moments, runs: Outcomes, tails: Array | None = None) -> Array:
    """ln likelihood of each run: the density of its ln loss, and its outcome.

    Args:
        m: their moments.
        runs: what they did.
        tails: ``student_t_normaliser`` of ``m.dof``, where it is known already.

    >>> m = Moments(np.array(0.0), np.array(1.0), np.array(1.0), np.array(0.02))
    >>> run = Outcomes(np.array(0.0), np.array(True), np.array(False), np.array(False), np.array(False))
    >>> float(log_density(m, run)).__round__(4)  # Cauchy at its centre: -ln pi
    -1.1447
    """
    xp = xp_of(m.mean)
    loss = loss_log_density(m, runs.log_loss, tails)
    return xp.where(runs.finished, loss, 0.0) + outcome_log_probability(m, runs)


def loss_log_density(m: Moments, log_loss: Array, tails: Array | None = None) -> Array:
    """ln density of ln loss; arguments as of ``log_density``."""
    xp = xp_of(m.mean)
    tails = student_t_normaliser(m.dof) if tails is None else tails
    return (
        tails - xp.log(m.scale) - 0.5 * (m.dof + 1.0) * xp.log1p(((log_loss - m.mean) / m.scale) ** 2 / m.dof)
    )


def outcome_log_probability(m: Moments, runs: Outcomes) -> Array:
    """ln P(finished, diverged or crashed); 0 where outcomes do not count, and for runs that were stopped."""
    xp = xp_of(m.mean)
    crash = CRASH_IS_MACHINE + (1.0 - CRASH_IS_MACHINE) * m.fall
    chance = xp.where(runs.diverged, m.fall, xp.where(runs.crashed, crash, 1.0 - m.fall))
    known = runs.count & (runs.finished | runs.diverged | runs.crashed)
    return xp.where(known, xp.log(chance), 0.0)


def student_t_normaliser(dof: Array) -> Array:
    """ln of the Student-t density at its centre, for unit scale.

    >>> float(student_t_normaliser(np.array(1.0))).__round__(4)  # Cauchy: -ln pi
    -1.1447
    """
    xp = xp_of(dof)
    both = special_of(dof).gammaln(
        0.5 * xp.stack([dof + 1.0, dof])
    )  # one call: under JAX it compiles to forty loops
    return both[0] - both[1] - 0.5 * xp.log(np.pi * dof)
