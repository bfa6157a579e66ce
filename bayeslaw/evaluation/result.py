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


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation(Result):
    """Scores of an advisor on held-out runs. Numbers that do not exist are None.

    Attributes:
        runs: scores of predicted losses: n, r2, r2_within_cells, mae [nats/token], crps [nats/token],
            coverage, level, coverage_by_level, effective_n (independent numbers that the runs are worth),
            joint_pit (``scores.joint_pit`` of the cells' mean ln losses), not_finished (count by status).
            Only n, level and not_finished for an advisor that predicts no loss. r2 and mae refer to the
            median of the draws.
        cells: one mapping per cell: study, optimizer, params, tokens, n (finished runs), scorable, note,
            ``regret``: relative excess loss of the advice over the smoothed minimum, **a fraction** (0.001 is
            0.1%), ``beyond_runs``: whether the advice lies outside the cell's runs, so that its regret is a
            lower bound, ``recommendation``, ``optimum`` (smoothed), ``noise`` (of ln loss near it),
            ``optimum_interval`` (the advisor's, lower and upper) and ``optimum_covered``: whether it contains
            the smoothed optimum, by hyperparameter. That optimum is itself uncertain, by about 7% on a grid
            of a hundred runs (two halves of a Step Law cell differ by 14%): much narrower intervals cannot
            cover it.
        summary: over all cells.
        level: of the intervals.
        advisor: its label.
    """

    runs: Mapping[str, Any]
    cells: tuple[Mapping[str, Any], ...]
    summary: Summary
    level: float
    advisor: str

    def to_json(self) -> dict[str, Any]:
        """The keys of ``bayeslaw evaluate --json``."""
        return {
            "runs": dict(self.runs),
            "cells": [dict(cell) for cell in self.cells],
            "summary": asdict(self.summary),
            "level": self.level,
            "advisor": self.advisor,
        }

    def sections(self) -> list[Section]:
        """One row per cell, then regret, optima and losses over all."""
        header = ("study", "optimizer", "N", "tokens", "runs", "regret", "note")
        title = f"{self.advisor}: {self.runs['n']} finished runs"
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
        runs = self.runs
        if "r2" not in runs:
            return []
        fit = "-" if runs["r2"] is None else f"{runs['r2']:.3f}"
        return [
            f"loss      R2 {fit}, CRPS {runs['crps']:.4f}, MAE {runs['mae']:.4f} nats/token",
            f"coverage  {runs['coverage']:.0%} of runs inside {100 * runs['level']:g}% intervals, worth "
            f"{short(runs['effective_n'])} independent runs",
            *self._jointly(),
        ]

    def _jointly(self) -> list[str]:
        found = self.runs["joint_pit"]
        if found is None:
            return []
        verdict = "too sure" if found > 0.975 else "too wide" if found < 0.025 else "as sure as they may be"
        return [f"jointly   cells' mean losses at quantile {found:.3f} of their distance: {verdict}"]


def _row(cell: Mapping[str, Any]) -> list[object]:
    regret = "-" if cell["regret"] is None else percent(cell["regret"])
    note = "beyond the runs: a lower bound" if cell.get("beyond_runs") else cell["note"]
    sizes = [short(cell["params"]), short(cell["tokens"]), cell["n"]]
    return [cell["study"], cell["optimizer"], *sizes, regret, note]
