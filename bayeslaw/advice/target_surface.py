"""The loss surface around one target's optimum, draw by draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from bayeslaw.arrays import Floats, Ints
from bayeslaw.law import likelihood, smoothness, surface
from bayeslaw.law.parameters import CELL_SHIFTS, SIZE_SHIFTS, belongs
from bayeslaw.law.terms import (
    COVARIATES,
    FACTORS,
    OPTIMA,
    coordinates,
    drifted,
    from_coordinate,
    optimum_of,
    shift_key,
    to_coordinate,
)
from bayeslaw.posterior import pooling
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Cell, Target

if TYPE_CHECKING:
    import pandas as pd

Settings = dict[str, float]
Columns: TypeAlias = "pd.DataFrame | Mapping[str, Floats]"

SAME_SIZE = 1e-3
"""Relative difference of N, D or another covariate below which a target is a fitted cell."""

ALL_USUAL = np.zeros(1)
"""No run departs from its cell's usual settings."""

SHIFTED = {"level": "level", "lr": "learning_rate", "batch": "batch_tokens"}
"""A cell's shift -> what it moves: the level, or the optimum of a hyperparameter."""


@dataclass(frozen=True)
class TargetSurface:
    """The surface at one target; arrays of shape (draw,).

    Attributes:
        target: what it is for.
        p: every surface parameter.
        x: covariates about the pivot.
        optima: hyperparameter -> coordinate of its best value, within its range; the cell's own shifts
        included.
            Those of learning rate (at the best batch) and batch come first.
        log_loss: ln loss [nats/token] at the best settings; the cell's own shift included.
        fading: factor of the excess.
        tried: setting -> how far the group's runs reach from the best ones, (least, greatest) [nats]; empty
            where nobody knows.
    """

    target: Target
    p: dict[str, Floats]
    x: dict[str, float]
    optima: dict[str, Floats]
    log_loss: Floats
    fading: Floats
    tried: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def log_lr(self) -> Floats:
        """ln eta* at the best batch."""
        return self.optima["learning_rate"]

    @property
    def log_batch(self) -> Floats:
        """ln B*."""
        return self.optima["batch_tokens"]

    @property
    def extras(self) -> tuple[str, ...]:
        """Hyperparameters with a bowl of their own that the posterior knows."""
        return tuple(name for name in self.optima if OPTIMA[name].curvature)


def surface_at(
    posterior: Posterior, target: Target, seed: int = 0, independent: bool = False
) -> TargetSurface:
    """The surface at a target, drawn from the population where its group, study or cell was never seen.

    Draws depend only on the seed and on the group, study and cell.

    Args:
        posterior: the fit.
        target: the run.
        seed: of what must be drawn.
        independent: no other target matters. Shifts of a cell never seen are then made of the same normal
            numbers wherever it lies, so that answers change smoothly with N and D; two such cells shift
            together.
    """
    p = surface_draws(posterior, target.study, target.optimizer, seed)
    path = None if independent else smooth_path(posterior, target.study, target.optimizer, p, seed)
    return assemble_surface(posterior, target, p, seed, independent, path)


def assemble_surface(
    posterior: Posterior,
    target: Target,
    p: dict[str, Floats],
    seed: int = 0,
    independent: bool = False,
    path: Path | None = None,
) -> TargetSurface:
    """``surface_at``, given what all cells of the target's group share.

    Args:
        posterior, target, seed, independent: as of ``surface_at``.
        p: of ``surface_draws``.
        path: of ``smooth_path``, so that cells never seen deviate together; without it each does by itself.
    """
    x = place(posterior, target)
    p = p | factor_shifts(posterior, target, seed)
    p = p | drifted(p, x)
    shifts = cell_shifts(posterior, target, p, seed, independent, path)
    known = [name for name, optimum in OPTIMA.items() if (optimum.curvature or "alpha") in p]
    optima = {name: optimum_of(name, p, x) for name in known}
    for shift, name in SHIFTED.items():
        if name in optima:
            optima[name] = optima[name] + shifts[shift]
    log_loss, fading = surface.log_level(p, x) + shifts["level"], surface.fading(p, x)
    if (only := posterior.only_batch.get((str(target.study), target.optimizer))) is not None:
        log_loss = log_loss - fading * surface.batch_excess(p, np.log(only) - optima["batch_tokens"])
    return TargetSurface(
        target=target,
        p=p,
        x={name: float(value) for name, value in x.items()},
        optima=optima,
        log_loss=log_loss,
        fading=fading,
        tried=posterior.tried.get((str(target.study), target.optimizer), {}),
    )


def surface_draws(
    posterior: Posterior, study: str | None, optimizer: str, seed: int = 0
) -> dict[str, Floats]:
    """Every parameter that ``bayeslaw.law.surface`` asks for, of one group; each (draw,)."""
    groups = pooling.group_draws(posterior, study, optimizer, seed)
    return groups | pooling.study_draws(posterior, study, seed) | posterior.common


def place(posterior: Posterior, target: Target) -> dict[str, np.float64]:
    """The target's covariates about the posterior's pivot; those that it lacks at their usual value."""
    usual = usual_settings(posterior, target.study, target.covariates)
    found = coordinates({name: value for name, (value, _) in usual.items()} | target.columns, posterior.pivot)
    return {name: np.float64(value) for name, value in found.items()}


def usual_settings(
    posterior: Posterior, study: str | None, given: Mapping[str, float | str]
) -> dict[str, tuple[Any, bool]]:
    """What holds of the optional covariates and the columns of factors that nothing is said about.

    A column has the value that most cells of the study have; where none tells it, the one that most fitted
    cells have. A covariate has the value of most cells of the study that agree with the columns. Where none
    does, a covariate of the same part of the law as a column that is given (the decay share, where the
    schedule is) has that of most fitted cells that agree; any other has its reference, or the nearest value
    that was fitted. One that is measured on each network has the pivot's, as all have before the first run.

    Args:
        posterior: the fit.
        study: whose usual settings; None for a set-up never seen.
        given: what is said, by name of the covariate or column.

    Returns:
        name -> the natural value or word, and whether all those cells have it.
    """
    columns = {FACTORS[name].column: FACTORS[name].part for name in posterior.factor_values}
    left = [name for name in posterior.pivot if COVARIATES[name].optional and name not in given]
    if not left and columns.keys() <= given.keys():
        return {}
    every = [(cell.study, dict(cell.others)) for cell in posterior.cells]
    own = [others for name, others in every if name == study]
    words = {FACTORS[name].column: values[0] for name, values in posterior.factor_values.items()}
    usual = {column: _most_common(own, column) or (words[column], False) for column in columns}
    said = {column: str(given.get(column, usual[column][0])) for column in columns}
    of_given = {part for column, parts in columns.items() if column in given for part in parts.split()}

    def agreeing(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [others for others in cells if all(str(others.get(c)) == word for c, word in said.items())]

    def nearest_fitted(name: str) -> float:
        values = [others[name] for _, others in every if name in others]
        reference = COVARIATES[name].reference
        return float(np.clip(reference, min(values), max(values))) if values else posterior.pivot[name]

    found: dict[str, tuple[Any, bool]] = {}
    for name in left:
        row = COVARIATES[name]
        if row.measured:  # cells differ by it: the middle of all of them
            found[name] = (posterior.pivot[name], False)
            continue
        told = _most_common(agreeing(own), name)
        if told is None and row.part and belongs(row.part, of_given):
            told = _most_common(agreeing([others for _, others in every]), name)
        found[name] = told or _most_common(own, name) or (nearest_fitted(name), False)
    return found | {column: told for column, told in usual.items() if column not in given}


def settings_of(posterior: Posterior, target: Target) -> dict[str, Any]:
    """Covariates and columns of factors by name: as the target has them, else as ``usual_settings``."""
    usual = usual_settings(posterior, target.study, target.covariates)
    return {name: value for name, (value, _) in usual.items()} | dict(target.covariates)


def _most_common(cells: Iterable[Mapping[str, Any]], name: str) -> tuple[Any, bool] | None:
    """The value that most cells have, and whether all have it; None where none tells it."""
    told = Counter(others[name] for others in cells if others.get(name) is not None)
    return (told.most_common(1)[0][0], len(told) == 1) if told else None


def factor_shifts(posterior: Posterior, target: Target, seed: int = 0) -> dict[str, Floats]:
    """What factors add to quantities at a target, by ``terms.shift_key``; each (draw,)."""
    settings = settings_of(posterior, target)
    shifts: dict[str, Floats] = {}
    for name in posterior.factor:
        row = FACTORS[name]
        key = shift_key(row.quantity)
        drawn = pooling.factor_draws(posterior, name, str(settings[row.column]), seed)
        shifts[key] = shifts.get(key, 0.0) + drawn
    return shifts


def cell_shifts(
    posterior: Posterior,
    target: Target,
    p: dict[str, Floats],
    seed: int = 0,
    independent: bool = False,
    path: Path | None = None,
) -> dict[str, Floats]:
    """Shifts of ln loss (``level``), ln eta* (``lr``) and ln B* (``batch``) of a target's cell; each (draw,).

    The cell's own where it was fitted; else fresh ones of the spread ``exp(log_tau_*)`` between cells, and
    smooth ones where the fit has them. Arguments as of ``assemble_surface``.
    """
    seen = fitted_cell(posterior, target)
    if seen is not None:
        return {name: values[:, seen] for name, values in posterior.cell.items()}
    place_key = (f"{target.params_nonembedding:.6e}", f"{target.tokens:.6e}")
    others = sorted((name, str(value)) for name, value in target.covariates.items())
    key = (target.study, target.optimizer, *place_key, *others)
    normals = fresh_normals(posterior, "cell", seed, *(() if independent else key))
    size = _size_shifts(posterior, target, p, seed, independent)
    if "log_tau_smooth_level" not in p:
        size["level"] = size["level"] + size["slope"] * place(posterior, target)["d"]
        drawn = {name: np.exp(p[f"log_tau_{name}"]) * values for name, values in normals.items()}
    elif path is None:
        drawn = _deviations(posterior, target, p, normals)
    else:
        drawn = _on_path(posterior, target, p, path, normals, fresh_normals(posterior, "cell", seed))
    return {name: values + size[name] for name, values in drawn.items()}


def _deviations(
    posterior: Posterior, target: Target, p: dict[str, Floats], normals: dict[str, Floats]
) -> dict[str, Floats]:
    """Deviations of a cell never fitted given its group's fitted ones."""
    fitted = fitted_deviations(posterior, target.study, target.optimizer)
    here, across = _seen_from(fitted, posterior, target)
    distance = smoothness.beyond(fitted.places, here)
    drawn = {}
    for name in CELL_SHIFTS:
        smooth, white = _spreads(p, name)
        wandered = smoothness.WANDER[name] ** 2 * distance
        drawn[name] = smoothness.deviation(
            fitted.known[name], fitted.variances, across, smooth, white, normals[name], wandered
        )
    return drawn


def _spreads(p: dict[str, Floats], name: str) -> tuple[Floats, Floats]:
    """Standard deviations of a shift's smooth part and of what each cell has of its own, (draw,) each."""
    return np.exp(p[f"log_tau_smooth_{name}"]), np.exp(p[f"log_tau_{name}"])


def _seen_from(fitted: Deviations, posterior: Posterior, target: Target) -> tuple[dict[str, float], Floats]:
    """A target's covariates, and its correlation with the fitted cells along their modes, (cell,)."""
    here = {name: float(value) for name, value in place(posterior, target).items()}
    to_here = smoothness.correlation(fitted.places, {name: np.array([x]) for name, x in here.items()})
    return here, fitted.modes.T @ to_here[:, 0]


class Path(NamedTuple):
    """Smooth deviations of a group as a function of the place, one function per draw.

    Attributes:
        fitted: those of its fitted cells.
        waves: functions of variance 1 that know nothing of them.
        pull: shift -> what bends these functions to the fitted cells, along the modes, (draw, cell).
    """

    fitted: Deviations
    waves: smoothness.Waves
    pull: dict[str, Floats]


def smooth_path(
    posterior: Posterior, study: str | None, optimizer: str, p: dict[str, Floats], seed: int = 0
) -> Path | None:
    """Draw a group's smooth deviations everywhere at once, given its fitted cells; None if the fit has none.

    A function of the prior is bent by what it lacks at the fitted cells (Matheron's rule; Wilson et al. 2020,
    ICML, "Efficiently sampling functions from Gaussian process posteriors").
    """
    if "log_tau_smooth_level" not in p:
        return None
    rng = pooling.keyed_rng(seed, "smooth", study, optimizer)
    fitted = fitted_deviations(posterior, study, optimizer)
    waves = smoothness.draw_waves(rng, posterior.draws, CELL_SHIFTS)
    there = smoothness.along(waves, fitted.places)
    pull = {}
    for name in CELL_SHIFTS:
        smooth, white = (spread[:, None] for spread in _spreads(p, name))
        own = white * rng.standard_normal((posterior.draws, len(fitted.variances)))
        lacking = fitted.known[name] - (smooth * there[name] + own) @ fitted.modes
        pull[name] = smooth**2 * lacking / (smooth**2 * fitted.variances + white**2)
    return Path(fitted, waves, pull)


def _on_path(
    posterior: Posterior,
    target: Target,
    p: dict[str, Floats],
    path: Path,
    own: dict[str, Floats],
    shared: dict[str, Floats],
) -> dict[str, Floats]:
    """Deviations of a cell on a path: ``own`` normals are the cell's, ``shared`` ones those of wandering."""
    here, across = _seen_from(path.fitted, posterior, target)
    wave = smoothness.along(path.waves, {name: np.array([x]) for name, x in here.items()})
    far = np.sqrt(smoothness.beyond(path.fitted.places, here))
    drawn = {}
    for name in CELL_SHIFTS:
        smooth, white = _spreads(p, name)
        wandered = smoothness.WANDER[name] * far * shared[name]
        drawn[name] = smooth * wave[name][:, 0] + path.pull[name] @ across + white * own[name] + wandered
    return drawn


class Deviations(NamedTuple):
    """How a group's fitted cells depart from law and size, in the coordinates of ``smoothness.modes``.

    Attributes:
        places: covariates of the cells about the pivot, (cell,) each.
        variances, modes: eigenvalues (cell,) and eigenvectors (cell, cell) of their correlation.
        known: shift -> deviations along the modes, (draw, cell).
    """

    places: dict[str, Floats]
    variances: Floats
    modes: Floats
    known: dict[str, Floats]


def fitted_deviations(posterior: Posterior, study: str | None, optimizer: str) -> Deviations:
    """The deviations of a group's fitted cells; without a cell where none was fitted."""
    own = [i for i, cell in enumerate(posterior.cells) if cell.group == (study, optimizer)]
    cells = [posterior.cells[i] for i in own]
    at_cells = [place(posterior, Target.of_cell(cell)) for cell in cells]
    places = {name: np.array([float(x[name]) for x in at_cells]) for name in smoothness.LENGTHS}
    sizes = [posterior.sizes.index((cell.study, cell.params_nonembedding)) for cell in cells]
    variances, modes = smoothness.modes(places)
    known = {
        name: (posterior.cell[name][:, own] - posterior.size[name][:, sizes]) @ modes for name in CELL_SHIFTS
    }
    return Deviations(places, variances, modes, known)


def _size_shifts(
    posterior: Posterior, target: Target, p: dict[str, Floats], seed: int, independent: bool
) -> dict[str, Floats]:
    """Shifts shared by all cells of one N in one study (``Posterior.size``); fresh where N was not fitted."""
    for i, (study, n) in enumerate(posterior.sizes):
        if study == target.study and _same(n, target.params_nonembedding) and posterior.size:
            return {name: values[:, i] for name, values in posterior.size.items()}
    key = (target.study, f"{target.params_nonembedding:.6e}")
    normals = fresh_normals(posterior, "size", seed, *(() if independent else key))
    return {name: np.exp(p[f"log_tau_size_{name}"]) * values for name, values in normals.items()}


def fresh_normals(posterior: Posterior, kind: str, seed: int = 0, *key: object) -> dict[str, Floats]:
    """Standard normal numbers behind the shifts of a ``cell`` or ``size`` never fitted; each (draw,).

    Args:
        posterior: the fit.
        kind: ``cell`` or ``size``.
        seed: of the numbers.
        key: tells one cell or size from another; none where it is independent of others.
    """
    rng = pooling.keyed_rng(seed, kind, *key)
    names = CELL_SHIFTS if kind == "cell" else SIZE_SHIFTS
    return {name: rng.standard_normal(posterior.draws) for name in names}


def fitted_cell(posterior: Posterior, target: Target) -> int | None:
    """Which fitted cell the target is, if any."""
    group = (target.study, target.optimizer)
    for i, cell in enumerate(posterior.cells):
        if cell.group == group and _same_place(posterior, cell, target):
            return i
    return None


def _same_place(posterior: Posterior, cell: Cell, target: Target) -> bool:
    if not (
        _same(cell.params_nonembedding, target.params_nonembedding) and _same(cell.tokens, target.tokens)
    ):
        return False
    if not cell.others:
        return True
    here, there = place(posterior, Target.of_cell(cell)), place(posterior, target)
    if any(abs(here[name] - there[name]) >= SAME_SIZE for name in here):
        return False
    known = dict(cell.others)
    asked = settings_of(posterior, target)
    columns = {FACTORS[name].column for name in posterior.factor_values} & known.keys()
    return all(str(asked[column]) == str(known[column]) for column in columns)


def _same(a: float, b: float) -> bool:
    return abs(np.log(a / b)) < SAME_SIZE


# -------------------------------------------------------------------------------- around the optimum


def log_lr_at_batch(at: TargetSurface, log_batch: Floats | float) -> Floats:
    """ln of the best learning rate at a given ln batch, along the ridge; shape (draw,)."""
    return at.log_lr + surface.ridge(log_batch - at.log_batch, at.p["rho"], at.p["rho_high"])


def off_ridge(at: TargetSurface, log_lr: Floats, log_batch: Floats) -> tuple[Floats, Floats]:
    """How far settings lie off the ridge and off the best batch [nats], (draw, setting) each."""
    return surface.off_ridge(_columns(at), log_lr, log_batch, at.log_lr[:, None], at.log_batch[:, None])


def lr_batch_excess(
    at: TargetSurface, log_lr: Floats, log_batch: Floats, beyond_batch: bool = False
) -> Floats:
    """Excess ln loss of settings, draw by draw.

    Args:
        at: the surface.
        log_lr, log_batch: ln peak learning rate, ln batch [tokens], shape (setting,) each.
        beyond_batch: leave out what the batch alone costs: the excess over the best learning rate there.

    Returns:
        Shape (draw, setting).
    """
    p = _columns(at)
    u, v = off_ridge(at, log_lr, log_batch)
    excess = surface.lr_excess(p, u, v) if beyond_batch else surface.lr_batch_excess(p, u, v)
    return np.asarray(at.fading[:, None] * excess)


def extra_excess(at: TargetSurface, name: str, coordinate: Floats) -> Floats:
    """Excess ln loss of a hyperparameter with a bowl of its own, draw by draw.

    Args:
        at: the surface.
        name: of the hyperparameter.
        coordinate: ``terms.to_coordinate`` of the values, shape (setting,).

    Returns:
        Shape (draw, setting).
    """
    gap = coordinate - at.optima[name][:, None]
    return np.asarray(
        at.fading[:, None] * surface.side_excess(gap, _columns(at)[str(OPTIMA[name].curvature)])
    )


def _columns(at: TargetSurface) -> dict[str, Floats]:
    return {name: values[:, None] for name, values in at.p.items()}


def absorbed_by(posterior: Posterior, target: Target, extras: Iterable[str]) -> list[str]:
    """Hyperparameters that a group's runs never varied: their effect is in its level."""
    group = target.study, target.optimizer
    return [name for name in extras if pooling.borrowed(posterior, *group, str(OPTIMA[name].curvature))]


def run_excess(at: TargetSurface, runs: Columns, absorbed: Iterable[str] = ()) -> Floats:
    """Excess ln loss of runs of one cell, draw by draw, (draw, run); a setting that is missing costs nothing.

    Args:
        at: the surface of their cell.
        runs: with ``learning_rate`` and ``batch_tokens``, perhaps others of ``OPTIMA``.
        absorbed: hyperparameters whose effect the group has in its level, since its runs never varied them.
    """
    excess = lr_batch_excess(at, *_log_settings(runs))
    for name in at.extras:
        if name in runs and name not in absorbed:
            value = np.asarray(runs[name], float)
            known = np.isfinite(value)
            term = extra_excess(at, name, to_coordinate(name, np.where(known, value, 0.0)))
            excess = excess + np.where(known, term, 0.0)
    return excess


def _log_settings(runs: Columns) -> tuple[Floats, Floats]:
    return np.log(np.asarray(runs["learning_rate"], float)), np.log(np.asarray(runs["batch_tokens"], float))


def chance_diverged(at: TargetSurface, log_lr: Floats, log_batch: Floats) -> Floats:
    """Probability that a run falls off the cliff, (draw, setting); arguments as of ``lr_batch_excess``."""
    return np.asarray(likelihood.chance_diverged(_columns(at), off_ridge(at, log_lr, log_batch)[0]))


def optimum_draws(at: TargetSurface) -> dict[str, Floats]:
    """The best settings of each draw, in their units, shape (draw,) each.

    The learning rate is the one for the target's batch where that is fixed; the batch is at most D.
    """
    fixed, limit = at.target.batch_tokens, np.log(at.target.tokens)
    best = dict(at.optima)
    if fixed is not None:
        best["learning_rate"] = log_lr_at_batch(at, np.log(fixed))
    best["batch_tokens"] = np.minimum(at.log_batch, limit)
    return {name: from_coordinate(name, values) for name, values in best.items()}


# -------------------------------------------------------------------------------------- runs, and moves


class Run(NamedTuple):
    """Runs of one cell in draws, (draw, run) each: moments of ln loss and the chance to diverge."""

    moments: likelihood.Moments
    diverges: Floats


def run_draws(
    at: TargetSurface,
    runs: Columns,
    absorbed: Iterable[str] = (),
    off: Floats = ALL_USUAL,
    least: Floats | None = None,
) -> Run:
    """Moments and chance of divergence of runs of one cell, draw by draw.

    Args:
        at: the surface of the cell.
        runs: its runs.
        absorbed: hyperparameters whose effect the group has in its level, since its runs never varied them.
        off: 1 where a hyperparameter outside the model departs from the cell's usual value, (run,).
        least: the least excess by learning rate and batch of their group's runs, above which the scatter
            grows, (draw,); by default 0.
    """
    excess = run_excess(at, runs, absorbed)
    u, _ = off_ridge(at, *_log_settings(runs))
    scatter = None if least is None else np.maximum(excess - least[:, None], 0.0)
    m = likelihood.moments(_columns(at), at.log_loss[:, None], excess, u, off, scatter)
    m = m._replace(dof=np.broadcast_to(m.dof, excess.shape), mean=np.asarray(m.mean))
    return Run(m, np.asarray(likelihood.chance_diverged(_columns(at), u)))


def at_draws(at: TargetSurface, draws: Ints) -> TargetSurface:
    """The surface in some of the draws."""
    return replace(
        at,
        p={name: values[draws] for name, values in at.p.items()},
        optima={name: values[draws] for name, values in at.optima.items()},
        log_loss=at.log_loss[draws],
        fading=at.fading[draws],
    )


def coordinate(at: TargetSurface, name: str) -> Floats:
    """The level, a hyperparameter's optimum or another parameter; shape (draw,).

    Args:
        at: the surface.
        name: ``level``, ``lr``, ``batch``, a key of ``OPTIMA`` or of ``at.p``.
    """
    name = SHIFTED.get(name, name)
    return at.log_loss if name == "level" else at.optima[name] if name in at.optima else at.p[name]


def shift(at: TargetSurface, name: str, by: Floats | float) -> TargetSurface:
    """The surface with one ``coordinate`` larger."""
    return with_coordinate(at, name, coordinate(at, name) + by)


def with_coordinate(at: TargetSurface, name: str, values: Floats) -> TargetSurface:
    """The surface with one ``coordinate`` replaced, (draw,)."""
    name = SHIFTED.get(name, name)
    if name == "level":
        return replace(at, log_loss=values)
    if name in at.optima:
        return replace(at, optima=at.optima | {name: values})
    return replace(at, p=at.p | {name: values})
