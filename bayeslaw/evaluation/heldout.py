"""Held-out scoring of an advisor: accuracy of its predicted losses, and cost of its advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats, Ints
from bayeslaw.errors import BadInput
from bayeslaw.evaluation import scores
from bayeslaw.evaluation.result import AdviceScores, Evaluation, LossScores, ScoredCell, Summary
from bayeslaw.evaluation.scores import Advisor
from bayeslaw.evaluation.smoothing import SmoothedCell, smooth_cell
from bayeslaw.intervals import check_level, interval
from bayeslaw.law.places import measured_at
from bayeslaw.law.published import LAWS, Law, step_batch_tokens
from bayeslaw.runs.cells import cell_of, finished_runs, group_cells
from bayeslaw.target import Target


def evaluate(advisor: Advisor, runs: pd.DataFrame, level: float = 0.9) -> Evaluation:
    """Score an advisor on held-out runs.

    Args:
        advisor: advisor to score.
        runs: held-out run table. Losses are scored on its finished runs; the others are counted.
        level: of the intervals.

    Raises:
        BadInput: without a finished run, or for a level outside (0, 1).
    """
    check_level(level)
    finished = finished_runs(runs)
    if len(finished) == 0:
        raise BadInput(
            f"evaluate: none of {len(runs)} runs has status finished and a loss; expected at least one; "
            "check the table with `bayeslaw import`"
        )
    cells = [_score_cell(advisor, smooth_cell(key, rows), rows, level) for key, rows in group_cells(runs)]
    return Evaluation(
        n=len(finished),
        not_finished=_not_finished(runs, finished),
        losses=_score_losses(advisor, finished, level),
        cells=tuple(cells),
        summary=_summary(cells),
        level=level,
        advisor=advisor.label,
    )


def judged_targets(runs: pd.DataFrame) -> list[Target]:
    """What ``evaluate`` asks an advisor for: a target of each cell whose runs allow a score."""
    cells = ((smooth_cell(key, rows), rows) for key, rows in group_cells(runs))
    return [_target(cell, rows) for cell, rows in cells if cell.scorable]


def _target(cell: SmoothedCell, rows: pd.DataFrame) -> Target:
    """The run to advise on, at the batch of the cell's runs where they do not judge batches.

    ``rows``, of the cell, tell what was measured on its networks.
    """
    batch = None if cell.axis == "both" else cell.batch_tokens
    return Target.of_cell(cell.key, batch, measured_at(rows))


def _score_losses(advisor: Advisor, finished: pd.DataFrame, level: float) -> LossScores | None:
    draws = advisor.loss_draws(finished)
    if draws is None:
        return None
    observed, cell = finished["loss"].to_numpy(float), cell_of(finished)
    middle = np.median(draws, axis=0)
    return LossScores(
        r2=_number(scores.r2(middle, observed)),
        r2_within_cells=_number(scores.r2_within_cells(middle, observed, cell)),
        mae=scores.mae(middle, observed),
        crps=scores.crps(draws, observed),
        coverage=scores.coverage(draws, observed, level),
        coverage_by_level={f"{k:g}": v for k, v in scores.coverage_by_level(draws, observed).items()},
        effective_n=scores.effective_count(draws),
        joint_pit=_number(_joint_pit(draws, observed, cell)),
    )


def _joint_pit(draws: Floats, observed: Floats, cell: Ints) -> float:
    """Of the mean ln loss of each cell."""
    member = cell[:, None] == np.unique(cell)
    weights = member / member.sum(axis=0)
    return scores.joint_pit(np.log(draws) @ weights, np.log(observed) @ weights)


def _not_finished(runs: pd.DataFrame, finished: pd.DataFrame) -> dict[str, int]:
    """Count runs whose loss is not scored, by status; finished runs without a usable loss are ``no_loss``."""
    counts = runs["status"].astype(str).value_counts().to_dict()
    unusable = counts.pop("finished", 0) - len(finished)
    return {str(k): int(v) for k, v in sorted(counts.items())} | (
        {"no_loss": int(unusable)} if unusable else {}
    )


def _score_cell(advisor: Advisor, cell: SmoothedCell, rows: pd.DataFrame, level: float) -> ScoredCell:
    key = cell.key
    scored = ScoredCell(
        study=key.study,
        optimizer=key.optimizer,
        params=key.params_nonembedding,
        tokens=key.tokens,
        n=len(finished_runs(rows)),
        note=cell.note,
    )
    if not cell.scorable:
        return scored
    target = _target(cell, rows)
    try:
        advice, optimum = advisor.recommend(target), advisor.optimum_draws(target)
    except BadInput as error:
        return replace(scored, note=f"no advice: {error}")
    fixed = target.batch_tokens
    rate, batch = advice.get("learning_rate"), advice.get("batch_tokens", fixed)
    if rate is None or batch is None:
        return replace(scored, note="the advice lacks a learning rate or a batch")
    best = {"learning_rate": cell.learning_rate, "batch_tokens": cell.batch_tokens}
    limits = _intervals(optimum, ["learning_rate"] if fixed else list(best), level)
    found = AdviceScores(
        regret=float(cell.regret(rate, batch)[0]),
        beyond_runs=bool(not cell.inside(rate, batch)[0]),
        recommendation={"learning_rate": float(rate), "batch_tokens": float(batch)},
        optimum={**best, "loss": cell.loss},
        noise=_number(cell.noise),
        optimum_interval=limits,
        optimum_covered=_covered(limits, best),
    )
    return replace(scored, advice=found)


def _intervals(
    draws: dict[str, Any] | None, names: Sequence[str], level: float
) -> dict[str, list[float]] | None:
    if draws is None:
        return None
    found = {name: interval(draws[name], level) for name in names if name in draws}
    return {name: [each.lower, each.upper] for name, each in found.items()}


def _covered(limits: dict[str, list[float]] | None, truth: dict[str, float]) -> dict[str, bool] | None:
    if limits is None:
        return None
    return {name: lower <= truth[name] <= upper for name, (lower, upper) in limits.items()}


def _summary(cells: Sequence[ScoredCell]) -> Summary:
    scored = [cell.advice for cell in cells if cell.advice]
    regret = [each.regret for each in scored]
    limits = [each.optimum_interval for each in scored if each.optimum_interval]
    covered = [each.optimum_covered for each in scored if each.optimum_covered]
    names = sorted({name for flags in covered for name in flags})
    factors = {n: [np.log(k[n][1] / k[n][0]) for k in limits if n in k] for n in names}
    return Summary(
        cells=len(cells),
        cells_scored=len(scored),
        regret_mean=float(np.mean(regret)) if regret else None,
        regret_median=float(np.median(regret)) if regret else None,
        regret_max=float(np.max(regret)) if regret else None,
        regret_lower_bounds=sum(each.beyond_runs for each in scored),
        optimum_coverage={n: float(np.mean([f[n] for f in covered if n in f])) for n in names} or None,
        optimum_interval_factor={n: float(np.exp(np.mean(f))) for n, f in factors.items()} or None,
    )


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


# ---------------------------------------------------------------------------- published laws as advisors


@dataclass(frozen=True)
class LawAdvisor:
    """A published law as an ``Advisor``: no draws, no loss.

    Attributes:
        law: the law.
        flags: additions to the law, one sentence each.
    """

    law: Law
    flags: tuple[str, ...] = field(default=())

    @property
    def label(self) -> str:
        """Name of the law, with its borrowed batch if it has none."""
        return f"{self.law.name} law" + ("" if self.law.batch_tokens else " (batch of the Step Law)")

    def recommend(self, target: Target) -> dict[str, float]:
        """Advice of the law. The batch is the target's if fixed, and Step Law's if the law has none."""
        n, d = target.params_nonembedding, target.tokens
        advice = self.law.recommend(n, d, target.batch_tokens)
        own = {name: advice[name] for name in ("learning_rate", "batch_tokens") if name in advice}
        return {"batch_tokens": step_batch_tokens(n, d)} | own

    def optimum_draws(self, target: Target) -> None:
        """None: published laws come without uncertainty here."""
        return

    def loss_draws(self, runs: pd.DataFrame) -> None:
        """None: published laws predict no loss."""
        return


def law_advisor(name: str) -> LawAdvisor:
    """Make an advisor of a published law, by its name in ``bayeslaw.law.published.LAWS``.

    A law without a batch uses the target's batch, else Step Law's; ``label`` and ``flags`` say so.

    Raises:
        BadInput: an unknown name.

    >>> law_advisor("bjorck").label
    'bjorck law (batch of the Step Law)'
    """
    advising = [each for each, law in LAWS.items() if law.learning_rate]
    if name not in advising:
        raise BadInput(
            f"law = {name!r}; expected one of {', '.join(advising)}, which give a learning rate; name one "
            "of these"
        )
    law = LAWS[name]
    borrowed = "no batch law of its own: the target's batch, else Step Law's 0.58 D^0.571, is used"
    return LawAdvisor(law, () if law.batch_tokens else (borrowed,))
