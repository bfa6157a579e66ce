"""The loss around one target's optimum, draw by draw, and the settings that are best on average.

The decision minimises the posterior mean of the excess ln loss. Where overshooting the learning rate costs
more than undershooting, it lies below the median optimum.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from bayeslaw import pooling, surface
from bayeslaw.posterior import SIZE_SHIFTS, Floats, Posterior
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd

Settings = dict[str, float]
Columns: TypeAlias = "pd.DataFrame | Mapping[str, Floats]"

MAX_EXCESS = 1.5
"""Cap of one draw's excess ln loss: 2.6 nats become 11.6, the loss of a network that has learnt nothing."""

SAME_SIZE = 1e-3
"""Relative difference of N, or D, below which a target is a fitted cell."""

TOLERANCE = 3e-4
"""Of the settings that are decided on [nats]: 0.03%."""

NOTHING = 1e-9
"""Weight decay or momentum below which there is none: what rounding leaves of 0."""

EXTRAS = {  # hyperparameter -> its curvature and optimum; present where the posterior has the curvature
    "weight_decay": ("decay_curvature", surface.log_decay_optimum),
    "momentum": ("momentum_curvature", surface.log_momentum_gap),
}


@dataclass(frozen=True)
class Basin:
    """The surface at one target; arrays of shape (draw,).

    Attributes:
        target: what it is for.
        p: every surface parameter.
        n, d: ln(N/N0), ln(D/D0).
        log_lr, log_batch: ln eta* at the best batch, ln B*; the cell's own shifts included.
        log_loss: ln loss [nats/token] at the best settings; the cell's own shift included.
        fading: factor of the excess.
        extras: hyperparameters besides the two, among ``weight_decay`` and ``momentum``.
    """

    target: Target
    p: dict[str, Floats]
    n: float
    d: float
    log_lr: Floats
    log_batch: Floats
    log_loss: Floats
    fading: Floats
    extras: tuple[str, ...]


def basin_at(posterior: Posterior, target: Target, seed: int = 0, alone: bool = False) -> Basin:
    """The surface at a target, drawn from the population where its group, study or cell was never seen.

    The same seed gives the same draws for the same group, study and cell, whatever else is asked.

    Args:
        posterior: the fit.
        target: the run.
        seed: of what must be drawn.
        alone: no other target matters. Shifts of a cell never seen are then made of the same normal numbers
            wherever it lies, so that answers change smoothly with N and D; two such cells shift together.
    """
    return basin_of(
        posterior, target, surface_draws(posterior, target.study, target.optimizer, seed), seed, alone
    )


def basin_of(
    posterior: Posterior, target: Target, p: dict[str, Floats], seed: int = 0, alone: bool = False
) -> Basin:
    """``basin_at``, given what all cells of the target's group share: ``p`` of ``surface_draws``."""
    n, d = coordinates(posterior, target)
    effects = cell_effects(posterior, target, p, seed, alone)
    return Basin(
        target=target,
        p=p,
        n=n,
        d=d,
        log_lr=surface.log_lr_optimum(p, np.float64(n), np.float64(d)) + effects["lr"],
        log_batch=surface.log_batch_optimum(p, np.float64(n), np.float64(d)) + effects["batch"],
        log_loss=surface.log_level(p, np.float64(n), np.float64(d)) + effects["level"],
        fading=surface.fading(p, np.float64(n), np.float64(d)),
        extras=tuple(name for name, (curvature, _) in EXTRAS.items() if curvature in p),
    )


def surface_draws(
    posterior: Posterior, study: str | None, optimizer: str, seed: int = 0
) -> dict[str, Floats]:
    """Every parameter that ``bayeslaw.surface`` asks for, of one group; each (draw,)."""
    groups = pooling.group_draws(posterior, study, optimizer, seed)
    return groups | pooling.study_draws(posterior, study, seed) | {"bend": posterior.bend}


def coordinates(posterior: Posterior, target: Target) -> tuple[float, float]:
    """(ln(N/N0), ln(D/D0)) about the posterior's pivot."""
    n0, d0 = posterior.pivot
    return float(np.log(target.params_nonembedding / n0)), float(np.log(target.tokens / d0))


def cell_effects(
    posterior: Posterior, target: Target, p: dict[str, Floats], seed: int = 0, alone: bool = False
) -> dict[str, Floats]:
    """Shifts of ln loss (``level``), ln eta* (``lr``) and ln B* (``batch``) of a target's cell; each (draw,).

    The cell's own where it was fitted; else fresh ones of the spread ``exp(log_tau_*)`` between cells.
    Arguments as of ``basin_at``.
    """
    seen = fitted_cell(posterior, target)
    if seen is not None:
        return {name: values[:, seen] for name, values in posterior.cell.items()}
    key = (target.study, target.optimizer, f"{target.params_nonembedding:.6e}", f"{target.tokens:.6e}")
    normals = fresh_normals(posterior, "cell", seed, *(() if alone else key))
    drawn = {name: np.exp(p[f"log_tau_{name}"]) * values for name, values in normals.items()}
    size = _size_effects(posterior, target, p, seed, alone)
    size["level"] = size["level"] + size["slope"] * coordinates(posterior, target)[1]
    return {name: values + size[name] for name, values in drawn.items()}


def _size_effects(
    posterior: Posterior, target: Target, p: dict[str, Floats], seed: int, alone: bool
) -> dict[str, Floats]:
    """Shifts shared by all cells of one N in one study (``Posterior.size``); fresh where N was not fitted."""
    for i, (study, n) in enumerate(posterior.sizes):
        if study == target.study and _same(n, target.params_nonembedding) and posterior.size:
            return {name: values[:, i] for name, values in posterior.size.items()}
    key = (target.study, f"{target.params_nonembedding:.6e}")
    normals = fresh_normals(posterior, "size", seed, *(() if alone else key))
    return {name: np.exp(p[f"log_tau_size_{name}"]) * values for name, values in normals.items()}


def fresh_normals(posterior: Posterior, kind: str, seed: int = 0, *key: object) -> dict[str, Floats]:
    """Standard normal numbers behind the shifts of a ``cell`` or ``size`` never fitted; each (draw,).

    Args:
        posterior: the fit.
        kind: ``cell`` or ``size``.
        seed: of the numbers.
        key: tells one cell or size from another; none where it stands alone.
    """
    rng = pooling.keyed_rng(seed, kind, *key)
    names = posterior.cell if kind == "cell" else SIZE_SHIFTS
    return {name: rng.standard_normal(posterior.draws) for name in names}


def fitted_cell(posterior: Posterior, target: Target) -> int | None:
    """Which fitted cell the target is, if any."""
    for i, (study, optimizer, n, d) in enumerate(posterior.cells):
        same_group = (study, optimizer) == (target.study, target.optimizer)
        if same_group and _same(n, target.params_nonembedding) and _same(d, target.tokens):
            return i
    return None


def _same(a: float, b: float) -> bool:
    return abs(np.log(a / b)) < SAME_SIZE


# -------------------------------------------------------------------------------- around the optimum


def log_lr_at_batch(basin: Basin, log_batch: Floats | float) -> Floats:
    """ln of the best learning rate at a given ln batch, along the ridge; shape (draw,)."""
    return basin.log_lr + surface.ridge(log_batch - basin.log_batch, basin.p["rho"], basin.p["rho_high"])


def lr_batch_excess(basin: Basin, log_lr: Floats, log_batch: Floats, beyond_batch: bool = False) -> Floats:
    """Excess ln loss of settings, draw by draw.

    Args:
        basin: of the target.
        log_lr, log_batch: ln peak learning rate, ln batch [tokens], shape (setting,) each.
        beyond_batch: leave out what the batch alone costs: the excess over the best learning rate there.

    Returns:
        Shape (draw, setting), at most ``MAX_EXCESS``.
    """
    p = {name: values[:, None] for name, values in basin.p.items()}
    v = log_batch - basin.log_batch[:, None]
    u = log_lr - basin.log_lr[:, None] - surface.ridge(v, p["rho"], p["rho_high"])
    excess = surface.lr_excess(p, u, v) if beyond_batch else surface.lr_batch_excess(p, u, v)
    return np.minimum(basin.fading[:, None] * excess, MAX_EXCESS)


def absorbed_by(posterior: Posterior, target: Target, extras: Iterable[str]) -> list[str]:
    """Hyperparameters that a group's runs never varied: their effect is in its level."""
    return [k for k in extras if pooling.borrowed(posterior, target.study, target.optimizer, EXTRAS[k][0])]


def run_excess(basin: Basin, runs: Columns, absorbed: Iterable[str] = ()) -> Floats:
    """Excess ln loss of runs of one cell, draw by draw, (draw, run); a setting that is missing costs nothing.

    Args:
        basin: of their cell.
        runs: with ``learning_rate`` and ``batch_tokens``, perhaps ``weight_decay`` and ``momentum``.
        absorbed: hyperparameters whose effect the group has in its level, since its runs never varied them.
    """
    rate, batch = (np.log(np.asarray(runs[name], float)) for name in ("learning_rate", "batch_tokens"))
    excess = lr_batch_excess(basin, rate, batch)
    for name in basin.extras:
        if name in runs and name not in absorbed:
            value = np.asarray(runs[name], float)
            known = np.isfinite(value)
            term = extra_excess(basin, name, to_coordinate(name, np.where(known, value, 0.0)))
            excess = excess + np.where(known, term, 0.0)
    return excess


def chance_diverged(basin: Basin, log_lr: Floats, log_batch: Floats) -> Floats:
    """Probability that a run falls off the cliff (``model._outcome_log_prob``), (draw, setting).

    Args:
        basin: of the target.
        log_lr, log_batch: ln peak learning rate, ln batch [tokens], shape (setting,) each.
    """
    p = {name: values[:, None] for name, values in basin.p.items()}
    best = basin.log_lr[:, None] + surface.ridge(
        log_batch - basin.log_batch[:, None], p["rho"], p["rho_high"]
    )
    beyond = (log_lr - best - p["cliff"]) / np.exp(p["log_cliff_width"])
    return 1.0 / (1.0 + np.exp(-np.clip(beyond, -50.0, 50.0)))


def extra_excess(basin: Basin, name: str, coordinate: Floats) -> Floats:
    """Excess ln loss of weight decay or momentum, draw by draw.

    Args:
        basin: of the target.
        name: ``weight_decay`` or ``momentum``.
        coordinate: ``to_coordinate`` of the values, shape (setting,).

    Returns:
        Shape (draw, setting), at most ``MAX_EXCESS``.
    """
    curvature, optimum = EXTRAS[name]
    gap = coordinate - optimum(basin.p, np.float64(basin.n))[:, None]
    excess = surface.side_excess(gap, basin.p[curvature][:, None])
    return np.minimum(basin.fading[:, None] * excess, MAX_EXCESS)


def to_coordinate(name: str, value: Floats | float) -> Floats:
    """ln(weight decay + floor) or ln(1 - momentum): where the surface is a bowl.

    >>> float(from_coordinate("momentum", to_coordinate("momentum", 0.9))).__round__(9)
    0.9
    """
    if name == "weight_decay":
        return np.log(np.asarray(value, float) + surface.DECAY_FLOOR)
    return np.log1p(-np.asarray(value, float))


def from_coordinate(name: str, coordinate: Floats | float) -> Floats:
    """Inverse of ``to_coordinate``, at least 0 (and, for momentum, below 1); 0 below ``NOTHING``."""
    value = np.exp(np.asarray(coordinate, float))
    value = value - surface.DECAY_FLOOR if name == "weight_decay" else 1.0 - value
    return np.where(value < NOTHING, 0.0, value)


def optimum_draws(basin: Basin) -> dict[str, Floats]:
    """The best settings of each draw, in their units, shape (draw,) each.

    The learning rate is the one for the target's batch where that is fixed; the batch is at most D.
    """
    fixed, limit = basin.target.batch_tokens, np.log(basin.target.tokens)
    rate = basin.log_lr if fixed is None else log_lr_at_batch(basin, np.log(fixed))
    best = {"learning_rate": np.exp(rate), "batch_tokens": np.exp(np.minimum(basin.log_batch, limit))}
    for name in basin.extras:
        best[name] = from_coordinate(name, EXTRAS[name][1](basin.p, np.float64(basin.n)))
    return best


# ------------------------------------------------------------------------------------- the decision


def decide(basin: Basin) -> Settings:
    """The settings that minimise the posterior mean of the excess ln loss.

    Returns:
        ``learning_rate``, ``batch_tokens`` (the target's where it is fixed; at most D), and ``weight_decay``
        and ``momentum`` where the posterior knows of them.
    """
    return _decide_rate_and_batch(basin) | {name: _decide_extra(basin, name) for name in basin.extras}


def _decide_extra(basin: Basin, name: str) -> float:
    optimum = EXTRAS[name][1](basin.p, np.float64(basin.n))
    lowest, highest = (np.log(surface.DECAY_FLOOR), np.inf) if name == "weight_decay" else (-np.inf, 0.0)
    best = minimise(
        lambda points: extra_excess(basin, name, points[:, 0]).mean(axis=0),
        np.array([np.median(optimum)]),
        np.array([_half_width(optimum)]),
        lowest,
        highest,
    )
    return float(from_coordinate(name, best[0]))


def _decide_rate_and_batch(basin: Basin) -> Settings:
    fixed = basin.target.batch_tokens
    if fixed is not None:
        rates = log_lr_at_batch(basin, np.log(fixed))
        best = minimise(
            lambda points: lr_batch_excess(basin, points[:, 0], np.log(fixed)).mean(axis=0),
            np.array([np.median(rates)]),
            np.array([_half_width(rates)]),
        )
        return {"learning_rate": float(np.exp(best[0])), "batch_tokens": float(fixed)}
    limit = np.log(basin.target.tokens)
    best = minimise(
        lambda points: lr_batch_excess(basin, points[:, 0], points[:, 1]).mean(axis=0),
        np.array([np.median(basin.log_lr), np.median(basin.log_batch)]),
        np.array([_half_width(basin.log_lr), _half_width(basin.log_batch)]),
        highest=np.array([np.inf, limit]),
    )
    batch = basin.target.tokens if best[1] >= limit else float(np.exp(best[1]))
    return {"learning_rate": float(np.exp(best[0])), "batch_tokens": batch}


def _half_width(draws: Floats) -> float:
    low, high = np.quantile(draws, [0.1, 0.9])
    return max(0.5 * float(high - low), 0.05)


def minimise(
    objective: Callable[[Floats], Floats],
    start: Floats,
    width: Floats,
    lowest: Floats | float = -np.inf,
    highest: Floats | float = np.inf,
    tolerance: float = TOLERANCE,
) -> Floats:
    """Minimum of a smooth bowl by a grid of five points a dimension that moves, then halves.

    Args:
        objective: (point, dimension) -> (point,).
        start: shape (dimension,).
        width: half-width of the first grid, shape (dimension,).
        lowest, highest: bounds, shape (dimension,).
        tolerance: half-width of the grid at which to stop.

    >>> best = minimise(lambda x: ((x - [1.0, -2.0]) ** 2).sum(axis=1), np.zeros(2), np.ones(2))
    >>> [float(x) for x in best.round(3)]
    [1.0, -2.0]
    """
    steps = np.array(list(itertools.product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=len(start))))
    steps = steps[np.argsort(np.abs(steps).sum(axis=1), kind="stable")]  # the centre first: it wins ties
    point, width = np.clip(start, lowest, highest), width.copy()
    for _ in range(200):
        candidates = np.clip(point + steps * width, lowest, highest)
        chosen = int(np.argmin(objective(candidates)))
        point = candidates[chosen]
        width = np.where(np.abs(steps[chosen]) == 1.0, width, 0.5 * width)
        if width.max() < tolerance:
            break
    return point
