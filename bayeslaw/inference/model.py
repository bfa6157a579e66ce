"""The hierarchical model of the loss surface in NumPyro. Every latent site is real-valued.

Group values are drawn centred, as Gaussian processes over (study, optimizer). The population mean and the
effects of optimizer and study are integrated out analytically; a prediction that needs them draws them back
(``bayeslaw.posterior.pooling``). Cell and size effects are centred the more, the more the runs say about
them. The parameters and what they multiply come from the law's table (``bayeslaw.law.structure``); nothing
here names a covariate or a hyperparameter.
"""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayeslaw.arrays import Floats
from bayeslaw.law import likelihood, smoothness, surface
from bayeslaw.law.observations import Observations
from bayeslaw.law.parameters import CELL_SHIFTS, NUGGET, PARAMETERS, SIZE_SHIFTS, SPREAD_LOG_SD, SPREADS
from bayeslaw.law.structure import Structure, centred_study_priors, shared_moments, structure_of
from bayeslaw.law.terms import FACTORS, OPTIMA, drifted, optimum_of, own_bowls, shift_key
from bayeslaw.law.ties import path_exponent, path_moments

Values = dict[str, jax.Array]

BEST = {"level": "cell_level", "lr": "best_learning_rate", "batch": "best_batch_tokens"}
"""Value that each cell shift moves: ln loss, ln eta* and ln B* at the cell's best settings."""

RANGE_SD = 0.5
"""Standard deviation [nats] of the intercept of an optimum beyond the range of the optimum."""

RUNS_TO_CENTRE = {"level": 2.0, "lr": 8.0, "batch": 8.0}
"""Number of finished runs at which a cell's shift is half centred; of the level, runs at the best."""


def centring(observed: Observations) -> dict[str, Floats]:
    """Degree of centring, from 0 to 1, of the cell effects, (cell,), and of the size effects, (size,)."""
    finished = observed.cell[observed.finished]
    runs = np.bincount(finished, minlength=len(observed.cell_group))
    informative = np.bincount(finished, _level_runs(observed), minlength=len(observed.cell_group))
    counts = {"level": informative, "lr": runs, "batch": runs}
    weights = {name: counts[name] / (counts[name] + half) for name, half in RUNS_TO_CENTRE.items()}
    weights["batch"] = weights["batch"] * observed.compares_batches
    members = np.bincount(observed.cell_size)
    return weights | {"size": members / (members + 1.0)}


def _level_runs(observed: Observations) -> Floats:
    """Worth of each finished run for its cell's level, in runs at the best settings, (finished run,).

    Scatter grows with the excess, so a run far from the optimum says little. The scatter is that of the prior
    medians.
    """
    ratio = np.exp(PARAMETERS["log_noise_slope"].mean - PARAMETERS["log_noise"].mean)
    return np.asarray((1.0 + ratio * observed.above_best[observed.finished]) ** -2)


def surface_model(
    observed: Observations, losses: jax.Array | float = 1.0, fitted: jax.Array | float = 1.0
) -> None:
    """Joint density of parameters, outcomes and losses.

    Args:
        observed: the runs.
        losses: power of the density of the losses; 1 in the model.
        fitted: weight of the fitted excess in the scatter; 1 in the model. With 0 the scatter grows with the
            observed excess, as ``laplace`` needs it to find the mode.
    """
    at_cell, shifts = cells(observed)
    for name, best in BEST.items():
        at_cell[best] = at_cell[best] + shifts[name]
    p = _at_runs(at_cell, observed)
    off = jnp.asarray(observed.off)
    u, v = surface.off_ridge(
        p, observed.log_lr, observed.log_batch, p["best_learning_rate"], p["best_batch_tokens"]
    )
    compared = observed.compares_batches[observed.cell]  # else part of the level
    by_batch = jnp.where(compared, surface.batch_excess(p, v), 0.0)
    by_both = (surface.lr_excess(p, u, v) + by_batch) * p["fading"]
    excess = by_both + _own_bowls_excess(observed, p) * p["fading"]
    relative = excess - _least_of_group(observed, by_both)
    scatter = fitted * relative + (1.0 - fitted) * observed.above_best
    m = likelihood.moments(
        p, p["cell_level"], excess, u, off, scatter, jnp.where(off > 0, p["off_dof"], p["dof"])
    )
    numpyro.deterministic("moments", jnp.stack([m.mean, jnp.log(m.scale), m.dof]))
    tails = jnp.where(off > 0, p["off_tails"], p["tails"])
    loss = likelihood.loss_log_density(m, observed.log_loss, tails)
    numpyro.factor("loss", losses * jnp.sum(jnp.where(observed.finished, loss, 0.0)))
    numpyro.factor("outcome", jnp.sum(likelihood.outcome_log_probability(m, observed.outcomes)))


def _least_of_group(observed: Observations, excess: jax.Array) -> jax.Array:
    """The least of an excess among the runs of each run's group, (run,)."""
    group = observed.cell_group[observed.cell]
    return jax.ops.segment_min(excess, group, len(observed.group_study))[group]


def _at_runs(at_cell: Values, observed: Observations) -> Values:
    """Values of each run's cell, (run,); one gather of rows, so that its gradient is a single scatter."""
    own = [name for optimum in own_bowls().values() for name in (optimum.curvature, f"best_{optimum.name}")]
    wanted = (*surface.RUN_PARAMETERS, *BEST.values(), "fading", "dof", "off_dof", "tails", "off_tails", *own)
    names = [name for name in wanted if name in at_cell]
    return _by_name(names, jnp.stack([at_cell[name] for name in names], axis=1)[observed.cell].T)


def _by_name(names: Iterable[str], table: jax.Array) -> Values:
    """Rows of a table by name; naming them after the gather needs one gather in place of one per row."""
    return {name: row[0] for name, row in zip(names, jnp.split(table, len(table)), strict=True)}


def group_values(observed: Observations, known: Structure, common: Values) -> jax.Array:
    """Values of the group parameters, (parameter, group), in their order; 0 where a group lacks one."""
    names = list(known.group)
    spread = {}
    for kind in SPREADS:
        mean, sd = np.array(list(known.spreads[kind].values())).T
        spread[kind] = jnp.exp(numpyro.sample(f"log_{kind}", dist.Normal(mean, sd).to_event(1)))
    tables = []
    for block, members in known.blocks.items():
        index = known.members[block]
        o, t = observed.group_optimizer[index], observed.group_study[index]
        rows = np.array([names.index(name) for name in members])
        mean, shared, on_top = shared_moments(known, members, o)
        mean = mean + _along_the_path(known, members, common)
        by_optimizer = (on_top * spread[SPREADS[0]][rows] ** 2)[:, None, None] * (o[:, None] == o)[None]
        by_study = spread[SPREADS[1]][rows][:, None, None] ** 2 * (t[:, None] == t)[None]
        covariance = shared + by_optimizer + by_study + NUGGET * np.eye(len(index))[None]
        drawn = numpyro.sample(block_site(block), dist.MultivariateNormal(mean, covariance).to_event(1))
        _keep_in_range(block, members, drawn)
        tables.append(drawn @ np.eye(len(observed.group_study))[index])
    return jnp.concatenate(tables)


def _keep_in_range(block: str, members: tuple[str, ...], drawn: jax.Array) -> None:
    """Restrict the intercept of an optimum, softly, to the range of the optimum.

    Beyond it the surface no longer changes, so the posterior would be as flat as the prior is wide.
    """
    optimum = OPTIMA.get(block)
    if optimum is not None and optimum.range is not None:
        at, (low, high) = drawn[members.index(optimum.terms[0].parameter)], optimum.range
        beyond = (at - jnp.clip(at, low, high)) / RANGE_SD
        numpyro.factor(f"range_{block}", -0.5 * jnp.sum(beyond**2))


def _along_the_path(known: Structure, members: Iterable[str], common: Values) -> jax.Array | float:
    """What the latent q adds to the means of exponents that it ties, (parameter, 1)."""
    if known.tie is None:
        return 0.0
    slopes = np.array([known.tie.lines[name].slope if name in known.tie.lines else 0.0 for name in members])
    return slopes[:, None] * (path_exponent(common[known.tie.score]) - path_moments()[0])


def block_site(block: str) -> str:
    """Name of the site that holds the group values of a block of parameters."""
    return f"{block}_values"


def study_values(observed: Observations, known: Structure) -> jax.Array:
    """Level, noise and spreads of cells of each study, (parameter, study), in their order.

    A study's level and its derivatives are at its own centre.
    """
    at = [centred_study_priors(known, observed, s) for s in range(len(observed.studies))]
    mean, sd = np.array([list(each.values()) for each in at]).T
    return numpyro.sample("study_values", dist.Normal(mean, sd).to_event(2))


def common_values(known: Structure) -> Values:
    """Parameters that all groups share."""
    return {name: numpyro.sample(name, dist.Normal(*prior)) for name, prior in known.common.items()}


def factor_shifts(observed: Observations) -> Values:
    """Shifts of quantities by the factors at each cell, (cell,), by ``terms.shift_key``; 0 where unknown."""
    shifts: Values = {}
    for name, values in observed.factor_values.items():
        row = FACTORS[name]
        spread = jnp.exp(numpyro.sample(spread_site(name), dist.Normal(np.log(row.spread), SPREAD_LOG_SD)))
        drawn = numpyro.sample(factor_site(name), dist.Normal(jnp.zeros(len(values)), spread).to_event(1))
        key = shift_key(row.quantity)
        shifts[key] = shifts.get(key, 0.0) + jnp.append(drawn, 0.0)[observed.cell_factor[name]]
    return shifts


def factor_site(name: str) -> str:
    """Name of the site of a factor's shifts."""
    return f"factor_{name}"


def spread_site(name: str) -> str:
    """Name of the site of the logarithm of their spread."""
    return f"log_spread_{name}"


def cells(observed: Observations) -> tuple[Values, Values]:
    """All values at each cell, (cell,), and the shifts to be added to those of ``BEST``."""
    known = structure_of(observed)
    common = common_values(known)
    groups, studies = group_values(observed, known, common), study_values(observed, known)
    x = {name: jnp.asarray(values) for name, values in observed.x.items()}
    count = len(observed.cell_group)
    cell_study = observed.group_study[observed.cell_group]
    at_cell = _by_name(known.group, groups[:, observed.cell_group])
    at_cell |= _by_name(known.study, studies[:, cell_study])
    at_cell |= {name: jnp.broadcast_to(value, count) for name, value in common.items()}
    at_cell |= factor_shifts(observed)
    at_cell |= drifted(at_cell, x)
    bowls = {name for name, optimum in OPTIMA.items() if optimum.curvature is None or name in known.blocks}
    at_cell |= {f"best_{name}": optimum_of(name, at_cell, x) for name in OPTIMA if name in bowls}
    own = {name: jnp.asarray(values[cell_study]) for name, values in observed.centres.items()}
    at_cell |= {"cell_level": surface.log_level(at_cell, x, own), "fading": surface.fading(at_cell, x)}
    at_study = _by_name(known.study, studies)
    dof = surface.noise_dof(at_study, jnp.array([[0.0], [1.0]]))
    tails = jnp.concatenate([dof, likelihood.student_t_normaliser(dof)])[
        :, cell_study
    ]  # costly: once per study
    at_cell |= _by_name(("dof", "off_dof", "tails", "off_tails"), tails)
    return at_cell, cell_shifts(observed, at_cell, at_study)


def cell_shifts(observed: Observations, at_cell: Values, studies: Values) -> Values:
    """Shifts of level, ln eta* and ln B* of each cell, partially centred (Papaspiliopoulos et al. 2007).

    All cells of one size shift together, since width, depth and their ratio change with N: ``size_level``,
    ``size_slope`` (of the level in ln D), ``size_lr`` and ``size_batch`` have one value per size. They are
    part of the cells' shifts ``level``, ``lr`` and ``batch``.

    A cell of many runs is drawn as its value, the sum of law and shifts. The runs fix that sum tightly, so in
    terms of the shift alone the posterior would be a thin shell about a curved law.

    Where no run compares batches, ln B* has no shift: it would be told from that of ln eta* by nothing but
    the bends of the ridge.
    """
    weights = centring(observed)
    sizes = {
        name: _partly_centred(
            f"size_{name}", weights["size"], studies[f"log_tau_size_{name}"][observed.size_study]
        )
        for name in SIZE_SHIFTS
    }
    shared = {name: sizes[name][observed.cell_size] for name in CELL_SHIFTS}
    if "smooth" in observed.parts:
        shifts = {name: shared[name] + _smooth(name, observed, at_cell, shared[name]) for name in CELL_SHIFTS}
    else:
        shared["level"] = shared["level"] + sizes["slope"][observed.cell_size] * observed.x["d"]
        shifts = {
            name: shared[name]
            + _partly_centred(
                f"cell_{name}", weights[name], at_cell[f"log_tau_{name}"], at_cell[BEST[name]] + shared[name]
            )
            for name in CELL_SHIFTS
        }
    shifts["batch"] = jnp.where(observed.compares_batches, shifts["batch"], 0.0)
    compared = np.bincount(observed.cell_size, observed.compares_batches) > 0
    sizes["batch"] = jnp.where(compared, sizes["batch"], 0.0)
    return shifts | {f"size_{name}": values for name, values in sizes.items()}


def _smooth(name: str, observed: Observations, at_cell: Values, shared: jax.Array) -> jax.Array:
    """Deviations of cells from law and size, (cell,): a Gaussian process per group, plus white noise.

    All cells are drawn at once and centred: the values are drawn, and law and size subtracted. The spreads
    are those of the group's study, so the modes of a group stay what they are in each draw
    (``law.smoothness``).
    """
    weights, modes = smoothness.modes_by_group(observed.x, observed.cell_group)
    smooth, white = (jnp.exp(2.0 * at_cell[f"{key}_{name}"]) for key in ("log_tau_smooth", "log_tau"))
    centre = at_cell[BEST[name]] + shared
    weight = centring(observed)[name] @ modes**2
    log_spread = 0.5 * jnp.log(weights * smooth + white)
    return jnp.asarray(modes) @ _partly_centred(f"mode_{name}", weight, log_spread, centre @ modes)


def _partly_centred(
    site: str, weight: Floats, log_tau: jax.Array, centre: jax.Array | float = 0.0
) -> jax.Array:
    """Normal shifts of spread exp(log_tau); the part ``weight`` of ``centre`` is drawn with them."""
    raw = numpyro.sample(site, dist.Normal(weight * centre, jnp.exp(weight * log_tau)).to_event(1))
    return jnp.exp((1.0 - weight) * log_tau) * (raw - weight * centre)


def _own_bowls_excess(observed: Observations, p: Values) -> jax.Array:
    """Excess at the pivot by hyperparameters with a bowl of their own, (run,); 0 for an unknown value."""
    total = jnp.zeros(len(observed.cell))
    for name, optimum in own_bowls().items():
        known = np.isfinite(observed.settings[name])
        if known.any():
            gap = jnp.where(known, np.where(known, observed.settings[name], 0.0) - p[f"best_{name}"], 0.0)
            total = total + surface.side_excess(gap, p[str(optimum.curvature)])
    return total
