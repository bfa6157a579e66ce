"""Structures of the law: folds of the future, judges with their error, and a drift that is found."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.target_surface import cell_shifts, fitted_deviations, surface_at, surface_draws
from bayeslaw.comparison.folds import future_folds
from bayeslaw.comparison.judge import judged_cells
from bayeslaw.comparison.structures import MEANS, compare, structure_named, summarise
from bayeslaw.errors import BadInput
from bayeslaw.inference.approximation import approximate
from bayeslaw.inference.effort import EFFORTS
from bayeslaw.law.simulation import example_design, simulate_runs, true_optimum
from bayeslaw.law.smoothness import WANDER, beyond
from bayeslaw.target import Target

quickly = partial(approximate, effort=EFFORTS["quick"])


def sweep(seed=0, runs=800):
    """A dense sweep of four sizes and two numbers of tokens each, about the optimum of each cell."""
    rng = np.random.default_rng(seed)
    design = example_design(runs, params=(2e7, 5e7, 1.2e8, 3e8), tokens_per_param=(20.0, 60.0))
    sizes = zip(design["params_nonembedding"], design["tokens"], strict=True)
    best = pd.DataFrame([true_optimum(Target(n, d)) for n, d in sizes])
    rate = best["learning_rate"] * np.exp(rng.uniform(-1.6, 1.3, runs))
    batch = best["batch_tokens"] * np.exp(rng.uniform(-1.4, 1.4, runs))
    truth = {"log_tau_size_lr": -6.0, "log_tau_lr": -4.0}
    return simulate_runs(design.assign(learning_rate=rate, batch_tokens=batch), truth, seed)


def test_folds_leave_out_what_is_larger_and_score_it_once():
    runs = sweep()
    folds = list(future_folds(runs, "params"))
    assert [fold.name for fold in folds] == ["params >= 3e+08"]
    assert folds[0].fitted["params_nonembedding"].max() < folds[0].held_out["params_nonembedding"].min()
    by_tokens = list(future_folds(runs, "tokens"))
    assert sum(len(fold.held_out) for fold in by_tokens) == (runs["tokens"] >= 6e9).sum()


@pytest.mark.slow
def test_a_judge_knows_its_error():
    """Smoothed optima of two simulations of one sweep differ by what resampling says."""
    first, second = (judged_cells(sweep(seed=seed)) for seed in (1, 2))
    both = [(a, b) for a in first for b in second if a.cell.key == b.cell.key]
    assert len(both) >= 5
    z = [(a.optimum - b.optimum)[1:] / np.hypot(a.error, b.error)[1:] for a, b in both]
    assert 0.2 < np.sqrt(np.mean(np.square(z))) < 2.5


@pytest.mark.slow
def test_structures_are_scored_on_the_same_cells():
    rows = list(compare(sweep(runs=400), ["core", "smooth"], quickly, along=["params"]))
    assert [(row["fold"], row["structure"]) for row in rows] == [
        ("params >= 3e+08", "core"),
        ("params >= 3e+08", "smooth"),
    ]
    assert rows[0]["cells"] == rows[1]["cells"] >= 1
    for row in rows:
        assert 0.7 < row["coverage_90"] <= 1.0
        assert row["r2_within_cells"] > 0.8


@pytest.mark.slow
def test_the_rival_law_loses_where_rates_fall_with_n():
    """Its exponents are those of bounds, which know no N; the sweep's best rates fall with N."""
    free, rival = compare(sweep(runs=400), ["core", "lmo"], quickly, along=["params"])
    assert rival["structure"] == "lmo"
    for name, sign in (("density", 1), ("r2_within_cells", 1), ("regret_mean", -1), ("crps", -1)):
        assert sign * rival[name] < sign * free[name]


def test_a_summary_compares_with_the_first_structure():
    numbers = dict.fromkeys((*MEANS, "regret_max"), 0.5)
    scored = ("a", "core", 1.0), ("a", "drift", 3.0), ("b", "core", 2.0), ("b", "drift", 1.0)
    rows = [{"fold": f, "structure": s, "density": density, **numbers} for f, s, density in scored]
    core, drift = summarise(rows)
    assert (core["gain"], core["gain_sd"], drift["gain"], drift["folds_won"]) == (0.0, 0.0, 1.0, 1)
    assert drift["gain_sd"] == pytest.approx(np.std([2.0, -1.0], ddof=1) * np.sqrt(2))


@pytest.fixture(scope="module")
def fit():
    return quickly(sweep(runs=400), ["drift", "smooth"])


def test_smooth_deviations_go_from_those_of_neighbours_to_fresh_ones(fit):
    """At a fitted place the shift is nearly the fitted one; far away its spread is that of the prior."""
    cell = fit.cells[0]
    seen = fit.cell["lr"][:, 0] - fit.size["lr"][:, 0]

    def shift(times):
        target = Target(cell.params_nonembedding * times, cell.tokens * times, cell.optimizer, cell.study)
        p = surface_draws(fit, cell.study, cell.optimizer)
        return cell_shifts(replace(fit, size={k: 0 * v for k, v in fit.size.items()}), target, p)["lr"], p

    near, p = shift(1.01)
    far, _ = shift(1e6)
    assert np.std(near - seen) < np.std(far - seen)
    spreads = sum(np.exp(2 * p[f"log_tau{kind}_lr"]) for kind in ("_smooth", "", "_size"))
    places = fitted_deviations(fit, cell.study, cell.optimizer).places
    here = {name: x[0] + np.log(1e6) for name, x in places.items()}
    wandered = WANDER["lr"] ** 2 * beyond(places, here)
    assert np.std(far / np.sqrt(spreads + wandered)) == pytest.approx(1.0, abs=0.15)


def test_the_shape_drifts_where_it_is_fitted(fit):
    at = surface_at(fit, Target(1e9, 1e11, "adamw", "example"))
    assert np.allclose(at.p["rho"], fit.group["rho"][:, 0] + fit.study["rho_d"][:, 0] * at.x["d"])


def test_an_unknown_part_is_refused():
    with pytest.raises(BadInput) as caught:
        structure_named("drift+magic")
    assert str(caught.value) == (
        "--structures drift+magic: no part 'magic' of the law; expected core, or some of drift, second, "
        "smooth, sequence, multiples, schedule, schedule_free, schedule_slope, shape, curvature, theory, lmo "
        "joined by +; give it as drift+second"
    )


def test_a_table_without_a_future_is_refused():
    few = pd.concat([sweep().iloc[:30]])
    with pytest.raises(BadInput, match="none of 1 future folds has a cell whose runs surround its optimum"):
        list(compare(few, ["core"], approximate, along=["params"]))
