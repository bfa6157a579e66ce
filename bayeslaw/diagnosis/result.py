"""What ``diagnose`` answers: a verdict, the checks behind it, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bayeslaw.diagnosis.findings import QUANTITIES, heaviest
from bayeslaw.diagnosis.prior_sensitivity import MEASURED, SENSITIVE, PriorPart
from bayeslaw.posterior.convergence import ESS_MIN, RHAT_MAX
from bayeslaw.posterior.importance import RELIABLE
from bayeslaw.results import Result, Section
from bayeslaw.target import NEVER_SEEN, Cell, Target
from bayeslaw.text import short, three_digits

if TYPE_CHECKING:
    from bayeslaw.diagnosis.cell_fit import CellFit, RunsFit
    from bayeslaw.diagnosis.influence import Influence

SHOWN = 6
"""Maximum number of rows of a table of cells."""

CELL = ("study", "optimizer", "N", "tokens")

CHECKS = (
    ("rhat_max", "R-hat, largest", "{:.3f}", f"at most {RHAT_MAX}"),
    ("ess_bulk_min", "ESS in bulk, least", "{:.0f}", f"at least {ESS_MIN:.0f}"),
    ("ess_tail_min", "ESS in the tails, least", "{:.0f}", f"at least {ESS_MIN:.0f}"),
    ("divergences", "divergent transitions", "{:d}", "0"),
)
"""Checks of the chains: key in the diagnostics, words, format and limit."""


class Verdict(NamedTuple):
    """``level`` is sound, usable with care, or do not use; ``reasons`` say why."""

    level: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, repr=False, eq=False)
class Diagnosis(Result):
    """Whether a posterior can be trusted, where it cannot, and what to do.

    Attributes:
        posterior: provenance of the fit.
        verdict: its level and reasons.
        convergence: ``Posterior.diagnostics``.
        cells: fit of the runs; None without runs.
        influence: of cells and runs; None without runs.
        target: target of the advice.
        prior: the prior's part in each quantity.
        actions: what to do, one sentence each.
    """

    posterior: Mapping[str, Any]
    verdict: Verdict
    convergence: Mapping[str, Any]
    cells: RunsFit | None
    influence: Influence | None
    target: Target
    prior: tuple[PriorPart, ...]
    actions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The keys of ``bayeslaw diagnose --json``."""
        return {
            "posterior": dict(self.posterior),
            "verdict": {"level": self.verdict.level, "reasons": list(self.verdict.reasons)},
            "convergence": dict(self.convergence),
            "cells": self.cells and self.cells.to_json(),
            "influence": self.influence and self.influence.to_json(),
            "prior": {"target": asdict(self.target), "quantities": [part.to_json() for part in self.prior]},
            "actions": list(self.actions),
        }

    def sections(self) -> list[Section]:
        """The verdict, then each part, then numbered actions."""
        path = str(self.posterior.get("path", "posterior"))
        runs = [
            Section(f"fit by cell, influence: left out; they need the runs: `bayeslaw diagnose {path} RUNS`")
        ]
        if self.cells is not None and self.influence is not None:
            runs = [_fit_by_cell(self.cells), _influence(self.influence)]
        actions = [f"{number}. {text}" for number, text in enumerate(self.actions, start=1)]
        return [self._head(path), _chains(self.convergence), *runs, _prior(self.prior, actions)]

    def _head(self, path: str) -> Section:
        target, reasons = self.target, "; ".join(self.verdict.reasons)
        n, d = short(target.params_nonembedding), short(target.tokens)
        where = f"{target.optimizer}, N = {n}, D = {d}, {target.study or NEVER_SEEN}"
        return Section(
            f"{path}: {self.verdict.level}" + (f": {reasons}" if reasons else ""),
            lines=[f"for {where} (--target and --study ask about another)", ""],
        )


def _chains(told: Mapping[str, Any]) -> Section:
    wanted = told.get("rhat_limit", RHAT_MAX)
    rows = [
        [words, form.format(told[name]), f"at most {wanted:.3g}" if name == "rhat_max" else limit]
        for name, words, form, limit in CHECKS
        if name in told
    ]
    title = "convergence: " + ("reached" if told.get("converged") else "NOT reached")
    return Section(title, ("", "found", "wanted"), rows)


def _fit_by_cell(told: RunsFit) -> Section:
    off = sum(cell.off for cell in told.cells)
    worst = sorted(told.cells, key=lambda cell: (not cell.off, _inside(cell)))[:SHOWN]
    rows = [
        [
            *_labels(cell.place),
            cell.finished,
            f"{cell.residual_percent:+.2f}",
            f"{cell.inside_50:.0%}",
            f"{cell.inside_90:.0%}",
            f"{cell.worst_run.residual_percent:+.2f}",
            "off" if cell.off else "",
        ]
        for cell in worst
        if cell.worst_run
    ]
    title = (
        f"fit by cell: {off} of {len(told.cells)} off; each run predicted from the others, "
        f"{told.inside_50:.0%} inside 50% intervals, {told.inside_90:.0%} inside 90%"
    )
    header = (*CELL, "runs", "mean residual, %", "in 50%", "in 90%", "worst run, %", "")
    notes = []
    if not told.as_fitted:
        notes.append(
            "note: this table is not, row by row, the one that was fitted: read these two parts with care"
        )
    if told.not_fitted:
        notes.append(f"note: {told.not_fitted} runs lie in cells that were not fitted: left out")
    return Section(title, header, rows, notes)


def _inside(cell: CellFit) -> float:
    return 1.0 if cell.inside_90 is None else cell.inside_90


def _influence(told: Influence) -> Section:
    unknown = sum(not cell.reliable for cell in told.cells)
    known = heaviest(cell for cell in told.cells if cell.reliable)
    rows = [
        [
            *_labels(cell.place),
            cell.runs,
            f"{cell.learning_rate.sd:+.2f} (x {cell.learning_rate.factor:.2f})",
            f"{cell.batch_tokens.sd:+.2f} (x {cell.batch_tokens.factor:.2f})",
            f"{cell.pareto_k:.2f}",
        ]
        for cell in known[:SHOWN]
    ]
    title = (
        "influence: how far the optimum at the target moves without a cell, in posterior sd; "
        f"not known for {unknown} of {len(told.cells)} (k above {RELIABLE})"
    )
    return Section(title, (*CELL, "runs", "learning rate", "batch", "Pareto k"), rows)


def _prior(quantities: Sequence[PriorPart], actions: Sequence[str]) -> Section:
    rows = [
        [
            QUANTITIES.get(part.quantity, part.quantity).removeprefix("the "),
            three_digits(part.prior_sd),
            three_digits(part.posterior_sd),
            f"{part.measured:.0%}",
            f"{part.sensitivity:.3f} ({part.most_sensitive_to})",
            _said(part),
        ]
        for part in quantities
    ]
    title = (
        f"the prior's part: measured (at least {MEASURED:.0%} wanted) and sensitivity to the prior "
        f"(at most {SENSITIVE} wanted)"
    )
    return Section(title, ("", "prior sd", "posterior sd", "measured", "sensitivity (to)", ""), rows, actions)


def _said(part: PriorPart) -> str:
    if part.prior_decides:
        return "the prior decides"
    return "the prior pulls" if part.prior_pulls else ""


def _labels(cell: Cell) -> list[str]:
    return [cell.study, cell.optimizer, short(cell.params_nonembedding), short(cell.tokens)]
