"""Sharpness of the network, an optional part of the law: its slope is recovered, used, or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.cells import cells_of
from bayeslaw.advice.prediction import about_covariates, predict
from bayeslaw.errors import BadInput
from bayeslaw.inference.approximation import approximate
from bayeslaw.inference.effort import EFFORTS
from bayeslaw.law.observations import prepare
from bayeslaw.target import Target

SLOPE = -0.8
SHARPNESS = {1e7: 400.0, 2e7: 900.0, 4e7: 500.0, 8e7: 1200.0}


def measured_runs(noise=1e-3):
    """Four sizes at two D; the runs of the lowest and the highest rate of each cell have curvature."""
    steps = np.linspace(-1.2, 1.2, 7)
    rows = [(n, d, step) for n in SHARPNESS for d in (2e8, 6e8) for step in steps]
    table = pd.DataFrame(rows, columns=["params_nonembedding", "tokens", "step"])
    sharpness = table["params_nonembedding"].map(SHARPNESS)
    best = np.log(2e-3) + SLOPE * np.log(sharpness / 600.0)
    rate = np.log(2e-3) + 0.5 * SLOPE * np.log(sharpness / 600.0) + table["step"]
    loss = np.log(3.0) + 0.01 * (rate - best) ** 2
    low, high = table["step"] == steps[0], table["step"] == steps[-1]
    return table.drop(columns="step").assign(
        run_id=[str(i) for i in range(len(table))],
        study="ours",
        optimizer="adamw",
        learning_rate=np.exp(rate),
        batch_tokens=1e5,
        loss=np.exp(loss + noise * np.random.default_rng(0).standard_normal(len(table))),
        status="finished",
        **{
            "lambda_preconditioned_at_0": 1e6,
            "lambda_preconditioned_at_0.02": sharpness.where(low, (2 * sharpness).where(high)),
            "lambda_preconditioned_at_1": 50.0,
        },
    )


def test_one_measured_run_speaks_for_its_cell():
    observed = prepare(measured_runs(), parts=["curvature"])
    assert [dict(cell.others)["sharpness"] for cell in observed.cells] == list(
        np.repeat([*SHARPNESS.values()], 2)
    )
    assert list(observed.pivot) == ["n", "d", "sharpness"]  # nothing tells the noise scale
    own = measured_runs().rename(columns={"lambda_preconditioned_at_0.02": "lambda_preconditioned"})
    assert prepare(own, parts=["curvature"]).cells == observed.cells


def test_without_the_part_or_the_columns_nothing_changes():
    runs = measured_runs()
    bare = runs[[name for name in runs if not name.startswith("lambda")]]
    for table, parts in ((runs, ()), (bare, ("curvature",))):
        observed = prepare(table, parts=parts)
        assert (list(observed.pivot), observed.cells) == (["n", "d"], prepare(bare).cells)


def test_a_group_that_is_measured_in_some_cells_only_is_refused_and_one_without_any_is_not():
    runs = measured_runs()
    unmeasured = runs["params_nonembedding"] == 4e7
    partly = runs.assign(
        **{"lambda_preconditioned_at_0.02": runs["lambda_preconditioned_at_0.02"].mask(unmeasured)}
    )
    with pytest.raises(
        BadInput, match="no lambda_preconditioned in 2 of 8 cells, such as adamw of ours at N = 4e"
    ):
        prepare(partly, parts=["curvature"])
    assert len(prepare(partly).cells) == 8
    apart = partly.assign(optimizer=runs["optimizer"].mask(unmeasured, "muon"))
    assert len(prepare(apart, parts=["curvature"]).groups) == 2


@pytest.mark.slow
def test_the_slope_is_recovered_and_used():
    fit = approximate(measured_runs(), parts=["curvature"], draws=300, effort=EFFORTS["quick"])
    slope = fit.common["alpha_sharpness"]
    assert abs(slope.mean() - SLOPE) < 3 * slope.std()
    assert slope.std() < 0.25

    def rate(**covariates):
        return predict(fit, Target(1.6e8, 2e9, "adamw", "ours", 1e5, covariates))

    low, high = (rate(sharpness=value)["optimum"]["learning_rate"]["median"] for value in (500.0, 1000.0))
    assert high / low == pytest.approx(2.0 ** slope.mean(), rel=0.1)
    assert any(
        "lambda_preconditioned 6" in text
        for text in about_covariates(fit, Target(1.6e8, 2e9, "adamw", "ours"))
    )
    pivot = fit.pivot["sharpness"]
    bare = measured_runs().drop(columns="lambda_preconditioned_at_0.02")
    assert {dict(cell.others)["sharpness"] for _, cell in cells_of(bare, fit)} == {pivot}
