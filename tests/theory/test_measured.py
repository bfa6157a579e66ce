"""Slopes of a finished sweep: simulated ones come back, and the books' momentum leg is refuted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.assets import BOOKS
from bayeslaw.errors import BadInput
from bayeslaw.theory.measured import measure_slopes

TRUE = {"batch": 0.5, "alpha": 0.3, "params": -0.4}


def simulated(runs=240, noise=0.003):
    """Runs of three sizes about a best learning rate that is known."""
    random = np.random.default_rng(5)
    columns = {
        "batch": np.exp(random.uniform(7, 11, runs)),
        "alpha": np.exp(random.uniform(-4, -1, runs)),
        "params": random.choice([1e4, 1e5, 1e6], runs),
    }
    best = sum(TRUE[name] * np.log(values) for name, values in columns.items())
    u = random.uniform(-2, 2, runs)
    excess = 0.03 * u**2 + 0.01 * (np.log(columns["batch"]) - 9) ** 2
    loss = np.exp(1.5 - 0.05 * np.log(columns["params"]) + excess + noise * random.standard_t(4, runs))
    return np.exp(best + u), columns, loss


def slopes_of(rates, columns, loss, **options):
    settings = {name: columns[name] for name in ("batch", "alpha")}
    sizes = {"params": columns["params"]}
    return measure_slopes(rates, settings, sizes, loss, columns["params"], **options)


def test_simulated_exponents_come_back():
    found = slopes_of(*simulated())
    for name, true in TRUE.items():
        assert abs(found.mean[name] - true) < 3 * found.error[name]
        assert found.error[name] < 0.03
    assert 0.001 < found.typical_residual < 0.006


def test_momentum_does_not_move_muons_learning_rate_as_the_bound_says():
    runs = pd.read_csv(BOOKS)
    runs = runs[(runs["status"] == "finished") & (runs["optimizer"] == "muon")]
    found = measure_slopes(
        runs["learning_rate"],
        {
            "batch": runs["batch_tokens"],
            "alpha": 1 - runs["momentum"],
            "decay": runs["weight_decay"] + 0.01,
        },
        {"params": runs["params_nonembedding"], "tokens": runs["tokens"]},
        runs["loss"],
        [f"{n} {d}" for n, d in zip(runs["params_nonembedding"], runs["tokens"], strict=True)],
    )
    assert found.mean["alpha"] + 4 * found.error["alpha"] < 0.5
    assert found.mean["batch"] - 2 * found.error["batch"] > 0.5


def test_too_few_runs_are_refused():
    rates, columns, loss = simulated(8)
    with pytest.raises(BadInput, match=r"runs within 0\.2 of their cell's best; expected more than"):
        slopes_of(rates, columns, loss)
    with pytest.raises(BadInput, match="measure_slopes: no runs"):
        measure_slopes([], {}, {}, [], [])


def test_losses_of_failed_runs_are_refused():
    rates, columns, loss = simulated()
    loss[3] = np.nan
    with pytest.raises(BadInput, match="measure_slopes: losses = nan"):
        slopes_of(rates, columns, loss)


def test_columns_of_another_length_are_refused():
    rates, columns, loss = simulated()
    with pytest.raises(BadInput, match=r"losses of shape \(239,\); expected \(240,\)"):
        slopes_of(rates, columns, loss[:-1])
