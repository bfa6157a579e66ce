"""Simulation-based calibration of what users run: ``fit`` itself, two studies, three optimizers.

    python -m tests.studies.calibration_default run [--sweeps 100]   # appends to its results; hours
    python -m tests.studies.calibration_default table                # prints its part of docs/benchmarks.md

Each sweep is drawn from the prior of the default law, weight decay and momentum included, with deviations of
its cells from the laws. ``bayeslaw.fit`` fits it with the default law, and with the core, which knows neither
drift nor smooth deviations: that fit is wrong about its runs as any fit is about real ones. Ranks are those
of ``tests.studies.calibration``; the log likelihood is a quantity of the data (Modrak et al. 2023). A study
without a diverged run is fitted as one that reports none, although the truth let them happen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import surface_at
from bayeslaw.diagnosis.fitted_runs import fitted_runs, log_density, moments
from bayeslaw.errors import BadInput
from bayeslaw.inference import fitting
from bayeslaw.inference.effort import double_precision
from bayeslaw.law.observations import Observations, prepare
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.law.simulation import example_design
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target
from tests.studies.calibration import chance, from_prior, rank_table, thinned
from tests.studies.fits import fit_core, fit_default
from tests.studies.tables import read_rows, study_parser

RESULTS = Path(__file__).parent / "results" / "calibration_default.jsonl"
LAWS = {"default": fit_default, "core": fit_core}
GROUPS = (("one", "adamw"), ("one", "muon"), ("one", "lion"), ("two", "adamw"), ("two", "muon"))
RUNS = 15
"""Of each group, in five cells."""
TARGETS = {
    "fitted": Target(1e9, 2e10, "adamw", "one"),
    "fitted in the other study": Target(1e9, 2e10, "lion", "two"),
    "a new study": Target(1e9, 2e10, "muon"),
}
DECAY, MOMENTUM = (0.0, 0.3), (0.8, 0.98)


def design() -> pd.DataFrame:
    """Runs of five groups whose outcomes are still to be drawn."""
    parts = []
    for seed, (study, optimizer) in enumerate(GROUPS):
        part = example_design(RUNS, study, optimizer, (2e7, 6e7, 1.8e8), (20.0, 60.0), seed=seed)
        rng = np.random.default_rng(seed)
        parts.append(
            part.assign(
                weight_decay=rng.uniform(*DECAY, RUNS).round(3),
                momentum=rng.uniform(*MOMENTUM, RUNS).round(3),
            )
        )
    table = pd.concat(parts, ignore_index=True)
    return table.assign(run_id=table.index.astype(str), loss=3.0, loss_kind="simulated", status="finished")


def structure(runs: pd.DataFrame) -> Observations:
    """The sweep without outcomes, on which the coordinates of its cells depend; both studies report them."""
    sweep, none = prepare(runs, parts=DEFAULT_PARTS), np.zeros(len(runs), bool)
    return replace(sweep, finished=none, cliff_studies=np.array([True, True]))


def quantities(posterior: Posterior, runs: pd.DataFrame, seed: int) -> dict[str, np.ndarray]:
    """What advice is made of, at each target, and the log likelihood of the runs; (draw,) each."""
    found: dict[str, np.ndarray] = {}
    for name, target in TARGETS.items():
        at = surface_at(posterior, target, seed)
        found |= {
            f"ln eta*, {name}": at.log_lr,
            f"ln B*, {name}": at.log_batch,
            f"ln loss at the optimum, {name}": at.log_loss,
        }
    cells, _ = fitted_runs(posterior, runs)
    densities = [log_density(cell, moments(cell, cell.surface)).sum(axis=1) for cell in cells]
    return found | {"log likelihood of the runs": np.sum(densities, axis=0)}


def ranks(runs: pd.DataFrame, truth: Posterior, fitted: Posterior, seed: int) -> dict[str, int]:
    """Rank of each true quantity among posterior draws."""
    true, drawn = quantities(truth, runs, seed + 1), quantities(fitted, runs, seed)
    target = TARGETS["fitted"]
    settings = decide(surface_at(fitted, target, seed))
    for told, posterior, at in ((true, truth, seed + 1), (drawn, fitted, seed)):
        outcome = outcome_of(surface_at(posterior, target, at), settings, at)
        told |= {"regret of the advice": outcome.regret, "loss of a run that follows it": outcome.loss}
    return {name: int(np.sum(thinned(values) < true[name][0])) for name, values in drawn.items()}


def swept(number: int) -> tuple[pd.DataFrame, Posterior]:
    """A sweep from the prior, and its truth as a posterior of one draw."""
    runs = design()
    with double_precision():
        sweep = structure(runs)
        sites, data = from_prior(sweep, jax.random.PRNGKey(number))
        named = {name: np.asarray(values)[None, None] for name, values in sites.items()}
        truth = fitting.keep_posterior(runs, sweep, named, {}, 0, ())
    diverged, loss = np.asarray(data["diverged"]), np.exp(np.asarray(data["log_loss"]))
    outcome = {"loss": np.where(diverged, np.nan, loss), "status": np.where(diverged, "diverged", "finished")}
    return runs.assign(**outcome), truth


def run(sweeps: int, laws: Iterable[str]) -> None:
    """Append what is not in the results, sweep by sweep."""
    RESULTS.parent.mkdir(exist_ok=True)
    done = {(row["sweep"], row["law"]) for row in read_rows(RESULTS)}
    for number in range(sweeps):
        for law in laws:
            if (number, law) in done:
                continue
            runs, truth = swept(number)
            row: dict[str, Any] = {
                "sweep": number,
                "law": law,
                "diverged_runs": int(runs["loss"].isna().sum()),
            }
            try:
                fitted = LAWS[law](runs, number)
            except BadInput as error:  # a group without a finished run
                print(f"sweep {number}, {law}: {error}", flush=True)
                continue
            told = fitted.diagnostics
            row |= {
                name: told[name]
                for name in ("converged", "rhat_max", "ess_bulk_min", "divergences", "seconds")
            }
            row |= {"ranks": ranks(runs, truth, fitted, 2 * number + 1)}
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """The ranks of each law."""
    parts = []
    for law in LAWS:
        own = [row for row in rows if row["law"] == law]
        if own:
            converged = sum(row["converged"] for row in own)
            title = f"Sweeps of the default law, fitted with the {law} ({len(own)}, {converged} converged)"
            parts += [*rank_table(title, own), "", chance(len(own)), ""]
    return "\n".join(parts).strip()


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--sweeps", type=int, default=100)
    parser.add_argument("--law", choices=LAWS, action="append", help="by default each")
    given = parser.parse_args()
    if given.what == "run":
        run(given.sweeps, given.law or LAWS)
    else:
        print(table(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
