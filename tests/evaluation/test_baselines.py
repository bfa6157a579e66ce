"""The field's methods recover known laws, and refuse what they cannot know."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.baselines import (
    best_runs,
    fit_argmin,
    fit_huber,
    fit_near_optimal,
    huber_coefs,
    resample_counts,
)
from bayeslaw.evaluation.scores import Advisor
from bayeslaw.target import Target

SIZES = [(n, d) for n in (5e7, 1e8, 2e8, 4e8) for d in (2e9, 1e10, 5e10)]


def optimum(n, d):
    return 2.0 * n**-0.7 * d**0.3, 0.5 * d**0.57


def one_best_run_per_cell(sizes=SIZES, scatter=0.0, seed=0, optimizer="adamw"):
    """Cells whose best run sits at the law, times a lognormal scatter, and one worse run."""
    rng = np.random.default_rng(seed)
    rows = []
    for n, d in sizes:
        rate, batch = np.array(optimum(n, d)) * np.exp(scatter * rng.standard_normal(2))
        rows += [(n, d, batch, rate, 2.5), (n, d, 2 * batch, 3 * rate, 2.6)]
    table = pd.DataFrame(
        rows, columns=["params_nonembedding", "tokens", "batch_tokens", "learning_rate", "loss"]
    )
    ids = [f"{optimizer}-{i}" for i in range(len(table))]
    return table.assign(run_id=ids, study="s", optimizer=optimizer, status="finished")


METHODS = {
    "argmin": fit_argmin,
    "huber": fit_huber,
    "near": fit_near_optimal,
    "near by cell": lambda runs, **k: fit_near_optimal(runs, by="cell", **k),
}


@pytest.mark.parametrize("fit", METHODS.values(), ids=METHODS)
def test_an_exact_law_is_recovered_and_extrapolated(fit):
    advisor = fit(one_best_run_per_cell(), draws=50)
    assert isinstance(advisor, Advisor)
    assert advisor.report["learning_rate"]["exponents"] == pytest.approx(
        {"params_nonembedding": -0.7, "tokens": 0.3}, abs=1e-6
    )
    target = Target(7e9, 1e12)
    rate, batch = optimum(7e9, 1e12)
    assert advisor.recommend(target) == pytest.approx(
        {"learning_rate": rate, "batch_tokens": batch}, rel=1e-5
    )
    draws = advisor.optimum_draws(target)
    assert draws["learning_rate"] == pytest.approx(np.full(len(draws["learning_rate"]), rate), rel=1e-3)
    assert advisor.loss_draws(one_best_run_per_cell()) is None


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_runs_does_not_matter(random):
    runs = one_best_run_per_cell(scatter=0.2)
    order = list(range(len(runs)))
    random.shuffle(order)
    a = fit_argmin(runs, draws=2).recommend(Target(1e9, 2e10))
    b = fit_argmin(runs.iloc[order], draws=2).recommend(Target(1e9, 2e10))
    assert a == pytest.approx(b)


def test_argmin_draws_follow_the_classical_prediction_interval():
    runs = one_best_run_per_cell(scatter=0.3)
    advisor = fit_argmin(runs, draws=40_000)
    best = best_runs(runs)
    x = np.column_stack([np.ones(12), np.log(best["params_nonembedding"]), np.log(best["tokens"])])
    y = np.log(best["learning_rate"].to_numpy())
    coefs, rss, *_ = np.linalg.lstsq(x, y, rcond=None)
    at = np.array([1.0, np.log(1e9), np.log(2e10)])
    half = stats.t.ppf(0.95, 9) * np.sqrt(rss[0] / 9 * (1 + at @ np.linalg.inv(x.T @ x) @ at))
    lower, upper = np.quantile(
        np.log(advisor.optimum_draws(Target(1e9, 2e10))["learning_rate"]), [0.05, 0.95]
    )
    assert lower == pytest.approx(at @ coefs - half, abs=0.03 * half)
    assert upper == pytest.approx(at @ coefs + half, abs=0.03 * half)
    report = advisor.report["learning_rate"]
    assert report["residual_sd"] == pytest.approx(np.sqrt(rss[0] / 9))
    assert report["r2"] == pytest.approx(1 - rss[0] / np.sum((y - y.mean()) ** 2))
    assert report["dof"] == 9
    assert 3 / 12 < report["max_leverage"] < 1


def test_a_wild_cell_is_named_and_moves_huber_less_than_least_squares():
    sizes = [(n, d) for n in (5e7, 1e8, 2e8, 4e8, 8e8) for d in (2e9, 8e9, 3e10, 1e11)]
    runs = one_best_run_per_cell(sizes, scatter=0.05)
    wild = runs["params_nonembedding"].eq(8e8) & runs["tokens"].eq(1e11)
    runs.loc[wild, "learning_rate"] *= 30
    target, (truth, _) = Target(3e9, 3e11), optimum(3e9, 3e11)
    plain, robust = fit_argmin(runs, draws=10), fit_huber(runs, draws=10)
    error = {a.label: abs(np.log(a.recommend(target)["learning_rate"] / truth)) for a in (plain, robust)}
    assert error[robust.label] < 0.25 * error[plain.label]
    (named,) = plain.report["learning_rate"]["outliers"]
    assert (named["params_nonembedding"], named["tokens"]) == (8e8, 1e11)
    chosen = robust.report["learning_rate"]
    assert np.isfinite(chosen["threshold"])
    assert chosen["cv_mae"] == min(chosen["cv_mae_by_threshold"].values())
    assert chosen["cv_mae"] < chosen["cv_mae_by_threshold"][np.inf]


def test_huber_solves_its_own_equations():
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(30), rng.normal(size=30)])
    y = x @ [1.0, 2.0] + rng.standard_t(2, size=30)
    residual = y - x @ huber_coefs(x, y, 0.5)
    assert x.T @ np.clip(residual, -0.5, 0.5) == pytest.approx(np.zeros(2), abs=1e-4)


def test_bootstrap_by_cell_is_wider_than_by_row_when_cells_scatter_as_wholes():
    runs = one_best_run_per_cell(scatter=0.3)
    crowd = runs[runs["loss"] == 2.5]
    near = pd.concat(
        [crowd.assign(learning_rate=crowd["learning_rate"] * f) for f in np.linspace(0.95, 1.05, 8)]
    )
    target = Target(1e9, 2e10)
    sd = {
        by: np.log(fit_near_optimal(near, by=by).optimum_draws(target)["learning_rate"]).std()
        for by in ("row", "cell")
    }
    assert sd["cell"] > 1.8 * sd["row"]  # sqrt(8) with equal cells of 8 rows


def test_row_bootstrap_has_the_standard_errors_of_least_squares():
    near = one_best_run_per_cell(SIZES * 12, scatter=0.2)
    near = near[near["loss"] == 2.5]
    law = fit_near_optimal(near, draws=4000).laws["learning_rate"]
    x = np.column_stack([np.ones(len(near)), np.log(near["params_nonembedding"]), np.log(near["tokens"])])
    exact = np.sqrt(np.diag(np.linalg.inv(x.T @ x))) * 0.2
    assert law.draws.std(axis=0) == pytest.approx(exact, rel=0.15)


def test_near_optimal_keeps_a_quarter_percent_and_argmin_one():
    runs = one_best_run_per_cell(SIZES[:1])
    runs = pd.concat([runs, runs.assign(loss=[2.506, 2.507], run_id=["a", "b"])])
    assert best_runs(runs, within=0.0025)["loss"].tolist() == [2.5, 2.506]
    assert best_runs(runs)["loss"].tolist() == [2.5]


def test_diverged_runs_and_other_optimizers_are_left_out():
    adamw, muon = one_best_run_per_cell(), one_best_run_per_cell(SIZES[:3], optimizer="muon")
    trap = adamw.assign(loss=0.1, status="diverged", learning_rate=1.0)
    mixed = pd.concat([adamw, muon.assign(loss=0.2), trap])
    alone, among = fit_argmin(adamw, draws=2), fit_argmin(mixed, draws=2)
    assert among.optimizer == "adamw"
    target = Target(1e9, 2e10)
    assert among.recommend(target) == pytest.approx(alone.recommend(target))
    with pytest.raises(BadInput, match="target optimizer 'muon'; expected 'adamw'"):
        among.recommend(Target(1e9, 2e10, "muon"))


def test_a_fixed_batch_is_kept():
    advice = fit_argmin(one_best_run_per_cell(), draws=2).recommend(Target(1e9, 2e10, batch_tokens=1e6))
    assert advice["batch_tokens"] == 1e6


@pytest.mark.parametrize("fit", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(
    "sizes",
    [
        SIZES[:3],  # one N
        [(n, 20 * n) for n in np.geomspace(1e7, 1e9, 8)],  # D in proportion to N
        [(1e8, 1e9), (2e8, 1e10), (4e8, 3e9)],  # as many cells as coefficients
    ],
)
def test_too_few_cells_are_refused_with_the_way_out(fit, sizes):
    with pytest.raises(
        BadInput, match=r"cells with \d distinct params_nonembedding.*needs at least .*`bayeslaw fit`"
    ):
        fit(one_best_run_per_cell(sizes), draws=5)


def test_no_finished_run_and_an_unknown_bootstrap_are_refused():
    with pytest.raises(BadInput, match=r"no finished run of optimizer 'lion'.*\(adamw\)"):
        fit_argmin(one_best_run_per_cell(), optimizer="lion")
    with pytest.raises(BadInput, match="by = 'run'"):
        resample_counts(np.arange(3), 2, "run", 0)
