"""The hierarchical model of the loss surface in NumPyro. Every latent site is real-valued.

Group values are drawn centred, as Gaussian processes over (study, optimizer): the population mean
and the optimizer and study effects are integrated out analytically, and drawn back when a
prediction needs them (``bayeslaw.posterior.pooling``). Cell and size effects are centred in proportion to
what the runs say about them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import gammaln

from bayeslaw.arrays import Floats, Ints
from bayeslaw.law import parameters, surface
from bayeslaw.law.observations import Sweep
from bayeslaw.law.parameters import CRASH_IS_MACHINE, MIXED_STATUS, Family

Values = dict[str, jax.Array]

CELL_TAUS = {"level": "log_tau_level", "lr": "log_tau_lr", "batch": "log_tau_batch"}
SIZE_TAUS = {
    "level": "log_tau_size_level",
    "slope": "log_tau_size_slope",
    "lr": "log_tau_size_lr",
    "batch": "log_tau_size_batch",
}
CELL_STARS = {"level": "cell_level", "lr": "lr_star", "batch": "batch_star"}
"""Cell effect -> the value that it shifts: ln loss, ln eta* and ln B* at the cell's best settings."""

RUNS_TO_CENTRE = {"level": 2.0, "lr": 8.0, "batch": 8.0}
"""Finished runs at which a cell's effect is half centred; for the level, runs at the best settings."""

CELL_ONLY = {
    *(
        "alpha",
        "gamma",
        "gamma_path",
        "delta",
        "bend",
        "beta",
        "epsilon",
        "epsilon_n",
        "offset",
        "offset_n",
        "offset_d",
    ),
    *("level", "share", "slope_n", "slope_d", "curve_nn", "curve_nd", "curve_dd", "fade_n", "fade_d"),
    *(
        "log_tau_level",
        "log_tau_size",
        "log_tau_lr",
        "log_tau_batch",
        *SIZE_TAUS.values(),
        "log_dof_minus_4",
        "log_off_dof_minus_2",
    ),
}
"""Values whose work is done once a cell: its optimum, level, fading and tails."""

SPREADS = ("log_between_optimizers", "log_between_studies")
SPREAD_JITTER = 1e-8


def families(sweep: Sweep) -> dict[str, Family]:
    """The partially pooled parameters of this sweep, with intercepts moved to its pivot."""
    chosen = {name: family for block in blocks(sweep).values() for name, family in block[0].items()}
    n, d = _pivot_shift(sweep)
    slopes = {
        "alpha": (("gamma_path", -n), ("delta", n - d)),
        "beta": (("epsilon", d), ("epsilon_n", n)),
        "lambda": (("mu", -n),),
        "zeta": (("kappa", -n),),
    }
    return {name: _moved(family, chosen, slopes.get(name, ())) for name, family in chosen.items()}


def blocks(sweep: Sweep) -> dict[str, tuple[dict[str, Family], Ints]]:
    """Families by the groups that have them: name of the block -> (families, groups)."""
    everywhere = np.arange(len(sweep.group_study))
    all_blocks = {
        "surface_values": (parameters.LR_BATCH, everywhere),
        "decay_values": (parameters.DECAY, sweep.decay_groups),
        "momentum_values": (parameters.MOMENTUM, sweep.momentum_groups),
    }
    return {name: block for name, block in all_blocks.items() if len(block[1])}


def _pivot_shift(sweep: Sweep) -> tuple[float, float]:
    n, d = np.log(np.array(sweep.pivot) / np.array(parameters.REFERENCE_SCALE))
    return float(n), float(d)


def _moved(family: Family, chosen: dict[str, Family], slopes: tuple[tuple[str, float], ...]) -> Family:
    shift = sum(chosen[name].mean * by for name, by in slopes)
    variance = sum((chosen[name].sd * by) ** 2 for name, by in slopes)
    return replace(family, mean=family.mean + shift, sd=float(np.hypot(family.sd, np.sqrt(variance))))


def study_priors(sweep: Sweep) -> dict[str, tuple[float, float]]:
    """(mean, sd) of each study's parameters, with the level moved to the pivot."""
    n, d = _pivot_shift(sweep)
    moved = {name: (mean, sd) for name, (mean, sd, _) in parameters.STUDY.items()}
    mean, sd = moved["level"]
    for slope, by in (("slope_n", n), ("slope_d", d)):
        mean, sd = mean - moved[slope][0] * by, float(np.hypot(sd, moved[slope][1] * by))
    return moved | {"level": (mean, sd)}


def centring(sweep: Sweep) -> dict[str, Floats]:
    """How centred the cell effects, shape (cell,), and the size effect, shape (size,), are drawn; 0 to 1."""
    finished = sweep.cell[sweep.finished]
    runs = np.bincount(finished, minlength=len(sweep.cell_group))
    telling = np.bincount(finished, _telling(sweep), minlength=len(sweep.cell_group))
    counts = {"level": telling, "lr": runs, "batch": runs}
    weights = {name: counts[name] / (counts[name] + half) for name, half in RUNS_TO_CENTRE.items()}
    members = np.bincount(sweep.cell_size)
    return weights | {"size": members / (members + 1.0)}


def _telling(sweep: Sweep) -> Floats:
    """What a finished run says about its cell's level, in runs at the best settings, (finished run,).

    Scatter grows with the excess, so a run far from the optimum says little. By the medians of the priors.
    """
    ratio = np.exp(parameters.STUDY["log_noise_slope"][0] - parameters.STUDY["log_noise"][0])
    return np.asarray((1.0 + ratio * sweep.above_best[sweep.finished]) ** -2)


def surface_model(sweep: Sweep, losses: jax.Array | float = 1.0, fitted: jax.Array | float = 1.0) -> None:
    """Joint density of parameters, outcomes and losses, these to the power of ``losses``.

    The scatter grows with the ``fitted`` excess: 1 in the model; 0 takes the observed one in its place, for
    ``whiten``, since an optimum far away is a hidden way to raise the scatter, and has modes of its own.
    """
    at_cell, effects = cells(sweep)
    for name, star in CELL_STARS.items():
        at_cell[star] = at_cell[star] + effects[name]
    p = _at_runs(at_cell, sweep)
    v = sweep.log_batch - p["batch_star"]
    u = sweep.log_lr - p["lr_star"] - surface.ridge(v, p["rho"], p["rho_high"])
    excess = (surface.lr_batch_excess(p, u, v) + _decay_momentum_excess(sweep, p)) * p["fading"]
    off = jnp.asarray(sweep.off)
    mean = p["cell_level"] + excess + surface.off_shift(p, off)
    scale = surface.noise_scale(p, fitted * excess + (1.0 - fitted) * sweep.above_best, off)
    dof = jnp.where(off > 0, p["off_dof"], p["dof"])
    numpyro.deterministic("moments", jnp.stack([mean, jnp.log(scale), dof]))
    tails = jnp.where(off > 0, p["off_tails"], p["tails"])
    loss = (
        tails - jnp.log(scale) - 0.5 * (dof + 1.0) * jnp.log1p(((sweep.log_loss - mean) / scale) ** 2 / dof)
    )
    numpyro.factor("loss", losses * jnp.sum(jnp.where(sweep.finished, loss, 0.0)))
    numpyro.factor("outcome", jnp.sum(_outcome_log_prob(sweep, u, p)))


def student_t_normaliser(dof: jax.Array) -> jax.Array:
    """ln of the Student-t density at its centre, for unit scale; costly, so once a study and not once a run.

    >>> float(student_t_normaliser(jnp.array(1.0))).__round__(4)  # Cauchy: -ln pi
    -1.1447
    """
    upper, lower = gammaln(0.5 * jnp.stack([dof + 1.0, dof]))  # one call: it compiles to forty loops
    return upper - lower - 0.5 * jnp.log(jnp.pi * dof)


def _at_runs(at_cell: Values, sweep: Sweep) -> Values:
    """Each cell's values at its runs: one gather of rows, whose gradient is one scatter and not thirty."""
    names = [name for name in at_cell if name not in CELL_ONLY]
    return _by_name(names, jnp.stack([at_cell[name] for name in names], axis=1)[sweep.cell].T)


def _by_name(names: Iterable[str], table: jax.Array) -> Values:
    """Rows of a table by name. Gather first, name then: one gather and not one a row."""
    return {name: row[0] for name, row in zip(names, jnp.split(table, len(table)), strict=True)}


def group_values(sweep: Sweep) -> jax.Array:
    """Each family's value in each group, (family, group), in the order of ``families``; 0 if it has none."""
    chosen = families(sweep)
    names = list(chosen)
    spread = {}
    for site in SPREADS:
        medians = np.log([getattr(family, site.removeprefix("log_")) for family in chosen.values()])
        spread[site] = jnp.exp(
            numpyro.sample(site, dist.Normal(medians, parameters.SPREAD_LOG_SD).to_event(1))
        )
    tables = []
    for block, (members, index) in blocks(sweep).items():
        o, t = sweep.group_optimizer[index], sweep.group_study[index]
        rows = np.array([names.index(name) for name in members])
        shared = np.array([chosen[name].sd ** 2 for name in members])[:, None, None]
        by_optimizer = spread[SPREADS[0]][rows][:, None, None] ** 2 * (o[:, None] == o)[None]
        by_study = spread[SPREADS[1]][rows][:, None, None] ** 2 * (t[:, None] == t)[None]
        covariance = shared + by_optimizer + by_study + SPREAD_JITTER * np.eye(len(index))[None]
        mean = np.repeat([[chosen[name].mean] for name in members], len(index), axis=1)
        drawn = numpyro.sample(block, dist.MultivariateNormal(mean, covariance).to_event(1))
        tables.append(drawn @ np.eye(len(sweep.group_study))[index])
    return jnp.concatenate(tables)


def study_values(sweep: Sweep) -> jax.Array:
    """Each study's level, noise and spreads of cells, (value, study) in the order of ``study_priors``."""
    prior = study_priors(sweep)
    mean, sd = np.array(list(prior.values())).T[:, :, None] * np.ones(len(sweep.studies))
    return numpyro.sample("study_values", dist.Normal(mean, sd).to_event(2))


def cells(sweep: Sweep) -> tuple[Values, Values]:
    """Every value at each cell, shape (cell,), and the effects that are added to those of ``CELL_STARS``."""
    groups, studies = group_values(sweep), study_values(sweep)
    bend = numpyro.sample("bend", dist.Normal(parameters.BEND[0], parameters.BEND[1]))
    n, d = jnp.asarray(sweep.cell_log_n), jnp.asarray(sweep.cell_log_d)
    cell_study = sweep.group_study[sweep.cell_group]
    at_cell = _by_name(families(sweep), groups[:, sweep.cell_group])
    at_cell |= _by_name(study_priors(sweep), studies[:, cell_study])
    at_cell |= {
        "gamma": at_cell["gamma_path"] - at_cell["delta"],
        "bend": jnp.broadcast_to(bend, n.shape),
    }
    at_cell |= {
        "cell_level": surface.log_level(at_cell, n, d),
        "lr_star": surface.log_lr_optimum(at_cell, n, d),
        "batch_star": surface.log_batch_optimum(at_cell, n, d),
        "fading": surface.fading(at_cell, n, d),
    }
    at_study = _by_name(study_priors(sweep), studies)
    dof = surface.noise_dof(at_study, jnp.array([[0.0], [1.0]]))
    tails = jnp.concatenate([dof, student_t_normaliser(dof)])[:, cell_study]
    at_cell |= _by_name(("dof", "off_dof", "tails", "off_tails"), tails)
    return at_cell, cell_effects(sweep, at_cell, at_study)


def cell_effects(sweep: Sweep, at_cell: Values, studies: Values) -> Values:
    """Shifts of level, ln eta* and ln B* of each cell; partially centred (Papaspiliopoulos et al. 2007).

    All cells of one size shift together, since width, depth and their ratio change with N: ``size_level``,
    ``size_slope`` (of the level in ln D), ``size_lr`` and ``size_batch``, one value a size. They are part of
    the cells' shifts ``level``, ``lr`` and ``batch``.

    What is drawn for a cell of many runs is its value, law and shifts together: the runs fix it ever more
    tightly, and in terms of the shift alone the posterior would be a thin shell about a curved law.
    """
    weights = centring(sweep)
    sizes = {
        name: _partly_centred(f"size_{name}", weights["size"], studies[tau][sweep.size_study])
        for name, tau in SIZE_TAUS.items()
    }
    shared = {name: sizes[name][sweep.cell_size] for name in CELL_TAUS}
    shared["level"] = shared["level"] + sizes["slope"][sweep.cell_size] * sweep.cell_log_d
    effects = {
        name: shared[name]
        + _partly_centred(
            f"cell_{name}", weights[name], at_cell[tau], at_cell[CELL_STARS[name]] + shared[name]
        )
        for name, tau in CELL_TAUS.items()
    }
    return effects | {f"size_{name}": values for name, values in sizes.items()}


def _partly_centred(
    site: str, weight: Floats, log_tau: jax.Array, centre: jax.Array | float = 0.0
) -> jax.Array:
    """Normal shifts of spread exp(log_tau) about ``centre``, drawn with it in proportion to ``weight``."""
    raw = numpyro.sample(site, dist.Normal(weight * centre, jnp.exp(weight * log_tau)).to_event(1))
    return jnp.exp((1.0 - weight) * log_tau) * (raw - weight * centre)


def _decay_momentum_excess(sweep: Sweep, p: Values) -> jax.Array:
    n = sweep.cell_log_n[sweep.cell]
    total = jnp.zeros(len(sweep.cell))
    for values, optimum, curvature in (
        (sweep.log_decay, surface.log_decay_optimum, "decay_curvature"),
        (sweep.log_momentum_gap, surface.log_momentum_gap, "momentum_curvature"),
    ):
        known = np.isfinite(values)
        if known.any():
            gap = jnp.where(known, np.where(known, values, 0.0) - optimum(p, n), 0.0)
            total = total + surface.side_excess(gap, p[curvature])
    return total


def _outcome_log_prob(sweep: Sweep, u: jax.Array, p: Values) -> jax.Array:
    """ln P(finished, diverged or crashed); silent in studies that report no divergence."""
    z = (u - p["cliff"]) / jnp.exp(p["log_cliff_width"])
    fall = MIXED_STATUS + (1.0 - 2.0 * MIXED_STATUS) * jax.nn.sigmoid(z)
    crash = CRASH_IS_MACHINE + (1.0 - CRASH_IS_MACHINE) * fall
    chance = jnp.where(sweep.diverged, fall, jnp.where(sweep.crashed, crash, 1.0 - fall))
    known = sweep.cliff_studies[sweep.group_study[sweep.cell_group[sweep.cell]]]
    return jnp.where(known, jnp.log(chance), 0.0)
