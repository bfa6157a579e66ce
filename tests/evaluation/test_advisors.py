"""The posterior as an advisor: its predictive draws have the spread and the correlation of the model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.target_surface import extra_excess, lr_batch_excess, surface_at
from bayeslaw.evaluation.advisors import PosteriorAdvisor, fitted_cells
from bayeslaw.evaluation.heldout import evaluate
from bayeslaw.evaluation.scores import Advisor
from bayeslaw.law.terms import to_coordinate
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior, shifted


@pytest.fixture(scope="module")
def fit():
    return fake_posterior(1000)


def runs_at(fit, target, count=30, seed=0, **columns):
    """Runs about the best settings of the fake posterior's cell, with losses to be filled in."""
    best = PosteriorAdvisor(fit).recommend(target)
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "study": target.study,
            "optimizer": target.optimizer,
            "params_nonembedding": target.params_nonembedding,
            "tokens": target.tokens,
            "learning_rate": best["learning_rate"] * np.exp(rng.uniform(-1.5, 1.5, count)),
            "batch_tokens": best["batch_tokens"] * np.exp(rng.uniform(-1.5, 1.5, count)),
            "weight_decay": best["weight_decay"],
            "loss": 2.5,
            "status": "finished",
        }
    )
    table["run_id"] = [f"{target.tokens:g}-{i}" for i in range(count)]
    return table.assign(**columns)


SEEN = Target(1e9, 2e10, "adamw", "ours")
NEW = Target(3e9, 6e10, "adamw", "ours")


def test_it_keeps_the_contract(fit):
    advisor = PosteriorAdvisor(fit)
    assert isinstance(advisor, Advisor)
    assert advisor.label == "posterior"
    assert set(advisor.recommend(NEW)) == set(advisor.optimum_draws(NEW))
    table = pd.concat([runs_at(fit, SEEN, 5), runs_at(fit, NEW, 4)]).sample(frac=1, random_state=1)
    assert advisor.loss_draws(table).shape == (1000, 9)


def test_rows_are_predicted_in_their_own_place(fit):
    """Shuffled rows, an index that repeats: each row's draws stay those of its cell."""
    table = pd.concat([runs_at(fit, SEEN, 5), runs_at(fit, NEW, 4)])
    order = np.random.default_rng(0).permutation(9)
    middle = np.median(PosteriorAdvisor(fit).loss_draws(table), axis=0)
    shuffled = np.median(PosteriorAdvisor(fit).loss_draws(table.iloc[order]), axis=0)
    assert shuffled == pytest.approx(middle[order], rel=2e-3)


def test_draws_are_level_excess_and_noise(fit):
    quiet = shifted(fit, log_noise=-20.0, log_noise_slope=-20.0)
    table = runs_at(fit, SEEN, 6)
    at = surface_at(quiet, SEEN)
    rate, batch, decay = (table[k].to_numpy() for k in ("learning_rate", "batch_tokens", "weight_decay"))
    excess = lr_batch_excess(at, np.log(rate), np.log(batch))
    decay = extra_excess(at, "weight_decay", to_coordinate("weight_decay", decay))
    draws = PosteriorAdvisor(quiet).loss_draws(table)
    assert np.log(draws) == pytest.approx(at.log_loss[:, None] + excess + decay, abs=1e-6)


def test_runs_of_one_new_cell_share_its_shift(fit):
    alike = runs_at(fit, NEW, 2)
    alike[["learning_rate", "batch_tokens"]] = alike.loc[0, ["learning_rate", "batch_tokens"]].to_numpy(float)
    moved = shifted(fit, log_tau_level=np.log(0.05))
    draws = np.log(PosteriorAdvisor(moved).loss_draws(alike))
    assert np.corrcoef(draws.T)[0, 1] > 0.95
    apart = pd.concat([alike.iloc[:1], alike.iloc[:1].assign(tokens=6.1e10)])
    steady = shifted(
        fake_posterior(1000, spread=0.0),
        log_tau_level=np.log(0.05),
        log_tau_size_level=-30.0,
        log_tau_size_slope=-30.0,
    )
    assert abs(np.corrcoef(np.log(PosteriorAdvisor(steady).loss_draws(apart)).T)[0, 1]) < 0.15


def test_settings_off_the_usual_widen_the_prediction(fit):
    table = runs_at(fit, SEEN, 30, grad_clip=[1.0] * 29 + [0.1])
    loud = shifted(fit, log_off_noise=np.log(0.05))
    spread = np.std(np.log(PosteriorAdvisor(loud).loss_draws(table)), axis=0)
    assert spread[-1] > 2 * np.median(spread[:-1])


def test_weight_decay_counts_only_where_it_was_varied(fit):
    """Where a group never varied it, its level holds what its usual weight decay costs."""
    tables = [runs_at(fit, SEEN, 4, weight_decay=w) for w in (None, 2.0)]
    seen = [np.median(PosteriorAdvisor(fit).loss_draws(t)) for t in tables]
    assert seen[1] > 1.005 * seen[0]
    other = Target(1e9, 2e10, "muon", "ours")
    tables = [runs_at(fit, other, 4, weight_decay=w) for w in (None, 2.0)]
    unvaried = [PosteriorAdvisor(fit).loss_draws(t) for t in tables]
    assert (unvaried[0] == unvaried[1]).all()


def test_its_own_losses_are_covered(fit):
    """Losses drawn from the posterior's own prediction, one draw for all runs of a cell."""
    rng = np.random.default_rng(0)
    tables = []
    for i in range(30):
        table = runs_at(fit, Target(3e9, (6 + i) * 1e10, "adamw", "ours"), 8, seed=i)
        draws = PosteriorAdvisor(fit, seed=99).loss_draws(table)
        tables.append(table.assign(loss=draws[rng.integers(len(draws))]))
    result = evaluate(PosteriorAdvisor(fit, label="fake"), pd.concat(tables), level=0.9)
    assert result["advisor"] == "fake"
    assert 0.8 < result["runs"]["coverage"] < 0.97


def test_fitted_cells_are_counted(fit):
    table = pd.concat([runs_at(fit, SEEN, 3), runs_at(fit, NEW, 3)])
    assert fitted_cells(fit, table) == 1
