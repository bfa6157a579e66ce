"""From what a method saw to settings of the target: copying, rules, published laws, regressions, posteriors.

Each piece of advice is a function ``(seen, target, seed) -> Settings``; None where the method has nothing to
say. Ours are Laplace fits (``approximate``: seconds each), not NUTS: a study of hundreds of fits cannot pay
for more, and the mode is where NUTS starts.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.advice.decision import decide
from bayeslaw.advice.target_surface import TargetSurface, optimum_draws, surface_at
from bayeslaw.assets import POSTERIOR
from bayeslaw.errors import BadInput
from bayeslaw.evaluation import baselines
from bayeslaw.evaluation.heldout import law_advisor
from bayeslaw.law.parameters import CELL_SHIFTS, DEFAULT_PARTS, PARAMETERS, SIZE_SHIFTS, Parameter, register
from bayeslaw.law.published import LAWS
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.runs.cells import finished_runs
from bayeslaw.runs.io import table_sha256
from bayeslaw.runs.schema import CELL
from bayeslaw.target import Target
from tests.studies.validation.searches import History
from tests.studies.validation.worlds import EXAMPLE_TOKENS, Box, Family, World

Settings = tuple[float, float]
"""Learning rate and batch [tokens]."""

SWEPT = ("run_id", *CELL, "batch_tokens", "learning_rate", "loss", "status")


@dataclass(frozen=True)
class Seen:
    """What a method saw: its runs as a run table, with the family that they are of."""

    family: Family
    runs: pd.DataFrame


class _Table:
    """A run table that a cache can tell from another."""

    def __init__(self, runs: pd.DataFrame):
        self.runs, self.digest = runs, table_sha256(runs)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Table) and other.digest == self.digest


Advise = Callable[[Seen, World, int], Settings | None]


def as_runs(history: History) -> pd.DataFrame:
    """The run table of a search; a failed run is diverged and has no loss."""
    rows = []
    for k, (setting, outcome) in enumerate(history):
        at = setting.world.target
        rows.append(
            {
                "run_id": f"run-{k}",
                "study": at.study,
                "optimizer": at.optimizer,
                "params_nonembedding": at.params_nonembedding,
                "tokens": at.tokens,
                "batch_tokens": setting.batch_tokens,
                "learning_rate": setting.learning_rate,
                "loss": np.nan if outcome.failed else outcome.loss,
                "status": "diverged" if outcome.failed else "finished",
            }
        )
    return pd.DataFrame(rows, columns=list(SWEPT))


# ------------------------------------------------------------------------------------------- heuristics


def best_run(seen: Seen, target: World, seed: int) -> Settings | None:
    """Settings of the run with the lowest loss; among several worlds, of the costliest that finished."""
    runs = finished_runs(seen.runs)
    if not len(runs):
        return None
    cost = runs["params_nonembedding"] * runs["tokens"]
    row = runs.loc[runs.loc[cost == cost.max(), "loss"].idxmin()]
    return float(row["learning_rate"]), float(row["batch_tokens"])


def square_root_rule(seen: Seen, target: World, seed: int) -> Settings | None:
    """The small run's best, its batch times sqrt(D ratio), its rate times sqrt(batch ratio).

    The batch: critical batch sizes grow about as sqrt(D) (Zhang et al., arXiv 2410.21676). The rate: Malladi
    et al., arXiv 2205.10287.
    """
    copied, runs = best_run(seen, target, seed), finished_runs(seen.runs)
    if copied is None:
        return None
    rate, batch = copied
    scaled = batch * np.sqrt(target.target.tokens / runs["tokens"].max())
    scaled = scaled if target.target.batch_tokens is None else batch
    return rate * float(np.sqrt(scaled / batch)), float(scaled)


def width_rule(seen: Seen, target: World, seed: int) -> Settings | None:
    """The small run's best, its rate times the inverse ratio of widths, as muP has it for hidden matrices.

    Yang et al., arXiv 2203.03466; widths from N as if depth grew with width: N^(1/3).
    """
    copied, runs = best_run(seen, target, seed), finished_runs(seen.runs)
    if copied is None:
        return None
    ratio = target.target.params_nonembedding / runs["params_nonembedding"].max()
    return copied[0] * ratio ** (-1 / 3), copied[1]


def framework_default(seen: Seen, target: World, seed: int) -> Settings:
    """What documentation says: nanoGPT 6e-4 and 0.5M tokens; Muon 0.02; HF Trainer 5e-5 and 8 examples."""
    if seen.family.kind != "pre-training":
        return 5e-5, 8.0 * EXAMPLE_TOKENS
    rate = 0.02 if target.target.optimizer == "muon" else 6e-4
    return rate, target.target.batch_tokens or 0.5e6


def law(name: str) -> Advise:
    """A published law; it has nothing to say on fine-tuning or on another optimizer."""

    def advise(seen: Seen, target: World, seed: int) -> Settings | None:
        others = {LAWS[name].optimizer, "adamw", "adam"}
        if seen.family.kind != "pre-training" or target.target.optimizer not in others:
            return None
        return _pair(law_advisor(name).recommend(target.target))

    return advise


def regression(fit: Callable[[pd.DataFrame], baselines.PowerLawAdvisor]) -> Advise:
    """Best runs of each cell, regressed on ln N and ln D; None where the cells do not determine it."""

    once = functools.lru_cache(maxsize=4)(lambda table: fit(table.runs))

    def advise(seen: Seen, target: World, seed: int) -> Settings | None:
        with contextlib.suppress(BadInput), np.errstate(over="ignore"):
            found = _pair(once(_Table(seen.runs)).recommend(target.target))
            return found if np.all(np.isfinite(found)) and min(found) > 0 else None
        return None

    return advise


def gaussian_process(seen: Seen, target: World, seed: int) -> Settings | None:
    """BoTorch's SingleTaskGP on (ln rate, ln batch, ln N, ln D) -> ln loss; least mean in the target's box.

    Failed runs have no loss and are left out. Inputs are scaled to the unit cube of the runs, outcomes
    standardised, hyperparameters by marginal likelihood: BoTorch's defaults.
    """
    if len(finished_runs(seen.runs)) < 3:
        return None
    mean = _process(_Table(seen.runs))
    axes = [np.linspace(*ends, 61) for ends in (target.box.rate, target.box.batch)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    size = np.log([target.target.params_nonembedding, target.target.tokens])
    best = np.exp(grid[np.argmin(mean(np.column_stack([grid, np.broadcast_to(size, grid.shape)])))])
    return float(best[0]), float(best[1])


@functools.lru_cache(maxsize=4)
def _process(table: _Table) -> Callable[[np.ndarray], np.ndarray]:
    """Posterior mean of ln loss, standardised, at (point, 4) logarithms of settings and sizes."""
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.set_num_threads(1)
    torch.manual_seed(0)
    runs = finished_runs(table.runs)
    x = np.log(runs[["learning_rate", "batch_tokens", "params_nonembedding", "tokens"]].to_numpy(float))
    low, width = x.min(axis=0), np.ptp(x, axis=0)
    kept = width > 0
    y = np.log(runs["loss"].to_numpy(float))[:, None]
    scaled = torch.tensor((x - low)[:, kept] / width[kept])
    model = SingleTaskGP(scaled, torch.tensor((y - y.mean()) / y.std()), outcome_transform=None)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))

    def mean(points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            at = torch.tensor((points - low)[:, kept] / width[kept])
            return model.posterior(at).mean.numpy()[:, 0]

    return mean


# --------------------------------------------------------------------------------------------------- ours


def posterior_of(runs: pd.DataFrame, parts: tuple[str, ...] = (), prior: str = "") -> Posterior:
    """Laplace posterior of some runs; the same runs are fitted once.

    Args:
        runs: finished and diverged ones.
        parts: of the law, beyond its core.
        prior: key of ``PRIORS``; empty for the package's.
    """
    return _posterior(_Table(runs), parts, prior)


@functools.lru_cache(maxsize=16)
def _posterior(table: _Table, parts: tuple[str, ...], prior: str) -> Posterior:
    from bayeslaw.inference.approximation import approximate
    from bayeslaw.inference.effort import Effort

    if not len(finished_runs(table.runs)):
        return prior_posterior(parts=parts)
    with other_prior(prior):
        return approximate(table.runs, parts, effort=Effort(optimization=0))


def _wider(times: float) -> Callable[[Parameter], Parameter]:
    return lambda row: replace(row, sd=times * row.sd)


def _held(mean: float) -> Callable[[Parameter], Parameter]:
    """At a value, in all groups."""
    return lambda row: replace(row, mean=mean, sd=1e-2, between_optimizers=1e-2, between_studies=1e-2)


OPTIMA = ("alpha", "gamma_path", "delta", "beta", "epsilon", "epsilon_n")
"""Laws of the best rate and batch."""
DEVIATIONS = tuple(f"log_tau_{name}" for name in CELL_SHIFTS) + tuple(
    f"log_tau_size_{name}" for name in SIZE_SHIFTS
)
"""Spreads of what cells, and all cells of one N, have of their own: the discrepancy of the core."""

PRIORS = {
    "vague": dict.fromkeys(OPTIMA, _wider(4)),
    "flat": dict.fromkeys(OPTIMA, _wider(30)),
    "no ridge": dict.fromkeys(("rho", "rho_high"), _held(0.0)),
    "no deviations": dict.fromkeys(DEVIATIONS, _held(np.log(1e-5))),
}
"""Rows of the law that an ablation changes: laws of the optima 4 and 30 times as wide; a rate that ignores B;
cells without deviations of their own, 1e-5 of ln loss and nats."""


@contextlib.contextmanager
def other_prior(name: str) -> Iterator[None]:
    """The law's table with some rows changed, until the block ends."""
    before = {key: PARAMETERS[key] for key in PRIORS.get(name, {})}
    register(*(change(PARAMETERS[key]) for key, change in PRIORS.get(name, {}).items()))
    try:
        yield
    finally:
        register(*before.values())


def ours(
    parts: tuple[str, ...] = (),
    prior: str = "",
    select: Callable[[pd.DataFrame], pd.DataFrame] = lambda runs: runs,
    median: bool = False,
) -> Advise:
    """Fit the runs and decide; with ``median`` the posterior median optimum instead of the decision."""

    def advise(seen: Seen, target: World, seed: int) -> Settings | None:
        posterior = posterior_of(select(seen.runs), parts, prior)
        return answerable(posterior, target.target, target.box, median_settings if median else decide)

    return advise


def answerable(
    posterior: Posterior,
    target: Target,
    box: Box,
    choose: Callable[[TargetSurface], dict[str, float]] = decide,
    seed: int = 0,
) -> Settings:
    """Settings whose batch lies in a world's box: where the best one does not, those for the nearest.

    The best rate goes with the batch, and no world answers beyond its box.
    """
    settings = _pair(choose(surface_at(posterior, target, seed, independent=True)))
    nearest = float(np.exp(np.clip(np.log(settings[1]), *box.batch)))
    if np.isclose(nearest, settings[1]):
        return settings
    held = replace(target, batch_tokens=nearest)
    return _pair(choose(surface_at(posterior, held, seed, independent=True)))


def median_settings(surface: TargetSurface) -> dict[str, float]:
    """The posterior median of the best settings; of the best rate at the batch where that is fixed."""
    middle = {name: float(np.median(draws)) for name, draws in optimum_draws(surface).items()}
    fixed = surface.target.batch_tokens
    return middle if fixed is None else middle | {"batch_tokens": fixed}


def with_population(seen: Seen, target: World, seed: int) -> Settings | None:
    """The population of the shipped posterior as prior, with all the parts of the law that it knows.

    None where the runs are of a study that it holds: they would count twice.
    """
    if seen.family.known_study:
        return None
    posterior = _of_population(_Table(seen.runs))
    return answerable(posterior, target.target, target.box)


@functools.lru_cache(maxsize=4)
def _of_population(table: _Table) -> Posterior:
    from bayeslaw.inference.approximation import approximate
    from bayeslaw.inference.effort import Effort

    return approximate(
        table.runs, DEFAULT_PARTS, effort=Effort(optimization=0), population=read_posterior(POSTERIOR)
    )


def near_optimal_only(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs within 1% of the best of their cell: an ablation of what off-optimum runs are worth."""
    lowest = runs.groupby(list(CELL))["loss"].transform("min")
    return runs[runs["loss"] <= 1.01 * lowest].reset_index(drop=True)


def finished_only(runs: pd.DataFrame) -> pd.DataFrame:
    """Without diverged runs."""
    return runs[runs["status"] == "finished"].reset_index(drop=True)


def without_runs(seen: Seen, target: World, seed: int) -> Settings:
    """The priors' advice for a set-up never seen.

    Not the posterior that the package ships: it has seen the sweeps that are replayed here.
    """
    never_seen = replace(target.target, study=None)
    return answerable(prior_posterior(seed=seed, parts=()), never_seen, target.box, seed=seed)


def _pair(advice: dict[str, Any]) -> Settings:
    return float(advice["learning_rate"]), float(advice["batch_tokens"])
