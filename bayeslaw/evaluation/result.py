"""What ``evaluate`` answers: how well an advisor predicted held-out runs, and what its advice cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bayeslaw.law.terms import words_of
from bayeslaw.results import Result, Section
from bayeslaw.text import percent, short


@dataclass(frozen=True)
class Summary:
    """Regret and optima over all cells; None where nothing was scored.

    Attributes:
        cells: number of cells.
        cells_scored: number that could be scored.
        regret_mean, regret_median, regret_max: over the scored cells [fraction of the loss].
        regret_lower_bounds: number of scored cells whose regret is a bound from below.
        optimum_coverage: share of smoothed optima inside the advisor's intervals, by hyperparameter.
        optimum_interval_factor: typical upper over lower end of these intervals, since wide ones cover
            easily.
    """

    cells: int
    cells_scored: int
    regret_mean: float | None
    regret_median: float | None
    regret_max: float | None
    regret_lower_bounds: int
    optimum_coverage: Mapping[str, float] | None
    optimum_interval_factor: Mapping[str, float] | None


@dataclass(frozen=True)
class LossScores:
    """Scores of predicted losses of finished runs; ``r2`` and ``mae`` refer to the median of the draws.

    Attributes:
        r2, r2_within_cells: over all runs, and about the mean of each cell; None where losses do not vary.
        mae, crps: [nats/token].
        coverage: share of runs inside their intervals.
        coverage_by_level: the same at several levels; keys are the levels as text.
        effective_n: number of independent numbers that the runs are worth.
        joint_pit: ``scores.joint_pit`` of the cells' mean ln losses; None where it does not exist.
    """

    r2: float | None
    r2_within_cells: float | None
    mae: float
    crps: float
    coverage: float
    coverage_by_level: Mapping[str, float]
    effective_n: float
    joint_pit: float | None


@dataclass(frozen=True)
class AdviceScores:
    """What advice for one cell cost.

    Attributes:
        regret: relative excess loss of the advice over the smoothed minimum, **a fraction** (0.001 is 0.1%).
        beyond_runs: whether the advice lies outside the cell's runs, so that its regret is a lower bound.
        recommendation: the advice, by hyperparameter.
        optimum: smoothed learning rate, batch [tokens] and loss. It is itself uncertain, by about 7% on a
            grid of a hundred runs (two halves of a Step Law cell differ by 14%): much narrower intervals
            cannot cover it.
        noise: of ln loss near it; None where it is not known.
        optimum_interval: the advisor's, lower and upper, by hyperparameter; None for an advisor without one.
        optimum_covered: whether each contains the smoothed optimum.
    """

    regret: float
    beyond_runs: bool
    recommendation: Mapping[str, float]
    optimum: Mapping[str, float]
    noise: float | None
    optimum_interval: Mapping[str, list[float]] | None
    optimum_covered: Mapping[str, bool] | None


@dataclass(frozen=True)
class ScoredCell:
    """Runs of one study, optimizer, N and D.

    Attributes:
        study, optimizer: of its runs.
        params: non-embedding parameters.
        tokens: number of training tokens.
        n: number of finished runs.
        note: why its optimum cannot be judged, or no advice was given; else what qualifies the score.
        advice: scores of the advice; None where there are none.
    """

    study: str
    optimizer: str
    params: float
    tokens: float
    n: int
    note: str
    advice: AdviceScores | None = None

    def to_json(self) -> dict[str, Any]:
        """A mapping of ``cells`` in ``bayeslaw evaluate --json``."""
        told = {name: value for name, value in vars(self).items() if name != "advice"}
        scores = {"regret": None} if self.advice is None else vars(self.advice)
        return told | scores | {"scorable": self.advice is not None}


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation(Result):
    """Scores of an advisor on held-out runs.

    Attributes:
        n: number of finished runs.
        not_finished: number of other runs, by status.
        losses: scores of predicted losses; None for an advisor that predicts none.
        cells: scores of the advice, cell by cell.
        summary: over all cells.
        level: of the intervals.
        advisor: its label.
    """

    n: int
    not_finished: Mapping[str, int]
    losses: LossScores | None
    cells: tuple[ScoredCell, ...]
    summary: Summary
    level: float
    advisor: str

    def to_json(self) -> dict[str, Any]:
        """The keys of ``bayeslaw evaluate --json``."""
        losses = {} if self.losses is None else asdict(self.losses)
        return {
            "runs": {"n": self.n, **losses, "level": self.level, "not_finished": dict(self.not_finished)},
            "cells": [cell.to_json() for cell in self.cells],
            "summary": asdict(self.summary),
            "level": self.level,
            "advisor": self.advisor,
        }

    def sections(self) -> list[Section]:
        """One row per cell, then regret, optima and losses over all."""
        header = ("study", "optimizer", "N", "tokens", "runs", "regret", "note")
        title = f"{self.advisor}: {self.n} finished runs"
        rows = [_row(cell) for cell in self.cells]
        return [Section(title, header, rows, [*self._about_advice(), *self._about_losses()])]

    def _about_advice(self) -> list[str]:
        said, told = [], self.summary
        if told.regret_mean is not None and told.regret_median is not None and told.regret_max is not None:
            middle, most = percent(told.regret_median), percent(told.regret_max)
            said.append(f"regret    {percent(told.regret_mean)} mean, {middle} median, {most} at most")
        widths = told.optimum_interval_factor or {}
        return said + [
            f"optimum   {share:.0%} of {words_of(name)} inside the interval, upper/lower {widths[name]:.3g}"
            for name, share in (told.optimum_coverage or {}).items()
        ]

    def _about_losses(self) -> list[str]:
        found = self.losses
        if found is None:
            return []
        fit = "-" if found.r2 is None else f"{found.r2:.3f}"
        return [
            f"loss      R2 {fit}, CRPS {found.crps:.4f}, MAE {found.mae:.4f} nats/token",
            f"coverage  {found.coverage:.0%} of runs inside {100 * self.level:g}% intervals, worth "
            f"{short(found.effective_n)} independent runs",
            *_jointly(found.joint_pit),
        ]


def _jointly(pit: float | None) -> list[str]:
    if pit is None:
        return []
    verdict = "too sure" if pit > 0.975 else "too wide" if pit < 0.025 else "as sure as they may be"
    return [f"jointly   cells' mean losses at quantile {pit:.3f} of their distance: {verdict}"]


def _row(cell: ScoredCell) -> list[object]:
    regret = "-" if cell.advice is None else percent(cell.advice.regret)
    note = "beyond the runs: a lower bound" if cell.advice and cell.advice.beyond_runs else cell.note
    return [cell.study, cell.optimizer, short(cell.params), short(cell.tokens), cell.n, regret, note]
