"""Whether a posterior can be trusted, where it cannot, and what to do: `bayeslaw diagnose`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayeslaw.diagnosis import findings
from bayeslaw.diagnosis.prior_sensitivity import prior_part
from bayeslaw.diagnosis.result import Diagnosis, Verdict
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.importance import RELIABLE
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd

    from bayeslaw.diagnosis.cell_fit import RunsFit
    from bayeslaw.diagnosis.influence import Influence


def diagnose(posterior: Posterior, target: Target, runs: pd.DataFrame | None = None) -> Diagnosis:
    """Diagnose a posterior.

    Args:
        posterior: the fit.
        target: target of the advice.
        runs: run table that it was fitted to; without it its ``cells`` and ``influence`` are None.

    Raises:
        BadInput: none of the runs' cells was fitted.
    """
    cells, influence = (None, None) if runs is None else _of_runs(posterior, target, runs)
    prior = prior_part(posterior, target)
    found = list(findings.of_convergence(posterior.diagnostics))
    found += findings.of_cells(cells) if cells else []
    found += findings.of_influence(influence, target) if influence else []
    found += findings.of_prior(prior, posterior, target)
    found += [] if runs is None else _of_sweep(runs, target)
    weights = {each.weight for each in found}
    level = next((weight for weight in (findings.STOP, findings.CARE) if weight in weights), "sound")
    return Diagnosis(
        posterior=dict(posterior.provenance),
        verdict=Verdict(level, tuple(each.reason for each in found if each.weight)),
        convergence=dict(posterior.diagnostics),
        cells=cells,
        influence=influence,
        target=target,
        prior=tuple(prior),
        actions=tuple(each.action for each in found),
    )


def _of_sweep(runs: pd.DataFrame, target: Target) -> list[findings.Finding]:
    """Warnings on what the runs of the target's optimizer cannot tell."""
    from bayeslaw.diagnosis.identifiability import fit_doubts

    own = runs[runs["optimizer"] == target.optimizer]
    own = own if target.study is None else own[own["study"] == target.study]
    return [findings.advice(text) for text in fit_doubts(own)]


def _of_runs(posterior: Posterior, target: Target, runs: pd.DataFrame) -> tuple[RunsFit, Influence]:
    from bayeslaw.diagnosis.cell_fit import RunsFit, cell_checks, inside, run_checks
    from bayeslaw.diagnosis.fitted_runs import as_fitted, fitted_runs
    from bayeslaw.diagnosis.influence import HardRun, Influence, left_out

    known, beside = fitted_runs(posterior, runs)
    checks = run_checks(known)
    pit = checks["pit"].dropna()
    hard = checks[checks["pareto_k"] > RELIABLE].sort_values("pareto_k", ascending=False)
    fit = RunsFit(
        as_fitted=as_fitted(posterior, runs),
        not_fitted=beside,
        finished=len(pit),
        inside_50=float(inside(pit, 0.5).mean()),
        inside_90=float(inside(pit, 0.9).mean()),
        cells=tuple(cell_checks(posterior, known, checks)),
    )
    pulling = tuple(HardRun(str(name), float(k)) for name, k in hard[["run_id", "pareto_k"]].to_numpy())
    return fit, Influence(len(checks), pulling, tuple(left_out(posterior, known, target)))
