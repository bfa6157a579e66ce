"""The law against frozen values: densities and gradients at fixed points, answers of the shipped posterior.

The densities of ``reference.json`` were written by commit 2ff3c41, whose law was formulas in three notations
and no table; the answers when the shipped posterior was fitted.
"""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pandas as pd
import pytest
from numpyro.infer.util import log_density

from bayeslaw.advice.prediction import predict
from bayeslaw.assets import BOOKS, POSTERIOR
from bayeslaw.inference import model as module
from bayeslaw.inference.effort import double_precision
from bayeslaw.law.observations import prepare
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
TARGETS = (
    Target(7e9, 1.4e12, "adamw"),
    Target(1e9, 2e10, "muon", "marin"),
    Target(1e9, 2e10, "adamw", "marin", 524_288.0),
    Target(2.1e8, 1e10, "adamw", "steplaw"),
    Target(3e8, 6e9, "never_heard_of"),
    Target(5.2e8, 1e10, "lion", "marin"),
)


def two_studies():
    """Nine cells of three groups; settings vary, some runs of one study diverge, the other reports none."""
    rng = np.random.default_rng(0)
    groups = ("a", "adamw"), ("a", "muon"), ("b", "adamw")
    cells = [(*group, n, d) for group in groups for n, d in ((1e8, 2e9), (3e8, 1e10), (3e8, 3e10))]
    table = pd.DataFrame(cells * 6, columns=["study", "optimizer", "params_nonembedding", "tokens"])
    turn, even = np.repeat(np.arange(6), len(cells)), np.arange(len(table)) % 2 == 0
    ended = np.where(even, "diverged", "crashed")
    status = np.where((turn == 5) & (table["study"] == "a"), ended, "finished")
    return table.assign(
        learning_rate=2e-3 * np.exp(rng.standard_normal(len(table))),
        batch_tokens=3e5 * np.exp(rng.standard_normal(len(table))),
        weight_decay=np.where(table["optimizer"] == "adamw", 0.1 + 0.1 * (turn % 3), 0.1),
        momentum=0.9 + 0.03 * (turn % 3),
        grad_clip=np.where(turn == 0, 0.5, 1.0),
        loss=np.where(
            status == "finished", 2.5 * np.exp(0.02 * np.abs(rng.standard_normal(len(table)))), np.nan
        ),
        status=status,
        run_id=[str(i) for i in range(len(table))],
    )


def books():
    runs = read_runs(BOOKS)
    return runs[runs["optimizer"].isin(["adamw", "sgd"])].iloc[::4].reset_index(drop=True)


@pytest.mark.parametrize("table", [two_studies, pytest.param(books, marks=pytest.mark.slow)])
def test_log_density_and_gradient_are_those_of_the_reference(table, monkeypatch):
    """The reference did not restrict the intercepts of optima, and its scatter grew with the whole excess."""
    monkeypatch.setattr(module, "_least_of_group", lambda observed, excess: 0.0)
    observed = prepare(table(), prepare(table()).pivot)
    known = module.surface_model
    model = numpyro.handlers.block(known, hide_fn=lambda site: site["name"].startswith("range_"))
    with double_precision():
        slope = jax.jit(jax.value_and_grad(lambda sites: log_density(model, (observed,), {}, sites)[0]))
        for point in REFERENCE[table.__name__]:
            value, gradient = slope({name: jnp.asarray(x) for name, x in point["sites"].items()})
            assert float(value) == pytest.approx(point["log_density"], abs=1e-9)
            for name, expected in point["gradient"].items():
                assert np.asarray(gradient[name]) == pytest.approx(np.array(expected), rel=1e-9, abs=1e-9)


def numbers(result, place=""):
    if isinstance(result, dict):
        return {k: v for name, part in result.items() for k, v in numbers(part, f"{place}/{name}").items()}
    return {place: result} if isinstance(result, (int, float)) else {}


@pytest.mark.parametrize("index", range(len(TARGETS)))
def test_answers_of_the_shipped_posterior_are_those_of_the_reference(index):
    found = numbers(predict(read_posterior(POSTERIOR), TARGETS[index]).to_json())
    for place, value in numbers(REFERENCE["predictions"][index]).items():
        assert found[place] == pytest.approx(value, rel=1e-10), place
