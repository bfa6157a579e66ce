"""What ``design`` answers: the next runs, what they cost and buy, and whether to make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bayeslaw.arrays import Floats
from bayeslaw.law.terms import own_bowls, words_of
from bayeslaw.planning.stopping import Stop
from bayeslaw.results import Result, Section
from bayeslaw.target import Target
from bayeslaw.text import percent, short, three_digits


@dataclass(frozen=True)
class Request:
    """What a design was asked for; costs are in ``cost_unit``.

    Attributes:
        targets: regrets are averaged over them.
        budget: of the whole batch.
        cost_unit: FLOP, s or J.
        batch: maximum number of runs.
        policy: a name in ``policies.POLICIES``.
        tolerance: regret small enough to stop at [fraction of the loss].
        target_cost: cost of all target runs together.
    """

    targets: tuple[Target, ...]
    budget: float
    cost_unit: str
    batch: int
    policy: str
    tolerance: float | None
    target_cost: float | None


@dataclass(frozen=True)
class ExpectedRegret:
    """Expected regret at the targets, as fractions of the loss.

    Attributes:
        before: before the batch.
        after: once it has run and the advice is revised.
        before_by_decision: parts of ``before``, by decision.
        seed_noise: standard deviation of ln loss between repeats of one run.
    """

    before: float
    after: float
    before_by_decision: Mapping[str, float]
    seed_noise: float


@dataclass(frozen=True, repr=False, eq=False)
class Design(Result):
    """The next batch of runs for some targets.

    Attributes:
        request: what was asked for.
        runs: one mapping per run, in the order chosen: ``row`` of the candidate, from 1, its settings,
            ``cost``, ``regret_reduction`` [fraction of the loss] and ``chance_diverges``.
        cost: of all runs.
        regret: expected regret before and after the batch.
        stop: whether the runs are worth their cost.
        offered: number of candidates.
        affordable: number of candidates within the budget.
        alone: reduction of the expected regret by each candidate alone [fraction of the loss], (candidate,);
            NaN where it is not affordable.
        posterior: provenance of the fit.
        warnings: one sentence each.
    """

    request: Request
    runs: tuple[Mapping[str, Any], ...]
    cost: float
    regret: ExpectedRegret
    stop: Stop
    offered: int
    affordable: int
    alone: Floats
    posterior: Mapping[str, Any]
    warnings: tuple[str, ...]

    @property
    def rows(self) -> list[int]:
        """Positions of the runs among the candidates, from 0."""
        return [run["row"] - 1 for run in self.runs]

    def to_json(self) -> dict[str, Any]:
        """The keys of ``bayeslaw design --json`` but ``output``."""
        return {
            "inputs": vars(self.request) | {"targets": [_target(t) for t in self.request.targets]},
            "runs": [dict(run) for run in self.runs],
            "cost": self.cost,
            "regret": vars(self.regret) | {"before_by_decision": dict(self.regret.before_by_decision)},
            "stop": self.stop._asdict(),
            "candidates": {"offered": self.offered, "affordable": self.affordable},
            "warnings": list(self.warnings),
            "posterior": dict(self.posterior),
        }

    def sections(self) -> list[Section]:
        """One row per run, then what the batch costs and buys, and whether to stop."""
        extras = [name for name in own_bowls() if any(name in run for run in self.runs)]
        tuned = ("learning_rate", *extras)
        told = [words_of(name) for name in ("batch_tokens", *tuned)]
        unit = self.request.cost_unit
        header = ("", "optimizer", "N", "tokens", *told, f"cost, {unit}", "diverges", "lowers regret by")
        rows = [[number, *_row(run, tuned)] for number, run in enumerate(self.runs, start=1)]
        targets = ", ".join(
            f"{t.optimizer} N = {short(t.params_nonembedding)} D = {short(t.tokens)}"
            for t in self.request.targets
        )
        return [Section(f"{len(rows)} runs for {targets}", header, rows, [*self._worth(), *self._said()])]

    def _worth(self) -> list[str]:
        regret, asked = self.regret, self.request
        share = " + ".join(
            f"{percent(value)} {name.replace('_', ' ')}" for name, value in regret.before_by_decision.items()
        )
        return [
            f"cost    {self.cost:.3g} of {asked.budget:.3g} {asked.cost_unit}; "
            f"{self.affordable} of {self.offered} candidates affordable",
            f"regret  {percent(regret.before)} of the loss expected now ({share})",
            f"        {percent(regret.after)} expected after these runs (each counted given those above it)",
        ]

    def _said(self) -> list[str]:
        verdict = f"{'stop' if self.stop.stop else 'go on':6s}  {self.stop.reason}"
        return [verdict, *(f"warning: {text}" for text in self.warnings)]


def _row(run: Mapping[str, Any], tuned: tuple[str, ...]) -> list[str]:
    sizes = [short(run[name]) for name in ("params_nonembedding", "tokens", "batch_tokens")]
    settings = [three_digits(run[name]) if name in run else "-" for name in tuned]
    cost, chance = f"{run['cost']:.3g}", f"{run['chance_diverges']:.0%}"
    return [run["optimizer"], *sizes, *settings, cost, chance, percent(run["regret_reduction"])]


def _target(target: Target) -> dict[str, Any]:
    return {
        "params_nonembedding": float(target.params_nonembedding),
        "tokens": float(target.tokens),
        "optimizer": target.optimizer,
        "study": target.study,
    }
