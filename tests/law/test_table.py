"""A covariate, a factor and a hyperparameter added as rows: everything else follows from the table."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.prediction import predict
from bayeslaw.diagnosis.diagnosis import diagnose
from bayeslaw.diagnosis.identifiability import fit_doubts
from bayeslaw.errors import BadInput
from bayeslaw.inference.fitting import fit
from bayeslaw.law.parameters import PARAMETERS, Parameter
from bayeslaw.law.terms import (
    COVARIATES,
    FACTORS,
    OPTIMA,
    Covariate,
    Factor,
    Optimum,
    Term,
    Transform,
    formula,
)
from bayeslaw.planning.batches import design
from bayeslaw.planning.candidates import with_cost
from bayeslaw.plots.scale import plot_optimum
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.reporting.page import write_report
from bayeslaw.target import Target

matplotlib.use("Agg")

SHAPE_SLOPE, WSD_SHIFT, BEST_DROPOUT = 0.5, -0.6, 0.1
PIVOT_N, PIVOT_D = 5e7, 1e9
AT_1B = {"shape": 128.0, "schedule": "wsd"}


def add_shape(put):
    """ln eta* rises with ln(width/depth)."""
    slope = Parameter("alpha_shape", "common", 0.0, 0.5, "wide networks train at other rates (made up)")
    put(PARAMETERS, slope)
    put(COVARIATES, Covariate("shape", "shape", "ln(width/depth)", ("width", "depth"),
                              lambda c: c["width"] / c["depth"], 64.0))  # fmt: skip
    rate = OPTIMA["learning_rate"]
    put(OPTIMA, Optimum("learning_rate", (*rate.terms, Term("alpha_shape", "shape")), words=rate.words))


def add_schedule(put):
    """ln eta* differs between schedules."""
    put(FACTORS, Factor("schedule", "schedule", "learning_rate", 0.5, "decay shares differ (made up)"))


def add_dropout(put):
    """Dropout has a best value of its own."""
    put(PARAMETERS, Parameter("best_dropout_log", "group", math.log(0.1), 0.7, "made up", 0.2, 0.2))
    put(PARAMETERS, Parameter("dropout_curvature", "group", math.log(0.02), 0.7, "made up", 0.2, 0.2))
    put(OPTIMA, Optimum("dropout", (Term("best_dropout_log"),), Transform(0.02),
                        (math.log(0.02), 0.0), "dropout_curvature", "dropout"))  # fmt: skip


def simulated(runs=320, seed=0):
    """Runs whose truth has all three, from formulas of this test's own."""
    rng = np.random.default_rng(seed)
    cells = [
        (n, n * ratio, width, schedule)
        for n in (2e7, 5e7, 1.2e8)
        for ratio in (20.0, 60.0)
        for width, schedule in ((256.0, "cosine"), (1024.0, "cosine"), (256.0, "wsd"), (1024.0, "wsd"))
    ]
    n, d, width, schedule = (
        np.array(column) for column in zip(*(cells[i % len(cells)] for i in range(runs)))
    )
    x, y = np.log(n / PIVOT_N), np.log(d / PIVOT_D)
    shape = np.log(width / 8.0 / 64.0)
    best = np.log(3e-3) - 0.4 * x + SHAPE_SLOPE * shape + WSD_SHIFT * (schedule == "wsd")
    rate = best + rng.uniform(-1.2, 1.0, runs)
    batch = np.log(1e5) + 0.5 * y + rng.uniform(-0.8, 0.8, runs)
    dropout = rng.choice([0.0, 0.05, 0.1, 0.2, 0.4], runs)
    gap = np.log((dropout + 0.02) / (BEST_DROPOUT + 0.02))
    v = batch - np.log(1e5) - 0.5 * y
    excess = 0.01 * (rate - best - 0.6 * v) ** 2 + 0.006 * v**2 + 0.02 * (np.sqrt(1 + gap**2) - 1)
    loss = np.exp(np.log(3.0) - 0.06 * x - 0.06 * y + excess + 1e-3 * rng.standard_normal(runs))
    return pd.DataFrame(
        {
            "run_id": [str(i) for i in range(runs)],
            "study": "ours",
            "optimizer": "adamw",
            "params_nonembedding": n,
            "tokens": d,
            "width": width,
            "depth": 8.0,
            "schedule": schedule,
            "dropout": dropout,
            "sequence_length": 1024.0,
            "learning_rate": np.exp(rate),
            "batch_tokens": np.exp(batch),
            "loss": loss,
            "status": "finished",
        }
    )


@pytest.fixture(scope="module")
def extended():
    """The three additions, for this module."""
    with pytest.MonkeyPatch.context() as patch:

        def put(table, row):
            patch.setitem(table, row.name, row)

        add_shape(put)
        add_schedule(put)
        add_dropout(put)
        yield


@pytest.fixture(scope="module")
def runs(extended):
    return simulated()


@pytest.fixture(scope="module")
def fitted(runs, tmp_path_factory):
    """A quick fit, through its file."""
    path = tmp_path_factory.mktemp("fit") / "posterior.nc"
    write_posterior(fit(runs, effort="quick"), path)
    return read_posterior(path)


def near(draws, truth, sds=4.0):
    return abs(np.mean(draws) - truth) < sds * np.std(draws)


@pytest.mark.slow
def test_the_truth_is_recovered(fitted):
    assert near(fitted.common["alpha_shape"], SHAPE_SLOPE)
    assert np.std(fitted.common["alpha_shape"]) < 0.15
    schedules = fitted.factor_values["schedule"]
    shifts = fitted.factor["schedule"]
    assert near(shifts[:, schedules.index("wsd")] - shifts[:, schedules.index("cosine")], WSD_SHIFT)
    assert near(fitted.group["best_dropout_log"][:, 0], np.log(BEST_DROPOUT + 0.02))


@pytest.mark.slow
def test_predict_uses_them_and_names_what_is_missing(fitted):
    target = Target(5e8, 1e10, "adamw", "ours", covariates=AT_1B)
    given, plain = predict(fitted, target), predict(fitted, Target(5e8, 1e10, "adamw", "ours"))
    at_64 = predict(fitted, Target(5e8, 1e10, "adamw", "ours", covariates={"shape": 64.0}))
    assert abs(given["recommendation"]["dropout"] - BEST_DROPOUT) < 0.08
    assert given["inputs"]["covariates"] == AT_1B
    assert set(given["extrapolation"]) == {
        f"{name}_decades" for name in ("params", "tokens", "shape", "sequence_length")
    }
    moved = np.log(given["optimum"]["learning_rate"]["median"] / at_64["optimum"]["learning_rate"]["median"])
    assert moved == pytest.approx(WSD_SHIFT + SHAPE_SLOPE * np.log(2), abs=0.25)
    assert not [text for text in given["warnings"] if "assumed" in text]
    assert [text for text in plain["warnings"] if "assumed" in text] == [
        "assumed: shape 32, schedule cosine; give others with --covariate NAME=VALUE (shape, schedule)",
    ]


@pytest.mark.slow
def test_a_value_never_seen_is_drawn_from_the_population(fitted):
    target = Target(5e8, 1e10, "adamw", "ours", covariates=AT_1B | {"schedule": "linear"})
    unseen, seen = (
        predict(fitted, target),
        predict(fitted, Target(5e8, 1e10, "adamw", "ours", covariates=AT_1B)),
    )
    assert "schedule linear was never seen: drawn from the population of 2" in unseen["warnings"]
    width = [
        np.log(r["optimum"]["learning_rate"]["upper"] / r["optimum"]["learning_rate"]["lower"])
        for r in (unseen, seen)
    ]
    assert width[0] > 1.3 * width[1]


@pytest.mark.slow
def test_an_unknown_name_is_refused(fitted):
    with pytest.raises(BadInput) as caught:
        predict(fitted, Target(5e8, 1e10, "adamw", "ours", covariates={"colour": 3.0}))
    assert str(caught.value) == (
        "covariate colour: not in the law; expected one of share, aspect, sequence, sharpness, noise, shape, "
        "schedule, normalization; leave it out"
    )


@pytest.mark.slow
def test_candidates_differ_by_them(fitted, runs):
    target = Target(5e8, 1e10, "adamw", "ours", covariates=AT_1B)
    pool = runs.iloc[:48].drop(columns=["loss", "status"]).assign(study="ours")
    told = design(fitted, [target], with_cost(pool, "pool")[0], budget=1e19, batch=3)
    assert len(told["runs"]) == 3
    assert all("dropout" in run for run in told["runs"])


@pytest.mark.slow
def test_diagnose_runs_and_says_what_is_not_separated(fitted, runs):
    target = Target(5e8, 1e10, "adamw", "ours", covariates=AT_1B)
    told = diagnose(fitted, target, runs)
    assert told.cells.inside_90 > 0.7
    wide_when_small = (runs["width"] == 1024) == (runs["params_nonembedding"] < 4e7)
    tied = runs[wide_when_small & (runs["params_nonembedding"] != 5e7)]
    assert fit_doubts(tied) == [
        "ours, adamw: N, D and shape vary together: these runs do not separate gamma_path and alpha_shape; "
        "add cells in which one of them differs alone"
    ]


@pytest.mark.slow
def test_plots_and_report_have_them(fitted, tmp_path):
    ax = plot_optimum(fitted, "dropout", "params", Target(5e8, 1e10, "adamw", "ours", covariates=AT_1B))
    assert ax.get_ylabel() == "best dropout"
    write_report(fitted, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert '"alpha_shape"' in page
    assert "dropout" in page


def test_the_formula_is_that_of_the_rows(extended):
    assert formula(OPTIMA["learning_rate"].terms) == (
        "alpha - gamma_path n - delta (d - n) - bend n^2 - bend_nd (n d) - bend_dd d^2 + alpha_share share "
        "+ alpha_aspect aspect + alpha_scalars shift + alpha_deviation share + alpha_sharpness sharpness "
        "+ alpha_shape shape"
    )
