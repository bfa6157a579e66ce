"""The fitted runs in posterior draws: the likelihood is that of the fit."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import numpyro
import pandas as pd
import pytest

from bayeslaw.diagnosis.fitted_runs import fitted_notes, fitted_runs, log_density, moments
from bayeslaw.errors import BadInput
from bayeslaw.inference import fitting, model
from bayeslaw.law.observations import prepare
from bayeslaw.runs.io import table_sha256
from tests.support.fakes import fake_posterior
from tests.support.fitted import runs_of


@pytest.fixture(scope="module")
def runs():
    """Two studies: one varies weight decay, one clipping; diverged and crashed runs in the first alone."""
    rng = np.random.default_rng(0)
    cells = [("a", 1e8, 2e9), ("a", 3e8, 1e10), ("b", 1e8, 2e9)]
    table = pd.DataFrame(cells * 8, columns=["study", "params_nonembedding", "tokens"])
    turn = np.repeat(np.arange(8), len(cells))
    status = np.where((turn == 6) & (table["study"] == "a"), "diverged", "finished")
    status = np.where((turn == 7) & (table["study"] == "a"), "crashed", status)
    return table.assign(
        optimizer="adamw",
        learning_rate=2e-3 * np.exp(rng.standard_normal(len(table))),
        batch_tokens=3e5 * np.exp(rng.standard_normal(len(table))),
        weight_decay=np.where(table["study"] == "a", 0.1 + 0.1 * (turn % 3), 0.1),
        grad_clip=np.where((turn == 0) & (table["study"] == "b"), 0.5, 1.0),
        loss=np.where(status == "finished", 2.5, np.nan),
        status=status,
        run_id=[str(i) for i in range(len(table))],
    )


def test_the_likelihood_is_that_of_the_fit(runs):
    """One draw from the prior, through the model and through the posterior made of it."""
    sweep = prepare(runs)

    @jax.jit
    def drawn(key):
        seeded = numpyro.handlers.seed(model.surface_model, key)
        trace = numpyro.handlers.trace(seeded).get_trace(sweep)
        beyond = [name for name in trace if name.startswith("range_")]  # of the prior, not of the runs
        sites = {k: site for k, site in trace.items() if site["type"] == "sample" and k not in beyond}
        factors = {name: sites.pop(name)["fn"].log_factor for name in ("loss", "outcome")}
        return {name: site["value"][None, None] for name, site in sites.items()}, factors

    sites, factors = drawn(jax.random.PRNGKey(3))
    sites = {name: np.asarray(values) for name, values in sites.items()}
    cells, beside = fitted_runs(fitting.keep_posterior(runs, sweep, sites, {}, 0, ()), runs)
    assert beside == 0
    assert [bool(cell.outcomes.count.all()) for cell in cells] == [True, True, False]
    ours = sum(log_density(cell, moments(cell, cell.surface)).sum() for cell in cells)
    assert ours == pytest.approx(sum(map(float, factors.values())), rel=1e-6)


def test_runs_that_were_stopped_or_not_fitted_are_left_out():
    posterior = fake_posterior(20)
    runs = runs_of(posterior, 4)
    other = runs.assign(tokens=3.3 * runs["tokens"], run_id="x" + runs["run_id"])
    stopped = runs.iloc[:4].assign(status="stopped", loss=np.nan, run_id=list("abcd"))
    cells, beside = fitted_runs(posterior, pd.concat([runs, other, stopped]))
    assert (sum(len(cell.rows) for cell in cells), beside) == (len(runs), len(other))
    with pytest.raises(BadInput) as caught:
        fitted_runs(posterior, other)
    assert str(caught.value) == (
        "runs: none of their 6 cells is in the posterior; expected the runs that it was fitted to; "
        "name their table (`bayeslaw evaluate` is for others)"
    )


def test_a_table_that_was_not_fitted_is_noted_or_refused():
    fit = fake_posterior(10)
    runs = runs_of(fit, 2)
    own = replace(fit, provenance=fit.provenance | {"table_sha256": table_sha256(runs)})
    assert fitted_notes(own, runs) == []
    assert fitted_notes(own, runs.head(3)) == [
        "the run table is not, row by row, the one that was fitted: read what is said of runs with care"
    ]
    beside = runs.assign(params_nonembedding=runs["params_nonembedding"].where(runs.index > 0, 5e8))
    assert fitted_notes(own, beside)[1:] == [f"1 of {len(runs)} runs lie in cells that were not fitted"]
    with pytest.raises(BadInput, match="none of their 1 cells is in the posterior; expected the runs"):
        fitted_notes(own, beside.head(1))
