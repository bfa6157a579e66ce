"""Findings against a posterior: the gravity of each, its reason, and what to do, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bayeslaw.diagnosis.prior_sensitivity import SENSITIVE, PriorPart
from bayeslaw.posterior.convergence import ESS_MIN, RHAT_MAX
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.importance import RELIABLE
from bayeslaw.target import Cell, Target
from bayeslaw.text import short

if TYPE_CHECKING:
    from bayeslaw.diagnosis.cell_fit import RunsFit
    from bayeslaw.diagnosis.influence import CellInfluence, Influence

CARE, STOP = "usable with care", "do not use"

RHAT_APART, ESS_TOO_FEW, DIVERGENT, INSIDE_TOO_FEW = 1.1, 100.0, 0.01, 0.7
"""Limits beyond which not to use it: R-hat, ESS, share of divergent draws, share of runs in 90% intervals."""

INSIDE_FEW = 0.85
"""Share of all runs inside their 90% intervals below which the intervals are called too narrow."""

FAR = 1.0
"""Allowed shift of the optimum at the target when one cell is left out [posterior sd]."""

NAMED = 3
"""Maximum number of cells or runs that a finding names."""

QUANTITIES = {"learning_rate": "the learning rate", "batch_tokens": "the batch"}

RUNS_FOR = {
    "alpha": "add learning rates a factor 2 below and above the best one, in more cells",
    "beta": "add batches a factor 2 below and above the best one, in more cells",
    "gamma": "add cells of a further N at the same D",
    "gamma_path": "add cells of a further N at the same tokens per parameter",
    "delta": "add cells of a further D at the same N",
    "epsilon": "scan batches at a further D",
    "epsilon_n": "scan batches at a further N",
    "bend": "add cells of larger N: three sizes over a decade, nearer to the target",
}
"""Runs that measure a parameter, by parameter."""


class Finding(NamedTuple):
    """``weight`` is ``CARE``, ``STOP``, or empty for advice alone."""

    weight: str
    reason: str
    action: str


def advice(action: str) -> Finding:
    """Finding of weight zero: advice although nothing is wrong."""
    return Finding("", "", action)


def of_convergence(told: Mapping[str, Any]) -> list[Finding]:
    """Find checks of the chains that failed.

    Args:
        told: ``Posterior.diagnostics``.
    """
    if told.get("converged"):
        return []
    longer = "fit again with more draws (`bayeslaw fit --draws 4000`)"
    rhat, ess = told.get("rhat_max", 1.0), min(told.get(f"ess_{k}_min", ESS_MIN) for k in ("bulk", "tail"))
    divergent, draws = told.get("divergences", 0), told.get("chains", 1) * told.get("draws", 1)
    found = []
    if not (rhat <= told.get("rhat_limit", RHAT_MAX) and told.get("rhat_reported_max", 1.0) <= RHAT_MAX):
        worst = [f"{w['parameter']} ({w['rhat']:.2f})" for w in told.get("worst", ()) if w["rhat"] > RHAT_MAX]
        action = f"R-hat above {RHAT_MAX}: {longer}" + (f"; worst: {', '.join(worst)}" if worst else "")
        weight = CARE if rhat <= RHAT_APART else STOP
        found.append(Finding(weight, f"the chains disagree, R-hat {rhat:.3f}", action))
    if not ess >= ESS_MIN:
        action = f"ESS below {ESS_MIN:.0f}: {longer}; until then the ends of intervals are rough"
        weight = CARE if ess >= ESS_TOO_FEW else STOP
        found.append(Finding(weight, f"few effective draws, ESS {ess:.0f}", action))
    if divergent:
        reason = f"{divergent} divergent transitions"
        action = f"{reason}: a corner of the posterior may be missed; fit with another --seed"
        found.append(Finding(CARE if divergent <= DIVERGENT * draws else STOP, reason, action))
    if not found:
        reason = "; ".join(map(str, told.get("messages", ()))) or "whether it converged is not known"
        found.append(Finding(STOP, reason, f"{reason}: fit again"))
    return found


def of_cells(told: RunsFit) -> Iterator[Finding]:
    """Find intervals that are too narrow over all runs, and cells that are off."""
    from scipy.stats import binom

    share, count = told.inside_90, told.finished
    if share < INSIDE_FEW and binom.cdf(round(share * count), count, 0.9) < 0.01:
        reason = f"{share:.0%} of runs lie inside their 90% intervals"
        action = f"only {reason}: predicted losses look too sure; find out what the runs outside share"
        yield Finding(CARE if share >= INSIDE_TOO_FEW else STOP, reason, action)
    off = [cell for cell in told.cells if cell.off]
    if not off:
        return
    texts = [
        f"{cell_name(cell.place)}: {cell.inside_90:.0%} of runs inside 90% intervals; "
        f"{cell.reason}: {cell.action}"
        for cell in off
    ]
    yield Finding(CARE, f"cells fitted badly: {len(off)} of {len(told.cells)}", texts[0])
    yield from (advice(text) for text in texts[1:NAMED])
    if len(texts) > NAMED:
        yield advice(f"{len(texts) - NAMED} more cells are off: --json names them")


def of_influence(told: Influence, target: Target) -> Iterator[Finding]:
    """Find cells that carry the advice alone, and cells and runs of unknown weight.

    Args:
        told: influence of cells and runs.
        target: target of the advice.
    """
    for cell in told.cells:
        if cell.reliable and cell.largest_sd > FAR:
            name, rate, batch = cell_name(cell.place), cell.learning_rate.factor, cell.batch_tokens.factor
            yield Finding(
                CARE,
                f"the advice depends on one cell, {name}",
                f"{name}: without it the best learning rate at the target is {rate:.2g} times and the best "
                f"batch {batch:.2g} times as large; repeat its best runs with another seed",
            )
    own = [c for c in told.cells if not c.reliable and c.place.optimizer == target.optimizer]
    own = [c for c in own if target.study in (None, c.place.study)]
    if own:
        names = "; ".join(cell_name(cell.place) for cell in heaviest(own)[:NAMED])
        yield advice(
            f"the influence of {len(own)} cells of the target's optimizer is unknown without a refit "
            f"(k above {RELIABLE}): leave out the rows of one, fit again and compare the advice, first "
            f"{names}"
        )
    hard = told.unreliable
    if hard:
        names = ", ".join(run.run_id for run in hard[:NAMED])
        yield advice(
            f"{len(hard)} of {told.runs} runs pull the fit hard (k above {RELIABLE}): check their "
            f"losses and settings for slips, first {names}"
        )


def of_prior(parts: Sequence[PriorPart], posterior: Posterior, target: Target) -> Iterator[Finding]:
    """Find answers that the prior decides, and advice that it pulls.

    Args:
        parts: result of ``prior_sensitivity.prior_part``.
        posterior: the fit.
        target: target of the advice.
    """
    decided: dict[str, list[str]] = {}
    for part in parts:
        name, strongest = part.quantity, part.most_sensitive_to
        words = QUANTITIES.get(name, name)
        if part.prior_decides:
            told = f"{words} ({part.measured:.0%} measured)"
            decided.setdefault(_what_measures(name, posterior, target), []).append(told)
        elif part.prior_pulls and name in QUANTITIES:
            reason = f"the prior of {strongest} pulls {words}"
            told = f"{reason} at the target (sensitivity {part.sensitivity:.3f}, above {SENSITIVE})"
            yield Finding(CARE, reason, f"{told}: {_what_measures(strongest, posterior, target)}")
    for action, names in decided.items():
        reason = f"the prior decides {', '.join(names)}"
        yield Finding(CARE, reason, f"{reason}: {action}")


def _what_measures(name: str, posterior: Posterior, target: Target) -> str:
    if target.study not in posterior.studies:
        return "name a fitted set-up with --study, or fit some runs of your own"
    if (target.study, target.optimizer) not in posterior.groups:
        return f"add runs of {target.optimizer} in {target.study}"
    asked = f"{target.params_nonembedding:.3g},{target.tokens:.3g},{target.optimizer}"
    return RUNS_FOR.get(name, f"`bayeslaw design --target {asked}` names the runs that help most")


def cell_name(cell: Cell) -> str:
    """Name a cell in words.

    >>> cell_name(Cell("ours", "muon", 1e9, 2e10))
    'ours muon N = 1B D = 20B'
    """
    n, d = short(cell.params_nonembedding), short(cell.tokens)
    return f"{cell.study} {cell.optimizer} N = {n} D = {d}"


def heaviest(cells: Iterable[CellInfluence]) -> list[CellInfluence]:
    """Cells by the shift of the optimum without them, largest first."""
    return sorted(cells, key=lambda cell: cell.largest_sd, reverse=True)
