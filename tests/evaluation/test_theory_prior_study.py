"""The study of bounds as prior and rival: its splits, errors of an advisor that is known, its table."""

import numpy as np
import pandas as pd
import pytest

from bayeslaw.runs.cells import group_cells
from tests.studies import theory_prior
from tests.support.sweeps import grid_cell

BEST = (2e-3, 1e5)


class Doubles:
    """Knows the best batch, and advises twice the best rate, sure of it."""

    label = "doubles"

    def recommend(self, target):
        return {"learning_rate": 2 * BEST[0], "batch_tokens": target.batch_tokens or BEST[1]}

    def optimum_draws(self, target):
        return {name: np.full(50, value) for name, value in self.recommend(target).items()}

    def loss_draws(self, runs):
        return np.tile(runs["loss"].to_numpy(float), (50, 1))


def test_an_error_is_that_of_the_rate_at_the_best_runs_batch():
    wide, narrow = (
        grid_cell(1e8, 2e9, BEST, rates=7, batches=7),
        grid_cell(2e8, 4e9, BEST, rates=2, batches=7),
    )
    found = theory_prior.scores_of(Doubles(), pd.concat([wide, narrow], ignore_index=True))
    assert [cell["error"] for cell in found["cells"]] == [pytest.approx(np.log(2))]  # two rates tell no best
    assert found["cells"][0]["inside"] is False
    assert found["crps"] == pytest.approx(0)
    assert len(found["regrets"]) == 1


@pytest.mark.parametrize("name", ["books, N", "books, D"])
def test_no_cell_is_both_fitted_and_scored(name):
    split = theory_prior.SPLITS[name]
    runs = split.runs()
    held = split.held_out(runs)
    seen, held_out = ({key for key, _ in group_cells(runs[which])} for which in (~held, held))
    assert seen
    assert held_out
    assert not seen & held_out


def test_the_table_says_who_is_better():
    cell = {"optimizer": "adamw", "params": 1e8, "tokens": 2e9, "inside": True}
    rows = [
        {"split": "books, N", "method": method, "cells": [cell | {"error": error}], "regrets": [0.001],
         "crps": crps, "q": q}
        for method, error, crps, q in (
            ("free law", 0.1, 0.01, []),
            ("prior of theory", 0.2, 0.005, [{"median": 0.4, "lower": 0.3, "upper": 0.5}]),
            ("lmo", -0.05, 0.02, [{"median": 0.4, "lower": 0.3, "upper": 0.5}]),
        )
    ]  # fmt: skip
    text = theory_prior.table(rows)
    line = ["books", "N > 20k", "prior of theory", "1", "0.20", "1 of 1", "0.100% (1)", "0.0050"]
    assert f"| {' | '.join(line)} | 0.40 (0.30 to 0.50) |" in text
    assert "`prior of theory` has the smaller error in 0 of 1 splits (median ratio 2.00) and the" in text
    assert "smaller CRPS in 1; `lmo` has the smaller error in 1 of 1 splits" in text
