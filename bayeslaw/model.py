"""The hierarchical model of the loss surface in NumPyro. Every latent site is real-valued.

Group values are drawn centred, as Gaussian processes over (study, optimizer): the population mean
and the optimizer and study effects are integrated out analytically, and drawn back when a
prediction needs them (``bayeslaw.pooling``). Cell effects are centred in proportion to what each
cell's runs say about them.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayeslaw import priors, surface
from bayeslaw.priors import Family
from bayeslaw.sweep import Sweep

CELL_EFFECTS = {"level": "log_tau_level", "lr": "log_tau_lr", "batch": "log_tau_batch"}
RUNS_TO_CENTRE = {"level": 2.0, "lr": 8.0, "batch": 8.0}
"""Finished runs at which a cell's effect is half centred."""

MIXED_STATUS = 0.02
"""Share of divergences, and of survivals, that the cliff does not explain."""

CRASH_IS_MACHINE = 0.5
"""Share of crashes put down to the cluster and not to the learning rate."""


def families(sweep: Sweep) -> dict[str, Family]:
    """The partially pooled parameters of this sweep, with intercepts moved to its pivot."""
    chosen = dict(priors.LR_BATCH)
    if len(sweep.decay_groups):
        chosen |= priors.DECAY
    if len(sweep.momentum_groups):
        chosen |= priors.MOMENTUM
    n, d = (float(np.log(p / r)) for p, r in zip(sweep.pivot, priors.REFERENCE_SCALE, strict=True))
    slopes = {
        "alpha": (("gamma", -n), ("delta", -d)),
        "beta": (("epsilon", d), ("epsilon_n", n)),
        "lambda": (("mu", -n),),
        "zeta": (("kappa", -n),),
    }
    return {name: _moved(family, chosen, slopes.get(name, ())) for name, family in chosen.items()}


def _moved(family: Family, chosen: dict[str, Family], slopes: tuple[tuple[str, float], ...]) -> Family:
    shift = sum(chosen[name].mean * by for name, by in slopes)
    variance = sum((chosen[name].sd * by) ** 2 for name, by in slopes)
    return replace(family, mean=family.mean + shift, sd=float(np.hypot(family.sd, np.sqrt(variance))))


def study_priors(sweep: Sweep) -> dict[str, tuple[float, float]]:
    """(mean, sd) of each study's parameters, with the level moved to the pivot."""
    n, d = (float(np.log(p / r)) for p, r in zip(sweep.pivot, priors.REFERENCE_SCALE, strict=True))
    moved = {name: (mean, sd) for name, (mean, sd, _) in priors.STUDY.items()}
    mean, sd = moved["level"]
    for slope, by in (("slope_n", n), ("slope_d", d)):
        mean, sd = mean - moved[slope][0] * by, float(np.hypot(sd, moved[slope][1] * by))
    moved["level"] = (mean, sd)
    return moved


def group_covariance(family: Family, optimizers: jax.Array, studies: jax.Array, same: tuple) -> jax.Array:
    """Prior covariance of a family's group values, shape (group, group).

    Args:
        family: for the shared variance ``sd^2``.
        optimizers, studies: the two spreads, scalars.
        same: masks (group, group) of equal optimizers, equal studies, and identity.
    """
    same_optimizer, same_study, identity = same
    return family.sd**2 + optimizers**2 * same_optimizer + studies**2 * same_study + 1e-6 * identity


def centring(sweep: Sweep) -> dict[str, np.ndarray]:
    """How centred each cell's effects are drawn, 0 to 1, shape (cell,)."""
    runs = np.bincount(sweep.cell[sweep.finished], minlength=len(sweep.cell_group))
    return {name: runs / (runs + half) for name, half in RUNS_TO_CENTRE.items()}


def surface_model(sweep: Sweep) -> None:
    """Joint density of parameters, losses and outcomes."""
    g = _group_values(sweep)
    s = {name: numpyro.sample(name, dist.Normal(jnp.full(len(sweep.studies), m), sd).to_event(1))
         for name, (m, sd) in study_priors(sweep).items()}  # fmt: skip
    s |= _curves(s)
    bend = numpyro.sample("bend", dist.Normal(priors.BEND[0], priors.BEND[1]))
    effects = _cell_effects(sweep, s)
    cell_study = sweep.group_study[sweep.cell_group]
    at_cell = {k: v[sweep.cell_group] for k, v in g.items()} | {k: v[cell_study] for k, v in s.items()}
    n, d = jnp.asarray(sweep.cell_log_n), jnp.asarray(sweep.cell_log_d)
    at_cell["bend"] = jnp.broadcast_to(bend, n.shape)
    lr_star = surface.log_lr_optimum(at_cell, n, d) + effects["lr"]
    batch_star = surface.log_batch_optimum(at_cell, n, d) + effects["batch"]
    p = {name: value[sweep.cell] for name, value in at_cell.items()}
    v = sweep.log_batch - batch_star[sweep.cell]
    u = sweep.log_lr - lr_star[sweep.cell] - surface.ridge(v, p["rho"], p["rho_high"])
    excess = surface.lr_batch_excess(p, u, v) + _decay_momentum_excess(sweep, p)
    level = surface.log_level(at_cell, n, d)
    excess = excess * surface.fading(at_cell, n, d)[sweep.cell]
    mean = (level + effects["level"])[sweep.cell] + excess
    scale = jnp.exp(p["log_noise"]) + jnp.exp(p["log_noise_slope"]) * excess
    scale = scale + jnp.exp(p["log_noise_off"]) * sweep.off
    dof = 2.0 + jnp.exp(p["log_dof_minus_2"])
    loss = dist.StudentT(dof, mean, scale)
    numpyro.factor("loss", jnp.sum(jnp.where(sweep.finished, loss.log_prob(jnp.asarray(sweep.log_loss)), 0.0)))
    numpyro.factor("outcome", jnp.sum(_outcome_log_prob(sweep, u, p)))


def _group_values(sweep: Sweep) -> dict[str, jax.Array]:
    chosen = families(sweep)
    medians = {
        kind: jnp.log(jnp.asarray([getattr(f, kind) for f in chosen.values()]))
        for kind in ("between_optimizers", "between_studies")
    }
    spread = {
        kind: jnp.exp(numpyro.sample(f"log_{kind}", dist.Normal(m, priors.SPREAD_LOG_SD).to_event(1)))
        for kind, m in medians.items()
    }
    count = len(sweep.group_study)
    values = {}
    for i, (name, family) in enumerate(chosen.items()):
        index = _groups_of(sweep, name)
        o, t = sweep.group_optimizer[index], sweep.group_study[index]
        same = (o[:, None] == o, t[:, None] == t, np.eye(len(index)))
        covariance = group_covariance(family, spread["between_optimizers"][i], spread["between_studies"][i], same)
        value = numpyro.sample(name, dist.MultivariateNormal(jnp.full(len(index), family.mean), covariance))
        values[name] = jnp.zeros(count).at[index].set(value)
    return values


def _groups_of(sweep: Sweep, name: str) -> np.ndarray:
    if name in priors.DECAY:
        return sweep.decay_groups
    return sweep.momentum_groups if name in priors.MOMENTUM else np.arange(len(sweep.group_study))


def _curves(s: dict[str, jax.Array]) -> dict[str, jax.Array]:
    share = jax.nn.sigmoid(s["share"])
    return {
        name: numpyro.sample(
            name,
            dist.Normal(surface.expected_curve(s[f"slope_{name[-2]}"], s[f"slope_{name[-1]}"], share), sd).to_event(1),
        )
        for name, sd in priors.CURVE_SD.items()
    }


def _cell_effects(sweep: Sweep, s: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Shifts of level, ln eta* and ln B* of each cell; partially centred (Papaspiliopoulos et al. 2007)."""
    cell_study = sweep.group_study[sweep.cell_group]
    effects = {}
    for name, weight in centring(sweep).items():
        log_tau = s[CELL_EFFECTS[name]][cell_study]
        raw = numpyro.sample(f"cell_{name}", dist.Normal(0.0, jnp.exp(weight * log_tau)).to_event(1))
        effects[name] = jnp.exp((1.0 - weight) * log_tau) * raw
    return effects


def _decay_momentum_excess(sweep: Sweep, p: dict[str, jax.Array]) -> jax.Array:
    n = sweep.cell_log_n[sweep.cell]
    total = jnp.zeros(len(sweep.cell))
    for values, optimum, curvature in (
        (sweep.log_decay, surface.log_decay_optimum, "decay_curvature"),
        (sweep.log_momentum_gap, surface.log_momentum_gap, "momentum_curvature"),
    ):
        known = np.isfinite(values)
        if known.any():
            gap = jnp.where(known, np.where(known, values, 0.0) - optimum(p, n), 0.0)
            total = total + surface.pseudo_huber(gap, jnp.exp(p[curvature]), 1.0)
    return total


def _outcome_log_prob(sweep: Sweep, u: jax.Array, p: dict[str, jax.Array]) -> jax.Array:
    """ln P(finished, diverged or crashed); silent in studies that report no divergence."""
    z = (u - p["cliff"]) / jnp.exp(p["log_cliff_width"])
    fall = MIXED_STATUS + (1.0 - 2.0 * MIXED_STATUS) * jax.nn.sigmoid(z)
    crash = CRASH_IS_MACHINE + (1.0 - CRASH_IS_MACHINE) * fall
    chance = jnp.where(sweep.diverged, fall, jnp.where(sweep.crashed, crash, 1.0 - fall))
    known = sweep.cliff_studies[sweep.group_study[sweep.cell_group[sweep.cell]]]
    return jnp.where(known, jnp.log(chance), 0.0)
