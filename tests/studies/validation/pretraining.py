"""Families of pre-training sweeps: cells whose minimum can be smoothed, divided by cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bayeslaw.evaluation.smoothing import SmoothedCell, smooth_cell
from bayeslaw.runs.cells import comparable_runs, finished_runs, group_cells
from bayeslaw.target import Target
from tests.studies.validation.worlds import Box, Family, World

TARGET_SHARE, POOL_SHARE = 0.1, 0.1
"""A target costs at least this share of the costliest world, a world of the pool at most this share of the
cheapest target; where no world is that cheap, the costliest is the only target and the pool costs at most
``NEAR_POOL`` of it."""
NEAR_POOL = 0.25

SEED_NOISE = 3.6e-4
"""Sd of ln loss between seeds where a cell has too few runs to tell: modded-nanogpt's 365 repeats."""


def pre_trained(runs: pd.DataFrame, stem: str) -> tuple[list[Family], list[str]]:
    """A family for each study and optimizer of a run table; and why others are none, a line each."""
    found, without = [], []
    several = runs.groupby("optimizer")["study"].nunique() > 1
    for (study, optimizer), rows in runs.groupby(["study", "optimizer"]):
        name = f"{stem}-{study}-{optimizer}" if several[optimizer] else f"{stem}-{optimizer}"
        cells = [(smooth_cell(key, mine), mine) for key, mine in group_cells(rows.reset_index(drop=True))]
        worlds = [_smoothed_world(cell, mine) for cell, mine in cells if np.isfinite(cell.loss)]
        pool, targets = divided(_named(worlds))
        if pool and targets:
            found.append(_family(name, pool, targets, rows.reset_index(drop=True)))
        else:
            judged = sum(world.judged for world in worlds)
            rates = [mine["learning_rate"].nunique() for _, mine in cells]
            without.append(
                f"{study} / {optimizer}: {judged} of {len(cells)} cells have learning rates on both sides of "
                f"their best, {sum(count >= 4 for count in rates)} have four learning rates"
            )
    return found, without


def _family(name: str, pool: Sequence[World], targets: Sequence[World], runs: pd.DataFrame) -> Family:
    limit = max(world.cost for world in pool)
    cost = 6 * runs["params_nonembedding"] * runs["tokens"]
    small = runs[cost <= limit * (1 + 1e-9)].reset_index(drop=True)
    return Family(name, tuple(pool), tuple(targets), small, runs)


def _named(worlds: Sequence[World]) -> list[World]:
    """With names of so many digits that no two worlds share one."""
    for digits in (3, 6, 17):
        sizes = [(world.target.params_nonembedding, world.target.tokens) for world in worlds]
        names = [f"N={n:.{digits}g} D={d:.{digits}g}" for n, d in sizes]
        if len(set(names)) == len(names):
            break
    return [replace(world, name=name) for world, name in zip(worlds, names, strict=True)]


def divided(worlds: Sequence[World]) -> tuple[list[World], list[World]]:
    """Pool and targets, by cost (see ``TARGET_SHARE``)."""
    judged = [w for w in worlds if w.judged]
    if not judged:
        return [], []
    costliest = max(w.cost for w in judged)
    targets = [w for w in judged if w.cost >= TARGET_SHARE * costliest * (1 - 1e-9)]
    limit = POOL_SHARE * min(w.cost for w in targets)
    pool = [w for w in worlds if w.cost <= limit * (1 + 1e-9)]
    if not pool:
        targets = [w for w in judged if w.cost == costliest]
        pool = [w for w in worlds if w.cost <= NEAR_POOL * costliest]
    return pool, targets


def _smoothed_world(cell: SmoothedCell, rows: pd.DataFrame) -> World:
    tried = comparable_runs(finished_runs(rows))
    fixed = cell.batch_tokens if cell.axis == "learning_rate" else None
    if fixed is not None:
        tried = tried[np.abs(np.log(tried["batch_tokens"].to_numpy(float) / fixed)) < 1e-3]
    lr, batch = (np.log(tried[name].to_numpy(float)) for name in ("learning_rate", "batch_tokens"))
    ends = (np.log(fixed),) * 2 if fixed else (batch.min(), batch.max())
    key = cell.key

    def surface(rate: float, batch_tokens: float) -> tuple[float, bool]:
        at = (rate, batch_tokens if fixed is None else fixed)
        return float(cell.loss * (1 + cell.regret(*at)[0])), bool(cell.inside(*at)[0])

    return World(
        Target(key.params_nonembedding, key.tokens, key.optimizer, key.study, fixed),
        Box((lr.min(), lr.max()), ends),
        surface,
        lambda rate, batch_tokens: 0.0,
        cell.loss,
        (cell.learning_rate, cell.batch_tokens),
        cell.noise if np.isfinite(cell.noise) else SEED_NOISE,
        float(rows["loss"].max()),
        cell.scorable,
    )
