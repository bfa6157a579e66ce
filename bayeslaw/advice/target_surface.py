"""The loss surface around one target's optimum, draw by draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bayeslaw.arrays import Floats
from bayeslaw.law import surface
from bayeslaw.posterior import pooling
from bayeslaw.posterior.draws import SIZE_SHIFTS, Posterior
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd

Settings = dict[str, float]
Columns: TypeAlias = "pd.DataFrame | Mapping[str, Floats]"

MAX_EXCESS = 1.5
"""Cap of one draw's excess ln loss: 2.6 nats become 11.6, the loss of a network that has learnt nothing."""

SAME_SIZE = 1e-3
"""Relative difference of N, or D, below which a target is a fitted cell."""

NOTHING = 1e-9
"""Weight decay or momentum below which there is none: what rounding leaves of 0."""

EXTRAS = {  # hyperparameter -> its curvature and optimum; present where the posterior has the curvature
    "weight_decay": ("decay_curvature", surface.log_decay_optimum),
    "momentum": ("momentum_curvature", surface.log_momentum_gap),
}

ALL_USUAL = np.zeros(1)
"""No run departs from its cell's usual settings."""

EXTRA_COORDINATES = {"weight_decay": ("lambda", "mu"), "momentum": ("zeta", "kappa")}
"""Hyperparameter -> the parameter that moves its optimum, and its fall with ln N."""


@dataclass(frozen=True)
class TargetSurface:
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


def surface_at(posterior: Posterior, target: Target, seed: int = 0, alone: bool = False) -> TargetSurface:
    """The surface at a target, drawn from the population where its group, study or cell was never seen.

    The same seed gives the same draws for the same group, study and cell, whatever else is asked.

    Args:
        posterior: the fit.
        target: the run.
        seed: of what must be drawn.
        alone: no other target matters. Shifts of a cell never seen are then made of the same normal numbers
            wherever it lies, so that answers change smoothly with N and D; two such cells shift together.
    """
    return assemble_surface(
        posterior, target, surface_draws(posterior, target.study, target.optimizer, seed), seed, alone
    )


def assemble_surface(
    posterior: Posterior, target: Target, p: dict[str, Floats], seed: int = 0, alone: bool = False
) -> TargetSurface:
    """``surface_at``, given what all cells of the target's group share: ``p`` of ``surface_draws``."""
    n, d = coordinates(posterior, target)
    effects = cell_effects(posterior, target, p, seed, alone)
    return TargetSurface(
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
    """Every parameter that ``bayeslaw.law.surface`` asks for, of one group; each (draw,)."""
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
    Arguments as of ``surface_at``.
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


def log_lr_at_batch(basin: TargetSurface, log_batch: Floats | float) -> Floats:
    """ln of the best learning rate at a given ln batch, along the ridge; shape (draw,)."""
    return basin.log_lr + surface.ridge(log_batch - basin.log_batch, basin.p["rho"], basin.p["rho_high"])


def lr_batch_excess(
    basin: TargetSurface, log_lr: Floats, log_batch: Floats, beyond_batch: bool = False
) -> Floats:
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


def run_excess(basin: TargetSurface, runs: Columns, absorbed: Iterable[str] = ()) -> Floats:
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


def chance_diverged(basin: TargetSurface, log_lr: Floats, log_batch: Floats) -> Floats:
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


def extra_excess(basin: TargetSurface, name: str, coordinate: Floats) -> Floats:
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


def optimum_draws(basin: TargetSurface) -> dict[str, Floats]:
    """The best settings of each draw, in their units, shape (draw,) each.

    The learning rate is the one for the target's batch where that is fixed; the batch is at most D.
    """
    fixed, limit = basin.target.batch_tokens, np.log(basin.target.tokens)
    rate = basin.log_lr if fixed is None else log_lr_at_batch(basin, np.log(fixed))
    best = {"learning_rate": np.exp(rate), "batch_tokens": np.exp(np.minimum(basin.log_batch, limit))}
    for name in basin.extras:
        best[name] = from_coordinate(name, EXTRAS[name][1](basin.p, np.float64(basin.n)))
    return best


# -------------------------------------------------------------------------------------- runs, and shifts


class Run(NamedTuple):
    """Runs of one cell in draws, (draw, run) each; ``log_loss`` is the mean of ln loss, excess included."""

    log_loss: Floats
    scale: Floats
    dof: Floats
    diverges: Floats


def run_draws(
    basin: TargetSurface, runs: Columns, absorbed: Iterable[str] = (), off: Floats = ALL_USUAL
) -> Run:
    """Mean, scatter and chance of divergence of runs of one cell, draw by draw.

    Args:
        basin: of the cell.
        runs: its runs.
        absorbed: hyperparameters whose effect the group has in its level, since its runs never varied them.
        off: 1 where a hyperparameter outside the model departs from the cell's usual value, (run,).
    """
    rate, batch = (np.log(np.asarray(runs[name], float)) for name in ("learning_rate", "batch_tokens"))
    excess = run_excess(basin, runs, absorbed)
    p = {name: values[:, None] for name, values in basin.p.items()}
    return Run(
        log_loss=basin.log_loss[:, None] + excess + surface.off_shift(p, off),
        scale=surface.noise_scale(p, excess, off),
        dof=np.broadcast_to(surface.noise_dof(p, off), excess.shape),
        diverges=chance_diverged(basin, rate, batch),
    )


def at_draws(basin: TargetSurface, draws: NDArray[np.int64]) -> TargetSurface:
    """The surface in some of the draws."""
    arrays = {name: getattr(basin, name)[draws] for name in ("log_lr", "log_batch", "log_loss", "fading")}
    return replace(basin, p={name: values[draws] for name, values in basin.p.items()}, **arrays)


FIELDS = {"level": "log_loss", "lr": "log_lr", "batch": "log_batch"}


def coordinate(basin: TargetSurface, name: str) -> Floats:
    """One of ``COORDINATES``, or the optimum of a hyperparameter of ``EXTRA_COORDINATES``; shape (draw,)."""
    if name in EXTRA_COORDINATES:
        return EXTRAS[name][1](basin.p, np.float64(basin.n))
    return getattr(basin, FIELDS[name]) if name in FIELDS else basin.p[name]


def moved(basin: TargetSurface, name: str, by: Floats | float) -> TargetSurface:
    """The surface with one coordinate larger."""
    if name in FIELDS:
        result: TargetSurface = replace(basin, **{FIELDS[name]: getattr(basin, FIELDS[name]) + by})
        return result
    parameter = EXTRA_COORDINATES[name][0] if name in EXTRA_COORDINATES else name
    return replace(basin, p=basin.p | {parameter: basin.p[parameter] + by})


def with_optimum(basin: TargetSurface, name: str, optimum: Floats) -> TargetSurface:
    """The surface with the optimum of a hyperparameter of ``EXTRA_COORDINATES`` where asked, (draw,)."""
    parameter, slope = EXTRA_COORDINATES[name]
    return replace(basin, p=basin.p | {parameter: optimum + basin.p[slope] * basin.n})
